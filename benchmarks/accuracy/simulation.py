"""The stage: the world, its clock and its dice, and scripts that act when their time has come."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from random import Random

from benchmarks.accuracy.ground_truth import MINUTE, Kind, Notification, Problem, Truth
from monitor.demo.apis import PREFIXES
from monitor.demo.payloads import Health, SimConnection
from monitor.demo.source import SimSource
from monitor.demo.world import World
from monitor.providers.api import segment
from tests.support.fakes import ManualClock

Script = Iterator[datetime]
"""Yields the instants at which it wants to go on."""


@dataclass(eq=False, kw_only=True)
class Account:
    """Somebody's account, under whatever id it is listed now."""

    name: str
    source: SimSource
    platform: str
    scope: str | None
    ids: list[str]
    lifetime: timedelta | None = None
    window: timedelta = timedelta(days=7)
    open: list[Problem] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The id under which it is listed now."""
        return self.ids[-1]


@dataclass(kw_only=True)
class Intent:
    """What a person does at the monitor."""

    deed: str
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
        """Sources at which nobody can do anything until then: the service is down."""
        self.held: dict[str, datetime] = {}
        """Accounts that a larger trouble has hold of until then."""
        self.intents: list[Intent] = []
        self._scripts: list[tuple[datetime, int, Script, Account | None]] = []
        self._number = count()
        self._refused_once: list[tuple[Account, str, int]] = []

    @property
    def now(self) -> datetime:
        """The present instant."""
        return self.clock.now()

    def between(self, least: timedelta, most: timedelta) -> timedelta:
        """Return a random span."""
        return least + (most - least) * self.dice.random()

    def play(self, script: Script, account: Account | None = None) -> None:
        """Start a script at once. One of an account pauses while a larger trouble has hold of the account."""
        self._go_on(script, account)

    def _go_on(self, script: Script, account: Account | None) -> None:
        at = next(script, None)
        if at is not None and at < self.end:
            self._push(at, script, account)

    def _push(self, at: datetime, script: Script, account: Account | None) -> None:
        heapq.heappush(self._scripts, (max(at, self.now), next(self._number), script, account))

    def next_due(self) -> datetime | None:
        """When the next script wants to go on."""
        return self._scripts[0][0] if self._scripts else None

    def act(self) -> None:
        """Let every script go on whose time has come."""
        while self._scripts and self._scripts[0][0] <= self.now:
            _, _, script, account = heapq.heappop(self._scripts)
            held_until = None if account is None else self.held.get(account.name)
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
        """Wait until an instant, and further while the service is down: nobody can act through it then."""
        yield at
        while self.busy.get(account.source.name, self.start) > self.now:
            yield self.busy[account.source.name] + self.between(5 * MINUTE, 60 * MINUTE)

    # --- accounts ----------------------------------------------------------------------------------------------------

    def change(self, account: Account, **fields: object) -> SimConnection:
        """Change what is listed of an account."""
        return self.world.change(account.source.name, account.id, scope=account.scope, **fields)

    def is_listed(self, account: Account) -> bool:
        """Whether it is listed now."""
        return account.id in account.source.scopes.get(account.scope, {})

    def is_well_now(self, account: Account) -> bool:
        """Whether it is listed and nothing at all is out of order, noise included."""
        if not self.is_listed(account) or any(problem.holds(self.now) for problem in account.open):
            return False
        row = self.listed(account)
        return row.health is Health.FINE and row.probe is None and not row.overrides and not row.mtproto

    def listed(self, account: Account) -> SimConnection:
        """Return the listed connection of an account."""
        return self.world.find(account.source.name, account.id, scope=account.scope)

    def suffers(
        self,
        account: Account,
        kind: Kind,
        why: str,
        *,
        needs: Notification | None = Notification.POLL,
        start: datetime | None = None,
    ) -> Problem:
        """Something is wrong with an account, from now on unless told."""
        problem = Problem(who=account.name, source=account.source.name, kind=kind, start=start or self.now, needs=needs, why=why)
        account.open.append(self.truth.add(problem))
        return problem

    def dated(self, account: Account, date: datetime) -> None:
        """Let the account's token expire at a date: expiring_soon, then expired, unless it is renewed."""
        near = max(date - account.window, self.start)
        if near < date:
            expiring = self.suffers(account, Kind.EXPIRING, "runs out soon", start=near)
            expiring.end = expiring.date = date
        self.suffers(account, Kind.EXPIRED, "ran out", start=date)

    def is_well(self, account: Account) -> None:
        """Nothing is wrong with an account any more, nor about to be."""
        for problem in account.open:
            self.truth.finish(problem, self.now)
        account.open.clear()

    def renew(self, account: Account) -> None:
        """Renew the token: valid again, with a new date if it had one."""
        self.is_well(account)
        self.world.renew(account.source.name, account.id, scope=account.scope, lifetime=account.lifetime)
        if account.lifetime is not None:
            self.dated(account, self.now + account.lifetime)

    def refuse_once(self, account: Account) -> None:
        """Let the platform refuse the next probe and accept the following one."""
        if account.source.kind in ("postpost", "publora"):
            path = f"POST {PREFIXES[account.source.kind]}/test-connection/{segment(account.id)}"
            self.change(account, health=Health.REFUSED)
            self._refused_once.append((account, path, self.world.requests[path]))
