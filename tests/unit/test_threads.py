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


def names_of_running() -> list[str]:
    return [thread.name for thread in threads.running()]


def fail() -> None:
    raise LookupError("as planned")


async def test_a_call_returns_its_result_or_raises_its_error() -> None:
    assert await threads.run(lambda: threading.current_thread().daemon, name="test") is True
    with pytest.raises(LookupError, match="as planned"):
        await threads.run(fail, name="test")


async def test_calls_that_hang_delay_no_other_call() -> None:
    """More of them than any pool of threads would have."""
    released = threading.Event()
    hanging = [asyncio.create_task(threads.run(released.wait, name="hanging")) for _ in range(64)]
    assert await asyncio.wait_for(threads.run(lambda: "done", name="test"), 30) == "done"
    assert not any(each.done() for each in hanging)
    assert names_of_running().count("hanging") == 64
    released.set()
    assert all(await asyncio.wait_for(asyncio.gather(*hanging), 30))
    while "hanging" in names_of_running():
        await asyncio.sleep(0.001)


@pytest.mark.slow
def test_P05_P42_a_call_that_hangs_does_not_delay_the_end_of_the_process() -> None:
    code = """
import asyncio, threading, time
from monitor.domain import threads
from monitor.domain.threads import DaemonExecutor

begun = threading.Semaphore(0)

def hang():
    begun.release()
    time.sleep(30)

async def main():
    pooled = asyncio.get_running_loop().run_in_executor(DaemonExecutor(1, name="pool"), hang)
    alone = asyncio.create_task(threads.run(hang, name="alone"))
    await asyncio.sleep(0)
    for _ in (pooled, alone):
        assert begun.acquire(timeout=30)

asyncio.run(main())
"""
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=50)
    assert time.monotonic() - begun < 20


WITHOUT_MEMORY = """
import asyncio, re, resource, sys, threading, time
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from monitor.domain import threads
from monitor.domain.threads import DaemonExecutor, NoThread

SOON = timedelta(seconds=0.2)
threading.stack_size(1 << 20)

@contextmanager
def memory_for_a_stack_only():
    used = 1024 * int(re.search(r"VmData:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
    # A thread's first call takes another 16 KiB.
    resource.setrlimit(resource.RLIMIT_DATA, (used + (1 << 20) + 8192, resource.RLIM_INFINITY))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

async def call():
    with memory_for_a_stack_only():
        outcome = await asyncio.gather(threads.run(int, name="lost", start_within=SOON), return_exceptions=True)
    assert isinstance(outcome[0], NoThread), outcome
    assert not threads.running()
    assert await threads.run(lambda: "called", name="next", start_within=SOON) == "called"

async def pool():
    pool = DaemonExecutor(1, name="pool", start_within=SOON)
    with memory_for_a_stack_only():
        waiting = pool.submit(lambda: "waited")
        time.sleep(0.5)
    assert not waiting.done()
    assert pool.submit(lambda: "next").result(5) == "next"
    assert waiting.result(0) == "waited"

async def close():
    pool = DaemonExecutor(1, name="closed", start_within=SOON)
    with memory_for_a_stack_only():
        pool.submit(int)
        time.sleep(0.5)
        pool.shutdown()
    pool.shutdown()

asyncio.run(globals()[sys.argv[1]]())
print("done")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit of a process's memory is Linux's: NOT tested")
@pytest.mark.parametrize("what", ["call", "pool", "close"])
def test_P04_a_thread_that_finds_no_memory_for_its_first_call_stops_neither_its_starter_nor_the_end(what: str) -> None:
    """threading.Thread.start() waits for such a thread without a limit."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_MEMORY, what], cwd=ROOT, timeout=50, capture_output=True, text=True, check=False
    )
    assert done.stdout == "done\n", done.stderr
    assert "MemoryError" in done.stderr, "the threads did begin"


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
