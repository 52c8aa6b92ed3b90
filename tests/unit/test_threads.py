"""Blocking calls in daemon threads: results, errors, order, and calls that never return."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
import weakref
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.domain import threads
from monitor.domain.threads import DaemonExecutor

ROOT = Path(__file__).parents[2]
SOON = timedelta(milliseconds=50)


def fail() -> None:
    raise LookupError("as planned")


async def test_a_call_returns_its_result_or_raises_its_error() -> None:
    assert await threads.run(lambda: threading.current_thread().daemon, name="test") is True
    with pytest.raises(LookupError, match="as planned"):
        await threads.run(fail, name="test")


async def test_calls_that_hang_delay_no_other_call() -> None:
    """More of them than any pool of threads would have."""
    released = threading.Event()
    hanging = [threads.start(released.wait, name="hanging") for _ in range(64)]
    assert await asyncio.wait_for(threads.run(lambda: "done", name="test"), 5) == "done"
    released.set()
    assert all(each.result(5) for each in hanging)


@pytest.mark.slow
def test_P05_P42_a_call_that_hangs_does_not_delay_the_end_of_the_process() -> None:
    code = """
import asyncio, time
from monitor.domain import threads
from monitor.domain.threads import DaemonExecutor

async def main():
    executor = DaemonExecutor(1, name="pool")
    asyncio.get_running_loop().run_in_executor(executor, time.sleep, 30)
    threads.start(lambda: time.sleep(30), name="alone")

asyncio.run(main())
"""
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=50)
    assert time.monotonic() - begun < 20


def test_one_thread_makes_its_calls_in_order() -> None:
    executor, made = DaemonExecutor(1, name="test"), list[int]()
    for number in range(100):
        executor.submit(made.append, number)
    executor.shutdown()
    assert made == list(range(100))


def test_a_closed_executor_refuses_calls_and_closes_again() -> None:
    executor = DaemonExecutor(2, name="test")
    executor.shutdown()
    executor.shutdown()
    with pytest.raises(RuntimeError, match="closed"):
        executor.submit(fail)


def test_closing_waits_only_within_its_limit() -> None:
    released, executor = threading.Event(), DaemonExecutor(1, name="test")
    hanging, waiting = executor.submit(released.wait), executor.submit(int)
    executor.shutdown(within=SOON)
    assert not hanging.done()
    released.set()
    executor.shutdown()
    assert (hanging.result(), waiting.result()) == (True, 0)


def test_waiting_calls_can_be_cancelled() -> None:
    released, executor = threading.Event(), DaemonExecutor(1, name="test")
    running = executor.submit(released.wait)
    waiting = executor.submit(int)
    while not running.running():
        time.sleep(0.001)
    executor.shutdown(wait=False, cancel_futures=True)
    released.set()
    executor.shutdown()
    assert waiting.cancelled()
    assert running.result() is True


def test_an_idle_thread_keeps_no_result_in_memory() -> None:
    class Result:
        pass

    executor = DaemonExecutor(1, name="test")
    kept = weakref.ref(executor.submit(Result).result(5))
    executor.submit(int).result(5)
    assert kept() is None
    executor.shutdown()
