"""Report a channel, a user or a share whose labels no longer match any connection, because a service renamed a user or workspace.

A filter that never matched is a warning of `config check`. One that a rename empties would go unnoticed: the channel would no
longer receive the alerts that it received before, and the page of the user or the share would be empty.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial

from monitor.config import ChannelConfig
from monitor.domain import IncidentReason, IncidentSubject
from monitor.domain.records import Record
from monitor.domain.rules.labels import ConnectionLabels, has_labels
from monitor.engine.applied_config import load_applied
from monitor.engine.recording.queueing import Recorded
from monitor.engine.recording.system_alerts import MONITOR, close_without_alert, record_monitor_alert
from monitor.store import Connection, incidents, label_sets, shares


class _Filter(Record, frozen=True):
    """The labels of a channel, a user or a share."""

    name: str
    """The name of the channel, or `user/` or `share/` and a name: names of channels have no slash."""
    text: str
    """A description, as the beginning of a sentence."""
    matches: Callable[[ConnectionLabels], bool]


def _filters(conn: Connection, channels: Iterable[ChannelConfig], now: datetime) -> Iterator[_Filter]:
    for channel in channels:
        if channel.labels:
            yield _Filter(channel.name, f"The label filter of the channel {channel.name}", partial(_has, channel))
    applied = load_applied(conn)
    for user in tomllib.loads(applied.text).get("web", {}).get("users", ()) if applied is not None else ():
        if user.get("labels"):
            yield _Filter(f"user/{user['name']}", f"The selection of the user {user['name']}", partial(_grants, user["labels"]))
    for share in shares.list_shares(conn):
        if share.is_open(now):
            yield _Filter(f"share/{share.id}", f"The selection of share {share.id}", partial(_grants, share.labels))


def _has(channel: ChannelConfig, labels: ConnectionLabels) -> bool:
    return has_labels(labels.values, channel.labels)


def _grants(required: Mapping[str, str], labels: ConnectionLabels) -> bool:
    return labels.grants(required)


def matching_filters(conn: Connection, channels: Sequence[ChannelConfig], now: datetime) -> set[str]:
    """Return the names of the filters that match the labels of at least one connection."""
    found = list(_filters(conn, channels, now))
    in_use = label_sets.in_use(conn) if found else []
    return {each.name for each in found if any(map(each.matches, in_use))}


def record_emptied_filters(
    conn: Connection, before: Iterable[str], *, channels: Sequence[ChannelConfig], now: datetime
) -> Recorded:
    """Alert about the filters that matched `before` and no longer do, and end the incidents of those that match again."""
    matching = matching_filters(conn, channels, now)
    texts = {each.name: each.text for each in _filters(conn, channels, now)}
    recorded = Recorded()
    for name in sorted(set(before) - matching):
        recorded.add(
            record_monitor_alert(
                conn,
                subject=IncidentSubject.FILTER.of(name),
                problem=True,
                reason=IncidentReason.FILTER_EMPTY,
                message=f"{texts[name]} no longer matches any connection, because the service renamed a "
                "user or workspace: change the filter, or add a [[labels]] rule for the new name.",
                channels=channels,
                now=now,
            )
        )
    recorded.add(end_empty_filters(conn, channels=channels, now=now))
    return recorded


def end_empty_filters(conn: Connection, *, channels: Sequence[ChannelConfig], now: datetime) -> Recorded:
    """End the incidents of filters that match again. Those of filters that no longer exist end without an alert."""
    recorded = Recorded()
    opened = IncidentSubject.FILTER.names_in(incidents.open_subjects(conn, MONITOR))
    if not opened:
        return recorded
    matching = matching_filters(conn, channels, now)
    texts = {each.name: each.text for each in _filters(conn, channels, now)}
    for name in sorted(opened):
        if name not in texts:
            close_without_alert(conn, MONITOR, IncidentSubject.FILTER.of(name), now)
        elif name in matching:
            recorded.add(
                record_monitor_alert(
                    conn,
                    subject=IncidentSubject.FILTER.of(name),
                    problem=False,
                    reason=IncidentReason.FILTER_MATCHES,
                    message=f"{texts[name]} matches connections again.",
                    channels=channels,
                    now=now,
                )
            )
    return recorded
