"""Report a channel whose filter by label no longer matches any connection, because a service renamed a user or workspace.

A filter that never matched is a warning of `config check`. One that a rename empties would go unnoticed: the channel
would no longer receive the alerts that it received before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from monitor.config import ChannelConfig
from monitor.domain import IncidentReason, IncidentSubject
from monitor.domain.rules.labels import has_labels
from monitor.engine.recording.queueing import Recorded
from monitor.engine.recording.system_alerts import MONITOR, close_without_alert, record_monitor_alert
from monitor.store import Connection, incidents, label_sets


def matching_channels(conn: Connection, channels: Sequence[ChannelConfig]) -> set[str]:
    """Return the channels with a filter by label that matches the labels of at least one connection."""
    if not any(channel.labels for channel in channels):
        return set()
    in_use = label_sets.in_use(conn)
    return {channel.name for channel in channels if channel.labels and any(has_labels(each, channel.labels) for each in in_use)}


def record_emptied_filters(
    conn: Connection, before: Iterable[str], *, channels: Sequence[ChannelConfig], now: datetime
) -> Recorded:
    """Alert about the channels that matched `before` and no longer do, and end the incidents of those that match again."""
    matching = matching_channels(conn, channels)
    recorded = Recorded()
    for name in sorted(set(before) - matching):
        recorded.add(
            record_monitor_alert(
                conn,
                subject=IncidentSubject.FILTER.of(name),
                problem=True,
                reason=IncidentReason.FILTER_EMPTY,
                message=f"The label filter of the channel {name} no longer matches any connection, because the service renamed a "
                "user or workspace: change the filter, or add a [[labels]] rule for the new name.",
                channels=channels,
                now=now,
            )
        )
    recorded.add(end_empty_filters(conn, matching, channels=channels, now=now))
    return recorded


def end_empty_filters(conn: Connection, matching: set[str], *, channels: Sequence[ChannelConfig], now: datetime) -> Recorded:
    """End the incidents of channels that match again. Those of channels without a filter by label end without an alert."""
    recorded = Recorded()
    filtered = {channel.name for channel in channels if channel.labels}
    for name in sorted(IncidentSubject.FILTER.names_in(incidents.open_subjects(conn, MONITOR))):
        if name not in filtered:
            close_without_alert(conn, MONITOR, IncidentSubject.FILTER.of(name), now)
        elif name in matching:
            recorded.add(
                record_monitor_alert(
                    conn,
                    subject=IncidentSubject.FILTER.of(name),
                    problem=False,
                    reason=IncidentReason.FILTER_MATCHES,
                    message=f"The label filter of the channel {name} matches connections again.",
                    channels=channels,
                    now=now,
                )
            )
    return recorded
