"""Memory of a process that runs for months: small at rest, whatever a large list has taken for a moment.

Freed memory stays with the process unless the C library is asked to give it back, and after a list of 100,000 connections
that is hundreds of megabytes.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Final

LOOK_EVERY: Final = timedelta(seconds=10)
GROWN: Final = 6 * 1024 * 1024
"""So many bytes more than after the last time are worth giving back."""

BIG: Final = 5000
"""Connections from which on it is worth holding collections back."""

_STATM = Path("/proc/self/statm")
_ARENA_MAX, _MMAP_THRESHOLD, _TRIM_THRESHOLD = -8, -3, -1  # malloc.h
_LARGE = 256 * 1024


def prepare() -> None:
    """Before the first thread starts: threads share heaps, and large buffers go back to the system as they are freed."""
    library = _library()
    if library is not None:
        for option, value in ((_MMAP_THRESHOLD, _LARGE), (_TRIM_THRESHOLD, _LARGE), (_ARENA_MAX, 2)):
            library.mallopt(option, value)


def settle() -> None:
    """Once everything is loaded and started: none of it is looked through by the garbage collector again."""
    gc.collect()
    gc.freeze()
    give_back()


def give_back() -> None:
    """Collect what is garbage, and return what is free to the system."""
    gc.collect()
    trim()


@contextmanager
def uninterrupted(count: int) -> Iterator[None]:
    """No garbage collection while so many connections are gone through.

    They make no cycles, and one collection in the middle of them holds up every thread for a tenth of a second.
    """
    if count < BIG or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def trim() -> None:
    """Return what is free to the system, where the C library can: a few milliseconds, without the interpreter's lock."""
    library = _library()
    if library is not None:
        library.malloc_trim(0)


async def stay_small(*, every: timedelta = LOOK_EVERY, resident: Callable[[], int] | None = None) -> None:
    """For ever: give memory back when the process has grown, in a thread of its own."""
    measure = resident or resident_bytes
    least = measure()
    while True:
        await asyncio.sleep(every.total_seconds())
        found = measure()
        if found > least + GROWN:
            await asyncio.to_thread(give_back)
            least = measure()  # what has grown for good is not tried again and again
        else:
            least = min(least, found)


def resident_bytes() -> int:
    """The memory that the process holds now; 0 where the system does not tell."""
    try:
        return int(_STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


@cache
def _library() -> ctypes.CDLL | None:
    """The C library, where it is glibc."""
    try:
        library = ctypes.CDLL(None)
        library.malloc_trim.argtypes = [ctypes.c_size_t]
        library.mallopt.argtypes = [ctypes.c_int, ctypes.c_int]
    except (OSError, AttributeError):
        return None
    return library
