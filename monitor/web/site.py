"""What every page is given: the store, the clock, the configuration of now, and what the process counts about itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from monitor.config import Config
from monitor.domain.clock import Clock
from monitor.store import Store

if TYPE_CHECKING:
    from monitor.telemetry.metrics import Metrics
    from monitor.telemetry.progress import Progress

P = ParamSpec("P")
T = TypeVar("T")

READS_AT_ONCE = 2
"""Of the store's four reader threads: however many pages are asked for, the daemon's own reads find one free."""


def _turns() -> asyncio.Semaphore:
    return asyncio.Semaphore(READS_AT_ONCE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The daemon as its web pages see it. Every module with pages offers `routes(site) -> list[Route]`."""

    store: Store
    clock: Clock
    config: Callable[[], Config]
    """The configuration of now: a reload swaps it."""
    metrics: Metrics
    progress: Progress
    turns: asyncio.Semaphore = field(default_factory=_turns)

    async def read(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that reads, and may render, in a thread: the event loop serves more than pages.

        Few run at a time, the others wait their turn.
        """
        async with self.turns:
            return await self.store.run_read(fn, *args, **kwargs)

    async def write(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that writes in the store's writer thread, after what the daemon is writing."""
        return await self.store.run(fn, *args, **kwargs)
