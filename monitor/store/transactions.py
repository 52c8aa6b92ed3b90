"""The store as the notifier uses it: one function, one transaction, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import structlog
from sqlalchemy import Connection

from monitor.domain.errors import StoreError
from monitor.store import Store

log = structlog.get_logger(__name__)
T = TypeVar("T")

_RETRIES = (0.2, 1.0, 3.0, 5.0)  # seconds


class Transactions:
    """Runs functions of a connection in the store's threads."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def write(self, work: Callable[[Connection], T]) -> T:
        """The function in one write transaction. Raises StoreError."""

        def whole() -> T:
            with self._store.write() as conn:
                return work(conn)

        return await self._store.run(whole)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """The function over one consistent state. Raises StoreError."""

        def whole() -> T:
            with self._store.read() as conn:
                return work(conn)

        return await self._store.run_read(whole)

    async def persist(self, work: Callable[[Connection], T]) -> T:
        """Writes the outcome of a delivery, trying for a while if the store is away: to forget it would repeat a message.

        Raises StoreError in the end.
        """
        for pause in _RETRIES:
            try:
                return await self.write(work)
            except StoreError as error:
                log.warning("notifier.outcome_not_recorded", problem=str(error))
                await asyncio.sleep(pause)
        return await self.write(work)
