"""Comparison of PostPost and Publora lists as text: by one digest, by a fingerprint per row, and by decoding changed rows.

A row's fingerprint is made from its fields as written. A row whose meaning depends on the time of the response (a time
left, or a date that is far ahead or unreadable) gets a fingerprint of its meaning at that time instead.
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
from monitor.providers.json_chunks import ChunkReader
from monitor.providers.postpost import rows as postpost_rows
from monitor.providers.postpost.rows import GUARDED, READER, Dialect, DialectVotes, PostPostRow
from monitor.providers.scopes import without_duplicates

READER_VERSION = 3
"""Increase this with every change to the conversion or the fields of rows: it invalidates stored digests and fingerprints."""

_PIECES = ChunkReader(PostPostRow, READER, guarded=GUARDED)
_PLAIN_DATES = list[Annotated[datetime, msgspec.Meta(tz=True)]]
_LONGEST_DATE = 30
"""Longer texts may have more digits than dates.py reads."""
_SECOND = timedelta(seconds=1)
_DECIDED = frozenset({"valid", "expiring_soon", "expired"})
"""Documented status words whose meaning does not depend on the dialect."""
_ENCODE = msgspec.json.Encoder().encode
_LINES = msgspec.json.Encoder().encode_lines


@dataclass(slots=True, kw_only=True)
class ListSurvey:
    """Result of the first pass over a list."""

    count: int = 0
    unreadable: list[Unreadable] = field(default_factory=list)
    votes: DialectVotes = field(default_factory=DialectVotes)
    content: str = ""
    """Digest of all rows in order."""
    follows_span: bool = False
    """True if a row's date is derived from a time left: the same text means another date later."""


def survey(array: memoryview, *, at: datetime) -> ListSurvey:
    """Return the survey of the array. Raises NotChunkable if it must be read as a whole."""
    found, content, meanings = ListSurvey(), sha256(), sha256()
    for piece in _PIECES.read(array):
        rows = [row for row in piece if isinstance(row, PostPostRow)]
        if len(rows) < len(piece):
            found.unreadable += [row for row in piece if isinstance(row, Unreadable)]
        found.votes.note_all(rows)
        for row in _time_dependent(rows, at):
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


def _time_dependent(rows: Sequence[PostPostRow], at: datetime) -> list[PostPostRow]:
    """Return the rows whose meaning depends on the time; remove the unused time left from all others."""
    odd: set[int] = set()
    if not are_plain([stated for row in rows if (stated := row.access_token_expires_at) is not None], at):
        dated = (row for row in rows if row.access_token_expires_at is not None)
        odd = {id(row) for row in dated if not are_plain([row.access_token_expires_at], at)}
    time_dependent: list[PostPostRow] = []
    for row in rows:
        if (row.token_expires_in and row.access_token_expires_at is None) or (odd and id(row) in odd):
            time_dependent.append(row)
        else:
            row.token_expires_in = None
    return time_dependent


def are_plain(stated: Sequence[payload.Date], at: datetime) -> bool:
    """Return True if all of these are dates as documented, neither ancient nor far ahead."""
    if not stated:
        return True
    texts: Any = stated
    try:
        if max(map(len, texts)) > _LONGEST_DATE:
            return False
        parsed = msgspec.convert(texts, _PLAIN_DATES)
    except (TypeError, ValueError, msgspec.ValidationError):  # a number has no length, a lone surrogate no UTF-8
        return False
    first, last = dates.plausible_expiry_range(at)
    return first + _SECOND <= min(parsed) and max(parsed) <= last - _SECOND


def _lines(rows: Sequence[PostPostRow]) -> bytes:
    """Return one line of bytes for each row, independent of how the list was divided into pieces."""
    try:
        return _LINES(rows)
    except (UnicodeEncodeError, OverflowError):
        return b"".join(_line(row) + b"\n" for row in rows)


def _line(row: PostPostRow) -> bytes:
    """Return bytes that are equal only for equal rows."""
    try:
        return _ENCODE(row)
    except (UnicodeEncodeError, OverflowError):  # a lone surrogate, a number beyond 64 bits
        return repr(row).encode("utf-8", "surrogatepass")


def all_rows(array: memoryview) -> Iterator[PostPostRow | Unreadable]:
    """Yield every row of an array that was surveyed."""
    for piece in _PIECES.read(array):
        yield from piece


