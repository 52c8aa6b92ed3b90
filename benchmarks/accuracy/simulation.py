"""The simulation: the world, its clock, its random numbers, and scripts that act at their due instants."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from random import Random
from typing import TypedDict, TypeVar, Unpack

from benchmarks.accuracy.ground_truth import DAY, MINUTE, Kind, Notification, Problem, Truth
from monitor.demo.apis import PREFIXES
from monitor.demo.payloads import Health, SimConnection
from monitor.demo.source import SimSource
from monitor.demo.world import World
from monitor.domain import AlertEvent
from monitor.providers.api import segment
from tests.support.fakes import ManualClock

Script = Iterator[datetime]
"""Yields the instants at which it continues."""

T = TypeVar("T")


class ProblemFields(TypedDict, total=False):
    """Further fields of a problem, as in Problem."""

    end: datetime | None
    date: datetime | None
    events: tuple[AlertEvent, ...] | None
    due: datetime | None
    is_real: bool
    has_reminders: bool
    mentions: str | None


@dataclass(eq=False, kw_only=True)
class Account:
    """One account, under the id by which it is listed now."""

    name: str
    source: SimSource
    platform: str
    scope: str | None
    ids: list[str]
    lifetime: timedelta | None = None
    window: timedelta = timedelta(days=7)
    open: list[Problem] = field(default_factory=list)
    variant: int | None = None
    """Selects among the variants of a scenario, so that a small run has each of them; None for a random one."""

    @property
    def key(self) -> str:
        """The name with its source; names repeat between sources."""
        return f"{self.source.name}/{self.name}"

    @property
    def id(self) -> str:
        """The id under which it is listed now."""
        return self.ids[-1]


@dataclass(kw_only=True)
class Intent:
    """An operator's command to the monitor."""

    action: str
    """ack or forget."""
    account: Account


