"""Work that a stop signal cancels."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from monitor.daemon.signals import POLL, RELOAD, SignalQueue, StopRequested


@pytest.fixture
async def signals() -> Iterator[SignalQueue]:  # type: ignore[misc]  # an asynchronous fixture
    made, loop = SignalQueue(), asyncio.get_running_loop()
    made.install_handlers(loop)
    yield made
    made.remove_handlers(loop)


async def fail() -> None:
    raise LookupError("as planned")


async def test_work_returns_its_result_or_raises_its_error(signals: SignalQueue) -> None:
    assert await signals.unless_stopped(asyncio.sleep(0, "done")) == "done"
    with pytest.raises(LookupError, match="as planned"):
        await signals.unless_stopped(fail())


async def test_a_stop_signal_ends_work_in_progress_and_later_work(signals: SignalQueue) -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    running = asyncio.create_task(signals.unless_stopped(work()))
    await asyncio.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(StopRequested):
        await asyncio.wait_for(running, 30)
    assert ended.is_set()
    with pytest.raises(StopRequested):
        await signals.unless_stopped(asyncio.sleep(0, "done"))


async def test_a_reload_ends_nothing(signals: SignalQueue) -> None:
    os.kill(os.getpid(), signal.SIGHUP)
    assert await signals.unless_stopped(signals.next(within=30)) == RELOAD


async def test_sigusr1_requests_polls_in_order_with_reloads(signals: SignalQueue) -> None:
    os.kill(os.getpid(), signal.SIGUSR1)
    os.kill(os.getpid(), signal.SIGHUP)
    assert [await signals.next(within=30), await signals.next(within=30)] == [POLL, RELOAD]
