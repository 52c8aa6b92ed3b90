"""What is due for a channel is looked at once more before it is claimed: things may have changed since it was queued."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from monitor.domain import Alert
from monitor.domain.rules.silences import Silence, active_until, silenced_until
from monitor.store import Connection, pending, silences
from monitor.store.pending import DueDeliveries

NEWS_WITHIN = timedelta(minutes=1)
"""How long an escalation waits for the news that decides about it before it is looked at again."""


def settle(conn: Connection, due: DueDeliveries) -> int:
    """Call off or put off what is not to go out now of what is due. How many.

    As many fewer are to be claimed: what lies behind them was not looked at.
    """
    if not pending.has_escalations(conn, due):
        return pending.cancel_superseded(conn, due)
    gone = pending.cancel_outdated(conn, due)
    gone += pending.postpone_unreported(conn, replace(due, limit=due.limit - gone), until=due.now + NEWS_WITHIN)
    return gone + _put_off_silenced(conn, replace(due, limit=due.limit - gone))


def _put_off_silenced(conn: Connection, due: DueDeliveries) -> int:
    """Put off the due escalations that a silence covers to its end. How many."""
    in_force = [each for each in silences.all_current(conn, due.now) if active_until(each, due.now) is not None]
    if not in_force:
        return 0
    escalations = pending.due_escalations(conn, due)
    ends = {key: until for key, alert in escalations.items() if (until := _silenced_until(alert, in_force, due.now)) is not None}
    pending.postpone_silenced(conn, ends)
    return len(ends)


def _silenced_until(alert: Alert, in_force: list[Silence], now: datetime) -> datetime | None:
    return silenced_until(
        in_force,
        source=alert.source,
        platform=alert.platform,
        connection=alert.connection,
        external_id=alert.external_id,
        labels=alert.labels,
        now=now,
    )
