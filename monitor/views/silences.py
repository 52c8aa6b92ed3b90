"""Silences as they are shown: their state, and what they match."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from monitor.config import Config
from monitor.domain import Alert, utc_text
from monitor.domain.errors import MonitorError
from monitor.domain.filters import ConnectionFilter
from monitor.domain.rules import silences as rules
from monitor.domain.rules.globs import escape
from monitor.domain.rules.silences import Silence
from monitor.domain.text import clean
from monitor.store import Connection, connection_queries, silences
from monitor.store.connection_queries import ConnectionRow
from monitor.views import json_types
from monitor.views.label_filter import resolve_labels


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceView:
    """A silence at one instant."""

    silence: Silence
    now: datetime

    @property
    def active_until(self) -> datetime | None:
        """The end of the current window, None outside a window."""
        return rules.active_until(self.silence, self.now)

    @property
    def window(self) -> tuple[datetime, datetime] | None:
        """The current window (from now on), else the next one; None if there is none."""
        return rules.next_window(self.silence, self.now)

    @property
    def state(self) -> str:
        """The state: active, coming, over or removed."""
        if self.silence.removed_at is not None:
            return "removed"
        if self.active_until is not None:
            return "active"
        return "over" if self.window is None else "coming"

    def is_endless(self, end: datetime) -> bool:
        """Return True if a window with this end lasts until the silence is removed."""
        return end >= rules.NO_END

    def json(self) -> json_types.SilenceJson:
        """Return the JSON form of the silence."""
        silence, window = self.silence, self.window
        return json_types.SilenceJson(
            id=silence.id,
            state=self.state,
            sources=list(silence.sources),
            platforms=list(silence.platforms),
            connections=list(silence.connections),
            labels=dict(silence.labels),
            comment=silence.comment,
            created_at=utc_text(silence.created_at),
            author=silence.author,
            starts_at=utc_text(silence.starts_at),
            ends_at=utc_text(silence.ends_at),
            rrule=silence.rrule,
            window_seconds=None if silence.lasts is None else int(silence.lasts.total_seconds()),
            timezone=silence.timezone,
            removed_at=utc_text(silence.removed_at),
            removed_by=silence.removed_by,
            active_until=utc_text(self.active_until),
            next_starts_at=None if window is None or self.active_until is not None else utc_text(window[0]),
        )


def silence_views(conn: Connection, *, now: datetime, everything: bool = False) -> list[SilenceView]:
    """Return active and coming silences, oldest first; with `everything` also those that are over or removed."""
    found = [SilenceView(silence=silence, now=now) for silence in silences.list_silences(conn, include_removed=everything)]
    return found if everything else [view for view in found if view.state in ("active", "coming")]


def selected_silences(
    conn: Connection, config: Config, selection: ConnectionFilter, *, now: datetime, everything: bool = False
) -> list[SilenceView]:
    """Return the silences that match selected connections, as silence_views() and as_shown()."""
    views = silence_views(conn, now=now, everything=everything)
    if all(is_confined(view.silence, selection.bound_to) for view in views):
        return views
    rows = list(connection_queries.list_connections(conn, resolve_labels(conn, selection, config), worst_first=False))
    labels = {source.name: source.labels for source in config.sources}

    def concerns(silence: Silence) -> bool:
        return any(_matches_row(silence, row, labels.get(row.source, {})) for row in rows)

    found = (view for view in views if is_confined(view.silence, selection.bound_to) or concerns(view.silence))
    return [as_shown(view, selection) for view in found]


def as_shown(view: SilenceView, selection: ConnectionFilter) -> SilenceView:
    """Return a silence as users with this selection see it.

    Matchers, comment and authors of a silence that matches other connections too may name them, so a bound user sees none.
    """
    if is_confined(view.silence, selection.bound_to):
        return view
    hidden: dict[str, Any] = dict.fromkeys(("sources", "platforms", "connections"), ())
    hidden |= {"comment": "", "author": None, "removed_by": None, "labels": dict(selection.bound_to)}
    return replace(view, silence=replace(view.silence, **hidden))


def is_confined(silence: Silence, labels: Mapping[str, str]) -> bool:
    """Return True if a silence matches only connections with these labels."""
    return all(silence.labels.get(key) == escape(value) for key, value in labels.items())


def confined(silence: Silence, labels: Mapping[str, str]) -> Silence:
    """Return the silence for connections with these labels alone. Raise MonitorError if it names other values of them."""
    required = {key: escape(value) for key, value in labels.items()}
    for key, value in required.items():
        if silence.labels.get(key, value) not in (value, labels[key]):
            raise MonitorError(f"You may silence only connections with {key}={clean(labels[key])}.")
    return replace(silence, labels={**silence.labels, **required})


def matches_alert(silence: Silence, alert: Alert) -> bool:
    """Return True if a silence, active or not, matches an alert about a connection: it suppresses no alert about a source."""
    return alert.connection is not None and rules.matches(
        silence,
        source=alert.source,
        platform=alert.platform,
        connection=alert.connection,
        external_id=alert.external_id,
        labels=alert.labels,
    )


def _matches_row(silence: Silence, row: ConnectionRow, source_labels: Mapping[str, str]) -> bool:
    """Return True if a silence matches a connection. The labels of its source count until it is labelled."""
    return rules.matches(
        silence,
        source=row.source,
        platform=row.state.snapshot.platform,
        connection=row.public_id,
        external_id=row.state.snapshot.external_id,
        labels=source_labels if row.labels is None else row.labels,
    )
