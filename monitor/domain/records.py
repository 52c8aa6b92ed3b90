"""Base class of records, and sortable ids.

Records of which there is one for each connection or probe are declared with `gc=False`: they are frozen and made of values, so
they cannot be part of a reference cycle, and the garbage collector need not visit them. A changed poll takes a quarter less time.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from itertools import count

from msgspec import Struct as Record
from msgspec import field
from msgspec.structs import asdict, replace


def fresh_id(now: datetime) -> str:
    """Return an id that sorts by time: the second in 8 hexadecimal digits, then 12 that count the ids of this process."""
    return next(fresh_ids(now))


def fresh_ids(now: datetime) -> Iterator[str]:
    """Yield any number of ids as fresh_id() returns them."""
    second = f"{int(now.timestamp()):08x}"
    return (f"{second}{number:012x}" for number in _counted(os.getpid()))


@cache
def _counted(_process: int) -> Iterator[int]:
    """Count from a random number, so that two processes do not collide in the same second."""
    return count(secrets.randbelow(2**47))


__all__ = ["Record", "asdict", "field", "replace"]
