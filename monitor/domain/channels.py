"""The settings of a channel that decide which alerts it takes, and when. The configuration adds where they go."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import time, timedelta
from typing import Literal

from monitor.domain.enums import AlertEvent, Severity
from monitor.domain.records import Record, field


class QuietHours(Record, frozen=True, kw_only=True):
    """One window of the day in which a channel is quiet."""

    from_time: time
    """Local time at which it begins; with an equal `to_time` it lasts a whole day."""
    to_time: time
    """Local time at which it ends, on the next day if that is not later than its beginning."""
    days: frozenset[int] | None = None
    """Weekdays on which it begins, Monday is 0; None: every day."""
    except_severity: Severity | None = None
    """Lowest severity that is nevertheless sent; None: none is."""
    timezone: str | None = None
    """IANA time zone; None: the one of the monitor."""


class ChannelRules(Record, frozen=True, kw_only=True):
    """Filters, delays and reminders of a channel. Filters are ANDed; None and an empty mapping mean no filter."""

    name: str
    """Unique name."""
    events: frozenset[AlertEvent] | None = None
    severity: Severity = Severity.INFO
    """Least severity that it takes."""
    sources: tuple[str, ...] | None = None
    """Names or patterns, any of which may match."""
    platforms: tuple[str, ...] | None = None
    """Common platform slugs or patterns, any of which may match."""
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Labels that an alert must have, all of them; any of the patterns of a label may match its value."""
    group_wait: timedelta = timedelta(0)
    """Time for which alerts are collected for one message."""
    after: timedelta | None = None
    """Escalation: only incidents that are open and unacknowledged for this long; None: every alert, immediately."""
    fallback: bool = False
    """True if it takes the alerts that no other channel takes or could deliver."""
    remind_every: timedelta | Literal["inherit"] | None = "inherit"
    """Interval of reminders; None: never, "inherit": as in the policy."""
    quiet_hours: tuple[QuietHours, ...] = ()
