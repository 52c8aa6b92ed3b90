"""Blocking calls in daemon threads: one that never returns delays neither the others nor the end of the process.

asyncio's default executor has a few threads for everything that blocks, and the process waits for them when it ends. A call
that hangs, such as a name resolution without a DNS server, must not occupy them, so the monitor does not use it.
"""

from __future__ import annotations

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


class DaemonExecutor(Executor):
    """A pool of daemon threads. Further calls wait in order."""

    def __init__(self, size: int, *, name: str) -> None:
        """`size` is the number of threads; each starts when it is needed first."""
        self._size, self._name = size, name
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._changing = threading.Lock()
        self._closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call fn(*args, **kwargs) in a thread. Raise RuntimeError after shutdown(), or if no thread can be started."""
        future: Future[T] = Future()
        with self._changing:
            if self._closed:
                raise RuntimeError(f"The executor {self._name} is closed.")
            if len(self._threads) < self._size:
                thread = threading.Thread(target=self._run, name=f"{self._name}-{len(self._threads)}", daemon=True)
                thread.start()
                self._threads.append(thread)
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

    def _cancel_waiting(self) -> None:
        while not self._calls.empty():
            call = self._calls.get()
            if call is not None:
                call[0].cancel()

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            future, function = call
            if future.set_running_or_notify_cancel():
                try:
                    result = function()
                except BaseException as error:  # noqa: BLE001 - raised where the result is awaited
                    future.set_exception(error)
                else:
                    future.set_result(result)
                    del result
            del call, future, function  # a waiting thread must not keep the last result in memory


def start(work: Callable[[], T], *, name: str) -> Future[T]:
    """Start `work` in a new daemon thread. Raise RuntimeError if no thread can be started."""
    executor = DaemonExecutor(1, name=name)
    future = executor.submit(work)
    executor.shutdown(wait=False)
    return future


async def run(work: Callable[[], T], *, name: str) -> T:
    """Return work(), called in a new daemon thread. Cancelling does not stop the call: it runs to its end."""
    return await asyncio.wrap_future(start(work, name=name))
