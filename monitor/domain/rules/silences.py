"""Silences: what they match, and when they are active. Pure; an unusable silence matches nothing and never raises."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase

from monitor.domain.rules.labels import has_labels
from monitor.domain.rules.recurrence import windows
from monitor.domain.timefmt import zone

NO_END = datetime(9999, 1, 1, tzinfo=UTC)
"""The end of a silence without an end."""

_JOINED_AHEAD = timedelta(days=400)
"""Period within which adjoining windows are joined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """A rule that suppresses alerts for a time. State is still recorded; at the end the net change is notified.

    The matchers are ANDed; an empty one matches everything. Within one, any of several values matches; labels must all match.
    """

    id: int = 0
    sources: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    """Common platform slugs."""
    connections: tuple[str, ...] = ()
    """Globs on the public id or on the provider's own id; case-sensitive."""
    reconnected: frozenset[str] = frozenset()
    """Public ids of the connections that had a matching id before a reconnect."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """All must match; values are patterns."""
    comment: str = ""
    starts_at: datetime
    """With an rrule also the local time at which each window begins."""
    ends_at: datetime | None = None
    """None: until it is removed."""
    rrule: str | None = None
    lasts: timedelta | None = None
    """Length of each window of an rrule, by the wall clock."""
    timezone: str = "UTC"
    """Time zone of the rrule."""
    created_at: datetime | None = None
    author: str | None = None
    removed_at: datetime | None = None
    removed_by: str | None = None
    named: frozenset[str] = field(init=False, repr=False, compare=False)
    """The ids among `connections`: found directly, because a silence may name many."""
    patterns: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """The other globs among `connections`."""

    def __post_init__(self) -> None:
        ids = {glob: named_by(glob) for glob in self.connections}
        object.__setattr__(self, "named", frozenset(self.connections) | {each for each in ids.values() if each is not None})
        object.__setattr__(self, "patterns", tuple(glob for glob, each in ids.items() if each is None))


def matches(
    silence: Silence,
    *,
    source: str,
    platform: str | None,
    connection: str | None,
    external_id: str | None,
    labels: Mapping[str, str],
) -> bool:
    """Return True if a silence matches this connection; a whole source if platform, connection and external_id are None.

    A silence that names platforms or connections never matches a whole source.
    """
    if silence.sources and source not in silence.sources:
        return False
    if silence.platforms and platform not in silence.platforms:
        return False
    if silence.connections and connection not in silence.reconnected and not matches_id(silence, connection, external_id):
        return False
    return has_labels(labels, silence.labels)


def matches_id(silence: Silence, *ids: str | None) -> bool:
    """Return True if a glob of the silence matches one of these ids."""
    given = [text for text in ids if text is not None]
    return any(text in silence.named for text in given) or any(
        _matches_glob(text, glob) for text in given for glob in silence.patterns
    )


_ESCAPED = re.compile(r"\[([*?\[])\]")


def literal(public_id: str) -> str:
    """Return a glob that matches only this id."""
    return re.sub(r"[*?\[]", r"[\g<0>]", public_id)


def named_by(glob: str) -> str | None:
    """Return the id that a glob from literal() matches; None for any other glob that may match several ids."""
    name = _ESCAPED.sub(r"\1", glob)
    return name if literal(name) == glob else None


def active_until(silence: Silence, now: datetime) -> datetime | None:
    """Return the end of the current window, None outside of one. Adjoining windows count as one; NO_END means no end.

    A window includes its first instant and not its last.
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
    """Return the current window, else the next one; None if there is none."""
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
    """Return the latest end among the active silences that match; None if none does."""
    ends = [
        until
        for silence in silences
        if matches(silence, source=source, platform=platform, connection=connection, external_id=external_id, labels=labels)
        and (until := active_until(silence, now)) is not None
    ]
    return max(ends, default=None)


def _window_end(silence: Silence, now: datetime) -> datetime | None:
    """Return the end of the current window, joined with those that adjoin it."""
    end: datetime | None = None
    where = zone(silence.timezone)
    for begin, its_end in windows(silence.rrule or "", silence.starts_at, silence.lasts or timedelta(0), zone=where, after=now):
        if begin > (end or now) or begin > now + _JOINED_AHEAD:
            break
        end = max(end or its_end, its_end)
    return end


def _matches_glob(text: str, glob: str) -> bool:
    try:
        return fnmatchcase(text, glob)
    except re.error:
        return False
