"""What a big transaction does to the process around it: no collections in the middle, and memory given back at the end."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

BIG = 5000
"""Connections from which on it is worth the trouble."""


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


def give_back() -> None:
    """Give the memory that is free again back to the system. Takes some milliseconds, and no lock."""
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Any:
    """malloc_trim of glibc, None where the C library has no such thing."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
