"""Says that the monitor is blind: its database is away, so nothing is polled and no alert can be stored.

Everything else that is said goes through the store, with a promise to be delivered. This cannot: it goes straight to the
channels, and all that is known of it meanwhile is in memory. Once the database is back it is written down there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from monitor.domain import Alert, AlertEvent, IncidentSubject, Severity
from monitor.domain.clock import Clock
from monitor.domain.errors import StoreError
from monitor.domain.records import fresh_id
from monitor.domain.rules.freshness import STALE_AFTER_INTERVALS
from monitor.domain.timefmt import span
from monitor.engine.recording.queueing import ChannelSettings, OutgoingAlert, Recorded, queue
from monitor.store import Store, alerts

log = structlog.get_logger(__name__)

LOOK_EVERY = timedelta(seconds=1)
LEAST_PATIENCE, MOST_PATIENCE = timedelta(seconds=5), timedelta(minutes=5)
"""Bounds of how long the database may be unavailable before an alert."""
SAID_EVERY = timedelta(hours=1)
"""A database that comes and goes is told at most this often."""
TRY_EVERY = timedelta(minutes=1)
"""A channel that did not take it is tried again."""
HANDED_OVER = "Another token-monitor is active now, and keeps watch."


class Speaker(Protocol):
    """Who can say something without the store."""

    async def send_unqueued(self, alert: Alert, *, to: Collection[str] | None = None) -> dict[str, str | None]:
        """Send it on each channel that takes it, or on these: None per channel, or what went wrong there."""
        ...

    def wake(self, channel: str | None = None) -> None:
        """Something was queued for this channel."""
        ...


def patience(intervals: Iterable[timedelta]) -> timedelta:
    """Return how long the database may be unavailable before an alert: three of the shortest poll interval, within bounds."""
    shortest = min(intervals, default=MOST_PATIENCE)
    return max(LEAST_PATIENCE, min(STALE_AFTER_INTERVALS * shortest, MOST_PATIENCE))


class DatabaseOutageAlert:
    """Watches whether the store can be used, as the scheduler finds it. Its methods are called from one event loop."""

    def __init__(self, *, store: Store, clock: Clock, speaker: Speaker, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock, self._speaker, self._monotonic = store, clock, speaker, monotonic
        self._patience, self._channels = MOST_PATIENCE, tuple[ChannelSettings, ...]()
        self._problem = ""
        self._dark = timedelta(0)
        """For how long it was away while this process watched: one that is stopped for a while goes blind over nothing."""
        self._looked = monotonic()
        self._said: Alert | None = None
        self._owed: set[str] | None = None
        """Channels that have not taken it yet; None: nobody was asked."""
        self._heard: set[str] = set()
        self._said_at: float | None = None
        self._tried_at = -TRY_EVERY.total_seconds()

    def expect(self, intervals: Iterable[timedelta], channels: Sequence[ChannelSettings]) -> None:
        """The poll intervals of the sources, and the channels, that are configured now."""
        self._patience, self._channels = patience(intervals), tuple(channels)

    def worked(self) -> None:
        """The store gave and took what it was asked."""
        self._dark, self._problem = timedelta(0), ""

    def failed(self, problem: str) -> None:
        """The store could not be used, and why."""
        self._problem = problem

    async def run(self) -> None:
        """Watch, until cancelled. Never raises: who is blind must not fall silent, too."""
        while True:
            await asyncio.sleep(LOOK_EVERY.total_seconds())
            try:
                await self.look()
            except Exception:  # a channel's fault must not end the watch
                log.exception("blindness.fault")

    async def look(self) -> None:
        """Say what is to be said now."""
        now = self._monotonic()
        passed, self._looked = timedelta(seconds=now - self._looked), now
        self._dark += min(passed, 2 * LOOK_EVERY)
        if self._dark >= self._patience:
            await self._say_blind(now)
        elif self._said is not None and not self._problem and self._dark <= 2 * LOOK_EVERY:
            await self._write_down("The database can be used again: the monitor goes on watching.")

    async def hand_over(self) -> None:
        """Another daemon is at work now, and this one will not know when the database is back: say so where it was told."""
        if self._said is not None and not await self._write_down(HANDED_OVER) and self._heard:
            await self._speaker.send_unqueued(self._over(self._said, HANDED_OVER), to=self._heard)

    async def _say_blind(self, now: float) -> None:
        if self._said is None:
            if self._said_at is not None and now - self._said_at < SAID_EVERY.total_seconds():
                return
            self._said, self._said_at, self._owed, self._heard = self._blind(), now, None, set()
        if self._owed == set() or (self._owed is not None and now - self._tried_at < TRY_EVERY.total_seconds()):
            return
        self._tried_at = now
        answers = await self._speaker.send_unqueued(self._said, to=self._owed)
        failed = {name: problem for name, problem in answers.items() if problem is not None}
        self._heard |= answers.keys() - failed.keys()
        self._owed = set(failed)
        for name, problem in failed.items():
            log.warning("blindness.not_told", channel=name, problem=problem)

    async def _write_down(self, text: str) -> bool:
        """What was said goes into the store, and its end goes out through it, to those who heard. False: not yet."""
        if self._said is None:
            return False
        over = self._over(self._said, text)
        try:
            recorded = await self._store.run(self._record, self._said, over)
        except StoreError:
            return False
        log.info("daemon.sees_again", told=sorted(self._heard))
        self._said = None
        for channel in recorded.channels:
            self._speaker.wake(channel)
        return True

    def _record(self, blind: Alert, over: Alert) -> Recorded:
        with self._store.begin_write() as conn:
            alerts.add_alerts(conn, [(blind, None, _note(self._heard))])
            return queue(conn, [OutgoingAlert(alert=over, heard=self._heard)], channels=self._channels, now=over.at)

    def _blind(self) -> Alert:
        why = self._problem or "It gives no answer."
        log.error("daemon.blind", problem=why)
        at = self._clock.now()
        text = (
            f"The monitor is blind: its database has been away for {span(self._dark)}. {why} Until it is back nothing is polled."
        )
        return _alert(AlertEvent.MONITOR_PROBLEM, at=at, opened_at=at - self._dark, message=text)

    def _over(self, blind: Alert, text: str) -> Alert:
        at = self._clock.now()
        return _alert(AlertEvent.MONITOR_RECOVERED, at=at, opened_at=blind.opened_at, message=text, incident=blind.incident)


def _note(told: Collection[str]) -> str:
    where = ", ".join(sorted(told))
    return f"Said without the database, on {where}." if told else "Said without the database, but no channel took it."


def _alert(event: AlertEvent, *, at: datetime, opened_at: datetime | None, message: str, incident: str | None = None) -> Alert:
    made = fresh_id(at)
    return Alert(
        id=made,
        incident=incident or f"blind-{made}",
        event=event,
        reason="blind",
        severity=Severity.CRITICAL,
        at=at,
        source="",
        subject=IncidentSubject.DATABASE,
        message=message,
        since=opened_at,
        opened_at=opened_at,
    )
