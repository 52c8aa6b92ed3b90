"""Scripts of whole sources: outages, rate limits, rejected keys, skewed clocks, and accounts that change simultaneously."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from benchmarks.accuracy.ground_truth import DAY, HOUR, MINUTE, Kind, Notification, Problem
from benchmarks.accuracy.simulation import Account, Script, Simulation
from monitor.demo.payloads import VALIDATED, Health
from monitor.demo.source import SimSource, Trouble
from monitor.domain.rules import suppression

RECOVERY = 20 * MINUTE
"""After an outage: the monitor tries a failing source at least every 15 minutes."""

WRONG = 300
"""Seconds from which on a person calls a clock wrong."""

DOWN = (Trouble.CUT, Trouble.SERVER_ERROR, Trouble.HTML, Trouble.TRUNCATED, Trouble.ENVELOPE, Trouble.RATE_LIMITED)


def outages(simulation: Simulation, source: SimSource) -> Script:
    """Start outages of every kind, minutes to hours long, every few days."""
    while True:
        yield simulation.now + simulation.between(DAY / 2, max(3 * DAY, simulation.days * DAY / 6))
        lasting = simulation.dice.choice(
            (
                simulation.between(MINUTE, 4 * MINUTE),
                simulation.between(10 * MINUTE, 60 * MINUTE),
                simulation.truth.one_poll + simulation.between(30 * MINUTE, 5 * HOUR),
            )
        )
        if simulation.busy.get(source.name, simulation.now) <= simulation.now:
            yield from outage(simulation, source, simulation.dice.choice(DOWN), lasting)


def rejected_key(simulation: Simulation, source: SimSource, at: timedelta) -> Script:
    """Refuse the key for a day."""
    yield simulation.start + at
    while simulation.busy.get(source.name, simulation.now) > simulation.now:
        yield simulation.busy[source.name] + HOUR
    yield from outage(
        simulation, source, simulation.dice.choice((Trouble.UNAUTHORIZED, Trouble.FORBIDDEN)), simulation.between(6 * HOUR, DAY)
    )


def outage(simulation: Simulation, source: SimSource, trouble: Trouble, lasting: timedelta) -> Script:
    """Run one outage of one source."""
    refused = trouble in (Trouble.UNAUTHORIZED, Trouble.FORBIDDEN)
    recovery = simulation.truth.one_poll if refused else RECOVERY
    retry_after = simulation.dice.choice((30, 600)) if trouble is Trouble.RATE_LIMITED else 0
    end = simulation.now + lasting
    simulation.busy[source.name] = end + recovery
    simulation.truth.mark_unreadable(source.name, simulation.now, end + recovery + timedelta(seconds=retry_after))
    long_enough = lasting > simulation.truth.one_poll + (timedelta(0) if refused else 25 * MINUTE)
    problem = Problem(
        subject=source.name,
        source=source.name,
        kind=Kind.DOWN,
        start=simulation.now,
        end=end,
        needs=Notification.POLL if long_enough else None,
        why=f"{trouble.value} for {lasting}",
    )
    simulation.truth.add(problem)
    wait = str(retry_after) if retry_after else None
    simulation.world.break_source(source.name, trouble, status=simulation.dice.choice((500, 502, 503)), retry_after=wait)
    yield end
    simulation.world.recover_source(source.name)


def skew(simulation: Simulation, source: SimSource) -> Script:
    """Set the provider's clock minutes wrong for hours."""
    while True:
        yield simulation.now + simulation.between(DAY, max(5 * DAY, simulation.days * DAY / 3))
        lasting = simulation.between(2 * HOUR, 20 * HOUR)
        seconds = simulation.dice.choice((-1800, -400, -150, 150, 400, 1800))
        source.clock_skew = timedelta(seconds=seconds)
        simulation.truth.mark_unreadable(source.name, simulation.now, simulation.now + lasting + simulation.truth.one_poll)
        if abs(seconds) >= WRONG:
            simulation.begin_shared(None, Kind.CLOCK_OFF, needs=None)
        yield simulation.now + lasting
        source.clock_skew = timedelta(0)
        if abs(seconds) >= WRONG:
            simulation.end_shared(None, Kind.CLOCK_OFF)


