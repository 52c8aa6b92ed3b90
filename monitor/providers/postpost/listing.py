"""A PostPost or Publora list as text: known by a digest, by marks, and row by row only where something changed.

A row's mark is taken of its fields as they are written. What depends on the time of the answer (a span, a date far ahead
or none at all) is marked by what it means at that time instead.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import blake2b, sha256
from typing import Annotated, Any, overload

import msgspec

from monitor.domain import Snapshot, Unreadable, VerdictFlag
from monitor.domain.rules import dates
from monitor.domain.rules.fingerprint import fingerprint
from monitor.domain.rules.platforms import is_plain_platform_id, split_platform_id
from monitor.providers import payload
from monitor.providers.json_chunks import ChunkReader, NotChunkable
from monitor.providers.postpost import rows as postpost_rows
from monitor.providers.postpost.rows import GUARDED, Dialect, DialectVotes, PostPostRow
from monitor.providers.scopes import without_duplicates

READING = 1
"""Raise it with every change to what is made of a row or to Row's fields: then no digest and no mark of before counts."""

_READER = payload.RowReader(PostPostRow, id_field="platformId", guarded=GUARDED)
_PIECES = ChunkReader(PostPostRow, _READER, guarded=GUARDED)
_PLAIN_DATES = list[Annotated[datetime, msgspec.Meta(tz=True)]]
_LONGEST_DATE = 30
"""Longer ones may state more digits than dates.py reads."""
_SECOND = timedelta(seconds=1)
_DIALECTAL = frozenset({None, "", "unknown"})
"""Words that mean this or that."""
_ENCODE = msgspec.json.Encoder().encode
_LINES = msgspec.json.Encoder().encode_lines


@dataclass(slots=True, kw_only=True)
class ListSurvey:
    """What the first walk over a list tells."""

    count: int = 0
    unreadable: list[Unreadable] = field(default_factory=list)
    votes: DialectVotes = field(default_factory=DialectVotes)
    content: str = ""
    """The digest of all rows in their order."""
    follows_span: bool = False
    """Whether a row's date comes from a span that is stated as of now: the same text means another date later."""


def survey(array: memoryview, *, at: datetime) -> ListSurvey:
    """Walk over the whole array once. Raises Uneven where it must be read as a whole."""
    found, content, meanings = ListSurvey(), sha256(), sha256()
    for piece in _PIECES.read(array):
        rows: list[PostPostRow] = []
        for row in piece:
            if isinstance(row, Unreadable):
                found.unreadable.append(row)
            else:
                rows.append(row)
                found.votes.note(row)
        for row in _unplain(rows, at):
            expires_at, flags = dates.parse_expiry(row.access_token_expires_at, now=at)
            meanings.update(
                repr((row.platform_id, expires_at, [str(flag) for flag in sorted(flags)])).encode("utf-8", "surrogatepass")
            )
            if expires_at is None and VerdictFlag.FAR_DATE not in flags and row.token_expires_in:
                found.follows_span = True
            row.token_expires_in = None
        found.count += len(piece)
        content.update(_lines(rows))
    found.content = content.hexdigest() + meanings.hexdigest()
    return found


def _unplain(rows: Sequence[PostPostRow], at: datetime) -> list[PostPostRow]:
    """The rows that mean something else at another time; from all others a span, which says nothing there, is taken off."""
    dated = [row for row in rows if row.access_token_expires_at is not None]
    odd: set[int] = set()
    if not are_plain([row.access_token_expires_at for row in dated], at):
        odd = {id(row) for row in dated if not are_plain([row.access_token_expires_at], at)}
    strange: list[PostPostRow] = []
    for row in rows:
        if (row.token_expires_in and row.access_token_expires_at is None) or (odd and id(row) in odd):
            strange.append(row)
        else:
            row.token_expires_in = None
    return strange


def are_plain(stated: Sequence[payload.Date], at: datetime) -> bool:
    """Whether all of these are dates as documented, neither ancient nor far ahead."""
    if not stated:
        return True
    texts: Any = stated
    try:
        if max(map(len, texts)) > _LONGEST_DATE:
            return False
        parsed = msgspec.convert(texts, _PLAIN_DATES)
    except (TypeError, ValueError, msgspec.ValidationError):  # a number has no length, a lone surrogate no UTF-8
        return False
    first, last = dates.plain_until(at)
    return first + _SECOND <= min(parsed) and max(parsed) <= last - _SECOND


def _lines(rows: Sequence[PostPostRow]) -> bytes:
    """What the rows say, a line for each: the same however a list was cut into pieces."""
    try:
        return _LINES(rows)
    except (UnicodeEncodeError, OverflowError):
        return b"".join(_line(row) + b"\n" for row in rows)


def _line(row: PostPostRow) -> bytes:
    """What a row says, as bytes that are equal only for equal rows."""
    try:
        return _ENCODE(row)
    except (UnicodeEncodeError, OverflowError):  # a lone surrogate, a number beyond 64 bits
        return repr(row).encode("utf-8", "surrogatepass")


def all_rows(array: memoryview) -> Iterator[PostPostRow | Unreadable]:
    """Every row of an array that a survey walked through."""
    for piece in _PIECES.read(array):
        yield from piece


