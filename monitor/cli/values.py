"""Parsing of the times, durations, numbers and words given as arguments."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, time, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

import typer

from monitor.config import parse_duration
from monitor.config.error_text import nearest
from monitor.config.formatting import LONGEST
from monitor.domain.text import clean
from monitor.domain.timefmt import zone

HELP = 'WHEN is "2h", "08:00", "tomorrow 08:00", "mon 08:00", or a date such as "2026-12-01 08:00".'
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)", re.ASCII)
_DAY = timedelta(days=1)


def parse_when(text: str, *, now: datetime, timezone: str, option: str, today: bool = False) -> datetime:
    """Parse a time in the configured time zone, unless it names another; return it in UTC, in whole seconds.

    A duration counts from now. A time of day is its next occurrence, or with `today` the one of this day. A day alone is
    its first minute. Raises a usage error that lists the accepted forms.
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
    raise typer.BadParameter(f"{option} is not a valid time: {shown}. {HELP}")


def later_when(text: str, *, now: datetime, timezone: str, option: str) -> datetime:
    """Parse a time as parse_when() does. Raises a usage error if it is not in the future."""
    found = parse_when(text, now=now, timezone=timezone, option=option)
    if found <= now:
        raise typer.BadParameter(f"{option} is in the past: {clean(text, limit=60)}.")
    return found


def parse_length(text: str, *, option: str) -> timedelta:
    """Parse a duration of at least one minute. Raises a usage error."""
    length = parse_duration(text)
    if length is None or length > LONGEST:
        raise typer.BadParameter(f'{option} is not a valid duration: {clean(text, limit=60)}. Examples: "2h", "24h", "7d".')
    if length < timedelta(minutes=1):
        raise typer.BadParameter(f"{option} is {clean(text, limit=60)}; it must be at least 1m.")
    return length


def parse_wait(text: str) -> timedelta:
    """Parse a duration of one second to one hour. Raises a usage error."""
    length = parse_duration(text)
    if length is None or not timedelta(seconds=1) <= length <= timedelta(hours=1):
        raise typer.BadParameter(f'{clean(text, limit=60)} is not a duration from 1s to 1h, such as "60s".')
    return length


def _from_now(words: str, now: datetime) -> datetime | None:
    length = parse_duration(words)
    if length is None:
        return now if words == "now" else None
    return now + length


def _by_day(words: str, here: datetime, *, today: bool) -> datetime | None:
    """Parse 08:00, today 08:00, tomorrow, tomorrow 08:00 or mon 08:00; always in the future, unless it names today."""
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


Chosen = TypeVar("Chosen", bound=str)
_LONGEST = 80


def shown(text: str) -> str:
    """Return the argument as an error message may quote it."""
    return clean(text, limit=_LONGEST, otherwise="nothing")


def whole_number(least: int, most: int) -> Callable[[str | int], int]:
    """Return a parser of whole numbers within these bounds."""

    def parse(text: str | int) -> int:
        typed = str(text).strip()
        number = int(typed) if typed.isascii() and typed.removeprefix("-").isdigit() and len(typed) < 10 else None
        if number is None or not least <= number <= most:
            raise typer.BadParameter(f"{shown(typed)} is not valid: it must be a whole number from {least} to {most}.")
        return number

    return parse


def number_from(least: int) -> Callable[[str | float], float]:
    """Return a parser of numbers that are not below this one."""

    def parse(text: str | float) -> float:
        typed = str(text).strip()
        try:
            number = float(typed)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and number >= least):
            raise typer.BadParameter(f"{shown(typed)} is not valid: it must be a number of at least {least}.")
        return number

    return parse


def one_of(kind: str, allowed: Iterable[Chosen]) -> Callable[[str], Chosen]:
    """Return a parser of these words; its usage error suggests the nearest one."""
    words = list(allowed)

    def parse(text: str) -> Chosen:
        if text in words:
            return words[words.index(text)]
        near = nearest(text, words)
        hint = f"did you mean {near}? Allowed" if near else "allowed"
        raise typer.BadParameter(f"Unknown {kind} {shown(text)}; {hint}: {', '.join(words)}.")

    return parse