def rows_lost(simulation: Simulation, source: SimSource, at: timedelta) -> Script:
    """Omit more than half of the owner's rows from one or two lists, and restore them.

    No source fails meanwhile: the monitor would poll the others immediately, and count their answers as further lists.
    """
    yield simulation.start + at
    while any(simulation.busy.get(name, simulation.now) > simulation.now for name in simulation.world.sources):
        yield simulation.now + HOUR
    listed = len(source.scopes[None])
    chosen = [
        each for each in simulation.accounts if each.source is source and each.scope is None and simulation.is_healthy(each)
    ]
    chosen = chosen[: max(listed * 3 // 4, suppression.MASS_MINIMUM)]
    if not suppression.is_mass_failure(len(chosen), listed):
        return
    end = simulation.now + 1.6 * simulation.truth.poll_every
    _hold(simulation, source, chosen, end)
    simulation.busy.update(dict.fromkeys(simulation.world.sources, end + simulation.truth.one_poll))
    simulation.truth.mark_unreadable(source.name, simulation.now, end + simulation.truth.one_poll)
    simulation.truth.add(
        Problem(
            subject=source.name,
            source=source.name,
            kind=Kind.LOST_ROWS,
            start=simulation.now,
            end=end,
            needs=Notification.POLL,
            why="rows lost",
        )
    )
    for each in chosen:
        simulation.world.vanish(source.name, each.id, scope=each.scope)
    yield end
    for each in chosen:
        simulation.world.restore(source.name, each.id, scope=each.scope)


def platform_out(simulation: Simulation, source: SimSource, at: timedelta) -> Script:
    """Let one platform refuse everything for more than a probe interval, and recover."""
    yield simulation.start + at
    while simulation.busy.get(source.name, simulation.now) > simulation.now:
        yield simulation.busy[source.name] + HOUR
    tested = [
        each
        for each in simulation.accounts
        if each.source is source and each.platform in VALIDATED and each.platform != "telegram"
    ]
    well = [each for each in tested if each.lifetime is None and simulation.is_healthy(each)]
    platform, count = Counter(each.platform for each in well).most_common(1)[0]
    of = sum(each.platform == platform and simulation.is_listed(each) for each in tested)
    if not suppression.is_mass_failure(count, of):
        return
    chosen = [each for each in well if each.platform == platform]
    end = simulation.now + 2.2 * simulation.truth.one_probe
    _hold(simulation, source, chosen, end)
    simulation.truth.add(
        Problem(
            subject=source.name,
            source=source.name,
            kind=Kind.PLATFORM_OUT,
            start=simulation.now,
            end=end,
            needs=Notification.PROBE,
            why=f"{platform} refuses all",
        )
    )
    for each in chosen:
        simulation.begin_problem(each, Kind.FAILING, "its platform is out", needs=None)
        simulation.change(each, health=Health.REFUSED, detail="Application does not have the capability to make this call")
    yield end
    for each in chosen:
        simulation.end_problems(each)
        simulation.change(each, health=Health.FINE, detail=None)


def network_out(simulation: Simulation, at: timedelta) -> Script:
    """Make every source unreachable for hours: the monitor's own network is down."""
    yield simulation.start + at
    names = list(simulation.world.sources)
    while any(simulation.busy.get(name, simulation.now) > simulation.now for name in names):
        yield simulation.now + HOUR
    end = simulation.now + 2.2 * simulation.truth.one_poll
    for name in names:
        simulation.busy[name] = end + RECOVERY
        simulation.truth.mark_unreadable(name, simulation.now, end + RECOVERY)
        simulation.world.break_source(name, Trouble.CUT)
    simulation.truth.add(
        Problem(
            subject="network",
            source="",
            kind=Kind.NETWORK_OUT,
            start=simulation.now,
            end=end,
            needs=Notification.TWO_POLLS,
            why="no network",
        )
    )
    yield end
    for name in names:
        simulation.world.recover_source(name)


def _hold(simulation: Simulation, source: SimSource, accounts: Sequence[Account], until: datetime) -> None:
    """Reserve the source and these accounts until slightly after an instant."""
    simulation.busy[source.name] = until + simulation.truth.one_poll
    for each in accounts:
        simulation.held[each.key] = until + simulation.truth.one_poll