class LazySnapshots(Sequence[Snapshot]):
    """The snapshots of one scope, decoded from the text only when requested."""

    def __init__(self, array: memoryview, *, scope: str | None, at: datetime, dialect: Dialect, size: int | None = None) -> None:
        """Wrap the array. `size` is the number of snapshots, if it is known."""
        self._array = array
        self._size = size
        self._scope = scope
        self._at = at
        self._dialect = dialect
        self._fingerprints: dict[str, str] | None = None
        self._spans: dict[str, datetime] = {}
        self._merged: dict[str, Snapshot] = {}
        """The one snapshot for each id with several rows."""
        self._damaged: list[Unreadable] = []
        self._misnamed: list[Unreadable] = []

    @property
    def unreadable(self) -> Sequence[Unreadable]:
        """The unreadable rows. Complete once fingerprints() was called."""
        return self._damaged + self._misnamed

    def __len__(self) -> int:
        return len(self.fingerprints()) if self._size is None else self._size

    def __iter__(self) -> Iterator[Snapshot]:
        return self.snapshots_of(self.fingerprints())

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

    def fingerprints(self) -> Mapping[str, str]:
        """Return a fingerprint by platformId, which differs if the row changed."""
        if self._fingerprints is None:
            self._fingerprints = self._read_fingerprints()
        return self._fingerprints

    def spans(self) -> Mapping[str, datetime]:
        """Return the end of the time left, by platformId, of rows without a date."""
        self.fingerprints()
        return self._spans

    def snapshots_of(self, ids: Container[str]) -> Iterator[Snapshot]:
        """Yield the snapshots of these ids, in the list's order."""
        fingerprints = self.fingerprints()
        seen_ids = set[str]()
        for row in self._rows():
            key = row.platform_id
            if key not in ids or key not in fingerprints:
                continue
            if key not in self._merged:
                yield self._snapshot(row)
            elif key not in seen_ids:
                seen_ids.add(key)
                yield self._merged[key]

    def _rows(self) -> Iterator[PostPostRow]:
        return (row for row in all_rows(self._array) if not isinstance(row, Unreadable))

    def _snapshot(self, row: PostPostRow) -> Snapshot:
        read = postpost_rows.to_snapshot(row, scope=self._scope, at=self._at, dialect=self._dialect)
        if isinstance(read, Unreadable):
            raise TypeError(read.why)  # impossible: its id was checked before
        return read

    def _read_fingerprints(self) -> dict[str, str]:
        fingerprints: dict[str, str] = {}
        repeated: set[str] = set()
        lost: set[str] = set()
        text_fingerprint = _fingerprint_function(self._dialect)
        for piece in _PIECES.read(self._array):
            rows = [good for row in piece if (good := self._readable(row, lost)) is not None]
            time_dependent = {id(row) for row in _time_dependent(rows, self._at)}
            for row in rows:
                key = row.platform_id
                if key in fingerprints:
                    repeated.add(key)
                fingerprints[key] = self._fingerprint_by_meaning(row) if id(row) in time_dependent else text_fingerprint(row)
        for key in lost:
            fingerprints.pop(key, None)
            self._spans.pop(key, None)
        self._merge(fingerprints, repeated - lost)
        return fingerprints

    def _readable(self, row: PostPostRow | Unreadable, lost: set[str]) -> PostPostRow | None:
        """Return the row; None for an unreadable one, which is recorded."""
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

    def _fingerprint_by_meaning(self, row: PostPostRow) -> str:
        snapshot = self._snapshot(row)
        if snapshot.expires_before is not None:
            self._spans[snapshot.external_id] = snapshot.expires_before
        return fingerprint(snapshot)

    def _merge(self, fingerprints: dict[str, str], repeated: set[str]) -> None:
        """Keep one snapshot for all rows with the same id."""
        if not repeated:
            return
        rows = [self._snapshot(row) for row in self._rows() if row.platform_id in repeated]
        for one in without_duplicates(rows, ()):
            self._merged[one.external_id] = one
            fingerprints[one.external_id] = fingerprint(one)
            self._spans.pop(one.external_id, None)
            if one.expires_before is not None:
                self._spans[one.external_id] = one.expires_before


def _fingerprint_function(dialect: Dialect) -> Callable[[PostPostRow], str]:
    """Return the fingerprint function for rows that do not depend on the time. It includes the dialect where that matters."""
    decided = b"/%d" % READER_VERSION
    by_dialect = b"/%d/%b/%b" % (READER_VERSION, str(dialect.states_status).encode(), dialect.unknown.encode())

    def text_fingerprint(row: PostPostRow) -> str:
        tail = decided if row.token_status in _DECIDED else by_dialect
        return blake2b(_line(row) + tail, digest_size=12).hexdigest()

    return text_fingerprint


def digest(survey: ListSurvey, dialect: Dialect) -> str | None:
    """Return a digest that is equal for lists with the same meaning; None if the text alone does not determine it."""
    if survey.unreadable or survey.follows_span:
        return None
    content = f"{READER_VERSION}/{survey.count}/{survey.content}/{dialect.states_status}/{dialect.unknown}"
    return sha256(content.encode()).hexdigest()[:32]
