"""Rows of a list that cannot be read: when they make a source count as failing, and how they are described."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.domain import Unreadable
from monitor.domain.text import clean

_WHY_LENGTH = 100


def count_polls(before: int, unreadable: int, *, confirm: int) -> int:
    """Return the number of consecutive lists with unreadable rows, this one included, counted up to `confirm`."""
    return min(before + 1, max(confirm, 1)) if unreadable else 0


def is_failing(unreadable: int, of: int, *, polls: int, confirm: int) -> bool:
    """Return True if a scope's list with unreadable rows makes its source count as failing.

    They do so after `confirm` such lists in a row, and immediately if no row of the list is readable.
    """
    return unreadable > 0 and (polls >= max(confirm, 1) or unreadable >= of)


def describe(unreadable: Sequence[Unreadable], of: int, *, scope: str | None) -> str:
    """Return a sentence about the unreadable rows of one list of `of` rows."""
    where = f" of {clean(scope)}" if scope else ""
    why = clean(unreadable[0].why, limit=_WHY_LENGTH).rstrip(".")
    return f"{len(unreadable)} of {of} row{'' if of == 1 else 's'}{where} cannot be read ({why}). They keep their last status."
