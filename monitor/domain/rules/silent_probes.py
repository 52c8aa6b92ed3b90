"""Connections whose probes have given no evidence for a day: they are in fact not tested, although nothing was refused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from monitor.domain.rules.advice import PLATFORM_NAMES
from monitor.domain.text import clean

SILENT_FOR = timedelta(days=1)
"""Time for which the probes of a connection must give no evidence before this is notified."""
_ANSWER_LENGTH = 80
_NAMED = 3


class SilentGroup(NamedTuple):
    """The connections of one platform of a source that no alert reports otherwise."""

    platform: str
    silent: int
    """The number whose probes have given no evidence for SILENT_FOR."""
    of: int
    """The number of probed connections."""
    since: datetime | None
    """The time of the earliest probe without evidence; None if no connection is silent."""


def is_check_due(last_poll_at: datetime | None, now: datetime) -> bool:
    """Return True at the first poll of every hour: counting reads all connections of the source."""
    return last_poll_at is None or _hour(last_poll_at) != _hour(now)


def describe(groups: Sequence[SilentGroup], answer: str | None) -> str:
    """Return how many connections cannot be tested, since when, and an answer of their probes. At least one group is silent."""
    silent = [group for group in groups if group.silent]
    number = sum(group.silent for group in silent)
    since = min(group.since for group in silent if group.since is not None)
    some = "1 connection" if number == 1 else f"{number} connections"
    whole = [PLATFORM_NAMES.get(each.platform, clean(each.platform)) for each in silent if each.silent == each.of > 1]
    named = ", ".join(whole[:_NAMED]) + (f" and {len(whole) - _NAMED} more platforms" if len(whole) > _NAMED else "")
    among = f" (all of {named})" if whole else ""
    text = clean(answer, limit=_ANSWER_LENGTH)
    why = f" (answer: '{text}')" if text else ""
    return f"{some}{among} could not be tested since {since:%Y-%m-%d %H:%M} UTC{why}. Their status in the list still applies."


def _hour(instant: datetime) -> datetime:
    return instant.replace(minute=0, second=0, microsecond=0)
