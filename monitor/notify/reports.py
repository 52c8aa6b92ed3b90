"""Scheduled reports and drills of channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import structlog

from monitor.config import ChannelConfig, SourceConfig
from monitor.domain import Alert, AlertEvent, IncidentSubject, Severity
from monitor.domain.clock import Clock
from monitor.domain.records import fresh_id
from monitor.domain.rules import recurrence
from monitor.domain.timefmt import span, zone
from monitor.store import Connection, Store, alerts, channel_states, outbox
from monitor.store.channel_states import ChannelState

if TYPE_CHECKING:
    from monitor.notify.report_data import ReportScope

log = structlog.get_logger(__name__)


class Reporter:
    """Queues each channel's drills and reports at the times of its configuration."""

    def __init__(
        self, *, store: Store, clock: Clock, channels: Sequence[ChannelConfig], sources: Sequence[SourceConfig], timezone: str
    ) -> None:
        self._store, self._clock, self._channels, self._sources = store, clock, channels, sources
        self._timezone = timezone

    async def run_due(self) -> set[str]:
        """Plan what is not planned yet, queue what is due, and return the channels to wake. Raises StoreError."""
        now = self._clock.now()
        if await self._store.read(partial(self._is_up_to_date, now=now)):
            return set()
        reports = await self._store.read(partial(self._due_reports, now=now))
        queued = await self._store.write(partial(self._queue_due, reports=reports, now=now))
        for name in sorted(queued):
            log.info("channel.planned_message", channel=name)
        return queued

    def _is_up_to_date(self, conn: Connection, *, now: datetime) -> bool:
        return all(
            self._drill_plan(channel, state, now) == state.next_drill_at
            and self._report_plan(channel, now) == state.next_report_at
            for channel, state in self._known(conn)
        )

    def _known(self, conn: Connection) -> list[tuple[ChannelConfig, ChannelState]]:
        states = channel_states.all_states(conn)
        return [(channel, states.get(channel.name, ChannelState(name=channel.name))) for channel in self._channels]

    def _due_reports(self, conn: Connection, *, now: datetime) -> dict[str, Alert]:
        """Return the reports that are due, by channel. A report may read every row, so the writer does not wait for it."""
        return {
            channel.name: report_alert(
                conn, channel, channels=self._channels, sources=self._sources, timezone=self._timezone, now=now
            )
            for channel, state in self._known(conn)
            if channel.report is not None and _is_due(state.next_report_at, now)
        }

    def _queue_due(self, conn: Connection, *, reports: Mapping[str, Alert], now: datetime) -> set[str]:
        """Queue what is due. A report that was queued elsewhere while these were read is no longer due."""
        queued: set[str] = set()
        for channel, state in self._known(conn):
            if _is_due(state.next_drill_at, now) and channel.drill_every is not None:
                _queue(conn, _drill(channel, state, now), channel, now)
                queued.add(channel.name)
            if _is_due(state.next_report_at, now) and channel.name in reports:
                _queue(conn, reports[channel.name], channel, now)
                queued.add(channel.name)
            self._plan(conn, channel, state, now)
        return queued

    def _plan(self, conn: Connection, channel: ChannelConfig, state: ChannelState, now: datetime) -> None:
        drill, report = self._drill_plan(channel, state, now), self._report_plan(channel, now)
        if drill != state.next_drill_at:
            channel_states.plan_drill(conn, channel.name, drill)
        if report != state.next_report_at:
            channel_states.plan_report(conn, channel.name, report)

    def _drill_plan(self, channel: ChannelConfig, state: ChannelState, now: datetime) -> datetime | None:
        """Return the time of the next drill: as planned, unless that is due now or the configuration asks for an earlier one."""
        every, planned = channel.drill_every, state.next_drill_at
        if every is None:
            return None
        if planned is None or planned > now + every:
            return now + every
        # Whole intervals from the last plan, so that a late drill does not move the next; missed drills are skipped.
        return planned if planned > now else planned + every * ((now - planned) // every + 1)

    def _report_plan(self, channel: ChannelConfig, now: datetime) -> datetime | None:
        if channel.report is None:
            return None
        at = channel.report.at
        return recurrence.next_weekly(now, weekday=at.weekday, at=at.time, zone=zone(self._timezone))


def report_alert(
    conn: Connection,
    channel: ChannelConfig,
    *,
    channels: Sequence[ChannelConfig],
    sources: Sequence[SourceConfig],
    timezone: str,
    now: datetime,
    scope: ReportScope | None = None,
) -> Alert:
    """Return the report that a channel gets, as an alert. It states the health of all channels.

    `scope` replaces what the channel's configuration sets.
    """
    from monitor.notify.messages.chart import timeline
    from monitor.notify.messages.report import report_lines
    from monitor.notify.report_data import read_report, scope_of

    where = zone(timezone)
    states = channel_states.all_states(conn)
    known = [states.get(each.name, ChannelState(name=each.name)) for each in channels]
    report = read_report(conn, scope or scope_of(conn, channel, sources), sources, now=now)
    return _alert(
        AlertEvent.REPORT,
        channel,
        now,
        message="\n".join(report_lines(report, known, zone=where)),
        chart=timeline(report.batches, now=now, ahead=report.ahead, zone=where) if report.batches else None,
    )


def _is_due(planned: datetime | None, now: datetime) -> bool:
    return planned is not None and planned <= now


def _drill(channel: ChannelConfig, state: ChannelState, now: datetime) -> Alert:
    every = f"Drills are sent every {span(channel.drill_every)}. " if channel.drill_every else ""
    at = state.last_success_at
    last = f"last accepted a message {span(now - at)} ago" if at else "has not accepted a message yet"
    return _alert(AlertEvent.DRILL, channel, now, message=f"{every}The channel {channel.name} {last}.")


def _alert(event: AlertEvent, channel: ChannelConfig, now: datetime, *, message: str, chart: str | None = None) -> Alert:
    alert_id = fresh_id(now)
    return Alert(
        id=alert_id,
        incident=f"{event.value}-{alert_id}",
        event=event,
        reason=event.value,
        severity=Severity.INFO,
        at=now,
        source="",
        subject=IncidentSubject.CHANNEL.of(channel.name) if event is AlertEvent.DRILL else "",
        message=message,
        chart=chart,
    )


def _queue(conn: Connection, alert: Alert, channel: ChannelConfig, now: datetime) -> None:
    """Queue the alert for this channel only, regardless of its filters: the channel's configuration asks for it."""
    alerts.add_alerts(conn, [(alert, None, None)])
    outbox.add_deliveries(conn, [(alert.id, channel.name, now)], now)
