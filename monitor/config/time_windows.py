"""Weekly times, the plan of reports, and parsing of quiet hours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import time
from typing import Any

from monitor.config.error_text import describe, refuse, suggestion
from monitor.domain import QuietHours, Severity
from monitor.domain.records import Record, field

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
_KEYS = ("from", "to", "days", "except", "timezone")


class WeeklyTime(Record, frozen=True):
    """One time of the week, in the configured time zone."""

    weekday: int
    """Monday is 0."""
    time: time


def weekly_time(value: Any) -> WeeklyTime | None:
    """Return a day and time such as "mon 08:00"; None for "off"."""
    if value == "off":
        return None
    day, _, clock = value.strip().partition(" ") if isinstance(value, str) else ("", "", "")
    at = _clock(clock)
    if day not in DAYS or at is None:
        refuse(f'is {describe(value)}, but must be a day and time such as "mon 08:00", or "off".')
    return WeeklyTime(DAYS.index(day), at)


class ReportPlan(Record, frozen=True, kw_only=True):
    """When a channel gets its report, and what the report is about, in addition to the channel's filters."""

    at: WeeklyTime
    days: int = 7
    """The period that the report looks back on."""
    sources: tuple[str, ...] | None = None
    """Names or patterns; None: those of the channel."""
    platforms: tuple[str, ...] | None = None
    """Platforms or patterns; None: those of the channel."""
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Labels that a connection must have, all of them; values are patterns, any of which may match."""


def quiet_hours(value: Any) -> tuple[QuietHours, ...]:
    """Return the windows of a list of tables."""
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        refuse(f'is {describe(value)}, but must be a list of tables, such as [{{ from = "22:00", to = "07:00" }}].')
    return tuple(_window(item) for item in value)


def _window(item: Mapping[str, Any]) -> QuietHours:
    for key in item:
        if key not in _KEYS:
            refuse(f"contains the unknown key {describe(key)}{suggestion(str(key), _KEYS, otherwise='the known keys are')}")
    begin, end = (_required_clock(item, key) for key in ("from", "to"))
    days = _days(item.get("days"))
    least = _severity(item.get("except"))
    timezone = item.get("timezone")
    if timezone is not None and not isinstance(timezone, str):
        refuse(f"contains {describe(timezone)} for timezone, but needs text in quotes.")
    if begin == end and days is None and least is None:
        refuse('contains a window that covers all of every day: no alert would be sent. Add days or except = "critical".')
    return QuietHours(from_time=begin, to_time=end, days=days, except_severity=least, timezone=timezone)


def _required_clock(item: Mapping[str, Any], key: str) -> time:
    if key not in item:
        refuse(f"contains a window without {key}: each window needs from and to.")
    at = _clock(item[key])
    if at is None:
        refuse(f'contains {describe(item[key])} for {key}, but needs a time of day such as "22:00".')
    return at


def _clock(value: Any) -> time | None:
    if value == "24:00":
        return time(0)
    match = _CLOCK.fullmatch(value.strip()) if isinstance(value, str) else None
    return time(int(match[1]), int(match[2])) if match else None


def _days(value: Any) -> frozenset[int] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not value:
        what = "an empty list" if value == [] else describe(value)
        refuse(f'contains {what} for days, but needs a list of days such as ["sat", "sun"].')
    for day in value:
        if day not in DAYS:
            end = suggestion(day, DAYS, otherwise="use") if isinstance(day, str) else f"; use {', '.join(DAYS)}."
            refuse(f"contains {describe(day)}, which is not a day{end}")
    return frozenset(DAYS.index(day) for day in value)


def _severity(value: Any) -> Severity | None:
    words = [severity.value for severity in Severity]
    if value is None:
        return None
    if value not in words:
        end = suggestion(value, words, otherwise="use") if isinstance(value, str) else f"; use {', '.join(words)}."
        refuse(f"contains {describe(value)} for except, which is not a severity{end}")
    return Severity(value)
