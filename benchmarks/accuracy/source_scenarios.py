"""What happens to whole sources, as scripts: outages, rate limits, rejected keys, skewed clocks, and crowds that turn at once."""

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

DOWN = (Trouble.CUT, Trouble.SERVER_ERROR, Trouble.HTML, Trouble.TRUNCATED, Trouble.ENVELOPE, Trouble.RATE_LIMITED)


def outages(stage: Simulation, source: SimSource) -> Script:
    """From minutes to hours, of every sort, every few days."""
    while True:
        yield stage.now + stage.between(DAY / 2, max(3 * DAY, stage.days * DAY / 6))
        lasting = stage.dice.choice(
            (
                stage.between(MINUTE, 4 * MINUTE),
                stage.between(10 * MINUTE, 60 * MINUTE),
                stage.truth.one_poll + stage.between(30 * MINUTE, 5 * HOUR),
            )
        )
        if stage.busy.get(source.name, stage.now) <= stage.now:
            yield from outage(stage, source, stage.dice.choice(DOWN), lasting)


def rejected_key(stage: Simulation, source: SimSource, at: timedelta) -> Script:
    """Refuse the key for a day."""
    yield stage.start + at
    while stage.busy.get(source.name, stage.now) > stage.now:
        yield stage.busy[source.name] + HOUR
    yield from outage(stage, source, stage.dice.choice((Trouble.UNAUTHORIZED, Trouble.FORBIDDEN)), stage.between(6 * HOUR, DAY))


def outage(stage: Simulation, source: SimSource, trouble: Trouble, lasting: timedelta) -> Script:
    """One outage of one source."""
    refused = trouble in (Trouble.UNAUTHORIZED, Trouble.FORBIDDEN)
    recovery = stage.truth.one_poll if refused else RECOVERY
    retry_after = stage.dice.choice((30, 600)) if trouble is Trouble.RATE_LIMITED else 0
    end = stage.now + lasting
    stage.busy[source.name] = end + recovery
    stage.truth.deafen(source.name, stage.now, end + recovery + timedelta(seconds=retry_after))
    long_enough = lasting > stage.truth.one_poll + (timedelta(0) if refused else 25 * MINUTE)
    problem = Problem(
        who=source.name,
        source=source.name,
        kind=Kind.DOWN,
        start=stage.now,
        end=end,
        needs=Notification.POLL if long_enough else None,
        why=f"{trouble.value} for {lasting}",
    )
    stage.truth.add(problem)
    wait = str(retry_after) if retry_after else None
    stage.world.break_source(source.name, trouble, status=stage.dice.choice((500, 502, 503)), retry_after=wait)
    yield end
    stage.world.recover_source(source.name)


def skew(stage: Simulation, source: SimSource) -> Script:
    """Set the provider's clock minutes wrong for hours."""
    while True:
        yield stage.now + stage.between(DAY, max(5 * DAY, stage.days * DAY / 3))
        lasting = stage.between(2 * HOUR, 20 * HOUR)
        source.clock_skew = timedelta(seconds=stage.dice.choice((-1800, -400, -150, 150, 400, 1800)))
        stage.truth.deafen(source.name, stage.now, stage.now + lasting + stage.truth.one_poll)
        yield stage.now + lasting
        source.clock_skew = timedelta(0)


def rows_lost(stage: Simulation, source: SimSource, at: timedelta) -> Script:
    """More than half of the owner's rows are missing from one or two lists, and come back.

    No source fails meanwhile: the monitor would ask the others at once, and count what they answer as further lists.
    """
    yield stage.start + at
    while any(stage.busy.get(name, stage.now) > stage.now for name in stage.world.sources):
        yield stage.now + HOUR
    listed = len(source.scopes[None])
    chosen = [each for each in stage.accounts if each.source is source and each.scope is None and stage.is_well_now(each)]
    chosen = chosen[: max(listed * 3 // 4, suppression.MASS_MINIMUM)]
    if not suppression.is_mass_failure(len(chosen), listed):
        return
    end = stage.now + 1.6 * stage.truth.poll_every
    _hold(stage, source, chosen, end)
    stage.busy.update(dict.fromkeys(stage.world.sources, end + stage.truth.one_poll))
    stage.truth.deafen(source.name, stage.now, end + stage.truth.one_poll)
    stage.truth.add(
        Problem(
            who=source.name,
            source=source.name,
            kind=Kind.LOST_ROWS,
            start=stage.now,
            end=end,
            needs=Notification.POLL,
            why="rows lost",
        )
    )
    for each in chosen:
        stage.world.vanish(source.name, each.id, scope=each.scope)
    yield end
    for each in chosen:
        stage.world.restore(source.name, each.id, scope=each.scope)


def platform_out(stage: Simulation, source: SimSource, at: timedelta) -> Script:
    """One platform refuses everything for more than a probe interval, and recovers."""
    yield stage.start + at
    while stage.busy.get(source.name, stage.now) > stage.now:
        yield stage.busy[source.name] + HOUR
    tested = [
        each for each in stage.accounts if each.source is source and each.platform in VALIDATED and each.platform != "telegram"
    ]
    well = [each for each in tested if each.lifetime is None and stage.is_well_now(each)]
    platform, count = Counter(each.platform for each in well).most_common(1)[0]
    of = sum(each.platform == platform and stage.is_listed(each) for each in tested)
    if not suppression.is_mass_failure(count, of):
        return
    chosen = [each for each in well if each.platform == platform]
    end = stage.now + 2.2 * stage.truth.one_probe
    _hold(stage, source, chosen, end)
    stage.truth.add(
        Problem(
            who=source.name,
            source=source.name,
            kind=Kind.PLATFORM_OUT,
            start=stage.now,
            end=end,
            needs=Notification.PROBE,
            why=f"{platform} refuses all",
        )
    )
    for each in chosen:
        stage.suffers(each, Kind.FAILING, "its platform is out", needs=None)
        stage.change(each, health=Health.REFUSED, detail="Application does not have the capability to make this call")
    yield end
    for each in chosen:
        stage.is_well(each)
        stage.change(each, health=Health.FINE, detail=None)


def network_out(stage: Simulation, at: timedelta) -> Script:
    """Nothing can be reached for hours: the monitor's own line."""
    yield stage.start + at
    names = list(stage.world.sources)
    while any(stage.busy.get(name, stage.now) > stage.now for name in names):
        yield stage.now + HOUR
    end = stage.now + 2.2 * stage.truth.one_poll
    for name in names:
        stage.busy[name] = end + RECOVERY
        stage.truth.deafen(name, stage.now, end + RECOVERY)
        stage.world.break_source(name, Trouble.CUT)
    stage.truth.add(
        Problem(
            who="network",
            source="",
            kind=Kind.NETWORK_OUT,
            start=stage.now,
            end=end,
            needs=Notification.TWO_POLLS,
            why="no network",
        )
    )
    yield end
    for name in names:
        stage.world.recover_source(name)


def _hold(stage: Simulation, source: SimSource, accounts: Sequence[Account], until: datetime) -> None:
    """Nothing else happens to the source or to these accounts until then, and a little longer."""
    stage.busy[source.name] = until + stage.truth.one_poll
    for each in accounts:
        stage.held[each.name] = until + stage.truth.one_poll
