"""WHEN: an instant as people type it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import typer

from monitor.config import parse_duration
from monitor.config.durations import LONGEST
from monitor.domain.text import clean
from monitor.domain.timefmt import zone

HELP = 'WHEN is "2h", "08:00", "tomorrow 08:00", "mon 08:00", or a date such as "2026-12-01 08:00".'
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)", re.ASCII)
_DAY = timedelta(days=1)


def parse_when(text: str, *, now: datetime, timezone: str, option: str, today: bool = False) -> datetime:
    """The instant that was typed, in the configured time zone where it names none; aware UTC, whole seconds.

    A duration counts from now; a time alone is the next such time, or with `today` the one of this day; a day alone is
    its first minute. Raises a usage error that shows what can be written.
    """
    where = zone(timezone)
    words = text.strip().lower()
    try:
        found = (
            _from_now(words, now) or _by_day(words, now.astimezone(where or UTC), today=today) or _by_date(text.strip(), where)
        )
        if found is not None:
            return found.astimezone(UTC).replace(microsecond=0)
    except (OverflowError, ValueError):
        pass
    shown = clean(text, limit=60, otherwise="nothing")
    raise typer.BadParameter(f"{option} is {shown}, which is no time. {HELP}")


def later_when(text: str, *, now: datetime, timezone: str, option: str) -> datetime:
    """The same for an end. Raises a usage error where it does not lie ahead."""
    found = parse_when(text, now=now, timezone=timezone, option=option)
    if found <= now:
        raise typer.BadParameter(f"{option} is {clean(text, limit=60)}, which lies in the past.")
    return found


def parse_length(text: str, *, option: str) -> timedelta:
    """A length of time of at least a minute. Raises a usage error."""
    length = parse_duration(text)
    if length is None or length > LONGEST:
        raise typer.BadParameter(f'{option} is {clean(text, limit=60)}, but a duration is needed, such as "2h", "24h" or "7d".')
    if length < timedelta(minutes=1):
        raise typer.BadParameter(f"{option} is {clean(text, limit=60)}, but it must be at least 1m.")
    return length


def _from_now(words: str, now: datetime) -> datetime | None:
    length = parse_duration(words)
    if length is None:
        return now if words == "now" else None
    return now + length


def _by_day(words: str, here: datetime, *, today: bool) -> datetime | None:
    """08:00, today 08:00, tomorrow, tomorrow 08:00, mon 08:00; always ahead, save what names today."""
    day, _, clock = words.partition(" ")
    if _TIME.fullmatch(day) and not clock:
        found = _at(here, 0, day)
        return found if today or found is None or found > here else _at(here, 1, day)
    if day in ("today", "tomorrow"):
        return _at(here, int(day == "tomorrow"), clock.strip() or "00:00")
    number = next((index for index, name in enumerate(_DAYS) if len(day) >= 3 and name.startswith(day)), None)
    if number is None:
        return None
    ahead = (number - here.weekday()) % 7
    found = _at(here, ahead, clock.strip() or "00:00")
    return found if found is None or found > here else _at(here, ahead + 7, clock.strip() or "00:00")


def _at(here: datetime, days: int, clock: str) -> datetime | None:
    match = _TIME.fullmatch(clock)
    if match is None:
        return None
    return datetime.combine((here + days * _DAY).date(), time(int(match[1]), int(match[2])), tzinfo=here.tzinfo)


def _by_date(text: str, where: ZoneInfo | None) -> datetime | None:
    if not re.match(r"\d{4}-\d{2}-\d{2}", text):
        return None
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=where or UTC)
