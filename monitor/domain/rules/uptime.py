"""Uptime: the time for which connections worked, did not work, or were not observed, and the durations of recoveries. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from monitor.domain import Severity, Status

_NONE = timedelta(0)

Change = tuple[datetime, Status, Status]
"""When a status changed, the status before, and the status after."""
Span = tuple[datetime, datetime]
"""The begin and the end of a period."""


@dataclass(frozen=True, slots=True)
class Hours:
    """The time of one connection, or the sum for several, within a period."""

    working: timedelta = _NONE
    """Time without trouble."""
    trouble: timedelta = _NONE
    """Time with the status failing, expired, revoked or disconnected."""
    unknown: timedelta = _NONE
    """Time with the status unknown, and time in which the source was not observed. It counts neither way."""

    def __add__(self, other: Hours) -> Hours:
        """Return the sum."""
        return Hours(self.working + other.working, self.trouble + other.trouble, self.unknown + other.unknown)

    @property
    def total(self) -> timedelta:
        """The whole time."""
        return self.working + self.trouble + self.unknown

    @property
    def uptime(self) -> float | None:
        """The share of the observed time without trouble, from 0 to 1; None if nothing was observed."""
        observed = self.working + self.trouble
        return self.working / observed if observed else None

    @property
    def unobserved(self) -> float:
        """The share of the whole time that counts neither way, from 0 to 1."""
        return self.unknown / self.total if self.total else 0.0


def is_trouble(status: Status) -> bool:
    """Return True if a connection with this status does not work."""
    return status.severity is Severity.CRITICAL


def hours_of(status: Status, changes: Sequence[Change], *, begin: datetime, end: datetime, gaps: Sequence[Span] = ()) -> Hours:
    """Return the hours of one connection from `begin` to `end`.

    `changes` are its changes of status, oldest first; those outside the period may be among them. `status` is its status after
    the last one. `gaps` are the periods in which its source was not observed; they must not overlap.
    """
    working = trouble = unknown = _NONE
    at = begin
    for instant, held in [*((instant, before) for instant, before, _ in changes), (end, status)]:
        until = min(max(instant, at), end)
        if until > at:
            hidden = sum((max(min(last, until) - max(first, at), _NONE) for first, last in gaps), _NONE)
            unknown += hidden
            if held is Status.UNKNOWN:
                unknown += until - at - hidden
            elif is_trouble(held):
                trouble += until - at - hidden
            else:
                working += until - at - hidden
        at = until
    return Hours(working, trouble, unknown)


def joined(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Return the same time as spans that neither overlap nor touch, oldest first."""
    found: list[Span] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((begin, end))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Recovery:
    """The end of a connection's trouble."""

    began_at: datetime | None
    """When the trouble began; None if that is before the first known change."""
    ended_at: datetime


def recoveries(changes: Iterable[Change]) -> list[Recovery]:
    """Return the recoveries among a connection's changes of status, which are given oldest first.

    Time with the status unknown between trouble and recovery is part of the trouble.
    """
    found = []
    began_at: datetime | None = None
    in_trouble = known = False
    for at, before, after in changes:
        if not known:
            in_trouble, known = is_trouble(before), True
        if is_trouble(after):
            if not in_trouble:
                in_trouble, began_at = True, at
        elif in_trouble and after is not Status.UNKNOWN:
            found.append(Recovery(began_at, at))
            in_trouble, began_at = False, None
    return found


@dataclass(frozen=True, slots=True)
class RecoveryTimes:
    """The durations of recoveries."""

    number: int
    """Recoveries whose duration is known."""
    median: timedelta
    worst: timedelta


def recovery_times(lengths: Sequence[timedelta]) -> RecoveryTimes | None:
    """Return the median and the longest of these durations; None if there are none."""
    if not lengths:
        return None
    middle = median(length.total_seconds() for length in lengths)
    return RecoveryTimes(number=len(lengths), median=timedelta(seconds=middle), worst=max(lengths))
