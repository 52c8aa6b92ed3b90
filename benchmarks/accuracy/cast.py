"""The cast: some hundred accounts on every platform at the four providers, and the troubles in store for them."""

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
    stage = Simulation(
        world=world, clock=clock, truth=Truth(poll_every=poll_every, probe_every=probe_every), seed=seed, days=days
    )
    for name, kind, platforms, share in CAST:
        source = world.add_source(name, kind)
        user = world.add_user(name).id if kind == "postpost" else None
        for number in range(round(accounts * share)):
            scope = user if number % 5 == 0 else None
            _enter(stage, source, platforms[number % len(platforms)], scope, number)
    _large_scenarios(stage)
    return stage


def _enter(stage: Simulation, source: SimSource, platform: str, scope: str | None, number: int) -> None:
    """One account, healthy at first, its token somewhere in its life."""
    lifetime = LIFETIMES[source.kind].get(platform)
    left = None
    if lifetime is not None:
        soon = stage.dice.random() < 0.5
        left = stage.between(lifetime * 0.05, min(lifetime, (stage.days + 8) * DAY) if soon else lifetime)
    row = stage.world.connect(source.name, platform, scope=scope, lifetime=left)
    account = Account(
        name=f"{row.platform.lower()}#{number}",
        source=source,
        platform=platform,
        scope=row.scope,
        ids=[row.external_id],
        lifetime=lifetime,
    )
    account.window = source.window(platform)
    stage.accounts.append(account)
    if platform == "telegram" and number % EVERY_NTH_IS_MTPROTO == 0:
        stage.change(account, mtproto=True)  # every probe refuses it, for ever, and it works: nothing to say
        return
    if left is not None and lifetime is not None:
        began = stage.now + left - lifetime
        stage.change(account, connected_at=began, refreshed_at=began, refresh_attempt_at=began)
        if lifetime <= DAY:
            stage.change(account, noticed=False)
            stage.play(account_scenarios.rotating(stage, account), account)
            return
        stage.dated(account, stage.now + left)
    stage.play(account_scenarios.scenario(stage, account), account)


def _large_scenarios(stage: Simulation) -> None:
    whole = stage.days * DAY
    sources = stage.world.sources
    for source in sources.values():
        stage.play(source_scenarios.outages(stage, source))
        stage.play(source_scenarios.skew(stage, source))
    stage.play(source_scenarios.rows_lost(stage, sources["agency"], 0.2 * whole))
    stage.play(source_scenarios.platform_out(stage, sources["agency"], 0.4 * whole))
    stage.play(source_scenarios.network_out(stage, 0.65 * whole))
    stage.play(source_scenarios.rejected_key(stage, sources["brand"], 0.8 * whole))
