"""Alerts that are required for accounts that expire and are renewed, compared with those received."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

LINES = (timedelta(hours=24), timedelta(hours=12), timedelta(hours=6), timedelta(0))
"""Before the expiry, the widest first; the last one is the expiry itself."""
SLACK = timedelta(minutes=2)


@dataclass(kw_only=True)
class AccountScenario:
    """One account: the tokens that it has had, each with its beginning and its expiry."""

    source: str
    external_id: str
    patience: timedelta = timedelta(hours=3)
    """How long after the expiry (before it, if negative) the token is renewed."""
    tokens: list[tuple[datetime, datetime]] = field(default_factory=list)

    def begin(self, at: datetime, expires_at: datetime) -> None:
        """Start a new token."""
        self.tokens.append((at, expires_at))

    @property
    def expires_at(self) -> datetime:
        """Of the token it has now."""
        return self.tokens[-1][1]

    def crossings(
        self, until: datetime, *, noticed: Callable[[datetime], datetime] | None = None
    ) -> Iterator[tuple[int, int, datetime]]:
        """Token, line and instant of every line that was crossed before the token was renewed, or the run ended.

        With `noticed`, which returns when a renewal is noticed at the latest, also those that the old date crossed until then.
        """
        for number, (begun, expires_at) in enumerate(self.tokens):
            renewed = self.tokens[number + 1][0] if number + 1 < len(self.tokens) else until
            last = renewed if noticed is None else noticed(renewed)
            for line, before in enumerate(LINES):
                if begun < expires_at - before < last:
                    yield number, line, expires_at - before


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A period in which alerts may be late."""

    begin: datetime
    end: datetime
    source: str | None
    """The API that was away, so that the tokens of that time were unknown; None: the time was not known."""

    def excuses(self, scenario: AccountScenario, token: int, crossed: datetime, late: timedelta) -> bool:
        """Return True if a line crossed then may have been notified only at the end of the period."""
        if not self.begin - late <= crossed <= self.end:
            return False
        return self.source is None or (self.source == scenario.source and scenario.tokens[token][0] >= self.begin)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedAlert:
    """One alert about a connection, and when it was seen (the truth, not the wall)."""

    name: str
    """The connection's external id."""
    event: str
    stage: timedelta | None
    at: datetime

    @property
    def line(self) -> int | None:
        """The line that the alert is about; None for a recovery."""
        if self.event == "expired":
            return len(LINES) - 1
        if self.event != "expiring_soon":
            return None
        stage = self.stage if self.stage is not None else LINES[0]
        return next(number for number, before in enumerate(LINES) if before <= stage)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifiedAccount:
    """What was counted, and every violation as a sentence."""

    lines: int
    alerts: int
    violations: list[str]


def judge(
    scenarios: Sequence[AccountScenario],
    alerts: Sequence[ReceivedAlert],
    doubts: Sequence[Doubt],
    *,
    until: datetime,
    late: timedelta,
) -> NotifiedAccount:
    """Check that every crossing is notified once, within `late` (or by the end of its doubt), and never too early.

    Where several lines were crossed unseen, the tightest stands for all of them. Alerts are collected every hour.
    """
    violations: list[str] = []
    by_name: dict[str, list[ReceivedAlert]] = defaultdict(list)
    for each in alerts:
        by_name[each.name].append(each)
    lines = 0
    for scenario in scenarios:
        mine = by_name.pop(scenario.external_id, [])
        for token, line, crossed in scenario.crossings(until):
            ends = [each.end for each in doubts if each.excuses(scenario, token, crossed, late)]
            deadline = max([crossed, *ends]) + late + timedelta(hours=1)
            renewed = scenario.tokens[token + 1][0] if token + 1 < len(scenario.tokens) else until
            if deadline < min(renewed, until):  # else it was renewed before the alert was due
                lines += 1
                if not any(
                    each.line is not None and each.line >= line and crossed - SLACK <= each.at <= deadline for each in mine
                ):
                    violations.append(
                        f"{scenario.external_id}: {LINES[line]} crossed {crossed:%d %H:%M}, not notified by {deadline:%d %H:%M}"
                    )
        violations += _false(scenario, mine, until, partial(_noticed, scenario, doubts, late))
    violations += [f"{name} belongs to no account" for name in by_name]
    return NotifiedAccount(lines=lines, alerts=len(alerts), violations=violations)


def _noticed(scenario: AccountScenario, doubts: Sequence[Doubt], late: timedelta, renewed: datetime) -> datetime:
    """By when a renewal is known: at the next poll, or at the first one after the doubt."""
    mine = (each for each in doubts if each.source in (None, scenario.source))
    return max([renewed, *(each.end for each in mine if each.begin - late <= renewed <= each.end)]) + late


def _false(
    scenario: AccountScenario, mine: Sequence[ReceivedAlert], until: datetime, noticed: Callable[[datetime], datetime]
) -> Iterator[str]:
    """Yield alerts that came too early, or twice for one token."""
    crossed = list(scenario.crossings(until, noticed=noticed))
    counts: Counter[tuple[int, int]] = Counter()
    for each in mine:
        if each.line is None:
            continue
        before = [(number, line) for number, line, at in crossed if line == each.line and at <= each.at + SLACK]
        if not before:
            yield f"{scenario.external_id}: {each.event} ({each.stage}) was notified at {each.at:%d %H:%M}, before it was true"
            continue
        counts[before[-1]] += 1
    for (number, line), times in counts.items():
        if times > 1:
            yield f"{scenario.external_id}: line {LINES[line]} of token {number} was notified {times} times"
