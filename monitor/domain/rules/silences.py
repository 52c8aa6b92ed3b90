"""Silences: what they match, and when they are in force. Pure; a silence that makes no sense matches nothing and never raises."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase

from monitor.domain.rules.recurrence import windows
from monitor.domain.timefmt import zone

NO_END = datetime(9999, 1, 1, tzinfo=UTC)
"""The end of what has no end."""

_LOOKED_AHEAD = timedelta(days=400)
"""How far windows that follow each other without a gap are joined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """What is not to be said, and when. State is recorded all the same; at the end the net change is said.

    The matchers are ANDed; an empty one is none. Within one, any of several values will do; of labels all must be there.
    """

    id: int = 0
    sources: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    """Common platform slugs."""
    connections: tuple[str, ...] = ()
    """Globs on the public id or on the provider's own id; letter case matters."""
    labels: Mapping[str, str] = field(default_factory=dict)
    comment: str = ""
    starts_at: datetime
    """With an rrule also the wall-clock time at which each window begins."""
    ends_at: datetime | None = None
    """None: until it is removed."""
    rrule: str | None = None
    lasts: timedelta | None = None
    """How long each window of an rrule is, by the wall clock."""
    timezone: str = "UTC"
    """Where the wall clock of the rrule hangs."""
    created_at: datetime | None = None
    removed_at: datetime | None = None


def matches(
    silence: Silence,
    *,
    source: str,
    platform: str | None,
    connection: str | None,
    external_id: str | None,
    labels: Mapping[str, str],
) -> bool:
    """Whether a silence is about this connection; about a whole source where platform, connection and external_id are None.

    A silence that names platforms or connections is never about a whole source.
    """
    if silence.sources and source not in silence.sources:
        return False
    if silence.platforms and platform not in silence.platforms:
        return False
    ids = [text for text in (connection, external_id) if text is not None]
    if silence.connections and not any(_fits(text, glob) for text in ids for glob in silence.connections):
        return False
    return all(labels.get(key) == value for key, value in silence.labels.items())


def active_until(silence: Silence, now: datetime) -> datetime | None:
    """The end of the present window, None outside of one: windows that touch count as one, NO_END is no end.

    A window holds its first instant and not its last.
    """
    if now < silence.starts_at or (silence.removed_at is not None and silence.removed_at <= now):
        return None
    last = silence.ends_at or NO_END
    if last <= now:
        return None
    if silence.rrule is None:
        return last
    end = _window_end(silence, now)
    return None if end is None else min(end, last)


def next_window(silence: Silence, now: datetime) -> tuple[datetime, datetime] | None:
    """The window that is open, else the next one; None where none will come."""
    if silence.removed_at is not None:
        return None
    until = active_until(silence, now)
    if until is not None:
        return now, until
    last = silence.ends_at or NO_END
    if silence.rrule is None:
        return (silence.starts_at, last) if now < silence.starts_at < last else None
    where = zone(silence.timezone)
    found = windows(silence.rrule, silence.starts_at, silence.lasts or timedelta(0), zone=where, after=now)
    begin, end = next(found, (NO_END, NO_END))
    return (max(begin, silence.starts_at), min(end, last)) if begin < last else None


def silenced_until(
    silences: Iterable[Silence],
    *,
    source: str,
    platform: str | None,
    connection: str | None,
    external_id: str | None,
    labels: Mapping[str, str],
    now: datetime,
) -> datetime | None:
    """The latest end among the silences that are in force and match; None where nothing is silenced."""
    ends = [
        until
        for silence in silences
        if matches(silence, source=source, platform=platform, connection=connection, external_id=external_id, labels=labels)
        and (until := active_until(silence, now)) is not None
    ]
    return max(ends, default=None)


def _window_end(silence: Silence, now: datetime) -> datetime | None:
    """The end of the window that holds now, with those that follow it without a gap."""
    end: datetime | None = None
    where = zone(silence.timezone)
    for begin, its_end in windows(silence.rrule or "", silence.starts_at, silence.lasts or timedelta(0), zone=where, after=now):
        if begin > (end or now) or begin > now + _LOOKED_AHEAD:
            break
        end = max(end or its_end, its_end)
    return end


def _fits(text: str, glob: str) -> bool:
    try:
        return fnmatchcase(text, glob)
    except re.error:
        return False
