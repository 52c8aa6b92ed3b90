"""The fields of a form that describe when a silence is active, and why it exists."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

from monitor.config import Config
from monitor.domain.errors import MonitorError
from monitor.domain.rules import recurrence
from monitor.domain.rules.silences import Silence
from monitor.domain.timefmt import zone
from monitor.views.silences import SilenceView
from monitor.web.auth import Visit

LENGTHS = {
    "1h": ("1 hour", timedelta(hours=1)),
    "4h": ("4 hours", timedelta(hours=4)),
    "8h": ("8 hours", timedelta(hours=8)),
    "1d": ("1 day", timedelta(days=1)),
    "3d": ("3 days", timedelta(days=3)),
    "7d": ("7 days", timedelta(days=7)),
    "30d": ("30 days", timedelta(days=30)),
}
"""The durations that the forms offer for acknowledgements and silences."""
ENDLESS = "removed"
"""The length of a silence that lasts until it is removed."""
WEEKDAYS = {
    "MO": "Monday",
    "TU": "Tuesday",
    "WE": "Wednesday",
    "TH": "Thursday",
    "FR": "Friday",
    "SA": "Saturday",
    "SU": "Sunday",
}
LONGEST_COMMENT = 400
SINGLE = ("for", "comment", "from", "until", "repeat", "at", "to")
"""The fields with one value. `day` may have several."""


class InvalidForm(MonitorError):
    """The form's values are not valid."""


def filled_in(visit: Visit) -> dict[str, Any]:
    """Return the form's values, to show the form again with them."""
    return {**{key: visit.field(key) for key in SINGLE}, "day": visit.form.get("day", [])}


def times_of(visit: Visit, config: Config, now: datetime) -> dict[str, Any]:
    """Return the times of a silence: once, or every day or week. Raise InvalidForm."""
    if visit.field("repeat"):
        return _recurring(visit, config, now)
    starts, ends = _period(visit, config, now)
    return {"starts_at": starts, "ends_at": ends, "timezone": config.timezone}


def length_of(key: str) -> timedelta:
    """Return an offered duration. Raise InvalidForm for any other."""
    if key not in LENGTHS:
        raise InvalidForm("This length is not offered.")
    return LENGTHS[key][1]


def comment_of(visit: Visit, *, required: bool = False) -> str:
    """Return the comment. Raise InvalidForm if it is too long, or absent although it is required."""
    text = visit.field("comment")
    if required and not text:
        raise InvalidForm("Give a reason.")
    if len(text) > LONGEST_COMMENT:
        raise InvalidForm(f"The comment is too long: at most {LONGEST_COMMENT} characters.")
    return text


def _period(visit: Visit, config: Config, now: datetime) -> tuple[datetime, datetime | None]:
    """Return the start and end of a silence, from two dates or a length."""
    begin, end, length = visit.field("from"), visit.field("until"), visit.field("for")
    starts = _local(begin, config) if begin else now
    if end and length not in ("", ENDLESS):
        raise InvalidForm("Give either an end or a length, not both.")
    if end:
        ends: datetime | None = _local(end, config)
    elif length == ENDLESS:
        ends = None
    elif length:
        ends = starts + length_of(length)
    else:
        raise InvalidForm("Give an end or a length.")
    if ends is not None and ends <= max(starts, now):
        raise InvalidForm("The end must be in the future and after the start.")
    return starts, ends


def _recurring(visit: Visit, config: Config, now: datetime) -> dict[str, Any]:
    """Return the times of a silence that recurs, by its days and times of day."""
    begin, end = _time_of_day(visit.field("at")), _time_of_day(visit.field("to"))
    where = zone(config.timezone) or UTC
    first = _local(visit.field("from"), config) if visit.field("from") else now
    starts = datetime.combine(first.astimezone(where).date(), begin, tzinfo=where).astimezone(UTC)
    ends = _local(visit.field("until"), config) if visit.field("until") else None
    lasts = timedelta(hours=end.hour - begin.hour, minutes=end.minute - begin.minute)
    rule = _rule(visit)
    found: dict[str, Any] = {
        "starts_at": starts,
        "ends_at": ends,
        "rrule": rule,
        "lasts": lasts if lasts > timedelta(0) else lasts + timedelta(days=1),
        "timezone": config.timezone,
    }
    local = starts.astimezone(where).replace(tzinfo=None)
    if not recurrence.recurs(rule, local) or SilenceView(silence=Silence(**found), now=now).window is None:
        raise InvalidForm("The silence would never be active: give a later end.")
    return found


def _rule(visit: Visit) -> str:
    match visit.field("repeat"):
        case "daily":
            return "FREQ=DAILY"
        case "weekly":
            days = [day for day in WEEKDAYS if day in visit.form.get("day", [])]
            if not days:
                raise InvalidForm("Choose at least one day of the week.")
            return f"FREQ=WEEKLY;BYDAY={','.join(days)}"
        case _:
            raise InvalidForm("This recurrence is not offered.")


def _time_of_day(text: str) -> time:
    try:
        return time.fromisoformat(text).replace(second=0, microsecond=0, tzinfo=None)
    except ValueError:
        raise InvalidForm("A recurring silence needs the times of day at which it begins and ends.") from None


def _local(text: str, config: Config) -> datetime:
    """Return a browser's date and time, given in the configured time zone."""
    try:
        found = datetime.fromisoformat(text)
        aware = found if found.tzinfo is not None else found.replace(tzinfo=zone(config.timezone) or UTC)
        return aware.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidForm("The date and time are not valid.") from None
