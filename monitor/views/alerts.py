"""Alerts with their deliveries, and explanations of their routing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from msgspec import structs

from monitor.config import ChannelConfig, Config
from monitor.domain import Ack, Alert, ChannelRules, utc_text
from monitor.domain.filters import EVERY, ConnectionFilter
from monitor.domain.rules import routing
from monitor.domain.rules.recurrence import quiet_until
from monitor.store import Connection, alerts, connection_queries, incidents, outbox, silences
from monitor.store.alerts import AlertRow
from monitor.store.deliveries import DeliveryRow, alerts_sent_together
from monitor.views import json_types
from monitor.views.label_filter import includes, resolve_labels
from monitor.views.silences import SilenceView, matches_alert


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertView:
    """An alert with its deliveries."""

    alert: Alert
    note: str | None
    """Reason for which there is no delivery."""
    deliveries: tuple[DeliveryRow, ...]

    def json(self) -> json_types.AlertJson:
        """Return the JSON form of the alert, with its deliveries and their attempts."""
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
    """The routing of an alert to one configured channel."""

    channel: str
    group_wait: timedelta
    refused_by: str | None
    """The configuration key of the filter that refuses it, or `fallback`; None if the channel accepts the alert."""
    after: timedelta | None = None
    """The channel is notified only if the incident is still open and unacknowledged after this time."""
    quiet_until: datetime | None = None
    """The end of the quiet hours that applied when the alert was recorded; None if there were none."""

    def json(self) -> dict[str, Any]:
        """Return the JSON form of the route."""
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
    """The reasons why an alert was or was not sent."""

    view: AlertView
    routes: tuple[Route, ...]
    """All configured channels, by the current configuration."""
    ack: Ack | None = None
    """The acknowledgement of its incident, if that is open."""
    silences: tuple[SilenceView, ...] = ()
    """The active ones that match it."""
    together: Mapping[str, int] = field(default_factory=dict)
    """The number of alerts in its message, by channel that received it."""

    def json(self) -> dict[str, Any]:
        """Return the JSON form of the alert with `routes`, `acked_at`, `silences` and `said_together`."""
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
    """Return the alerts that match, newest first. The condition on the status is on the event or the connection's status."""
    chosen = resolve_labels(conn, filters, config)
    # The database can apply the limit only if it applies all filters.
    early = limit if chosen.statuses is None else None
    rows = alerts.list_alerts(
        conn, source=chosen.sources, platform=chosen.platforms, stored_labels=chosen.stored_labels, limit=early
    )
    rows = [row for row in rows if chosen.matches_status(row.alert.event, row.alert.status)][:limit]
    deliveries = outbox.deliveries_of_many(conn, [row.alert.id for row in rows])
    return [_view(row, deliveries.get(row.alert.id, ())) for row in rows]


def explain(
    conn: Connection, config: Config, text: str, *, now: datetime, selection: ConnectionFilter = EVERY
) -> Explanation | None:
    """Return the alert with this id, or the only one whose id contains it; None if there is none. Raise NotOneAlert.

    A bound user sees only alerts about selected connections, without the routing to channels.
    """
    row = alerts.find_alert(conn, text)
    if row is None or not _is_selected(conn, config, selection, row):
        return None
    if selection.bound_to:
        return Explanation(view=limited(_view(row, outbox.deliveries_of(conn, row.alert.id))), routes=())
    view = _view(row, outbox.deliveries_of(conn, row.alert.id))
    incident = incidents.find_incident(conn, row.alert.incident)
    matching = (SilenceView(silence=each, now=now) for each in silences.all_current(conn, now) if matches_alert(each, row.alert))
    return Explanation(
        view=view,
        routes=tuple(_routes(row.alert, config)),
        ack=incident.ack if incident is not None and incident.closed_at is None else None,
        silences=tuple(each for each in matching if each.active_until is not None),
        together=alerts_sent_together(conn, view.deliveries),
    )


def _is_selected(conn: Connection, config: Config, selection: ConnectionFilter, row: AlertRow) -> bool:
    if not selection.bound_to:
        return True
    found = None if row.connection_id is None else connection_queries.get_connection(conn, row.connection_id)
    return found is not None and includes(conn, config, selection, found)


def limited(view: AlertView) -> AlertView:
    """Return the alert for a user who is bound to labels: without the errors of channels."""
    deliveries = (structs.replace(each, last_error=None, attempts=()) for each in view.deliveries)
    return replace(view, note=None, deliveries=tuple(deliveries))


def _routes(alert: Alert, config: Config) -> Iterator[Route]:
    """Yield the route to each channel. A fallback accepts only what no other channel accepts."""
    refusals = {channel.name: _refused_by(alert, channel) for channel in config.channels}
    accepted = any(refusals[channel.name] is None and not channel.fallback for channel in config.channels)
    for channel in config.channels:
        refused = refusals[channel.name]
        quiet = quiet_until(channel.quiet_hours, alert.at, severity=alert.severity, timezone=config.timezone)
        yield Route(
            channel=channel.name,
            group_wait=channel.group_wait,
            refused_by="fallback" if refused is None and channel.fallback and accepted else refused,
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
