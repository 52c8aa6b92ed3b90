"""Scenarios of identities and of whole sources: accounts under new ids, a swapped key, a wrong clock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from benchmarks.accuracy.ground_truth import DAY, HOUR, Kind, Notification, Problem
from benchmarks.accuracy.living.truths import excuse, reconnect
from benchmarks.accuracy.simulation import Account, Script, Simulation
from monitor.demo.source import SimSource


def reconnected_under_new_id(simulation: Simulation, account: Account) -> Script:
    """Remove an account, and connect it again under a new platformId with the same profile."""
    is_immediate = simulation.pick(account, (False, True))
    yield simulation.now + simulation.truth.one_poll
    name, scope = account.source.name, account.scope
    if not is_immediate:
        simulation.begin_problem(account, Kind.GONE, "removed", needs=Notification.TWO_POLLS)
        simulation.world.vanish(name, account.id, scope=scope)
        yield from simulation.when_open(account, simulation.now + simulation.between(3 * simulation.truth.one_poll, 2 * DAY))
        simulation.world.restore(name, account.id, scope=scope)
    new = f"{account.platform}-again{simulation.world.serial():06x}"
    simulation.world.reconnect(name, account.id, scope=scope, new_id=new)
    account.ids.append(new)
    reconnect(simulation, account)
    yield simulation.now + simulation.between(2 * DAY, 3 * DAY)


def key_swapped(simulation: Simulation, source: SimSource, at: timedelta) -> Script:
    """Replace every connection of a key with those of another customer, for the rest of the time."""
    yield simulation.start + at
    known = [each for each in simulation.accounts if each.source is source and simulation.is_listed(each)]
    simulation.truth.add(
        Problem(
            subject=source.name,
            source=source.name,
            kind=Kind.KEY_SWAPPED,
            start=simulation.now,
            needs=Notification.FOUR_POLLS,
            why=f"{len(known)} accounts of another key",
        )
    )
    for account in known:
        excuse(simulation, account, Kind.GONE, "its key was swapped", start=simulation.now, end=None)
        simulation.world.vanish(source.name, account.id, scope=account.scope)
    for number, account in enumerate(known):
        row = simulation.world.connect(source.name, account.platform, lifetime=account.lifetime)
        simulation.accounts.append(
            Account(
                name=f"{account.platform}#other{number}",
                source=source,
                platform=account.platform,
                scope=row.scope,
                ids=[row.external_id],
                lifetime=account.lifetime,
                window=account.window,
            )
        )


def clock_off(simulation: Simulation, sources: Sequence[SimSource], at: timedelta, manner: int = 0) -> Script:
    """Let the Date header of sources in turn be wrong for days: seven minutes either way, or a cached one that stands still."""
    yield simulation.start + at
    while True:
        for number, source in enumerate(sources, start=manner):
            end = simulation.now + simulation.between(4 * DAY, 6 * DAY)
            stands = simulation.now if number % 3 == 2 else None  # a proxy's copy, replaced once a day
            due = simulation.now + 2 * DAY
            simulation.begin_shared(None, Kind.CLOCK_OFF, needs=Notification.FOUR_POLLS, due=due)
            if stands is not None:
                simulation.truth.doubtful[source.name].append((simulation.now, end + DAY, 27 * HOUR))
            while simulation.now < end:
                if stands is not None:
                    stands = simulation.now if simulation.now - stands >= DAY else stands
                    source.clock_skew = stands - simulation.now - 2 * HOUR
                else:
                    source.clock_skew = timedelta(minutes=7 if number % 3 == 0 else -7)
                yield simulation.now + HOUR
            source.clock_skew = timedelta(0)
            simulation.end_shared(None, Kind.CLOCK_OFF)
            yield simulation.now + simulation.between(DAY, 3 * DAY)
        yield simulation.now + simulation.between(5 * DAY, 20 * DAY)


def no_trouble(simulation: Simulation, account: Account) -> Script:
    """Leave the account alone."""
    del account
    yield simulation.end