class LazySnapshots(Sequence[Snapshot]):
    """The rows of one scope. Made of text: what is asked for is read again, what is not asked for costs nothing."""

    def __init__(self, array: memoryview, *, scope: str | None, at: datetime, dialect: Dialect, size: int | None = None) -> None:
        """`size` is how many there are, where that is known without looking."""
        self._array = array
        self._size = size
        self._scope = scope
        self._at = at
        self._dialect = dialect
        self._marks: dict[str, str] | None = None
        self._spans: dict[str, datetime] = {}
        self._merged: dict[str, Snapshot] = {}
        """Of ids that more than one row has: the one snapshot that stands for them."""
        self._damaged: list[Unreadable] = []
        self._misnamed: list[Unreadable] = []

    @property
    def unreadable(self) -> Sequence[Unreadable]:
        """The rows that cannot be read. Known once the marks are."""
        return self._damaged + self._misnamed

    def __len__(self) -> int:
        return len(self.marks()) if self._size is None else self._size

    def __iter__(self) -> Iterator[Snapshot]:
        return self.pick(self.marks())

    @overload
    def __getitem__(self, index: int) -> Snapshot: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Snapshot]: ...

    def __getitem__(self, index: int | slice) -> Snapshot | Sequence[Snapshot]:
        return tuple(self)[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash((self._scope, len(self)))

    def marks(self) -> Mapping[str, str]:
        """By platformId what tells whether the row changed."""
        if self._marks is None:
            self._marks = self._read_marks()
        return self._marks

    def spans(self) -> Mapping[str, datetime]:
        """The ends of the spans that rows without a date state."""
        self.marks()
        return self._spans

    def pick(self, ids: Container[str]) -> Iterator[Snapshot]:
        """The snapshots of these rows, in the list's order."""
        marks = self.marks()
        told = set[str]()
        for row in self._rows():
            key = row.platform_id
            if key not in ids or key not in marks:
                continue
            if key not in self._merged:
                yield self._snapshot(row)
            elif key not in told:
                told.add(key)
                yield self._merged[key]

    def _rows(self) -> Iterator[PostPostRow]:
        return (row for row in all_rows(self._array) if not isinstance(row, Unreadable))

    def _snapshot(self, row: PostPostRow) -> Snapshot:
        read = postpost_rows.to_snapshot(row, scope=self._scope, at=self._at, dialect=self._dialect)
        if isinstance(read, Unreadable):
            raise TypeError(read.why)  # its id was found to be good before
        return read

    def _read_marks(self) -> dict[str, str]:
        marks: dict[str, str] = {}
        repeated: set[str] = set()
        lost: set[str] = set()
        mark = _marker(self._dialect)
        for piece in _PIECES.read(self._array):
            rows = [good for row in piece if (good := self._readable(row, lost)) is not None]
            strange = {id(row) for row in _unplain(rows, self._at)}
            for row in rows:
                key = row.platform_id
                if key in marks:
                    repeated.add(key)
                marks[key] = self._mark_by_meaning(row) if id(row) in strange else mark(row)
        for key in lost:
            marks.pop(key, None)
        self._merge(marks, repeated - lost)
        return marks

    def _readable(self, row: PostPostRow | Unreadable, lost: set[str]) -> PostPostRow | None:
        """The row, or None where it cannot be read: that is noted."""
        if isinstance(row, PostPostRow):
            if is_plain_platform_id(row.platform_id) or split_platform_id(row.platform_id) is not None:
                return row
            row = postpost_rows.bad_id(row)
            self._misnamed.append(row)
        else:
            self._damaged.append(row)
        if row.external_id is not None:
            lost.add(row.external_id)
        return None

    def _mark_by_meaning(self, row: PostPostRow) -> str:
        snapshot = self._snapshot(row)
        if snapshot.expires_before is not None:
            self._spans[snapshot.external_id] = snapshot.expires_before
        return fingerprint(snapshot)

    def _merge(self, marks: dict[str, str], repeated: set[str]) -> None:
        """One snapshot stands for all rows of an id."""
        if not repeated:
            return
        rows = [self._snapshot(row) for row in self._rows() if row.platform_id in repeated]
        for one in without_duplicates(rows, ()):
            self._merged[one.external_id] = one
            marks[one.external_id] = fingerprint(one)
            self._spans.pop(one.external_id, None)
            if one.expires_before is not None:
                self._spans[one.external_id] = one.expires_before


def _marker(dialect: Dialect) -> Callable[[PostPostRow], str]:
    """What marks a row whose meaning no time moves. The dialect counts for the words that it decides."""
    decided = b"/%d" % READING
    by_dialect = b"/%d/%b/%b" % (READING, str(dialect.states_status).encode(), dialect.unknown.encode())

    def mark(row: PostPostRow) -> str:
        tail = by_dialect if row.token_status in _DIALECTAL else decided
        return blake2b(_line(row) + tail, digest_size=12).hexdigest()

    return mark


def digest(survey: ListSurvey, dialect: Dialect) -> str | None:
    """What two lists that say the same have in common; None where a list is not to be told by its text."""
    if survey.unreadable or survey.follows_span:
        return None
    told = f"{READING}/{survey.count}/{survey.content}/{dialect.states_status}/{dialect.unknown}"
    return sha256(told.encode()).hexdigest()[:32]


__all__ = ["READING", "LazySnapshots", "ListSurvey", "NotChunkable", "all_rows", "digest", "survey"]
