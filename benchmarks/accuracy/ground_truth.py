"""What is really the case in the simulated world: problems, when they begin and end, and when the monitor could know."""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from monitor.domain import AlertEvent

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


class Kind(StrEnum):
    """What can really be wrong."""

    EXPIRING = "expiring"
    FAILING = "failing"
    EXPIRED = "expired"
    REVOKED = "revoked"
    GONE = "gone"
    DOWN = "source down"
    LOST_ROWS = "rows lost"
    PLATFORM_OUT = "platform outage"
    NETWORK_OUT = "network outage"

    @property
    def rank(self) -> int:
        """How bad it is, for connections: a worse problem may hide a lesser one."""
        return list(Kind).index(self)


class Notification(StrEnum):
    """How the monitor comes to know."""

    POLL = "the next list"
    TWO_POLLS = "two lists"
    FOUR_POLLS = "four lists"
    PROBE = "a probe, confirmed"


SAYS = {
    Kind.EXPIRING: (AlertEvent.EXPIRING_SOON,),
    Kind.FAILING: (AlertEvent.FAILING,),
    Kind.EXPIRED: (AlertEvent.EXPIRED,),
    Kind.REVOKED: (AlertEvent.REVOKED, AlertEvent.EXPIRED),  # PostPost's list has one word for both
    Kind.GONE: (AlertEvent.DISCONNECTED,),
}
"""The events that say a connection's problem."""


@dataclass(eq=False, kw_only=True)
class Problem:
    """One thing that is really wrong, from `start` until `end` (None: to the end of the simulation)."""

    who: str
    """The account's name, or the source's."""
    source: str
    kind: Kind
    start: datetime
    end: datetime | None = None
    needs: Notification | None
    """What the monitor must hear to know; None where it need not be said (too short to be seen for certain)."""
    why: str
    date: datetime | None = None
    """The expiry that it announces."""
    averted: datetime | None = None
    """It never came to it: since then the date is another."""

    def holds(self, at: datetime) -> bool:
        """Whether it is the case at an instant."""
        return self.start <= at and (self.end is None or at < self.end)

    def __str__(self) -> str:
        until = f"{self.end:%m-%d %H:%M}" if self.end else "…"
        return f"{self.source} {self.who}: {self.why} ({self.kind}) {self.start:%m-%d %H:%M} to {until}"


@dataclass(kw_only=True)
class Truth:
    """Every problem there was, and the spans in which a source could not tell the monitor anything."""

    poll_every: timedelta
    probe_every: timedelta
    problems: list[Problem] = field(default_factory=list)
    deaf: defaultdict[str, list[tuple[datetime, datetime]]] = field(default_factory=lambda: defaultdict(list))

    @property
    def one_poll(self) -> timedelta:
        """The longest wait for the next poll while all is well: one and a half intervals, and a little."""
        return 1.5 * self.poll_every + 5 * MINUTE

    @property
    def one_probe(self) -> timedelta:
        """The longest wait for a probe that is confirmed while all is well."""
        return 1.5 * self.probe_every + 5 * MINUTE

    def deafen(self, source: str, start: datetime, end: datetime) -> None:
        """From start to end this source tells nothing, or nothing that counts."""
        insort(self.deaf[source], (start, end))

    def by(self, source: str, start: datetime, need: timedelta) -> datetime:
        """Return the instant by which the source was readable for this total time since `start`."""
        at = start
        for begin, end in self.deaf[source]:
            if end <= at:
                continue
            if at + need <= begin:
                return at + need
            need -= max(begin - at, timedelta(0))
            at = max(at, end)
        return at + need

    def add(self, problem: Problem) -> Problem:
        """Something is wrong, or will be."""
        self.problems.append(problem)
        return problem

    def due(self, problem: Problem) -> datetime | None:
        """By when it must have been said, None where it need not be."""
        if problem.needs is None or problem.averted is not None:
            return None
        return self.heard(problem.source, problem.start, problem.needs)

    def heard(self, source: str, start: datetime, what: Notification) -> datetime:
        """By when the monitor has heard this since an instant. A probe that met an outage is made up for at its next turn."""
        if what is not Notification.PROBE:
            polls = {Notification.POLL: 1, Notification.TWO_POLLS: 2, Notification.FOUR_POLLS: 4}[what]
            return self.by(source, start, polls * self.one_poll)
        due = self.by(source, start, self.one_probe)
        met = any(begin < due and end > start for begin, end in self.deaf[source])
        return self.by(source, start, self.one_probe + self.probe_every) if met else due

    def finish(self, problem: Problem, at: datetime) -> None:
        """End the problem; one that has not begun is cancelled."""
        if problem.start >= at:
            problem.averted, problem.end = at, problem.start
        elif problem.end is None or problem.end > at:
            problem.end = at
