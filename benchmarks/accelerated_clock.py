"""Simulated time for the real program: an event loop whose clock leaps to the next timer whenever nothing is under way.

Work takes real time and no simulated time; waiting takes simulated time and no real time. The wall clock, which time-machine
sets for the whole process, may be moved against it, and the machine may sleep.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, TypeVar
from unittest import mock

import time_machine

from monitor.domain import threads

T = TypeVar("T")

_BREATH = 0.002
"""Real seconds between checks of work that is in progress in other threads."""
_QUIET_FOR = 0.25
"""Real seconds after which work that waits for the network is taken to wait for a timer: its request budget."""
_WAITING = ("store-", "log")
"""The names of threads that wait for work; what they do for the loop is counted by the call."""
_ON_THE_NETWORK = ("poll:", "probe:")
"""What the scheduler's tasks that talk to an API are called."""


class Acceleration:
    """The simulated clocks: time that passes for the process, the truth, and what the wall shows."""

    def __init__(self, start: datetime) -> None:
        self._start = start
        self._traveller: Any = None
        self.passed = 0.0
        """Seconds by the monotonic clock."""
        self._asleep = timedelta(0)
        self.wrong_by = timedelta(0)
        """How much the wall clock is ahead of the truth."""

    @contextmanager
    def patched(self) -> Iterator[None]:
        """Everything in this process reads the simulated wall clock meanwhile."""
        passed = mock.patch("aiohttp.connector.monotonic", self.monotonic)  # else it would keep idle connections for days
        with passed, time_machine.travel(self.wall(), tick=False) as self._traveller:
            yield

    def now(self) -> datetime:
        """Return the true time, as the APIs' clocks show it (the Clock protocol)."""
        return self._start + timedelta(seconds=self.passed) + self._asleep

    def monotonic(self) -> float:
        """Seconds that passed for the process."""
        return self.passed

    def wall(self) -> datetime:
        """Return the time of the local clock."""
        return self.now() + self.wrong_by

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.passed += seconds
        self._show()

    def jump(self, by: timedelta) -> None:
        """Set the wall clock forward or back."""
        self.wrong_by += by
        self._show()

    def sleep_machine(self, by: timedelta) -> None:
        """Suspend the machine: time passes while no process runs."""
        self._asleep += by
        self._show()

    def _show(self) -> None:
        if self._traveller is not None:
            self._traveller.move_to(self.wall())


class _Selector(selectors.DefaultSelector):
    """Where a real selector would wait for a timer, this one leaps to it, once nothing is under way."""

    acceleration: Acceleration
    busy: Callable[[], str]
    _quiet_since = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return list(super().select(timeout))
        busy = self.busy()  # before the check: work that ends in between has left an event
        events = list(super().select(0))
        if events:
            self._quiet_since = time.perf_counter()
            return events
        if busy == "thread" or (busy and time.perf_counter() - self._quiet_since < _QUIET_FOR):
            return list(super().select(_BREATH))
        self.acceleration.advance(timeout)
        self._quiet_since = time.perf_counter()
        return []


class AcceleratedLoop(asyncio.SelectorEventLoop):
    """An event loop in simulated time."""

    def __init__(self, acceleration: Acceleration) -> None:
        selector = _Selector()
        selector.acceleration, selector.busy = acceleration, self._busy
        self._warp, self._in_threads = acceleration, 0
        self._others = threads.running()  # which are not its own
        super().__init__(selector)

    def time(self) -> float:
        """Return simulated seconds."""
        return self._warp.passed

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]  # whatever it calls
        """As ever; time stands still until it is done."""
        self._in_threads += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._came_back)
        return future

    def _came_back(self, _: object) -> None:
        self._in_threads -= 1

    def _busy(self) -> str:
        if self._in_threads or any(not each.name.startswith(_WAITING) for each in threads.running() - self._others):
            return "thread"
        return "network" if any(task.get_name().startswith(_ON_THE_NETWORK) for task in asyncio.all_tasks(self)) else ""


def run_accelerated(main: Callable[[], Coroutine[Any, Any, T]], acceleration: Acceleration) -> T:
    """Run a coroutine function to its end in simulated time."""
    with acceleration.patched(), asyncio.Runner(loop_factory=lambda: AcceleratedLoop(acceleration)) as runner:
        return runner.run(main())
