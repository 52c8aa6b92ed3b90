"""The leases that this process holds: taken for a unit, renewed together, checked before every request and every write."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import structlog

from monitor.domain.errors import LeaseLost, StoreError, StoreUnavailable
from monitor.domain.threads import DaemonExecutor, NoThread
from monitor.store import Connection, leases
from monitor.store.leases import Beat, DaemonReport, Lease, LeaseHold, Leases

T = TypeVar("T")

log = structlog.get_logger(__name__)

STOP_AFTER = timedelta(seconds=15)
"""Work stops if the leases could not be renewed for so long; they end some seconds later."""
_FLUSH_AFTER = 0.1
"""Seconds in which ended leases are collected and released in one statement."""


@dataclass(slots=True)
class _Owned:
    """A lease, and how many units of this process use it."""

    number: int
    users: int = 0
    lost: bool = False
    """True once another daemon may have it. It is not taken again before the work on its basis has ended: what that work has
    read is older than what the other daemon stored."""


class Ownership:
    """The leases of this process. All methods are called from one event loop."""

    def __init__(
        self,
        store: Leases,
        *,
        resume: Callable[[Lease], None],
        handover: Callable[[str], Mapping[str, Any] | None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`resume` continues with what a lease's previous holder left; `handover` returns what is left for the next one."""
        self._store, self._resume, self._handover, self._monotonic = store, resume, handover, monotonic
        self._thread = DaemonExecutor(1, name="leases")
        self._owned: dict[str, _Owned] = {}
        self._taking = asyncio.Lock()
        self._ended: set[str] = set()
        self._changed: set[str] = set()
        self._flushing: asyncio.Task[None] | None = None
        self._renewed_at = monotonic()

    async def take(self, names: Collection[str]) -> set[str]:
        """Take these leases, and return those that this process holds now. Each must be dropped. Raises StoreUnavailable."""
        async with self._taking:
            self._require_renewed()
            wanted, begun = [name for name in names if name not in self._owned], self._monotonic()
            if wanted:
                taken = await self._call(partial(self._store.acquire, wanted))
                if self._monotonic() - begun > STOP_AFTER.total_seconds():
                    raise LeaseLost  # this process was stopped meanwhile: they may have ended
                for lease in taken:
                    self._owned[lease.name] = _Owned(lease.number)
                    self._resume(lease)
            held = {name for name in names if self._find(name) is not None}
            self._ended.difference_update(held)
            for name in held:
                self._owned[name].users += 1
            return held

    def drop(self, name: str) -> None:
        """End one use of a lease; it is released after the last one."""
        owned = self._owned.get(name)
        if owned is None:
            return
        owned.users -= 1
        if owned.users > 0:
            return
        if owned.lost:
            del self._owned[name]
        else:
            self._ended.add(name)
            self._flush_soon()

    def save_soon(self, name: str) -> None:
        """Store what the next holder must know, should this process die."""
        self._changed.add(name)
        self._flush_soon()

    def guard(self, name: str) -> None:
        """Raise LeaseLost unless this process holds the lease and has renewed its leases recently."""
        if self._find(name) is None:
            raise LeaseLost
        self._require_renewed()

    def is_lost(self, name: str) -> bool:
        """Return True if guard() would raise."""
        return self._find(name) is None or self.is_overdue

    @property
    def is_overdue(self) -> bool:
        """True if the leases have not been renewed recently."""
        return self._monotonic() - self._renewed_at > STOP_AFTER.total_seconds()

    def require(self, conn: Connection, names: Collection[str]) -> None:
        """Raise LeaseLost unless the leases are still this process's; no daemon can take one before the transaction ends."""
        numbers = {}
        for name in names:
            owned = self._find(name)
            if owned is None:
                raise LeaseLost
            numbers[name] = owned.number
        leases.require(conn, numbers)

    async def beat(self, report: DaemonReport) -> Beat:
        """Renew all leases; work on those that were lost stops. Raises StoreUnavailable."""
        begun = self._monotonic()
        before = {name: owned.number for name, owned in self._owned.items() if not owned.lost}
        beat = await self._call(partial(self._store.beat, report, list(before)))
        self._renewed_at = begun
        for name, number in before.items():
            owned = self._owned.get(name)
            if name not in beat.held and owned is not None and owned.number == number and name not in self._ended:
                owned.lost = True
                log.warning("lease.lost", lease=name)
        return beat

    async def held(self) -> dict[str, LeaseHold]:
        """Return the live leases of all daemons, and those of channels. Raises StoreUnavailable."""
        return await self._call(self._store.held)

    async def leave(self) -> None:
        """End all leases, and remove this daemon from the list. Never raises: the remaining leases expire."""
        try:
            await self._flush(set(self._owned))
            await self._call(self._store.leave)
        except StoreError as error:
            log.debug("lease.not_released", problem=str(error))

    def close(self) -> None:
        """Close the connection."""
        self._thread.submit(self._store.close)
        self._thread.shutdown(wait=False)

    def _find(self, name: str) -> _Owned | None:
        """Return a lease that is not lost."""
        owned = self._owned.get(name)
        return None if owned is None or owned.lost else owned

    def _require_renewed(self) -> None:
        if self.is_overdue:
            raise LeaseLost

    def _flush_soon(self) -> None:
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush_later(), name="lease-release")

    async def _flush_later(self) -> None:
        while self._ended or self._changed:
            await asyncio.sleep(_FLUSH_AFTER)
            try:
                await self._flush()
            except StoreError as error:
                log.debug("lease.not_released", problem=str(error))  # it expires

    async def _flush(self, used: Collection[str] = ()) -> None:
        """Release the leases that have ended and these, and store what the next holders of the others must know."""
        async with self._taking:
            ended = self._ended.union(used)
            changed = {name: self._handover(name) for name in self._changed if self._find(name) is not None and name not in ended}
            released = {name: self._handover(name) for name in ended if self._find(name) is not None}
            self._changed.clear()
            self._ended.clear()
            for name in released:
                del self._owned[name]
            if changed:
                await self._call(partial(self._store.save, changed))
            if released:
                await self._call(partial(self._store.release, released))

    async def _call(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except NoThread as error:
            raise StoreUnavailable(f"The cluster's leases cannot be read: {error}.") from None