class Simulation:
    """Everything that happens outside the monitor."""

    def __init__(self, *, world: World, clock: ManualClock, truth: Truth, seed: int, days: int) -> None:
        self.world, self.clock, self.truth, self.days = world, clock, truth, days
        self.dice = Random(seed)
        self.start = clock.now()
        self.end = self.start + timedelta(days=days)
        self.accounts: list[Account] = []
        self.busy: dict[str, datetime] = {}
        """Sources where no action is possible until then: the service is down."""
        self.held: dict[str, datetime] = {}
        """Accounts that are reserved by a scenario of their source until then."""
        self.intents: list[Intent] = []
        self._scripts: list[tuple[datetime, int, Script, Account | None]] = []
        self._number = count()
        self._refused_once: list[tuple[Account, str, int]] = []
        self._shared: dict[tuple[str, Kind, str], tuple[Problem, int]] = {}

    @property
    def now(self) -> datetime:
        """The present instant."""
        return self.clock.now()

    def between(self, least: timedelta, most: timedelta) -> timedelta:
        """Return a random span."""
        return least + (most - least) * self.dice.random()

    def play(self, script: Script, account: Account | None = None) -> None:
        """Start a script immediately. A script of an account pauses while a scenario of its source has reserved the account."""
        self._go_on(script, account)

    def _go_on(self, script: Script, account: Account | None) -> None:
        at = next(script, None)
        if at is not None and at < self.end:
            self._push(at, script, account)

    def _push(self, at: datetime, script: Script, account: Account | None) -> None:
        heapq.heappush(self._scripts, (max(at, self.now), next(self._number), script, account))

    def next_due(self) -> datetime | None:
        """Return when the next script is due."""
        return self._scripts[0][0] if self._scripts else None

    def act(self) -> None:
        """Continue every script that is due."""
        while self._scripts and self._scripts[0][0] <= self.now:
            _, _, script, account = heapq.heappop(self._scripts)
            held_until = None if account is None else self.held.get(account.key)
            if held_until is not None and held_until > self.now:
                self._push(held_until, script, account)
            else:
                self._go_on(script, account)
        for entry in list(self._refused_once):
            account, path, before = entry
            if self.world.requests[path] > before:
                self._refused_once.remove(entry)
                self.change(account, health=Health.FINE)

    def when_open(self, account: Account, at: datetime) -> Script:
        """Wait until an instant, and further while the service is down: no action is possible then."""
        yield at
        while self.busy.get(account.source.name, self.start) > self.now:
            yield self.busy[account.source.name] + self.between(5 * MINUTE, 60 * MINUTE)

    # --- accounts ----------------------------------------------------------------------------------------------------

    def change(self, account: Account, **fields: object) -> SimConnection:
        """Change what is listed of an account."""
        return self.world.change(account.source.name, account.id, scope=account.scope, **fields)

    def is_listed(self, account: Account) -> bool:
        """Return True if the account is listed now."""
        return account.id in account.source.scopes.get(account.scope, {})

    def is_healthy(self, account: Account) -> bool:
        """Return True if the account is listed and nothing is wrong with it, noise included."""
        if not self.is_listed(account) or any(problem.holds(self.now) for problem in account.open):
            return False
        row = self.listed(account)
        return row.health is Health.FINE and row.probe is None and not row.overrides and not row.mtproto

    def listed(self, account: Account) -> SimConnection:
        """Return the listed connection of an account."""
        return self.world.find(account.source.name, account.id, scope=account.scope)

    def begin_problem(
        self,
        account: Account,
        kind: Kind,
        why: str,
        *,
        needs: Notification | None = Notification.POLL,
        start: datetime | None = None,
        **fields: Unpack[ProblemFields],
    ) -> Problem:
        """Record a problem of an account, from now on unless `start` is given."""
        problem = Problem(
            subject=account.name,
            source=account.source.name,
            kind=kind,
            start=start or self.now,
            needs=needs,
            why=why,
            **fields,
        )
        account.open.append(self.truth.add(problem))
        return problem

    def dated(self, account: Account, date: datetime) -> None:
        """Let the account's token expire at a date: expiring_soon, then expired, unless it is renewed.

        Postbreeze renews tokens on its own, so that its warning may come as late as a day before.
        """
        near = max(date - account.window, self.start)
        if near < date:
            expiring = self.begin_problem(account, Kind.EXPIRING, "expires soon", start=near)
            expiring.end = expiring.date = date
            if account.source.kind == "postbreeze":
                expiring.due = date - DAY + self.truth.one_poll_of(account.source.name)
        self.begin_problem(account, Kind.EXPIRED, "expired", start=date)

    def begin_shared(
        self,
        source: SimSource | None,
        kind: Kind,
        about: str = "",
        *,
        needs: Notification | None,
        **fields: Unpack[ProblemFields],
    ) -> None:
        """Record a problem of a source, or of all (None), to which several contribute; it ends with the last `end_shared`."""
        name = "" if source is None else source.name
        key = (name, kind, about)
        problem, users = self._shared.get(key, (None, 0))
        if problem is None or not users:
            again = problem is not None and kind is Kind.STATUS_UNKNOWN  # a status is new to a source once
            why = f"{kind} {about}".strip()
            problem = self.truth.add(
                Problem(
                    subject=name or "sources",
                    source=name,
                    kind=kind,
                    about=about,
                    start=self.now,
                    needs=None if again else needs,
                    why=why,
                    **fields,
                )
            )
        self._shared[key] = (problem, users + 1)

    def end_shared(self, source: SimSource | None, kind: Kind, about: str = "") -> None:
        """End one contribution to a problem of a source, or of all (None)."""
        key = ("" if source is None else source.name, kind, about)
        problem, users = self._shared[key]
        self._shared[key] = (problem, users - 1)
        if users == 1:
            self.truth.finish(problem, self.now)

    def pick(self, account: Account, options: Sequence[T]) -> T:
        """Return the account's variant of a scenario."""
        return self.dice.choice(options) if account.variant is None else options[account.variant % len(options)]

    def end_problems(self, account: Account) -> None:
        """End or cancel all problems of an account."""
        for problem in account.open:
            self.truth.finish(problem, self.now)
        account.open.clear()

    def renew(self, account: Account) -> None:
        """Renew the token: valid again, with a new date if it had one."""
        self.end_problems(account)
        self.world.renew(account.source.name, account.id, scope=account.scope, lifetime=account.lifetime)
        if account.lifetime is not None:
            self.dated(account, self.now + account.lifetime)

    def refuse_once(self, account: Account) -> None:
        """Let the platform refuse the next probe and accept the following one."""
        if account.source.kind in ("postpost", "publora"):
            path = f"POST {PREFIXES[account.source.kind]}/test-connection/{segment(account.id)}"
            self.change(account, health=Health.REFUSED)
            self._refused_once.append((account, path, self.world.requests[path]))
