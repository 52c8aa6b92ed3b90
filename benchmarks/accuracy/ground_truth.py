"""Ground truth of the simulated world: problems, when they begin and end, and when the monitor can know of them."""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from monitor.domain import AlertEvent

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


class Kind(StrEnum):
    """Kinds of real problems."""

    EXPIRING = "expiring"
    FAILING = "failing"
    EXPIRED = "expired"
    REVOKED = "revoked"
    GONE = "gone"
    DOWN = "source down"
    LOST_ROWS = "rows lost"
    PLATFORM_OUT = "platform outage"
    NETWORK_OUT = "network outage"
    CLOCK_OFF = "wrong clock"
    ROWS_UNREADABLE = "unreadable rows"
    LIST_PARTIAL = "rows without an id"
    STATUS_UNKNOWN = "unknown status"
    UNTESTED = "probes without an answer"
    KEY_SWAPPED = "swapped key"

    @property
    def rank(self) -> int:
        """Severity, for connections: a worse problem may hide a lesser one."""
        return list(Kind).index(self)


class Notification(StrEnum):
    """Evidence by which the monitor learns of a problem."""

    POLL = "the next list"
    TWO_POLLS = "two lists"
    FOUR_POLLS = "four lists"
    PROBE = "a probe, confirmed"
    UNCLEAR_PROBES = "unclear refusals that last"


EVENTS_OF = {
    Kind.EXPIRING: (AlertEvent.EXPIRING_SOON,),
    Kind.FAILING: (AlertEvent.FAILING,),
    Kind.EXPIRED: (AlertEvent.EXPIRED,),
    Kind.REVOKED: (AlertEvent.REVOKED, AlertEvent.EXPIRED),  # PostPost's list has one status for both
    Kind.GONE: (AlertEvent.DISCONNECTED,),
}
"""The alert events that report a connection's problem."""

UNCLEAR_LASTS = 90 * MINUTE
"""What a refusal that names neither the token nor a permission has to last before it is a problem, and a little."""


@dataclass(eq=False, kw_only=True)
class Problem:
    """One real problem, from `start` until `end` (None: to the end of the simulation)."""

    subject: str
    """The account's name, or the source's."""
    source: str
    kind: Kind
    start: datetime
    end: datetime | None = None
    needs: Notification | None
    """The evidence that the monitor needs; None if no alert is required (too short to be seen for certain)."""
    why: str
    date: datetime | None = None
    """The expiry that it announces."""
    averted: datetime | None = None
    """The instant from which the problem was averted, because the date changed."""
    events: tuple[AlertEvent, ...] | None = None
    """The alert events that report it; None for those of its kind."""
    due: datetime | None = None
    """The earliest instant by which it must be notified; None if that follows from `needs`."""
    is_real: bool = True
    """False if nothing is wrong, although the service's answers justify an alert."""
    has_reminders: bool = True
    """False if one alert is justified and no reminder."""
    about: str = ""
    """What a problem of a source is about: a platform, or a status."""
    mentions: str | None = None
    """Text that the first alert must contain."""

    @property
    def reported_by(self) -> tuple[AlertEvent, ...]:
        """The alert events that report it; empty for a problem of a source."""
        return EVENTS_OF.get(self.kind, ()) if self.events is None else self.events

    def holds(self, at: datetime) -> bool:
        """Return True if the problem exists at an instant."""
        return self.start <= at and (self.end is None or at < self.end)

    def __str__(self) -> str:
        until = f"{self.end:%m-%d %H:%M}" if self.end else "…"
        return f"{self.source} {self.subject}: {self.why} ({self.kind}) {self.start:%m-%d %H:%M} to {until}"


