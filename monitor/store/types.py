"""Column types with the same meaning on SQLite and PostgreSQL: instants, durations, texts and lists of words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import DateTime, Dialect, Integer, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def clean(text: str) -> str:
    """Return the text with NUL characters and lone surrogates, which no database accepts, replaced by U+FFFD."""
    plain = text if type(text) is str else str.__str__(text)
    if plain.isascii() and "\x00" not in plain:
        return plain
    return _UNSTORABLE.sub("\ufffd", plain)


def instant_text(instant: datetime) -> str:
    """Return an aware instant as SQLite stores it: UTC, ISO 8601 with microseconds and Z, so that texts sort by time."""
    # Most are UTC already, and every row has a dozen.
    utc = instant if instant.tzinfo is UTC else _aware_utc(instant)
    return utc.isoformat(timespec="microseconds")[:26] + "Z"


def instant_reader(dialect: Dialect) -> Callable[[Any], Any]:
    """Return the function that converts a raw column value of this database to an aware UTC instant."""
    return _from_text if dialect.name == "sqlite" else _from_driver


def _aware_utc(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise ValueError("A naive datetime cannot be stored: every instant needs a time zone.")
    return instant.astimezone(UTC)


def _to_text(value: datetime | None) -> str | None:
    return None if value is None else instant_text(value)


def _to_driver(value: datetime | None) -> datetime | None:
    return value if value is None or value.tzinfo is UTC else _aware_utc(value)


def _from_text(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


def _from_driver(value: datetime | None) -> datetime | None:
    return value if value is None or value.tzinfo is UTC else value.astimezone(UTC)


# The types below return their converters directly: TypeDecorator's usual methods add two calls per value, which is
# seconds for 100,000 connections with fifty columns.


class UtcDateTime(TypeDecorator[datetime]):
    """An instant: stored as UTC with microseconds, read as aware UTC on both databases. Naive values raise ValueError."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return TEXT for SQLite, which has no type for instants; timestamptz otherwise."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else DateTime(timezone=True))

    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], Any]:
        """Return the converter to the database."""
        return _to_text if dialect.name == "sqlite" else _to_driver

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None]:  # noqa: ARG002
        """Return the converter from the database."""
        return instant_reader(dialect)


class _Converted(TypeDecorator[Any]):
    """A type whose values are converted in the same way for both databases."""

    impl: Any = Text
    cache_ok = True

    @staticmethod
    def write(value: Any) -> Any:
        """Return the value for the database, unchanged."""
        return value

    @staticmethod
    def read(value: Any) -> Any:
        """Return the value from the database, unchanged."""
        return value

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:  # noqa: ARG002
        """Return the subclass's `write`."""
        return self.write

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:  # noqa: ARG002
        """Return the subclass's `read`, None if values need no conversion."""
        return None if type(self).read is _Converted.read else self.read


_LONGEST = 2**31 - 1


class Seconds(_Converted):
    """A duration in whole seconds, truncated; one of more than 68 years, which PostgreSQL's integer cannot hold, as 68 years."""

    impl = Integer
    cache_ok = True

    @staticmethod
    def write(value: timedelta | None) -> int | None:
        """Return the value for the database."""
        return None if value is None else min(max(int(value.total_seconds()), -_LONGEST), _LONGEST)

    @staticmethod
    def read(value: int | None) -> timedelta | None:
        """Return the value from the database."""
        return None if value is None else timedelta(seconds=value)


class CleanText(_Converted):
    """Untrusted text: characters that no database can store are replaced instead of failing the transaction.

    Enum members are stored as their value.
    """

    cache_ok = True

    @staticmethod
    def write(value: str | None) -> str | None:
        """Return the value for the database."""
        return None if value is None else clean(value)


class LabelMap(_Converted):
    """Labels as a JSON object in ASCII; None differs from the empty object."""

    cache_ok = True

    @staticmethod
    def write(value: Mapping[str, str] | None) -> str | None:
        """Return the value for the database."""
        return None if value is None else json.dumps(dict(sorted(value.items())), separators=(",", ":"))

    @staticmethod
    def read(value: str | None) -> Mapping[str, str] | None:
        """Return the value from the database."""
        return None if value is None else {str(key): str(text) for key, text in json.loads(value).items()}


class WordList(_Converted):
    """An ordered list of words as a JSON array in ASCII, which allows any character; None differs from the empty list."""

    cache_ok = True

    @staticmethod
    def write(value: tuple[str, ...] | None) -> str | None:
        """Return the value for the database."""
        return None if value is None else json.dumps(list(value), separators=(",", ":"))

    @staticmethod
    def read(value: str | None) -> tuple[str, ...] | None:
        """Return the value from the database."""
        if value is None:
            return None
        return () if value == "[]" else tuple(json.loads(value))


class WordSet(_Converted):
    """A set of words as a sorted JSON array, so that equal sets have equal texts."""

    cache_ok = True

    @staticmethod
    def write(value: frozenset[str] | None) -> str:
        """Return the value for the database."""
        return json.dumps(sorted(value), separators=(",", ":")) if value else "[]"

    @staticmethod
    def read(value: str | None) -> frozenset[str]:
        """Return the value from the database."""
        return _NOTHING if value is None or value == "[]" else frozenset(json.loads(value))


_NOTHING: frozenset[str] = frozenset()
