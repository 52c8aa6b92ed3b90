"""Time zones by their IANA names."""

from __future__ import annotations

import zoneinfo

from monitor.config.resolve import Loc, Reading
from monitor.config.wording import found, nearest


def timezone_problem(name: str) -> str | None:
    """Why this is no time zone that this machine knows, as the end of a sentence; None where it is one."""
    try:
        if name != "UTC":  # always known, even where the system has no time zone data
            zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        near = nearest(name, zoneinfo.available_timezones())
        end = f"; did you mean {near}?" if near else ', such as "Europe/Berlin" or "UTC".'
        return f"is {found(name)}, which is no IANA time zone{end}"
    return None


def checked_timezone(reading: Reading, loc: Loc, name: str) -> str:
    """The name; a mistake in it is noted."""
    problem = timezone_problem(name)
    if problem is not None:
        reading.findings.error(loc, problem)
    return name
