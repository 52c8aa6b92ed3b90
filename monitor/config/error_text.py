"""How a kind of value refuses what it was given."""

from __future__ import annotations

from typing import NoReturn

from pydantic_core import PydanticCustomError

OURS = "ours"
"""The type of errors whose text is already the end of our sentence."""


def refuse(said: str) -> NoReturn:
    """Refuse a value: `said` goes on after the key path."""
    raise PydanticCustomError(OURS, "{said}", {"said": said})
