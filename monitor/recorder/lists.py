"""Record what the lists of one poll changed: compared, judged and written batch by batch, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from monitor.config import SourceConfig
from monitor.model import PollReport
from monitor.recorder.changes import record_changes
from monitor.recorder.comparing import Compared, Comparison
from monitor.recorder.judging import Absent, Judge, Judged, absent_of, judge_absent, judge_listed, judge_unreadable
from monitor.recorder.outgoing import ChannelSettings, Recorded
from monitor.recorder.sources import close_quietly, record_source_incident
from monitor.rules import inhibition, schedule
from monitor.store import connections, scopes


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
    lost = _lost(compared, absent)
    before = comparison.suspects()
    listed.suspects = {scope: 0 for scope in before if scope not in lost}
    listed.suspects |= {scope: before.get(scope, 0) + 1 for scope in lost}
    agreed = {scope for scope in lost if listed.suspects[scope] >= inhibition.AGREEING_POLLS}
    listed.recorded.add(_record_disappearances(conn, source, listed.suspects, lost, channels=channels, now=now))
    seen_at = {row.scope: row.last_complete_at for row in scopes.all_scopes(conn, source.name)} if absent else {}
    for scope, rows in absent.items():
        if scope not in lost or scope in agreed:
            record(judge_absent(rows, judge, confirmed=scope in agreed, seen_at=seen_at.get(scope)))
    return listed


def _lost(compared: Sequence[Compared], absent: dict[str | None, Absent]) -> dict[str | None, tuple[int, int]]:
    """Scopes from which most connections are missing at once, with how many of how many: held until further lists agree."""
    present = {each.scope: each.present for each in compared}
    gone = {scope: sum(state.missing == 0 for _, state in rows.values()) for scope, rows in absent.items()}
    return {scope: (count, present[scope]) for scope, count in gone.items() if inhibition.is_mass(count, present[scope])}


def _record_disappearances(
    conn: Connection,
    source: SourceConfig,
    suspects: dict[str | None, int],
    lost: Mapping[str | None, tuple[int, int]],
    *,
    channels: Sequence[ChannelSettings],
    now: datetime,
) -> Recorded:
    """One alert where most of a scope is missing at once; it ends by itself, or in one message that says who is gone."""
    recorded = Recorded()
    for scope, count in suspects.items():
        subject = f"missing:{scope or ''}"
        if count >= inhibition.AGREEING_POLLS:
            close_quietly(conn, source.name, subject, now)
            suspects[scope] = 0
            continue
        if count > 1:
            continue
        gone, of = lost.get(scope, (0, 0))
        where = f" of {scope}" if scope else ""
        text = f"{gone} of {of} connections{where} are missing at once; they keep their status until two more lists agree."
        recorded.add(
            record_source_incident(
                conn,
                source,
                subject=subject,
                problem=count == 1,
                reason="suspicious_list",
                status="suspicious_list" if count else "ok",
                message=text if count else f"The connections{where} are listed again.",
                channels=channels,
                now=now,
                count=max(gone, 1),
            )
        )
    return recorded