@dataclass(kw_only=True)
class Truth:
    """All problems, and the periods in which a source gave the monitor no usable information."""

    poll_every: timedelta
    probe_every: timedelta
    polls_of: dict[str, timedelta] = field(default_factory=dict)
    """The poll intervals of sources that differ from `poll_every`."""
    problems: list[Problem] = field(default_factory=list)
    unreadable: defaultdict[str, list[tuple[datetime, datetime]]] = field(default_factory=lambda: defaultdict(list))

    incomplete: defaultdict[str, list[tuple[datetime, datetime]]] = field(default_factory=lambda: defaultdict(list))
    """Periods in which the lists of a source cannot show that a connection is gone, because the id of a row is unreadable."""
    doubtful: defaultdict[str, list[tuple[datetime, datetime, timedelta]]] = field(default_factory=lambda: defaultdict(list))
    """Periods in which dates of a source count by this much later, because its clock lags by as much."""

    @property
    def one_poll(self) -> timedelta:
        """The longest wait for the next poll while all is well: one and a half intervals, and a little."""
        return 1.5 * self.poll_every + 5 * MINUTE

    def poll_interval(self, source: str) -> timedelta:
        """Return the poll interval of a source."""
        return self.polls_of.get(source, self.poll_every)

    def one_poll_of(self, source: str) -> timedelta:
        """Return the longest wait for the next poll of a source while all is well."""
        return 1.5 * self.poll_interval(source) + 5 * MINUTE

    @property
    def one_probe(self) -> timedelta:
        """The longest wait for a probe that is confirmed while all is well."""
        return 1.5 * self.probe_every + 5 * MINUTE

    def mark_unreadable(self, source: str, start: datetime, end: datetime) -> None:
        """Record that this source gives no usable information from start to end."""
        insort(self.unreadable[source], (start, end))

    def by(self, source: str, start: datetime, need: timedelta) -> datetime:
        """Return the instant by which the source was readable for this total time since `start`."""
        return _by(self.unreadable[source], start, need)

    def add(self, problem: Problem) -> Problem:
        """Record a present or future problem, and return it."""
        self.problems.append(problem)
        return problem

    def due(self, problem: Problem) -> datetime | None:
        """Return the instant by which the problem must be notified, None if no alert is required."""
        if problem.needs is None or problem.averted is not None:
            return None
        due = self.known_by(problem.source, problem.start, problem.needs)
        if problem.due is not None:
            due = max(due, self.known_by(problem.source, problem.due - self.one_poll_of(problem.source), Notification.POLL))
        return due + self.lag(problem.source, due) if problem.kind is Kind.EXPIRING else due

    def lag(self, source: str, at: datetime) -> timedelta:
        """Return how much later a date of a source may count, because of its clock."""
        return max((lag for start, end, lag in self.doubtful[source] if start <= at <= end), default=timedelta(0))

    def known_by(self, source: str, start: datetime, what: Notification) -> datetime:
        """Return when the monitor has this evidence at the latest. A probe that met an outage is repeated at its next turn."""
        if what not in (Notification.PROBE, Notification.UNCLEAR_PROBES):
            if what is Notification.TWO_POLLS:
                periods = sorted(self.unreadable[source] + self.incomplete[source])
                return _by(periods, start, 2 * self.one_poll_of(source))
            polls = {Notification.POLL: 1, Notification.FOUR_POLLS: 4}[what]
            return self.by(source, start, polls * self.one_poll_of(source))
        due = self.by(source, start, self.one_probe)
        met = any(begin < due and end > start for begin, end in self.unreadable[source])
        due = self.by(source, start, self.one_probe + self.probe_every) if met else due
        return due if what is Notification.PROBE else due + UNCLEAR_LASTS

    def finish(self, problem: Problem, at: datetime) -> None:
        """End the problem; one that has not begun is cancelled."""
        if problem.start >= at:
            problem.averted, problem.end = at, problem.start
        elif problem.end is None or problem.end > at:
            problem.end = at


def _by(periods: Sequence[tuple[datetime, datetime]], start: datetime, need: timedelta) -> datetime:
    """Return the instant by which this total time since `start` lies outside the periods, which are sorted."""
    at = start
    for begin, end in periods:
        if end <= at:
            continue
        if at + need <= begin:
            return at + need
        need -= max(begin - at, timedelta(0))
        at = max(at, end)
    return at + need
