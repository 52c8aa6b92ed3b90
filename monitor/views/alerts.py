"""Alerts as people look back at them: what was said, to whom, how often it was tried, and why not elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from msgspec import structs

from monitor.config import ChannelConfig, Config
from monitor.domain import Ack, Alert, ChannelRules, utc_text
from monitor.domain.filters import EVERY, ConnectionFilter
from monitor.domain.rules import routing
from monitor.domain.rules.recurrence import quiet_until
from monitor.store import Connection, alerts, incidents, outbox, silences
from monitor.store.alerts import AlertRow
from monitor.store.deliveries import DeliveryRow, alerts_sent_together
from monitor.views import json_types
from monitor.views.filters import resolve_labels
from monitor.views.silences import SilenceView, matches_alert


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertView:
    """An alert with its deliveries."""

    alert: Alert
    note: str | None
    """Why there is no delivery."""
    deliveries: tuple[DeliveryRow, ...]

    def json(self) -> json_types.AlertJson:
        """The shape of an alert, with its deliveries and their attempts."""
        alert = self.alert
        return json_types.AlertJson(
            id=alert.id,
            incident=alert.incident,
            event=alert.event,
            reason=alert.reason,
            severity=alert.severity,
            at=utc_text(alert.at),
            source=alert.source,
            provider=alert.provider,
            scope=alert.scope,
            connection=alert.connection,
            external_id=alert.external_id,
            platform=alert.platform,
            label=alert.label,
            status=alert.status or None,
            previous=alert.previous,
            rule=alert.verdict_reason or None,
            message=alert.message or None,
            since=utc_text(alert.since),
            expires_at=utc_text(alert.expires_at),
            stage_seconds=None if alert.stage is None else int(alert.stage.total_seconds()),
            labels=dict(alert.labels),
            note=self.note,
            deliveries=[_delivery(row) for row in self.deliveries],
        )


def _delivery(row: DeliveryRow) -> json_types.DeliveryJson:
    return json_types.DeliveryJson(
        channel=row.channel,
        state=row.state,
        created_at=utc_text(row.created_at),
        next_attempt_at=utc_text(row.next_attempt_at),
        sent_at=utc_text(row.sent_at),
        last_error=row.last_error,
        may_repeat=row.uncertain,
        attempts=[
            json_types.AttemptJson(
                number=attempt.number,
                started_at=utc_text(attempt.started_at),
                finished_at=utc_text(attempt.finished_at),
                outcome=attempt.outcome,
                detail=attempt.detail,
            )
            for attempt in row.attempts
        ],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What one configured channel makes of an alert."""

    channel: str
    group_wait: timedelta
    refused_by: str | None
    """The filter that refuses it, as the configuration calls it, or `fallback`; None where the channel takes the alert."""
    after: timedelta | None = None
    """It is said there only if it is still open and unacknowledged after this long."""
    quiet_until: datetime | None = None
    """The end of the channel's quiet hours that held when the alert was decided; None where there were none for it."""

    def json(self) -> dict[str, Any]:
        """The shape of a route."""
        seconds = int(self.group_wait.total_seconds())
        return {
            "channel": self.channel,
            "takes": self.refused_by is None,
            "refused_by": self.refused_by,
            "group_wait": seconds,
            "after": None if self.after is None else int(self.after.total_seconds()),
            "quiet_until": utc_text(self.quiet_until),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why an alert was or was not sent."""

    view: AlertView
    routes: tuple[Route, ...]
    """Every configured channel, judged by the configuration of now."""
    ack: Ack | None = None
    """The acknowledgement of its incident, while that is open."""
    silences: tuple[SilenceView, ...] = ()
    """Those that keep quiet about it now."""
    together: Mapping[str, int] = field(default_factory=dict)
    """By channel that has it, how many alerts were said there in one message."""

    def json(self) -> dict[str, Any]:
        """The alert's shape with `routes`, `acked_at`, `silences` and `alerts_sent_together`."""
        return {
            **structs.asdict(self.view.json()),
            "routes": [route.json() for route in self.routes],
            "acked_at": utc_text(self.ack.at if self.ack else None),
            "silences": [silence.json() for silence in self.silences],
            "said_together": [{"channel": channel, "alerts": count} for channel, count in self.together.items()],
        }


def alert_views(
    conn: Connection, config: Config, *, filters: ConnectionFilter = EVERY, limit: int | None = None
) -> list[AlertView]:
    """The selected alerts, newest first. A status filter takes the alert's event and the connection's status."""
    chosen = resolve_labels(filters, config)
    # Only the database's own filters may be cut short by it.
    early = limit if chosen.statuses is None else None
    rows = alerts.list_alerts(conn, source=chosen.sources, platform=chosen.platforms, limit=early)
    rows = [row for row in rows if chosen.matches_status(row.alert.event, row.alert.status)][:limit]
    deliveries = outbox.deliveries_of_many(conn, [row.alert.id for row in rows])
    return [_view(row, deliveries.get(row.alert.id, ())) for row in rows]


def explain(conn: Connection, config: Config, text: str, *, now: datetime) -> Explanation | None:
    """The alert of this id, or of the only one that holds it; None when there is none. Raises NotOneAlert for several."""
    row = alerts.find_alert(conn, text)
    if row is None:
        return None
    view = _view(row, outbox.deliveries_of(conn, row.alert.id))
    incident = incidents.find_incident(conn, row.alert.incident)
    quiet = (SilenceView(silence=each, now=now) for each in silences.all_current(conn, now) if matches_alert(each, row.alert))
    return Explanation(
        view=view,
        routes=tuple(_routes(row.alert, config)),
        ack=incident.ack if incident is not None and incident.closed_at is None else None,
        silences=tuple(each for each in quiet if each.active_until is not None),
        together=alerts_sent_together(conn, view.deliveries),
    )


def _routes(alert: Alert, config: Config) -> Iterator[Route]:
    """What each channel makes of an alert: a fallback takes only what no other one does."""
    refusals = {channel.name: _refused_by(alert, channel) for channel in config.channels}
    taken = any(refusals[channel.name] is None and not channel.fallback for channel in config.channels)
    for channel in config.channels:
        refused = refusals[channel.name]
        quiet = quiet_until(channel.quiet_hours, alert.at, severity=alert.severity, timezone=config.timezone)
        yield Route(
            channel=channel.name,
            group_wait=channel.group_wait,
            refused_by="fallback" if refused is None and channel.fallback and taken else refused,
            after=channel.after,
            quiet_until=quiet,
        )


def _view(row: AlertRow, deliveries: Sequence[DeliveryRow]) -> AlertView:
    return AlertView(alert=row.alert, note=row.note, deliveries=tuple(deliveries))


def _refused_by(alert: Alert, channel: ChannelConfig) -> str | None:
    # Each filter alone: routing itself decides.
    alone = (
        ChannelRules(name="events", events=channel.events),
        ChannelRules(name="severity", severity=channel.severity),
        ChannelRules(name="sources", sources=channel.sources),
        ChannelRules(name="platforms", platforms=channel.platforms),
        ChannelRules(name="labels", labels=channel.labels),
    )
    return next((single.name for single in alone if not routing.route(alert, [single])), None)
