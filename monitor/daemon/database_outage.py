"""Alert sent directly on the channels while the database is unavailable: nothing is polled and no alert can be stored.

Every other alert goes through the store, which guarantees its delivery. The state of this one is kept in memory; once
the database is available again, the outage is stored and its recovery is queued as usual.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta

import structlog

from monitor.config import ChannelConfig
from monitor.domain import Alert, AlertEvent, IncidentReason, IncidentSubject, Severity
from monitor.domain.clock import Clock
from monitor.domain.errors import StoreError
from monitor.domain.records import fresh_id
from monitor.domain.rules.freshness import STALE_AFTER_INTERVALS
from monitor.domain.timefmt import span
from monitor.engine.recording.queueing import Audience, OutgoingAlert, Recorded, queue
from monitor.notify import Notifier
from monitor.store import Connection, Store, alerts

log = structlog.get_logger(__name__)

CHECK_EVERY = timedelta(seconds=1)
LEAST_PATIENCE, MOST_PATIENCE = timedelta(seconds=5), timedelta(minutes=5)
ALERT_EVERY = timedelta(hours=1)
"""Minimum interval between two alerts about a database that comes and goes."""
RETRY_EVERY = timedelta(minutes=1)
"""Interval between attempts on a channel that did not accept the alert."""
RECOVERED = "The database is available again. Monitoring continues."
HANDED_OVER = "Another token-monitor daemon is now active and continues monitoring."


def patience(poll_intervals: Iterable[timedelta]) -> timedelta:
    """Return how long the database may be unavailable before an alert: three of the shortest intervals, within bounds."""
    shortest = min(poll_intervals, default=MOST_PATIENCE)
    return max(LEAST_PATIENCE, min(STALE_AFTER_INTERVALS * shortest, MOST_PATIENCE))


class DatabaseOutageAlert:
    """Sends the alert, from what the scheduler reports about the store. Its methods are called from one event loop."""

    def __init__(
        self, *, store: Store, clock: Clock, notifier: Notifier, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._store, self._clock, self._notifier, self._monotonic = store, clock, notifier, monotonic
        self._patience, self._channels = MOST_PATIENCE, tuple[ChannelConfig, ...]()
        self._problem = ""
        self._unavailable_for = timedelta(0)
        """Length of the outage; time during which this process was suspended does not count."""
        self._checked_at = monotonic()
        self._outage: Alert | None = None
        """The alert about the present outage."""
        self._pending: set[str] | None = None
        """Channels that have not accepted the alert yet; None before the first attempt."""
        self._notified: set[str] = set()
        """Channels that accepted the alert."""
        self._alerted_at: float | None = None
        self._tried_at = -RETRY_EVERY.total_seconds()

    def configure(self, poll_intervals: Iterable[timedelta], channels: Sequence[ChannelConfig]) -> None:
        """Use the poll intervals of these sources, and these channels, from now on."""
        self._patience, self._channels = patience(poll_intervals), tuple(channels)

    def store_available(self) -> None:
        """Report that the store answered."""
        self._unavailable_for, self._problem = timedelta(0), ""

    def store_failed(self, problem: str) -> None:
        """Report that the store could not be used, and why."""
        self._problem = problem

    async def run(self) -> None:
        """Check every second, until cancelled. Never raises: a defect here must not end the alerting."""
        while True:
            await asyncio.sleep(CHECK_EVERY.total_seconds())
            try:
                await self.check()
            except Exception:  # as when a channel fails in an unforeseen way
                log.exception("blindness.fault")

    async def check(self) -> None:
        """Send the alert if the outage has lasted too long; store it once the database is available again."""
        now = self._monotonic()
        passed, self._checked_at = timedelta(seconds=now - self._checked_at), now
        self._unavailable_for += min(passed, 2 * CHECK_EVERY)
        if self._unavailable_for >= self._patience:
            await self._send_alert(now)
        elif self._outage is not None and not self._problem and self._unavailable_for <= 2 * CHECK_EVERY:
            await self._store_outage(RECOVERED)

    async def hand_over(self) -> None:
        """End the alert: another daemon is active, so this one will not see the database return."""
        if self._outage is not None and not await self._store_outage(HANDED_OVER) and self._notified:
            await self._notifier.send_unqueued(self._recovery(self._outage, HANDED_OVER), to=self._notified)

    async def _send_alert(self, now: float) -> None:
        if self._outage is None:
            if self._alerted_at is not None and now - self._alerted_at < ALERT_EVERY.total_seconds():
                return
            self._outage, self._alerted_at, self._pending, self._notified = self._new_alert(), now, None, set()
        if self._pending == set() or (self._pending is not None and now - self._tried_at < RETRY_EVERY.total_seconds()):
            return
        self._tried_at = now
        results = await self._notifier.send_unqueued(self._outage, to=self._pending)
        failed = {name: problem for name, problem in results.items() if problem is not None}
        self._notified |= results.keys() - failed.keys()
        self._pending = set(failed)
        for name, problem in failed.items():
            log.warning("blindness.not_told", channel=name, problem=problem)

    async def _store_outage(self, text: str) -> bool:
        """Store the alert and queue its recovery for the channels that accepted it. False if the store is still unavailable."""
        if self._outage is None:
            return False
        outage, recovery = self._outage, self._recovery(self._outage, text)

        def write(conn: Connection) -> Recorded:
            alerts.add_alerts(conn, [(outage, None, _note(self._notified))])
            return queue(
                conn,
                [OutgoingAlert(alert=recovery, audience=Audience.NOTIFIED, channels=frozenset(self._notified))],
                channels=self._channels,
                now=recovery.at,
            )

        try:
            recorded = await self._store.write(write)
        except StoreError:
            return False
        log.info("daemon.sees_again", told=sorted(self._notified))  # codespell:ignore told
        self._outage = None
        for channel in recorded.channels:
            self._notifier.wake(channel)
        return True

    def _new_alert(self) -> Alert:
        why = self._problem or "It does not respond."
        log.error("daemon.blind", problem=why)
        at = self._clock.now()
        text = (
            f"The database has been unavailable for {span(self._unavailable_for)}. {why} "
            "No source is polled until it is available again."
        )
        return _alert(AlertEvent.MONITOR_PROBLEM, at=at, opened_at=at - self._unavailable_for, message=text)

    def _recovery(self, outage: Alert, text: str) -> Alert:
        at = self._clock.now()
        return _alert(AlertEvent.MONITOR_RECOVERED, at=at, opened_at=outage.opened_at, message=text, incident=outage.incident)


def _note(notified: Collection[str]) -> str:
    where = ", ".join(sorted(notified))
    return f"Sent without the database, on {where}." if notified else "Sent without the database, but no channel accepted it."


def _alert(event: AlertEvent, *, at: datetime, opened_at: datetime | None, message: str, incident: str | None = None) -> Alert:
    made = fresh_id(at)
    return Alert(
        id=made,
        incident=incident or f"blind-{made}",
        event=event,
        reason=IncidentReason.DATABASE_UNAVAILABLE,
        severity=Severity.CRITICAL,
        at=at,
        source="",
        subject=IncidentSubject.DATABASE,
        message=message,
        since=opened_at,
        opened_at=opened_at,
    )
