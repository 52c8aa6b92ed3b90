"""Check due deliveries again before a channel claims them: things may have changed since they were queued.

The claim-time half of the table in `domain/rules/suppression.py`; the queries are in `store/pending.py`. Quiet hours are
checked by the worker.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from monitor.domain import Alert
from monitor.domain.rules.silences import Silence, active_until, silenced_until
from monitor.store import Connection, pending, silences
from monitor.store.pending import DueDeliveries

NEWS_WITHIN = timedelta(minutes=1)
"""Delay of an escalation while the alert about a newer status is on its way."""


def settle(conn: Connection, due: DueDeliveries) -> int:
    """Cancel or postpone the due deliveries that are not to be sent now. Return their number.

    The caller claims that many fewer: the deliveries behind them were not checked.
    """
    if not pending.has_escalations(conn, due):
        return pending.cancel_superseded(conn, due)
    settled = pending.cancel_outdated(conn, due)
    settled += pending.postpone_unreported(conn, replace(due, limit=due.limit - settled), until=due.now + NEWS_WITHIN)
    return settled + _postpone_silenced(conn, replace(due, limit=due.limit - settled))


def _postpone_silenced(conn: Connection, due: DueDeliveries) -> int:
    """Postpone the due escalations that a silence covers until it ends. Return their number."""
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
