"""The accounts of a simulation, on every platform of the four providers, and the start of their scenarios."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from benchmarks.accuracy import account_scenarios, source_scenarios
from benchmarks.accuracy.ground_truth import DAY, HOUR, Truth
from benchmarks.accuracy.simulation import Account, Simulation
from monitor.demo.source import SimSource
from monitor.demo.world import World
from tests.support.fakes import ManualClock

START = datetime(2026, 9, 1, 6, 0, tzinfo=UTC)
"""100 days from here hold the end of summer time."""

AGENCY = (
    "linkedin facebook instagram telegram threads facebook tiktok twitter mastodon facebook bluesky youtube pinterest facebook"
)
BRAND = "tiktok linkedin telegram facebook instagram youtube threads mastodon bluesky twitter pinterest"
STUDIO = "linkedin twitter instagram youtube threads tiktok facebook bluesky pinterest"
PEER = "twitter instagram linkedin googlebusiness facebook tiktok youtube threads pinterest bluesky"
CAST = (
    ("agency", "postpost", AGENCY.split(), 0.42),
    ("brand", "publora", BRAND.split(), 0.23),
    ("studio", "postbreeze", STUDIO.split(), 0.2),
    ("peer", "postpeer", PEER.split(), 0.15),
)
_PERSONAL = {"linkedin": 60 * DAY, "instagram": 60 * DAY, "threads": 60 * DAY}
LIFETIMES = {
    "postpost": _PERSONAL | {"tiktok": 180 * DAY},
    "publora": _PERSONAL | {"tiktok": 180 * DAY},
    "postbreeze": _PERSONAL | {"pinterest": 30 * DAY, "tiktok": DAY, "twitter": 2 * HOUR, "bluesky": 2 * HOUR, "youtube": HOUR},
    "postpeer": {},
}
EVERY_NTH_IS_MTPROTO = 4


def simulation_of(*, days: int, accounts: int, seed: int, poll_every: timedelta, probe_every: timedelta) -> Simulation:
    """Return a simulation with all accounts and with every scenario started."""
    clock = ManualClock(START)
    world = World(clock=clock, remember=0)
    simulation = Simulation(
        world=world, clock=clock, truth=Truth(poll_every=poll_every, probe_every=probe_every), seed=seed, days=days
    )
    for name, kind, platforms, share in CAST:
        source = world.add_source(name, kind)
        user = world.add_user(name).id if kind == "postpost" else None
        for number in range(round(accounts * share)):
            scope = user if number % 5 == 0 else None
            _enter(simulation, source, platforms[number % len(platforms)], scope, number)
    _large_scenarios(simulation)
    return simulation


def _enter(simulation: Simulation, source: SimSource, platform: str, scope: str | None, number: int) -> None:
    """Add one account, healthy at first, its token at a random age."""
    lifetime = LIFETIMES[source.kind].get(platform)
    left = None
    if lifetime is not None:
        soon = simulation.dice.random() < 0.5
        left = simulation.between(lifetime * 0.05, min(lifetime, (simulation.days + 8) * DAY) if soon else lifetime)
    row = simulation.world.connect(source.name, platform, scope=scope, lifetime=left)
    account = Account(
        name=f"{row.platform.lower()}#{number}",
        source=source,
        platform=platform,
        scope=row.scope,
        ids=[row.external_id],
        lifetime=lifetime,
    )
    account.window = source.window(platform)
    simulation.accounts.append(account)
    if platform == "telegram" and number % EVERY_NTH_IS_MTPROTO == 0:
        simulation.change(account, mtproto=True)  # every probe refuses it, always, and it works: no alert
        return
    if left is not None and lifetime is not None:
        began = simulation.now + left - lifetime
        simulation.change(account, connected_at=began, refreshed_at=began, refresh_attempt_at=began)
        if lifetime <= DAY:
            simulation.change(account, noticed=False)
            simulation.play(account_scenarios.rotating(simulation, account), account)
            return
        simulation.dated(account, simulation.now + left)
    simulation.play(account_scenarios.scenario(simulation, account), account)


def _large_scenarios(simulation: Simulation) -> None:
    whole = simulation.days * DAY
    sources = simulation.world.sources
    for source in sources.values():
        simulation.play(source_scenarios.outages(simulation, source))
        simulation.play(source_scenarios.skew(simulation, source))
    simulation.play(source_scenarios.rows_lost(simulation, sources["agency"], 0.2 * whole))
    simulation.play(source_scenarios.platform_out(simulation, sources["agency"], 0.4 * whole))
    simulation.play(source_scenarios.network_out(simulation, 0.65 * whole))
    simulation.play(source_scenarios.rejected_key(simulation, sources["brand"], 0.8 * whole))
