"""Record what the lists of one poll changed: compared, judged and written batch by batch, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from monitor.config import SourceConfig
from monitor.domain import PollReport
from monitor.domain.rules import inhibition, schedule
from monitor.engine.recording.changes import record_changes
from monitor.engine.recording.list_changes import Absent, Judge, Judged, absent_of, judge_absent, judge_listed, judge_unreadable
from monitor.engine.recording.list_diff import Compared, Comparison
from monitor.engine.recording.queueing import ChannelSettings, Recorded
from monitor.engine.recording.system_alerts import close_quietly, record_source_incident
from monitor.store import connections, scopes

MISSING = "missing:"
"""Subject of a source's incident about one scope, named after it: most of its connections are missing at once."""


@dataclass(slots=True)
class Listed:
    """What was recorded of the lists of one poll."""

    recorded: Recorded = field(default_factory=Recorded)
    cohorts: set[int] = field(default_factory=set)
    """Probe cohorts of new connections."""
    digests: dict[str | None, str | None] = field(default_factory=dict)
    """Of each scope, the digest of the list that its stored connections now follow from."""
    suspects: dict[str | None, int] = field(default_factory=dict)
    """Scopes whose count of suspicious lists changes, with the new count."""


def record_lists(
    conn: Connection,
    source: SourceConfig,
    report: PollReport,
    *,
    channels: Sequence[ChannelSettings],
    now: datetime,
    clock_skew: float | None,
) -> Listed:
    """Everything that the lists change, scope by scope. An incomplete one is evidence of what it shows, never of absence."""
    comparison = Comparison(conn, source.name, report, now=now)
    compared = comparison.scopes()
    judge = Judge(source=source, now=now, clock_skew=clock_skew)
    listed = Listed(digests={each.scope: each.digest for each in compared})
    absent = absent_of(conn, compared)

    def record(batches: Iterable[Judged]) -> None:
        for judged in batches:
            connections.set_marks(conn, judged.marks)
            listed.recorded.add(record_changes(conn, source, judged.changes, channels=channels, now=now))
            listed.cohorts |= {
                schedule.cohort_of(change.after.snapshot.scope, change.after.snapshot.external_id)
                for change in judged.changes
                if change.row is None
            }

    for each in compared:
        record(judge_listed(conn, each, judge, absent.get(each.scope, {})))
        record([judge_unreadable(conn, each, judge)])
    before = comparison.suspects()
    gone = _gone(compared, absent)
    lost = {scope for scope, (count, of) in gone.items() if inhibition.is_mass(count, of)}
    listed.suspects = {
        scope: before.get(scope, 0) + 1 if scope in lost else 0 for scope in gone if scope in lost or scope in before
    }
    agreed = {scope for scope in lost if listed.suspects[scope] >= inhibition.AGREEING_POLLS}
    listed.recorded.add(_record_disappearances(conn, source, listed.suspects, gone, channels=channels, now=now))
    seen_at = {row.scope: row.last_complete_at for row in scopes.all_scopes(conn, source.name)} if absent else {}
    for scope, rows in absent.items():
        if scope not in lost or scope in agreed:
            record(judge_absent(rows, judge, confirmed=scope in agreed, seen_at=seen_at.get(scope)))
    return listed


def _gone(compared: Sequence[Compared], absent: Mapping[str | None, Absent]) -> dict[str | None, tuple[int, int]]:
    """Of each scope that was listed to its end, how many connections are newly missing, and of how many.

    A scope that is not in here was not read, or only in part: that neither confirms nor disproves what is suspected of it.
    """
    found = {}
    for each in compared:
        if each.whole:
            rows = absent.get(each.scope, {}).values()
            found[each.scope] = sum(state.missing == 0 for _, state in rows), each.present
    return found


def _record_disappearances(
    conn: Connection,
    source: SourceConfig,
    suspects: dict[str | None, int],
    gone: Mapping[str | None, tuple[int, int]],
    *,
    channels: Sequence[ChannelSettings],
    now: datetime,
) -> Recorded:
    """One alert where most of a scope is missing at once; it ends by itself, or in one message that says who is gone."""
    recorded = Recorded()
    for scope, count in suspects.items():
        subject = f"{MISSING}{scope or ''}"
        if count >= inhibition.AGREEING_POLLS:
            close_quietly(conn, source.name, subject, now)
            suspects[scope] = 0
            continue
        if count > 1:
            continue
        missing, of = gone[scope]
        recorded.add(
            record_source_incident(
                conn,
                source,
                subject=subject,
                problem=count == 1,
                reason="suspicious_list",
                status="suspicious_list" if count else "ok",
                message=_told(scope, missing, of, suspicious=count > 0),
                channels=channels,
                now=now,
                count=max(missing, 1),
            )
        )
    return recorded


def _told(scope: str | None, missing: int, of: int, *, suspicious: bool) -> str:
    """What is said of a scope from which most connections are, or no longer are, missing at once."""
    where = f" of {scope}" if scope else ""
    if suspicious:
        return f"{missing} of {of} connections{where} are missing at once; they keep their status until two more lists agree."
    if missing:
        still = f"{missing} of {of} {'is' if missing == 1 else 'are'} still missing"
        return f"Some connections{where} are listed again; {still}, and told one by one if that lasts."
    return f"The connections{where} are listed again."
