"""Blocking calls in daemon threads: one that never returns delays neither the others nor the end of the process.

asyncio's default executor has a few threads for everything that blocks, and the process waits for them when it ends. A call
that hangs, such as a name resolution without a DNS server, must not occupy them, so the monitor does not use it.
"""

from __future__ import annotations

import _thread
import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from datetime import timedelta
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

START_WITHIN = timedelta(seconds=15)
"""Time after which a thread that has not begun its work is abandoned."""
_running: set[DaemonThread] = set()
"""The threads that have not ended."""


class NoThread(RuntimeError):
    """No thread could be started: the limit of threads or of memory is reached."""


class DaemonThread:
    """A thread that delays neither its starter nor the end of the process.

    threading.Thread.start() waits without a limit until the new thread runs. A thread that finds no memory for its first call
    never does, and the event loop, which starts most threads, would stand still for good.
    """

    def __init__(self, work: Callable[[], object], *, name: str, start_within: timedelta = START_WITHIN) -> None:
        """Call `work`, which raises nothing, in a new thread. Raise NoThread if the system refuses to start one."""
        self.name = name
        self._work = work
        self._begin_until = time.monotonic() + start_within.total_seconds()
        self._claim = threading.Lock()
        self._begun = self._abandoned = False
        self._ended = threading.Event()
        _running.add(self)
        try:
            _thread.start_new_thread(self._run, ())
        except (RuntimeError, MemoryError) as error:
            _running.discard(self)
            raise NoThread(f"no thread could be started ({str(error) or type(error).__name__})") from None

    def abandon(self) -> bool:
        """Return True if the work has not begun; then it never will."""
        if self._claim.acquire(blocking=False):
            self._abandoned = True
            self._end()
        return self._abandoned

    def abandon_if_late(self) -> bool:
        """Return True if the work has not begun in time; then it never will."""
        late = not self._begun and time.monotonic() > self._begin_until
        return self.abandon() if late else self._abandoned

    def join(self, timeout: float | None = None) -> None:
        """Wait until the work has ended or is abandoned, at most for `timeout` seconds."""
        until = None if timeout is None else time.monotonic() + timeout
        while not self._ended.wait(1.0 if until is None else min(max(until - time.monotonic(), 0), 1.0)):
            self.abandon_if_late()
            if until is not None and time.monotonic() >= until:
                return

    def _run(self) -> None:
        if self._claim.acquire(blocking=False):
            self._begun = True
            try:
                self._work()
            finally:
                self._end()

    def _end(self) -> None:
        _running.discard(self)
        self._ended.set()


def running() -> frozenset[DaemonThread]:
    """Return the daemon threads that have not ended."""
    return frozenset(_running)


class DaemonExecutor(Executor):
    """A pool of daemon threads. Further calls wait in order."""

    def __init__(self, size: int, *, name: str, start_within: timedelta = START_WITHIN) -> None:
        """`size` is the number of threads; each starts when it is needed first, and is replaced if it does not begin in time."""
        self._size, self._name, self._start_within = size, name, start_within
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._threads: list[DaemonThread] = []
        self._changing = threading.Lock()
        self._closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call fn(*args, **kwargs) in a thread. Raise RuntimeError after shutdown(), NoThread if there is none."""
        future: Future[T] = Future()
        with self._changing:
            if self._closed:
                raise RuntimeError(f"The executor {self._name} is closed.")
            self._start_missing_thread()
            self._calls.put((future, partial(fn, *args, **kwargs)))
        return future

    def shutdown(
        self,
        wait: bool = True,  # noqa: FBT001, FBT002 - the signature of Executor
        *,
        cancel_futures: bool = False,
        within: timedelta | None = None,
    ) -> None:
        """Accept no further call; the threads end after those already submitted. May be called repeatedly.

        `within` limits the wait: a call that has not returned by then continues, and ends with the process.
        """
        with self._changing:
            closed, self._closed = self._closed, True
            threads = list(self._threads)
        if not closed:
            if cancel_futures:
                self._cancel_waiting()
            for _ in threads:
                self._calls.put(None)
        if not wait:
            return
        deadline = None if within is None else time.monotonic() + within.total_seconds()
        for thread in threads:
            thread.join(None if deadline is None else max(deadline - time.monotonic(), 0))

    def _start_missing_thread(self) -> None:
        self._threads = [each for each in self._threads if not each.abandon_if_late()]
        if len(self._threads) < self._size:
            name = f"{self._name}-{len(self._threads)}"
            try:
                self._threads.append(DaemonThread(self._run, name=name, start_within=self._start_within))
            except NoThread:
                if not self._threads:  # else the other threads make the call
                    raise

    def _cancel_waiting(self) -> None:
        while not self._calls.empty():
            call = self._calls.get()
            if call is not None:
                call[0].cancel()

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            _complete(*call)
            del call  # a waiting thread must not keep the last result in memory


def _complete(future: Future[T], work: Callable[[], T]) -> None:
    """Call `work` in this thread, unless the future was cancelled, and set the future to its result or error."""
    if future.set_running_or_notify_cancel():
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - raised where the result is awaited
            future.set_exception(error)
        else:
            future.set_result(result)


async def run(work: Callable[[], T], *, name: str, start_within: timedelta = START_WITHIN) -> T:
    """Return work(), called in a new daemon thread. Cancelling does not stop the call: it runs to its end.

    Raises NoThread if the system starts none, or one that does not begin within `start_within`.
    """
    call: Future[T] = Future()
    thread = DaemonThread(partial(_complete, call, work), name=name, start_within=start_within)
    result = asyncio.wrap_future(call)
    try:
        done, _ = await asyncio.wait([result], timeout=start_within.total_seconds())
    except asyncio.CancelledError:
        result.cancel()
        thread.abandon()
        raise
    if not done and thread.abandon():
        raise NoThread(f"no thread has started within {start_within.total_seconds():g} s")
    return await result
