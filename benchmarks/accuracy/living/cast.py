"""The accounts of the living world: a few for one scenario, and hundreds that meet one scenario after another."""

from __future__ import annotations

from datetime import datetime, timedelta

from benchmarks.accuracy import account_scenarios, source_scenarios
from benchmarks.accuracy.cast import START
from benchmarks.accuracy.ground_truth import DAY, HOUR, MINUTE, Truth
from benchmarks.accuracy.living import identities, renewals, rows
from benchmarks.accuracy.living.catalogue import SCENARIOS, Place, Scenario
from benchmarks.accuracy.living.truths import ROTATIONS, reconnect
from benchmarks.accuracy.simulation import Account, Script, Simulation
from monitor.demo.payloads import Shape
from monitor.demo.source import SimSource
from monitor.demo.world import World
from tests.support.fakes import ManualClock

SOURCES = {
    "agency": ("postpost", Shape.CURRENT),
    "brand": ("publora", Shape.CURRENT),
    "heritage": ("publora", Shape.LEGACY),
    "studio": ("postbreeze", Shape.CURRENT),
    "peer": ("postpeer", Shape.CURRENT),
    "tenant": ("postpost", Shape.CURRENT),
}
POLLED_OFTEN = {"studio": 15 * MINUTE}
"""The source whose tokens live for hours only is polled at the default interval."""

_SHARES = {"agency": 0.33, "brand": 0.2, "heritage": 0.12, "studio": 0.2, "peer": 0.13, "tenant": 0.02}
_MIX = {
    "agency": "linkedin facebook instagram telegram threads facebook tiktok twitter mastodon pinterest bluesky youtube",
    "brand": "linkedin telegram facebook instagram youtube threads mastodon tiktok bluesky twitter facebook pinterest",
    "heritage": "linkedin twitter facebook instagram youtube threads pinterest tiktok bluesky facebook",
    "studio": "linkedin twitter instagram youtube threads tiktok pinterest facebook bluesky twitter",
    "peer": "twitter instagram linkedin googlebusiness facebook tiktok youtube threads pinterest bluesky",
    "tenant": "linkedin facebook twitter threads",
}
_PERSONAL = {"linkedin": 60 * DAY, "instagram": 60 * DAY, "threads": 60 * DAY}
_LIFETIMES = {
    "agency": _PERSONAL | {"tiktok": 180 * DAY, "pinterest": 60 * DAY},
    "brand": _PERSONAL | {"tiktok": 180 * DAY},
    "heritage": _PERSONAL | {"facebook": 59 * DAY, "pinterest": 60 * DAY},
    "studio": _PERSONAL | {"pinterest": 30 * DAY},
    "peer": {},
    "tenant": _PERSONAL,
}
_BYSTANDERS = ("linkedin", "facebook", "mastodon", "twitter", "youtube", "instagram", "telegram", "threads")


def world_of(scenario: Scenario, *, days: int, seed: int, poll_every: timedelta, probe_every: timedelta) -> Simulation:
    """Return a small world in which one scenario happens, amid healthy accounts."""
    places = scenario.places()
    names = list(dict.fromkeys(each.source for each in places))
    often = {name: each for name, each in POLLED_OFTEN.items() if poll_every <= HOUR}
    simulation = _simulation(names, days=days, seed=seed, poll_every=poll_every, probe_every=probe_every, often=often)
    for number, place in enumerate(places):
        account = _small_account(simulation, place, scenario, number)
        simulation.play(_once(simulation, account, scenario, number), account)
    if scenario.play_sources is None:
        for name in names:
            for platform in _BYSTANDERS if name != "peer" else _BYSTANDERS[:2]:
                _account(simulation, simulation.world.sources[name], platform, f"{platform}#bystander")
    else:
        for script in scenario.play_sources(simulation, [simulation.world.sources[name] for name in names], DAY):
            simulation.play(script)
    return simulation


def _small_account(simulation: Simulation, place: Place, scenario: Scenario, number: int) -> Account:
    source = simulation.world.sources[place.source]
    lifetime = None if place.platform in ROTATIONS and place.source == "studio" else _lifetime(place.source, place.platform)
    left = lifetime
    if scenario.left is not None:
        lifetime = lifetime or 60 * DAY
        left = scenario.left + number * 5 * HOUR
    account = _account(simulation, source, place.platform, f"{place.platform}#{number}", lifetime=lifetime, left=left)
    account.variant = place.variant
    return account


def _once(simulation: Simulation, account: Account, scenario: Scenario, number: int) -> Script:
    """Play a scenario: the first two accounts from the start, the others hours later, so that they do not fail together."""
    if number >= 2 and not scenario.waits and not scenario.from_start:
        yield from _healthy(simulation, account, number * 5 * HOUR)
    yield from scenario.play(simulation, account)
    yield from _healthy(simulation, account, simulation.end - simulation.now)


def living_world(*, days: int, accounts: int, seed: int, poll_every: timedelta, probe_every: timedelta) -> Simulation:
    """Return the world in which every account meets scenario after scenario, and every source fails at times."""
    simulation = _simulation(
        list(SOURCES), days=days, seed=seed, poll_every=poll_every, probe_every=probe_every, often=POLLED_OFTEN
    )
    for name, share in _SHARES.items():
        platforms = _MIX[name].split()
        for number in range(round(accounts * share)):
            _enter(simulation, simulation.world.sources[name], platforms[number % len(platforms)], number)
    _to_sources(simulation)
    return simulation


