"""Memory tuning for a process that runs for months.

Freed memory stays with the process unless the C library is asked to return it to the system; after a list of 100,000
connections that is hundreds of megabytes.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Final

from monitor.domain import threads
from monitor.domain.threads import NoThread

STARTED_AFTER: Final = timedelta(seconds=2)
CHECK_EVERY: Final = timedelta(seconds=10)
TRIM_AFTER_GROWTH: Final = 6 * 1024 * 1024
"""Growth in bytes, since the last release, after which memory is released again."""

LARGE_LIST: Final = 5000
"""Number of connections from which pausing garbage collection is worthwhile."""

_COLLECT_AFTER = 700, 10, 10
_STATM = Path("/proc/self/statm")
_ARENA_MAX, _MMAP_THRESHOLD, _TRIM_THRESHOLD = -8, -3, -1  # malloc.h
_LARGE = 256 * 1024


def prepare() -> None:
    """Tune malloc: few arenas shared by threads, and large buffers returned when freed. Call before the first thread starts."""
    library = _library()
    if library is not None:
        for option, value in ((_MMAP_THRESHOLD, _LARGE), (_TRIM_THRESHOLD, _LARGE), (_ARENA_MAX, 2)):
            library.mallopt(option, value)


def freeze_loaded() -> None:
    """Exclude everything loaded so far from garbage collection, and collect as often as Python does by default.

    Call after start-up, which collects rarely.
    """
    gc.set_threshold(*_COLLECT_AFTER)
    gc.collect()
    gc.freeze()
    release()


def release() -> None:
    """Collect garbage, and return free memory to the system."""
    gc.collect()
    trim()


@contextmanager
def gc_paused(count: int) -> Iterator[None]:
    """Pause garbage collection while `count` connections are processed, if they are many.

    They create no cycles, and one collection meanwhile would block every thread for a tenth of a second.
    """
    if count < LARGE_LIST or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def trim() -> None:
    """Return free memory to the system, if the C library supports it: a few milliseconds, without holding the GIL."""
    library = _library()
    if library is not None:
        library.malloc_trim(0)


async def in_thread(work: Callable[[], None]) -> None:
    """Call one of this module's functions in a separate thread, or not at all if none can be started."""
    with suppress(NoThread):
        await threads.run(work, name="memory")


async def keep_small() -> None:
    """Call freeze_loaded() once the first polls are under way, then trim_periodically(). Runs until cancelled."""
    await asyncio.sleep(STARTED_AFTER.total_seconds())
    await in_thread(freeze_loaded)
    await trim_periodically()


async def trim_periodically(*, every: timedelta = CHECK_EVERY, resident: Callable[[], int] | None = None) -> None:
    """Release memory, in a separate thread, whenever the process has grown. Runs until cancelled."""
    measure = resident or resident_bytes
    least = measure()
    while True:
        await asyncio.sleep(every.total_seconds())
        found = measure()
        if found > least + TRIM_AFTER_GROWTH:
            await in_thread(release)
            least = measure()  # permanent growth must not trigger a release every time
        else:
            least = min(least, found)


def resident_bytes() -> int:
    """Return the resident memory in bytes; 0 if the system does not report it."""
    try:
        return int(_STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


@cache
def _library() -> ctypes.CDLL | None:
    """Return the C library if it is glibc, else None."""
    try:
        library = ctypes.CDLL(None)
        library.malloc_trim.argtypes = [ctypes.c_size_t]
        library.mallopt.argtypes = [ctypes.c_int, ctypes.c_int]
    except (OSError, AttributeError):
        return None
    return library
