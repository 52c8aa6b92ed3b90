"""Silences as they are shown: their state, and what they match."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from monitor.domain import Alert, utc_text
from monitor.domain.rules import silences as rules
from monitor.domain.rules.silences import Silence
from monitor.store import Connection, silences
from monitor.views import json_types


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


def matches_alert(silence: Silence, alert: Alert) -> bool:
    """Return True if a silence matches an alert, active or not."""
    return rules.matches(
        silence,
        source=alert.source,
        platform=alert.platform,
        connection=alert.connection,
        external_id=alert.external_id,
        labels=alert.labels,
    )
