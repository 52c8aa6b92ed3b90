"""Redaction of a channel's URL in texts: its hosts, users, tokens, paths and query values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from urllib.parse import unquote, urlsplit

HIDDEN = "<hidden>"
_SHORTEST = 3
_LONGEST_TEXT = 200
_SEPARATORS = re.compile(r"[/?&=:@,;+#\s]+")
_HARMLESS = frozenset(
    {"post", "get", "put", "text", "html", "yes", "no", "markdown", "localhost", "com", "org", "net", "and", "the"}
)


class UrlRedactor:
    """Removes from texts all that could reveal one Apprise URL."""

    def __init__(self, url: str, values: Iterable[object] = ()) -> None:
        """`values` are what a plugin parsed from the URL: normalised tokens, targets, headers."""
        schema, _, rest = url.partition("://")
        pieces = {url, rest, unquote(rest), urlsplit(f"//{rest}").netloc if rest else ""}
        pieces |= {piece for text in (rest, unquote(rest)) for piece in _SEPARATORS.split(text)}
        folded = unquote(url).casefold()
        pieces |= {text for value in values for text in _texts(value) if text.casefold() in folded}
        harmless = _HARMLESS | {schema.casefold()}
        kept = sorted(
            (piece for piece in pieces if len(piece) >= _SHORTEST and piece.casefold() not in harmless), key=len, reverse=True
        )
        self._pattern = re.compile("|".join(re.escape(piece) for piece in kept), re.IGNORECASE) if kept else None

    def redact(self, text: str) -> str:
        """Return the text without any part of the URL."""
        return text if self._pattern is None else self._pattern.sub(HIDDEN, text)

    def redact_line(self, text: str) -> str:
        """Return the redacted text on one line of at most 200 characters."""
        line = self.redact(" ".join(text.split()))
        return line if len(line) <= _LONGEST_TEXT else line[: _LONGEST_TEXT - 1] + "\u2026"


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(key)
            yield from _texts(inner)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for inner in value:
            yield from _texts(inner)
