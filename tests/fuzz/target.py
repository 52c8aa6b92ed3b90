"""A fuzz target: one parser, the inputs to begin with, and what must hold for any bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Target:
    """One parser. `one` raises where anything is wrong; what the parser may refuse, it catches itself."""

    name: str
    one: Callable[[bytes], None]
    seeds: Callable[[], Sequence[bytes]]
    largest: int = 4096
    """Bytes of the longest input that is tried."""


def must(holds: object, message: object = "") -> None:
    """Raises AssertionError where something does not hold, also under -O."""
    if not holds:
        raise AssertionError(str(message)[:500])