def _enter(simulation: Simulation, source: SimSource, platform: str, number: int) -> None:
    """Add an account: of every four, one lives as in the first world, the others meet the scenarios of this one."""
    lifetime = _lifetime(source.name, platform)
    left = None if lifetime is None else simulation.between(lifetime * 0.2, lifetime)
    account = _account(simulation, source, platform, f"{platform}#{number}", lifetime=lifetime, left=left)
    if source.name == "tenant":
        simulation.play(_kept_fresh(simulation, account), account)
        return
    as_before = number % 4 == 0 and source.name != "heritage" and not _rotates(account)
    if as_before:
        if lifetime is not None:
            simulation.dated(account, simulation.listed(account).expires_at or simulation.end)
        simulation.play(account_scenarios.scenario(simulation, account), account)
        return
    menu = [each for each in SCENARIOS.values() if each.play_sources is None and each.fits(account)]
    from_start = [each for each in menu if each.from_start]
    if from_start and number % 3 == 1:
        scenario = from_start[number // 3 % len(from_start)]
        simulation.play(_once(simulation, account, scenario, 0), account)
        return
    menu = [each for each in menu if not each.from_start and (not each.rare or number % 30 == 5)]
    if not menu and lifetime is not None:
        simulation.dated(account, simulation.listed(account).expires_at or simulation.end)
    simulation.play(_life(simulation, account, menu), account)


def _life(simulation: Simulation, account: Account, menu: list[Scenario]) -> Script:
    """Meet one scenario after another, with healthy days between them."""
    if not menu:
        yield from account_scenarios.scenario(simulation, account)
        return
    if simulation.dice.random() < 0.05 and SCENARIOS["odd_side_field"] in menu:
        yield from rows.odd_side_field(simulation, account)
    while True:
        yield from _healthy(simulation, account, simulation.between(DAY / 2, 8 * DAY))
        scenario = simulation.dice.choice(menu)
        if not scenario.waits:
            _refresh(simulation, account, scenario.lasts)
        if not _rotates(account):
            yield from simulation.when_open(account, simulation.now)
        yield from scenario.play(simulation, account)
        if not simulation.is_listed(account):
            return


def _healthy(simulation: Simulation, account: Account, lasting: timedelta) -> Script:
    """Let nothing happen for some days: tokens are renewed long before they expire."""
    if _rotates(account):
        yield from renewals.renewed_all_day(simulation, account, lasting)
        return
    end = simulation.now + lasting
    while simulation.now < end:
        yield min(simulation.now + DAY, end)
        yield from simulation.when_open(account, simulation.now)
        _refresh(simulation, account, 2 * DAY)


def _kept_fresh(simulation: Simulation, account: Account) -> Script:
    while simulation.is_listed(account):
        yield from _healthy(simulation, account, 2 * DAY)


def _refresh(simulation: Simulation, account: Account, lasts: timedelta) -> None:
    """Renew a token that would come near its expiry within a time."""
    ends = simulation.listed(account).expires_at if simulation.is_listed(account) else None
    if account.lifetime is not None and ends is not None and ends - simulation.now < account.window + lasts + 2 * DAY:
        reconnect(simulation, account)


def _to_sources(simulation: Simulation) -> None:
    """Start what happens to whole sources."""
    whole, sources = simulation.days * DAY, simulation.world.sources
    for source in sources.values():
        simulation.play(source_scenarios.outages(simulation, source))
    clocks = [sources["heritage"], sources["agency"], sources["brand"]]
    simulation.play(identities.clock_off(simulation, clocks, 0.05 * whole))
    simulation.play(identities.key_swapped(simulation, sources["tenant"], 0.7 * whole))
    simulation.play(source_scenarios.rows_lost(simulation, sources["agency"], 0.2 * whole))
    simulation.play(source_scenarios.network_out(simulation, 0.65 * whole))
    simulation.play(source_scenarios.rejected_key(simulation, sources["brand"], 0.8 * whole))


def _simulation(
    names: list[str], *, days: int, seed: int, poll_every: timedelta, probe_every: timedelta, often: dict[str, timedelta]
) -> Simulation:
    clock = ManualClock(START)
    world = World(clock=clock, remember=0)
    truth = Truth(poll_every=poll_every, probe_every=probe_every)
    truth.polls_of.update({name: each for name, each in often.items() if name in names})
    for name in names:
        kind, shape = SOURCES[name]
        world.add_source(name, kind, shape=shape)
    return Simulation(world=world, clock=clock, truth=truth, seed=seed, days=days)


def _lifetime(source: str, platform: str) -> timedelta | None:
    return _LIFETIMES[source].get(platform)


def _rotates(account: Account) -> bool:
    return account.source.name == "studio" and account.platform in ROTATIONS


def _account(
    simulation: Simulation,
    source: SimSource,
    platform: str,
    name: str,
    *,
    lifetime: timedelta | None = None,
    left: timedelta | None = None,
) -> Account:
    """Add a healthy account."""
    row = simulation.world.connect(source.name, platform, lifetime=left)
    account = Account(name=name, source=source, platform=platform, scope=row.scope, ids=[row.external_id], lifetime=lifetime)
    account.window = source.window(platform) if source.shape is Shape.CURRENT else 7 * DAY
    simulation.accounts.append(account)
    if left is not None and lifetime is not None:
        began: datetime = simulation.now + left - lifetime
        simulation.change(account, connected_at=began, refreshed_at=began, refresh_attempt_at=began)
    return account
