"""Routing: the channels that take an alert. Filters are ANDed; an absent filter accepts everything."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.domain import Alert, AlertEvent, ChannelRules
from monitor.domain.records import replace
from monitor.domain.rules.globs import matches_any
from monitor.domain.rules.labels import has_labels
from monitor.domain.rules.source_reach import Unmonitored

_ABOUT_THE_MONITOR = frozenset({AlertEvent.MONITOR_PROBLEM, AlertEvent.MONITOR_RECOVERED})


def route(alert: Alert, channels: Sequence[ChannelRules]) -> list[str]:
    """Return the names of the channels that take this alert, in the order given; empty if none does.

    Alerts about the monitor itself ignore the source, platform and label filters (INTERFACE: Alerts). An alert about a
    whole source ignores the platform filter: a source that cannot be read affects every platform. It is routed by the labels of
    the source and by those of each of its connections.
    """
    return [channel.name for channel in channels if _takes(channel, alert)]


def as_seen_by(channel: ChannelRules, alert: Alert) -> Alert:
    """Return an alert about a source as a channel with a filter by label gets it: it counts only the connections that match."""
    if not channel.labels or not alert.label_sets:
        return alert
    counted = zip(alert.label_sets, alert.label_counts, strict=False)
    count = sum(number for labels, number in counted if has_labels(labels, channel.labels))
    if count == 0:  # the source itself has the labels
        return alert
    message = alert.message
    if alert.cause is not None:
        message = Unmonitored(count=count, since=alert.unmonitored_since).explain(alert.cause)
    return replace(alert, count=count, message=message)


def wants(channel: ChannelRules, event: AlertEvent) -> bool:
    """Return True if a channel takes this kind of event at all: decides about recoveries of notified problems."""
    return channel.events is None or event in channel.events


def _takes(channel: ChannelRules, alert: Alert) -> bool:
    if not wants(channel, alert.event):
        return False
    if alert.severity.rank < channel.severity.rank:
        return False
    if alert.event in _ABOUT_THE_MONITOR:
        return True
    if channel.sources is not None and not matches_any(alert.source, channel.sources):
        return False
    if channel.platforms is not None and alert.platform is not None and not matches_any(alert.platform, channel.platforms):
        return False
    return not channel.labels or any(has_labels(each, channel.labels) for each in (alert.labels, *alert.label_sets))
