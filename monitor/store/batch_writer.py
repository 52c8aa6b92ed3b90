"""Group commit: small writes that arrive at the same time share a transaction, and so the cost of its commit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection

from monitor.domain.errors import StoreUnavailable
from monitor.store.database import Store

MOST = 32
"""Maximum number of writes in one transaction, so that none waits long for the others."""


def _run_each(conn: Connection, writes: list[Callable[[Connection], Any]]) -> list[Any]:
    return [write(conn) for write in writes]


class BatchWriter:
    """Collects writes while a transaction is running, and commits them in the next one.

    The writes stay independent: if one fails, all are rolled back and each is repeated in its own transaction, so that only
    the caller of the failing one gets the error. A write must therefore have no other effect than on the database. If the
    database is unavailable, all callers get that error.
    """

    def __init__(self, store: Store, run: Callable[[Connection, list[Any]], list[Any]] = _run_each) -> None:
        """`run` makes the writes of one batch and returns their results. Without it, writes are functions, which it calls."""
        self._store, self._run = store, run
        self._waiting: list[tuple[Any, asyncio.Future[Any]]] = []
        self._draining: asyncio.Task[None] | None = None

    async def write(self, write: Any) -> Any:
        """Make a write in a transaction, which is committed when this returns. Raises what the write raises, and StoreError."""
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((write, done))
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain(), name="batch-writer")
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

    async def _commit(self, batch: list[tuple[Any, asyncio.Future[Any]]]) -> None:
        try:
            results = await self._store.write(lambda conn: self._run(conn, [write for write, _ in batch]))
        except StoreUnavailable as error:
            for _, done in batch:
                _fail(done, error)
        except Exception as error:  # noqa: BLE001 - the repetition, one by one, shows which write failed
            if len(batch) == 1:
                _fail(batch[0][1], error)
                return
            for each in batch:
                await self._commit([each])
        else:
            for (_, done), result in zip(batch, results, strict=True):
                if not done.done():
                    done.set_result(result)


def _fail(done: asyncio.Future[Any], error: Exception) -> None:
    if not done.done():
        done.set_exception(error)
