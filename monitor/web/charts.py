"""Geometry of the charts. Positions are percentages, so that text keeps its size at any width.

The templates draw the charts and describe each one in words for screen readers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from operator import attrgetter
from typing import Any

from monitor.domain import Event, EventKind, Status
from monitor.domain.rules.forecast import BATCH_SPAN
from monitor.store.reconnects import ExpiringGroup
from monitor.views.renewals import RenewalView

TIMELINE_DAYS = 90
MOST_LANES = 8
MOST_BATCHES = 60
_DAY = timedelta(days=1)
_STEPS = (timedelta(hours=6), _DAY, 2 * _DAY, 7 * _DAY, 14 * _DAY, 30 * _DAY, 90 * _DAY, 365 * _DAY)
_STATUS_KINDS = (EventKind.APPEARED, EventKind.STATUS_CHANGED)


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark of the time axis."""

    x: float
    at: datetime

    @property
    def anchor(self) -> str:
        """The label's text-anchor that keeps it inside the chart."""
        return "start" if self.x < 6 else "end" if self.x > 94 else "middle"


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineBatch:
    """Tokens that expire within one reconnect batch."""

    source: str
    platform: str
    first: datetime
    last: datetime
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineMark:
    """A reconnect batch in the timeline."""

    x: float
    width: float
    batch: TimelineBatch
    days: int
    """Whole days until its first expiry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineLane:
    """One platform in the timeline. The platform is empty in the lane that holds all further platforms."""

    platform: str
    number: int
    marks: tuple[TimelineMark, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Upcoming expiries."""

    lanes: tuple[TimelineLane, ...]
    ticks: tuple[Tick, ...]
    batches: tuple[TimelineBatch, ...]
    """By source and platform, the nearest first; at most MOST_BATCHES."""
    later: int
    """The number of further batches."""
    busiest: TimelineBatch | None
    """The largest batch, the earliest of several; None without any."""
    number: int
    days: int = TIMELINE_DAYS


def timeline(coming: Sequence[ExpiringGroup], *, now: datetime) -> Timeline:
    """Return the expiries of the next 90 days: a lane for each platform, the fullest first."""
    until = now + TIMELINE_DAYS * _DAY
    numbers: dict[str, int] = {}
    for each in coming:
        numbers[each.platform] = numbers.get(each.platform, 0) + each.number
    fullest = sorted(numbers, key=lambda slug: (-numbers[slug], slug))
    alone = fullest if len(fullest) <= MOST_LANES else fullest[: MOST_LANES - 1]
    lanes = [_lane(slug, [each for each in coming if each.platform == slug], now) for slug in alone]
    rest = [each for each in coming if each.platform not in alone]
    if rest:
        lanes.append(_lane("", rest, now))
    found = batches(coming, key=attrgetter("source", "platform"))
    return Timeline(
        lanes=tuple(lanes),
        ticks=tuple(_ticks(now, until)),
        batches=tuple(found[:MOST_BATCHES]),
        later=max(0, len(found) - MOST_BATCHES),
        busiest=max(found, key=attrgetter("number"), default=None),
        number=sum(numbers.values()),
    )


def batches(coming: Iterable[ExpiringGroup], *, key: Callable[[ExpiringGroup], Any]) -> list[TimelineBatch]:
    """Return reconnect batches of whole days: expiries within three days of the first."""
    open_: dict[Any, list[ExpiringGroup]] = {}
    found: list[list[ExpiringGroup]] = []
    for each in sorted(coming, key=attrgetter("first")):
        batch = open_.get(own := key(each))
        if batch is not None and each.last - batch[0].first <= BATCH_SPAN:
            batch.append(each)
        else:
            open_[own] = batch = [each]
            found.append(batch)
    return [
        TimelineBatch(
            source=groups[0].source,
            platform=groups[0].platform,
            first=groups[0].first,
            last=max(each.last for each in groups),
            number=sum(each.number for each in groups),
        )
        for groups in found
    ]


