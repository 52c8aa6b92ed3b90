"""From the answers of one poll to the report of each scope: as text where that is possible, row by row where it is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from monitor.domain import ReportedStatus, ScopeReport, Snapshot, Unreadable
from monitor.domain.errors import ProviderError
from monitor.providers import payload
from monitor.providers.api import ApiResponse
from monitor.providers.postpost import listing as postpost_list
from monitor.providers.postpost import rows as postpost_rows
from monitor.providers.postpost.listing import LazySnapshots, ListSurvey, NotChunkable
from monitor.providers.postpost.rows import Dialect, DialectVotes, PostPostRow
from monitor.providers.scopes import failed_scope, listed_report, scope_report

_READER = payload.RowReader(PostPostRow, id_field="platformId", guarded=postpost_rows.GUARDED)


@dataclass(slots=True, kw_only=True)
class ScopeRows:
    """One scope's rows before their words are understood."""

    at: datetime
    votes: DialectVotes
    count: int
    array: memoryview | None = None
    """The rows as text, with what a first look at them told; None where they are all read."""
    survey: ListSurvey = field(default_factory=ListSurvey)
    rows: list[PostPostRow] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    problem: str | None = None


@dataclass(slots=True)
class Sound:
    """Digests of the lists that were last found to be whole, with nothing amiss in any row. What equals one is so again."""

    known: dict[str | None, tuple[str, int]] = field(default_factory=dict)

    def size(self, scope: str | None, digest: str | None) -> int | None:
        """How many connections the list with this digest holds, None where it must be looked through."""
        found = self.known.get(scope)
        return found[1] if found is not None and digest is not None and found[0] == digest else None

    def note(self, report: ScopeReport) -> None:
        """Remember, or forget, what a scope's list was."""
        if report.digest is None or not report.complete:
            self.known.pop(report.scope, None)
        else:
            self.known[report.scope] = report.digest, len(report.snapshots)


def read_rows(reply: ApiResponse, *, most: int) -> ScopeRows:
    """The rows of one answer. Raises ProviderPayloadInvalid where it is no list."""
    found, _ = payload.find_array(reply.body, content_type=reply.content_type, key="connections", bare=True)
    if isinstance(found, memoryview):
        try:
            survey = postpost_list.survey(found, at=reply.at)
        except NotChunkable:
            pass
        else:
            if survey.count <= most:
                return ScopeRows(at=reply.at, votes=survey.votes, count=survey.count, array=found, survey=survey)
    return read_one_by_one(reply, most=most)


def read_one_by_one(reply: ApiResponse, *, most: int) -> ScopeRows:
    """Like read_rows, with every row read at once: the way for an array that only the lenient parser takes."""
    listing = payload.read_list(
        reply.body, content_type=reply.content_type, key="connections", bare=True, guarded=postpost_rows.GUARDED, most=most
    )
    problem = f"The list has more than {most:,} rows; the rest was left out." if listing.cut else None
    found = ScopeRows(at=reply.at, votes=DialectVotes(), count=len(listing.rows), problem=problem)
    for raw in listing.rows:
        row = _READER.read(raw)
        if isinstance(row, Unreadable):
            found.unreadable.append(row)
        else:
            found.rows.append(row)
            found.votes.note(row)
    return found


def understand(
    results: Mapping[str | None, ScopeRows | ProviderError], *, default: ReportedStatus, most: int, sound: Sound
) -> list[ScopeReport]:
    """Each scope's report. Only all rows together tell which dialect the service speaks, `default` where they do not."""
    votes = DialectVotes()
    for result in results.values():
        if isinstance(result, ScopeRows):
            votes.add(result.votes)
    dialect = votes.dialect(default)
    reports: list[ScopeReport] = []
    room = most
    for scope, result in results.items():
        if isinstance(result, ProviderError):
            reports.append(failed_scope(scope, result))
            continue
        if result.array is None or result.count > room:
            report = _of_rows(scope, result, dialect, room=room, most=most)
        else:
            report = _of_text(scope, result, result.array, dialect, sound)
        sound.note(report)
        reports.append(report)
        room -= min(room, result.count)
    return reports


def _of_text(scope: str | None, part: ScopeRows, array: memoryview, dialect: Dialect, sound: Sound) -> ScopeReport:
    digest = postpost_list.digest(part.survey, dialect)
    size = sound.size(scope, digest)
    listed = LazySnapshots(array, scope=scope, at=part.at, dialect=dialect, size=size)
    if size is None:
        listed.marks()
    return listed_report(scope, listed, listed.unreadable, digest=digest)


def _of_rows(scope: str | None, part: ScopeRows, dialect: Dialect, *, room: int, most: int) -> ScopeReport:
    rows, unreadable = part.rows, list(part.unreadable)
    if part.array is not None:
        read = list(postpost_list.all_rows(part.array))
        rows = [row for row in read if not isinstance(row, Unreadable)]
        unreadable = [row for row in read if isinstance(row, Unreadable)]
    problem = part.problem
    if len(rows) > room:
        problem = f"The source has more than {most:,} rows; the rest was left out."
    snapshots: list[Snapshot] = []
    for row in rows[:room]:
        seen = postpost_rows.to_snapshot(row, scope=scope, at=part.at, dialect=dialect)
        if isinstance(seen, Unreadable):
            unreadable.append(seen)
        else:
            snapshots.append(seen)
    return scope_report(scope, snapshots, unreadable, problem=problem)
