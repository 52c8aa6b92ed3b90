"""Column types that mean the same on SQLite and PostgreSQL: instants, durations, clean texts, lists of words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import DateTime, Dialect, Integer, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def clean(text: str) -> str:
    """The text without NUL characters and lone surrogates, which no database takes; each becomes U+FFFD."""
    plain = text if type(text) is str else str.__str__(text)
    if plain.isascii() and "\x00" not in plain:
        return plain
    return _UNSTORABLE.sub("\ufffd", plain)


def instant_text(instant: datetime) -> str:
    """An aware instant as SQLite keeps it: UTC, ISO 8601 with microseconds and Z, so that texts sort as time does."""
    # Nearly all are UTC already, and there are a dozen in every row.
    utc = instant if instant.tzinfo is UTC else _aware_utc(instant)
    return utc.isoformat(timespec="microseconds")[:26] + "Z"


def instant_reader(dialect: Dialect) -> Callable[[Any], Any]:
    """How a raw column value of this database becomes an aware UTC instant, also for reads that skip the column types."""
    return _from_text if dialect.name == "sqlite" else _from_driver


def _aware_utc(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise ValueError("A naive datetime cannot be stored: every instant carries its time zone.")
    return instant.astimezone(UTC)


def _to_text(value: datetime | None) -> str | None:
    return None if value is None else instant_text(value)


def _to_driver(value: datetime | None) -> datetime | None:
    return value if value is None or value.tzinfo is UTC else _aware_utc(value)


def _from_text(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


def _from_driver(value: datetime | None) -> datetime | None:
    return value if value is None or value.tzinfo is UTC else value.astimezone(UTC)


# The types below give SQLAlchemy their converters directly: the usual way of TypeDecorator costs two more calls per
# value, which is seconds where 100,000 connections of fifty columns are written or read.


class UtcDateTime(TypeDecorator[datetime]):
    """An instant. Refuses naive values, stores UTC with microseconds, gives back aware UTC on both databases."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """TEXT on SQLite, which has no instants; timestamptz elsewhere."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else DateTime(timezone=True))

    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], Any]:
        """To the database: never naive."""
        return _to_text if dialect.name == "sqlite" else _to_driver

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None]:  # noqa: ARG002
        """From the database: aware, UTC."""
        return instant_reader(dialect)


class _Converted(TypeDecorator[Any]):
    """A type whose values are converted the same way for either database."""

    impl: Any = Text
    cache_ok = True

    @staticmethod
    def write(value: Any) -> Any:
        """To the database: as it is."""
        return value

    @staticmethod
    def read(value: Any) -> Any:
        """From the database: as it is."""
        return value

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:  # noqa: ARG002
        """The subclass's `write`."""
        return self.write

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:  # noqa: ARG002
        """The subclass's `read`, none where values need no change."""
        return None if type(self).read is _Converted.read else self.read


class Seconds(_Converted):
    """A duration in whole seconds; a fraction is cut off."""

    impl = Integer
    cache_ok = True

    @staticmethod
    def write(value: timedelta | None) -> int | None:
        """To the database."""
        return None if value is None else int(value.total_seconds())

    @staticmethod
    def read(value: int | None) -> timedelta | None:
        """From the database."""
        return None if value is None else timedelta(seconds=value)


class CleanText(_Converted):
    """Text that may come from strangers: what no database can hold is replaced instead of failing the transaction.

    Enum members become their plain word.
    """

    cache_ok = True

    @staticmethod
    def write(value: str | None) -> str | None:
        """To the database."""
        return None if value is None else clean(value)


class WordList(_Converted):
    """An ordered list of words as a JSON array in ASCII, which holds any character; None and the empty list stay apart."""

    cache_ok = True

    @staticmethod
    def write(value: tuple[str, ...] | None) -> str | None:
        """To the database."""
        return None if value is None else json.dumps(list(value), separators=(",", ":"))

    @staticmethod
    def read(value: str | None) -> tuple[str, ...] | None:
        """From the database."""
        return None if value is None else tuple(json.loads(value))


class WordSet(_Converted):
    """A set of words as a sorted JSON array, so that equal sets are equal texts."""

    cache_ok = True

    @staticmethod
    def write(value: frozenset[str] | None) -> str:
        """To the database; the usual empty set costs nothing."""
        return json.dumps(sorted(value), separators=(",", ":")) if value else "[]"

    @staticmethod
    def read(value: str | None) -> frozenset[str]:
        """From the database."""
        return _NOTHING if value is None or value == "[]" else frozenset(json.loads(value))


_NOTHING: frozenset[str] = frozenset()
