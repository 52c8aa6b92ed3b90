"""Conversion of one poll's responses to scope reports: by text comparison if possible, otherwise row by row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from monitor.domain import ScopeReport, Snapshot, Unreadable
from monitor.domain.errors import ProviderError
from monitor.providers import payload
from monitor.providers.api import ApiResponse
from monitor.providers.json_chunks import NotChunkable
from monitor.providers.postpost import listing as postpost_list
from monitor.providers.postpost import rows as postpost_rows
from monitor.providers.postpost.listing import LazySnapshots, ListSurvey
from monitor.providers.postpost.rows import Dialect, DialectVotes, PostPostRow
from monitor.providers.scopes import failed_scope, listed_report, scope_report


@dataclass(slots=True, kw_only=True)
class ScopeRows:
    """One scope's rows before their status words are interpreted."""

    at: datetime
    votes: DialectVotes
    count: int
    array: memoryview | None = None
    """The undecoded rows, described by `survey`; None if all are in `rows`."""
    survey: ListSurvey = field(default_factory=ListSurvey)
    rows: list[PostPostRow] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    problem: str | None = None


@dataclass(slots=True)
class IntactLists:
    """Digests of lists last read completely and without unreadable rows. An equal digest means the same again."""

    known: dict[str | None, tuple[str, int]] = field(default_factory=dict)

    def size(self, scope: str | None, digest: str | None) -> int | None:
        """Return the number of connections in the list with this digest; None if the list must be read."""
        found = self.known.get(scope)
        return found[1] if found is not None and digest is not None and found[0] == digest else None

    def note(self, report: ScopeReport) -> None:
        """Remember the digest of a complete list; forget it for an incomplete one."""
        if report.digest is None or not report.complete:
            self.known.pop(report.scope, None)
        else:
            self.known[report.scope] = report.digest, len(report.snapshots)


def read_rows(reply: ApiResponse, *, max_rows: int) -> ScopeRows:
    """Return the rows of one response. Raises ProviderPayloadInvalid if it is not a list."""
    located = payload.locate_array(reply.body, content_type=reply.content_type, key="connections")
    found = None if located is None else _survey(located, at=reply.at)
    if found is None:
        array, _ = payload.find_array(reply.body, content_type=reply.content_type, key="connections", bare=True)
        found = _survey(array, at=reply.at) if isinstance(array, memoryview) else None
    return found if found is not None and found.count <= max_rows else read_one_by_one(reply, max_rows=max_rows)


def _survey(array: memoryview, *, at: datetime) -> ScopeRows | None:
    """Return the surveyed rows of an array; None if it must be read as a whole, or is not an array."""
    try:
        survey = postpost_list.survey(array, at=at)
    except NotChunkable:
        return None
    return ScopeRows(at=at, votes=survey.votes, count=survey.count, array=array, survey=survey)


def read_one_by_one(reply: ApiResponse, *, max_rows: int) -> ScopeRows:
    """Return the rows decoded one by one, for an array that only the lenient parser accepts."""
    listing = payload.read_list(
        reply.body,
        content_type=reply.content_type,
        key="connections",
        bare=True,
        guarded=postpost_rows.GUARDED,
        max_rows=max_rows,
    )
    problem = f"The list has more than {max_rows:,} rows; the others were ignored." if listing.cut else None
    found = ScopeRows(at=reply.at, votes=DialectVotes(), count=len(listing.rows), problem=problem)
    for raw in listing.rows:
        row = postpost_rows.READER.read(raw)
        if isinstance(row, Unreadable):
            found.unreadable.append(row)
        else:
            found.rows.append(row)
            found.votes.note(row)
    return found


def interpret(
    results: Mapping[str | None, ScopeRows | ProviderError], *, dialect: Dialect, max_rows: int, intact: IntactLists
) -> list[ScopeReport]:
    """Return each scope's report."""
    reports: list[ScopeReport] = []
    room = max_rows
    for scope, result in results.items():
        if isinstance(result, ProviderError):
            reports.append(failed_scope(scope, result))
            continue
        if result.array is None or result.count > room:
            report = _of_rows(scope, result, dialect, room=room, max_rows=max_rows)
        else:
            report = _of_text(scope, result, result.array, dialect, intact)
        intact.note(report)
        reports.append(report)
        room -= min(room, result.count)
    return reports


def _of_text(scope: str | None, part: ScopeRows, array: memoryview, dialect: Dialect, intact: IntactLists) -> ScopeReport:
    digest = postpost_list.digest(part.survey, dialect)
    size = intact.size(scope, digest)
    listed = LazySnapshots(array, scope=scope, at=part.at, dialect=dialect, size=size)
    if size is None:
        listed.fingerprints()
    return listed_report(scope, listed, listed.unreadable, digest=digest)


def _of_rows(scope: str | None, part: ScopeRows, dialect: Dialect, *, room: int, max_rows: int) -> ScopeReport:
    rows, unreadable = part.rows, list(part.unreadable)
    if part.array is not None:
        read = list(postpost_list.all_rows(part.array))
        rows = [row for row in read if not isinstance(row, Unreadable)]
        unreadable = [row for row in read if isinstance(row, Unreadable)]
    problem = part.problem
    if len(rows) > room:
        problem = f"The source has more than {max_rows:,} rows; the others were ignored."
    snapshots: list[Snapshot] = []
    for row in rows[:room]:
        seen = postpost_rows.to_snapshot(row, scope=scope, at=part.at, dialect=dialect)
        if isinstance(seen, Unreadable):
            unreadable.append(seen)
        else:
            snapshots.append(seen)
    return scope_report(scope, snapshots, unreadable, problem=problem)
