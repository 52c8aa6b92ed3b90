"""Gaps in observation: when nothing is known of a source, for histories and charts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from monitor.domain import HistoryEntry, HistoryKind, utc_text
from monitor.domain.rules import freshness
from monitor.domain.rules.freshness import Gap
from monitor.store import history, sources


def gaps_of(
    conn: Connection, source: str, *, now: datetime, poll_every: timedelta | None, since: datetime | None = None
) -> list[Gap]:
    """The gaps of a source that reach beyond `since`, oldest first; the last one may still last (ended_at is None).

    `poll_every` is the configured one; None where the configuration does not name the source any more.
    """
    found = [gap for gap in map(_over, history.of_source(conn, source, kind=HistoryKind.GAP)) if gap is not None]
    found += _lasting(conn, source, now=now, poll_every=poll_every)
    return [gap for gap in found if since is None or gap.ended_at is None or gap.ended_at > since]


def gap_entries(
    conn: Connection, source: str, *, since: datetime, until: datetime | None, now: datetime, poll_every: timedelta | None
) -> Iterator[HistoryEntry]:
    """The gaps between two instants (`until` None: up to now) as entries of a history. `new` is null in one that lasts."""
    for gap in gaps_of(conn, source, now=now, poll_every=poll_every, since=since):
        if until is None or gap.began_at < until:
            at = gap.ended_at or now
            yield HistoryEntry(
                kind=HistoryKind.GAP,
                at=at,
                old=utc_text(gap.began_at),
                new=utc_text(gap.ended_at),
                reason=gap.reason,
                message=freshness.told(gap, until=at),
            )


def _over(entry: HistoryEntry) -> Gap | None:
    if entry.old is None:
        return None
    began_at = datetime.fromisoformat(entry.old).astimezone(UTC)
    return Gap(began_at=began_at, ended_at=entry.at, reason=entry.reason or freshness.NOT_POLLED)


def _lasting(conn: Connection, source: str, *, now: datetime, poll_every: timedelta | None) -> Iterator[Gap]:
    row = sources.find_source(conn, source)
    if row is None or poll_every is None or row.removed_at is not None:
        return
    found = freshness.find_gap(
        last_success_at=row.last_success_at,
        last_poll_at=row.last_poll_at,
        failures=row.failures,
        poll_every=poll_every,
        now=now,
        clock_skew=row.clock_skew,
    )
    if found is not None:
        yield found
