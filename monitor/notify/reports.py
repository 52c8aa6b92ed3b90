"""Weekly reports and drills."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import structlog

from monitor.config import ChannelConfig, SourceConfig
from monitor.domain import Alert, AlertEvent, IncidentSubject, Severity, Status, provider_info
from monitor.domain.clock import Clock
from monitor.domain.filters import ConnectionFilter
from monitor.domain.records import fresh_id
from monitor.domain.rules import forecast, recurrence
from monitor.domain.rules.globs import matches_any
from monitor.domain.rules.labels import has_labels
from monitor.domain.timefmt import span, zone
from monitor.notify.messages.chart import timeline
from monitor.notify.messages.report import report_lines
from monitor.store import Connection, Store, alerts, channel_states, connection_queries, outbox
from monitor.store.channel_states import ChannelState
from monitor.store.connection_queries import ConnectionRow

log = structlog.get_logger(__name__)

AHEAD = timedelta(days=30)
"""Period that a report covers."""


class Reporter:
    """Queues each channel's drills and reports at the times of its configuration."""

    def __init__(
        self, *, store: Store, clock: Clock, channels: Sequence[ChannelConfig], sources: Sequence[SourceConfig], timezone: str
    ) -> None:
        self._store, self._clock, self._channels, self._sources = store, clock, channels, sources
        self._zone: ZoneInfo | None = zone(timezone)

    async def run_due(self) -> set[str]:
        """Plan what is not planned yet, queue what is due, and return the channels to wake. Raises StoreError."""
        if await self._store.read(self._is_up_to_date):
            return set()
        queued = await self._store.write(self._queue_due)
        for name in sorted(queued):
            log.info("channel.planned_message", channel=name)
        return queued

    def _is_up_to_date(self, conn: Connection) -> bool:
        now, states = self._clock.now(), channel_states.all_states(conn)
        known = [(channel, states.get(channel.name, ChannelState(name=channel.name))) for channel in self._channels]
        return all(
            self._drill_plan(channel, state, now) == state.next_drill_at
            and self._report_plan(channel, now) == state.next_report_at
            for channel, state in known
        )

    def _queue_due(self, conn: Connection) -> set[str]:
        now, states = self._clock.now(), channel_states.all_states(conn)
        queued: set[str] = set()
        for channel in self._channels:
            state = states.get(channel.name, ChannelState(name=channel.name))
            if _is_due(state.next_drill_at, now) and channel.drill_every is not None:
                _queue(conn, _drill(channel, state, now), channel, now)
                queued.add(channel.name)
            if _is_due(state.next_report_at, now) and channel.report is not None:
                _queue(conn, self._report(conn, channel, states, now), channel, now)
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
        return recurrence.next_weekly(now, weekday=channel.report.weekday, at=channel.report.time, zone=self._zone)

    def _takes(self, channel: ChannelConfig, row: ConnectionRow) -> bool:
        """Return True if the channel's filters include a connection of the sources that it takes."""
        platform = row.state.snapshot.platform
        if channel.platforms is not None and not matches_any(platform, channel.platforms):
            return False
        own = next((source.labels for source in self._sources if source.name == row.source), {})
        return has_labels(own if row.labels is None else row.labels, channel.labels)

    def _report(self, conn: Connection, channel: ChannelConfig, states: dict[str, ChannelState], now: datetime) -> Alert:
        needs = []
        counts: dict[Status, int] = {}
        wanted = [source.name for source in self._sources if channel.sources is None or matches_any(source.name, channel.sources)]
        for row in connection_queries.list_connections(conn, ConnectionFilter(sources=wanted)):
            if not self._takes(channel, row):
                continue
            status = row.state.verdict.status
            counts[status] = counts.get(status, 0) + 1
            info = provider_info(row.provider)
            need = forecast.need_of(row.state, connection=row.public_id, source=row.source, provider=info, now=now, within=AHEAD)
            if need is not None:
                needs.append(need)
        batches = forecast.reconnect_batches(needs)
        known = [states.get(each.name, ChannelState(name=each.name)) for each in self._channels]
        return _alert(
            AlertEvent.REPORT,
            channel,
            now,
            message="\n".join(report_lines(batches, counts, known, now=now, ahead=AHEAD, zone=self._zone)),
            chart=timeline(batches, now=now, ahead=AHEAD, zone=self._zone) if batches else None,
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


__all__ = ["AHEAD", "Reporter"]
