"""The check that what is stored about a source is stored by the one daemon that works on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from monitor.domain.errors import LeaseLost
from monitor.store import Connection

Fence: TypeAlias = Callable[[Connection, str], None]
"""Called with a source's name in each transaction that records something about it; raises LeaseLost, and nothing is recorded."""


def unfenced(conn: Connection, source: str) -> None:
    """Check nothing: one daemon does all the work."""


def is_lease_lost(error: BaseException) -> bool:
    """Return True if the error is, or a group of errors contains, LeaseLost."""
    return isinstance(error, LeaseLost) or (isinstance(error, BaseExceptionGroup) and error.subgroup(LeaseLost) is not None)
