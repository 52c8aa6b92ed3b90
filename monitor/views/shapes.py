"""What every JSON answer has in common."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Protocol

from monitor.domain import utc_text


class Shaped(Protocol):
    """Something that has a JSON shape."""

    def json(self) -> dict[str, Any]:
        """The shape: every key is always there, what is absent is None."""
        ...


def listing(name: str, items: Iterable[Shaped], *, now: datetime) -> dict[str, Any]:
    """One object with the instant of the answer and one array named after what it holds."""
    return {"generated_at": utc_text(now), name: [item.json() for item in items]}
