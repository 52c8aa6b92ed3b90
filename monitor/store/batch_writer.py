"""Small writes that come at the same time share a transaction: what a commit costs, each would pay alone otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection

from monitor.domain.errors import StoreUnavailable
from monitor.store.database import Store

T = TypeVar("T")
Write = Callable[[Connection], Any]

MOST = 32
"""Writes in one transaction: few enough that nobody waits long for the others."""


class BatchWriter:
    """Collects writes while the one before is under way, and commits them as one.

    Each still stands alone: where one fails, all are rolled back and done again one by one, so that only its own caller
    is told. A write must therefore do nothing but write. Where the database is away, all are told so.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[tuple[Write, asyncio.Future[Any]]] = []
        self._draining: asyncio.Task[None] | None = None

    async def write(self, fn: Callable[[Connection], T]) -> T:
        """fn(conn) in a transaction, committed when this returns. Raises what fn raises, and the store's own errors."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((fn, done))
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain(), name="write-together")
        return await done

    async def _drain(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
                await self._commit([each for each in batch if not each[1].cancelled()])
        finally:
            self._draining = None
            for _, done in self._waiting:
                done.cancel()

    async def _commit(self, batch: list[tuple[Write, asyncio.Future[Any]]]) -> None:
        try:
            results = await self._store.run(self._all, [fn for fn, _ in batch])
        except StoreUnavailable as error:
            for _, done in batch:
                _fail(done, error)
        except Exception as error:  # noqa: BLE001 - which of them failed shows when each is done by itself
            if len(batch) == 1:
                _fail(batch[0][1], error)
                return
            for each in batch:
                await self._commit([each])
        else:
            for (_, done), result in zip(batch, results, strict=True):
                if not done.done():
                    done.set_result(result)

    def _all(self, writes: list[Write]) -> list[Any]:
        with self._store.begin_write() as conn:
            return [fn(conn) for fn in writes]


def _fail(done: asyncio.Future[Any], error: Exception) -> None:
    if not done.done():
        done.set_exception(error)
