"""A text that must not be seen: it prints as <secret> everywhere."""

from __future__ import annotations

import hmac
from typing import Final, NoReturn, Self

HIDDEN = "<secret>"


class Secret:
    """An API key, a token or a URL that may hold one.

    Only `reveal` gives the text. Printing, formatting, logging and JSON encoders that fall back to `str` or
    `repr` give `<secret>`; pickling is refused. Two secrets are equal when their texts are.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself: call it where the text is used, and keep the result in no variable that lives on."""
        return self._text

    def __str__(self) -> str:
        return HIDDEN

    def __repr__(self) -> str:
        return HIDDEN

    def __format__(self, spec: str) -> str:
        return format(HIDDEN, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(_octets(self._text), _octets(other._text))

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("A secret is not to be written anywhere.")


UNREAD: Final = Secret("unread")
"""Stands for a secret that is taken to be there, where nothing is done that needs it."""


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
