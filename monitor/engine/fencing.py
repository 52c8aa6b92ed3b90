"""The check that what is stored about a source is stored by the one daemon that works on it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeAlias

from monitor.domain.errors import LeaseLost
from monitor.store import Connection

Fence: TypeAlias = Callable[[Connection, Collection[str]], None]
"""Called with the names of the sources about which a transaction records something; raises LeaseLost, and nothing is recorded."""


def unfenced(conn: Connection, sources: Collection[str]) -> None:
    """Check nothing: one daemon does all the work."""


def is_lease_lost(error: BaseException) -> bool:
    """Return True if the error is, or a group of errors contains, LeaseLost."""
    return isinstance(error, LeaseLost) or (isinstance(error, BaseExceptionGroup) and error.subgroup(LeaseLost) is not None)
