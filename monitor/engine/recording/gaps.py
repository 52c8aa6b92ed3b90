"""Writes down when a source was not observed, once it is observed again."""

from __future__ import annotations

from datetime import datetime

import structlog
from sqlalchemy import Connection

from monitor.config import SourceConfig
from monitor.domain import HistoryEntry, HistoryKind, PollOutcome, utc_text
from monitor.domain.rules import freshness
from monitor.store import history
from monitor.store.sources import SourceRow

log = structlog.get_logger(__name__)


def record_gap(
    conn: Connection,
    source: SourceConfig,
    before: SourceRow,
    *,
    outcome: PollOutcome,
    clock_skew: float | None,
    now: datetime,
) -> None:
    """One entry in the source's own history, whatever the number of its connections, where a poll ends a gap.

    `before` is the source as the last poll left it. In the caller's transaction.
    """
    if outcome not in (PollOutcome.OK, PollOutcome.PARTIAL):
        return
    gap = freshness.find_gap(
        last_success_at=before.last_success_at,
        last_poll_at=before.last_poll_at,
        failures=before.failures,
        poll_every=source.poll_every,
        now=now,
        clock_skew=clock_skew,
    )
    if gap is None:
        return
    entry = HistoryEntry(
        kind=HistoryKind.GAP,
        at=now,
        old=utc_text(gap.began_at),
        new=utc_text(now),
        reason=gap.reason,
        message=freshness.told(gap, until=now),
    )
    history.append(conn, source.name, None, [entry])
    log.warning("source.gap", source=source.name, reason=gap.reason, since=utc_text(gap.began_at))