def _lane(platform: str, coming: Sequence[ExpiringGroup], now: datetime) -> TimelineLane:
    whole = TIMELINE_DAYS * _DAY
    width = 100 * (BATCH_SPAN / whole)
    marks = tuple(
        TimelineMark(
            x=max(0.0, 100 * ((batch.first - now) / whole)), width=width, batch=batch, days=max(0, (batch.first - now).days)
        )
        for batch in batches(coming, key=lambda _: platform)
    )
    return TimelineLane(platform=platform, number=sum(each.number for each in coming), marks=marks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A period in one status; None without data."""

    status: Status | None
    begin: datetime
    end: datetime
    x: float
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """An event on a band."""

    x: float
    entry: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """One connection's status over time."""

    begin: datetime
    end: datetime
    segments: tuple[Segment, ...]
    dots: tuple[Dot, ...]
    ticks: tuple[Tick, ...]


def band(entries: Sequence[Event], *, status: Status, added_at: datetime, now: datetime, days: int = 90) -> Band:
    """Return the status over time, from the first known instant, at most `days` ago, until now."""
    begin = max(min([added_at, *(entry.at for entry in entries)]), now - days * _DAY)
    begin = min(begin, now - timedelta(minutes=1))
    spots = [(entry.at, entry) for entry in entries if entry.kind in _STATUS_KINDS and entry.at <= now]
    changes: list[tuple[datetime, Status | None]] = []
    before = [entry for at, entry in spots if at <= begin]
    after = [entry for at, entry in spots if at > begin]
    if before:
        changes.append((begin, _status(before[-1].new)))
    elif after:
        changes.append((begin, _status(after[0].old)))
    else:
        changes.append((begin, status))
    changes += [(entry.at, _status(entry.new)) for entry in after]
    ends = [*(at for at, _ in changes[1:]), now]
    periods = [(at, end, held) for (at, held), end in zip(changes, ends, strict=True) if end > at]
    return Band(
        begin=begin,
        end=now,
        segments=tuple(
            Segment(status=held, begin=at, end=end, x=_x(at, begin, now), width=_x(end, begin, now) - _x(at, begin, now))
            for at, end, held in _without(periods, list(_unobserved(entries, now)))
        ),
        dots=tuple(
            Dot(x=_x(entry.at, begin, now), entry=entry)
            for entry in entries
            if entry.kind not in (*_STATUS_KINDS, EventKind.GAP) and begin <= entry.at <= now
        )[-200:],
        ticks=tuple(_ticks(begin, now)),
    )


Period = tuple[datetime, datetime, Status | None]
"""Begin, end and status of a period."""


def _unobserved(entries: Iterable[Event], now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield the gaps in monitoring: the status during them is unknown."""
    for entry in entries:
        began = _instant(entry.old) if entry.kind is EventKind.GAP else None
        if began is not None:
            yield began, now if entry.new is None else min(entry.at, now)


def _without(times: Iterable[Period], unobserved: Sequence[tuple[datetime, datetime]]) -> Iterator[Period]:
    """Yield the same periods, split at gaps and without a status during them."""
    for begin, end, status in times:
        edges = sorted({begin, end, *(edge for gap in unobserved for edge in gap if begin < edge < end)})
        for at, until in pairwise(edges):
            seen = not any(first <= at and until <= last for first, last in unobserved)
            yield at, until, status if seen else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of a chart: positions in percent from the left and from the top."""

    x1: float
    y1: float
    x2: float
    y2: float
    jump: bool = False
    """True for the vertical line of a renewal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LifetimeChart:
    """The time left on the token, over time."""

    begin: datetime
    end: datetime
    lines: tuple[Line, ...]
    ticks: tuple[Tick, ...]
    levels: tuple[tuple[float, int], ...]
    """Horizontal grid lines, as (percent from the top, days left)."""
    zero: float
    """The position of zero days left, in percent from the top."""
    window: float | None
    """The position at which expiring_soon begins, None if it is outside the chart."""
    renewals: int


def time_left(
    entries: Sequence[Event], *, expires_at: datetime | None, window: timedelta | None, begin: datetime, now: datetime
) -> LifetimeChart | None:
    """Return the days left over time, with a jump at each renewal. None if no expiry date was ever reported."""
    pieces = list(_pieces(entries, expires_at, begin, now))
    if not pieces:
        return None
    values = [value for _, _, first, last in pieces for value in (first, last)]
    top = max(*values, 1.0) * 1.08
    bottom = min(*values, 0.0)
    bottom = min(bottom * 1.08, -0.04 * top)
    height = top - bottom

    def y(days: float) -> float:
        return 100 * (top - days) / height

    lines: list[Line] = []
    for index, (at, end, first, last) in enumerate(pieces):
        x1, x2 = _x(at, begin, now), _x(end, begin, now)
        if index:
            lines.append(Line(x1=x1, y1=y(pieces[index - 1][3]), x2=x1, y2=y(first), jump=True))
        lines.append(Line(x1=x1, y1=y(first), x2=x2, y2=y(last)))
    soon = None if window is None else window / _DAY
    return LifetimeChart(
        begin=begin,
        end=now,
        lines=tuple(lines),
        ticks=tuple(_ticks(begin, now)),
        levels=tuple((y(value), value) for value in _levels(top)),
        zero=y(0),
        window=y(soon) if soon is not None and 0 < soon < top else None,
        renewals=len(pieces) - 1,
    )


def _pieces(
    entries: Sequence[Event], expires_at: datetime | None, begin: datetime, now: datetime
) -> Iterator[tuple[datetime, datetime, float, float]]:
    """Yield begin, end and the days left at both, once per expiry date that was in force."""
    renewals = [entry for entry in entries if entry.kind is EventKind.RENEWED and begin < entry.at < now]
    dates = [_instant(entry.old) for entry in renewals] + [expires_at]
    starts = [begin, *(entry.at for entry in renewals)]
    ends = [*(entry.at for entry in renewals), now]
    for start, end, date in zip(starts, ends, dates, strict=True):
        if date is not None:
            yield start, end, (date - start) / _DAY, (date - end) / _DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalMark:
    """A time in the chart of renewals."""

    x: float
    at: datetime
    name: str
    number: int
    """Its place in time, from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalZone:
    """A period in the chart of renewals, with the status whose colour it has."""

    x: float
    width: float
    status: Status
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalChart:
    """The last renewal of a token, and when the next one is expected, overdue and too late."""

    begin: datetime
    end: datetime
    zones: tuple[RenewalZone, ...]
    marks: tuple[RenewalMark, ...]
    now: Tick


def renewal(known: RenewalView | None, *, expires_at: datetime | None, now: datetime) -> RenewalChart | None:
    """Return the renewals from the last one on; None if the next renewal cannot be predicted."""
    if known is None or known.last_at is None or known.next_at is None or known.overdue_at is None:
        return None
    times = [(known.last_at, "Last renewal"), (known.next_at, "Next renewal expected"), (known.overdue_at, "Overdue")]
    if expires_at is not None:
        times.append((expires_at, "Expiry"))
    times.sort(key=lambda each: each[0])
    begin, last = times[0][0], max(times[-1][0], now)
    end = last + max((last - begin) / 25, timedelta(minutes=1))
    over = end if expires_at is None else min(max(expires_at, begin), end)
    expected, overdue = min(known.next_at, over), min(known.overdue_at, over)
    zones = (
        (begin, expected, Status.VALID, "on time"),
        (expected, overdue, Status.UNKNOWN, "late"),
        (overdue, over, Status.EXPIRING_SOON, "overdue"),
        (over, end, Status.EXPIRED, "expired"),
    )
    return RenewalChart(
        begin=begin,
        end=end,
        zones=tuple(
            RenewalZone(x=_x(at, begin, end), width=_x(until, begin, end) - _x(at, begin, end), status=status, name=name)
            for at, until, status, name in zones
            if until > at
        ),
        marks=tuple(
            RenewalMark(x=_x(at, begin, end), at=at, name=name, number=number) for number, (at, name) in enumerate(times, 1)
        ),
        now=Tick(_x(now, begin, end), now),
    )


def _levels(top: float) -> list[int]:
    step = next((step for step in (1, 2, 5, 7, 14, 30, 60, 90, 180, 365) if top / step <= 5), 3650)
    return list(range(0, int(top) + 1, step))[:40]


def _ticks(begin: datetime, end: datetime) -> Iterator[Tick]:
    """Yield five to eight evenly spaced instants, on whole days if the chart covers more than a few."""
    length = end - begin
    step = next((step for step in _STEPS if length / step <= 8), 10 * _STEPS[-1])
    if length < 2 * _STEPS[0]:
        step = length / 4
    at = begin + step
    if step >= _DAY:
        at = (begin + _DAY).replace(hour=0, minute=0, second=0, microsecond=0)
    while at < end - step / 4:
        yield Tick(_x(at, begin, end), at)
        at += step


def _x(at: datetime, begin: datetime, end: datetime) -> float:
    return min(100.0, max(0.0, 100 * ((at - begin) / (end - begin))))


def _status(text: str | None) -> Status | None:
    return Status(text) if text in set(Status) else None


def _instant(text: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None
