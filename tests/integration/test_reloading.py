"""What a reload settles of what was decided before it: judged, held back, probed, or still under way. On both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from monitor.config import Config, load
from monitor.daemon.oneshot import check_once
from monitor.daemon.parts import Daemon
from monitor.demo.server import WorldServer
from monitor.demo.world import World
from monitor.domain.clock import SystemClock
from monitor.domain.errors import StoreError
from monitor.domain.rules.silences import Silence
from monitor.engine import acknowledgements, config_sync
from monitor.engine.recording.polls import Poll, record_poll
from monitor.providers import HttpLimits, HttpSessions
from monitor.store import Store, alerts, connection_queries
from monitor.store.lock import DaemonLock
from monitor.store.schema import connections
from monitor.telemetry.metrics import Metrics
from monitor.telemetry.progress import Progress
from monitor.web.server import Hosting
from tests.support.delivery import until
from tests.support.fakes import ManualClock
from tests.support.incidents import all_open
from tests.support.poll_cycle import CHANNEL, Cycle, config_text, running

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
POLL = timedelta(minutes=15)
CROWD = 8
BY_HAND = '[schedule]\nprobe_every = "off"\n'
ACME = {"agency": 'labels = { client = "acme" }'}
BETA = {"agency": 'labels = { client = "beta" }'}
NEVER = {"agency": "probe = false"}


@pytest.fixture
async def agency(store: Store, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Cycle]:
    """Eight Mastodon connections that never expire, polled and probed."""
    async with running(store, clock, crowd(clock), tmp_path, per_source=ACME) as cycle:
        await cycle.poll()
        await cycle.probe()
        yield cycle


def crowd(clock: ManualClock) -> World:
    world = World(clock=clock)
    world.add_source("agency", "postpost")
    for number in range(CROWD):
        world.connect("agency", "mastodon", account=str(number), username=f"@u{number}", display_name=f"User {number}")
    return world


def reload(cycle: Cycle, folder: Path, text: str) -> None:
    """Go over to another configuration, as a start or a reload does."""
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    cycle.config = load(path, {"HOME": str(folder)}).config
    with cycle.store.begin_write() as conn:
        config_sync.sync(conn, cycle.config, cycle.clock.now())
    works = list(cycle.work.values())
    cycle.work = {source.name: replace(work, source=source) for source, work in zip(cycle.config.sources, works, strict=False)}


def said(cycle: Cycle) -> list[tuple[str, str]]:
    """Take what was said since the last call, as (event, reason)."""
    words = [(alert.event.value, alert.reason) for alert in cycle.alerts]
    cycle.alerts.clear()
    return words


def open_subjects(cycle: Cycle) -> list[str]:
    with cycle.store.begin_read() as conn:
        return [incident.subject for incident in all_open(conn)]


def silence(cycle: Cycle, **matchers: object) -> None:
    """Silence from now on, without an end."""
    now = cycle.clock.now()
    with cycle.store.begin_write() as conn:
        wanted = Silence(comment="moving", starts_at=now, **matchers)  # type: ignore[arg-type]  # by name
        acknowledgements.add_silence(conn, wanted, now=now, author="a test")


async def refuse(cycle: Cycle, count: int) -> None:
    """So many connections are refused, twice in a row."""
    for number in range(count):
        cycle.world.refuse("agency", f"mastodon-{number}")
    await cycle.probe(after=MINUTE)
    await cycle.probe(after=MINUTE)


# --- what holds back


async def test_a_silenced_alert_is_sent_when_the_silence_matches_no_longer(agency: Cycle, tmp_path: Path) -> None:
    silence(agency, labels={"client": "acme"})
    agency.world.expire("agency", "mastodon-0")
    await agency.poll(after=POLL)
    assert said(agency) == []
    reload(agency, tmp_path, config_text(agency.world, agency.server, extra=CHANNEL, per_source=ACME))
    await agency.pass_time(MINUTE)
    assert said(agency) == [], "nothing changed"
    reload(agency, tmp_path, config_text(agency.world, agency.server, extra=CHANNEL, per_source=BETA))
    await agency.pass_time(MINUTE)
    assert said(agency) == [("expired", "first")]
    await agency.pass_time(MINUTE)
    assert said(agency) == []


async def test_an_alert_silenced_by_id_is_sent_when_the_source_is_renamed(agency: Cycle, tmp_path: Path) -> None:
    silence(agency, connections=("agency/mastodon-0",))
    agency.world.expire("agency", "mastodon-0")
    await agency.poll(after=POLL)
    assert said(agency) == []
    text = config_text(agency.world, agency.server, extra=CHANNEL, per_source=ACME)
    reload(agency, tmp_path, text.replace('name = "agency"', 'name = "studio"'))
    await agency.pass_time(MINUTE)
    assert [(alert.event.value, alert.connection) for alert in agency.alerts] == [("expired", "studio/mastodon-0")]


async def test_an_incident_from_before_an_outage_continues_after_it(agency: Cycle) -> None:
    await refuse(agency, 1)
    assert said(agency) == [("failing", "first")]
    await refuse(agency, CROWD)
    assert said(agency) == [("source_failing", "platform_outage")]
    await agency.pass_time(DAY)
    assert said(agency) == [], "the outage is what there is to say"
    for number in range(1, CROWD):
        agency.world.renew("agency", f"mastodon-{number}")
    await agency.probe(after=MINUTE)
    assert said(agency) == [("source_recovered", "platform_outage")]
    await agency.pass_time(70 * MINUTE)
    assert said(agency) == [("failing", "reminder")]
    await agency.pass_time(DAY)
    assert said(agency) == [("failing", "reminder")]


async def test_a_worsening_during_an_outage_is_notified_after_it(agency: Cycle) -> None:
    agency.world.state_word("agency", "mastodon-0", "expiring_soon")
    await agency.poll(after=POLL)
    assert said(agency) == [("expiring_soon", "first")]
    await refuse(agency, CROWD)
    agency.world.state_word("agency", "mastodon-0", "expiring_soon")
    for number in range(1, CROWD):
        agency.world.renew("agency", f"mastodon-{number}")
    await agency.probe(after=MINUTE)
    assert said(agency) == [("source_failing", "platform_outage"), ("source_recovered", "platform_outage")]
    await agency.pass_time(70 * MINUTE)
    assert said(agency) == [("failing", "worse")]


# --- what probes found


@pytest.mark.parametrize(("top", "per_source"), [(BY_HAND, ACME), ("", NEVER)], ids=["off", "never"])
async def test_what_probes_found_ends_with_probing(agency: Cycle, tmp_path: Path, top: str, per_source: dict[str, str]) -> None:
    await refuse(agency, 1)
    assert said(agency) == [("failing", "first")]
    reload(agency, tmp_path, config_text(agency.world, agency.server, extra=CHANNEL + top, per_source=per_source))
    await agency.poll(after=POLL)
    assert said(agency) == [("recovered", "recovered")]
    assert set(agency.statuses().values()) == {"valid"}
    await agency.poll(after=POLL)
    assert said(agency) == []
    assert open_subjects(agency) == []


async def test_what_check_found_is_forgotten_when_nothing_may_probe_any_more(agency: Cycle, tmp_path: Path) -> None:
    reload(agency, tmp_path, config_text(agency.world, agency.server, extra=CHANNEL + BY_HAND, per_source=ACME))
    await refuse(agency, 1)
    await agency.poll(after=POLL)
    assert said(agency) == [("failing", "first")], "a poll takes back nothing that `check` found"
    reload(agency, tmp_path, config_text(agency.world, agency.server, extra=CHANNEL + BY_HAND, per_source=NEVER))
    await agency.poll(after=POLL)
    assert said(agency) == [("recovered", "recovered")]


async def check_alone(config: Config) -> None:
    """Check once, and wait until the server has noticed that the connection with the lock was closed."""
    await check_once(config, only=None, probe=True)
    lock = DaemonLock(config.database.url.reveal())
    await until(lambda: lock.holder() is None)


async def test_probes_of_check_alone_are_believed_from_one_check_to_the_next(database_url: str, tmp_path: Path) -> None:
    world = World()
    world.add_source("agency", "postpost")
    world.connect("agency", "mastodon", account="0", username="@u", display_name="U")
    async with WorldServer(world) as server:
        path = tmp_path / "config.toml"
        path.touch(mode=0o600)
        path.write_text(f'[database]\nurl = "{database_url}"\n{BY_HAND}' + config_text(world, server), encoding="utf-8")
        config = load(path, {"HOME": str(tmp_path)}).config
        await check_alone(config)
        world.refuse("agency", "mastodon-0")
        for _ in range(5):
            await check_alone(config)
        assert stored(database_url) == ["failing"]
        world.renew("agency", "mastodon-0")
        for _ in range(2):
            await check_alone(config)
        assert stored(database_url) == ["failing", "recovered"]


def stored(database_url: str) -> list[str]:
    """The events of all alerts, the oldest first."""
    with Store(database_url) as store, store.begin_read() as conn:
        return [row.alert.event.value for row in sorted(alerts.list_alerts(conn), key=lambda row: row.alert.at)]


@pytest.mark.parametrize(("top", "per_source"), [(BY_HAND, ACME), ("", NEVER)], ids=["off", "never"])
async def test_an_outage_ends_with_probing_and_its_end_is_notified(
    agency: Cycle, tmp_path: Path, top: str, per_source: dict[str, str]
) -> None:
    await refuse(agency, CROWD)
    assert said(agency) == [("source_failing", "platform_outage")]
    reload(agency, tmp_path, config_text(agency.world, agency.server, extra=CHANNEL + top, per_source=per_source))
    with agency.store.begin_read() as conn:
        end = max((row.alert for row in alerts.list_alerts(conn)), key=lambda alert: alert.id)
    assert (end.event.value, end.reason) == ("source_recovered", "platform_outage")
    assert end.message == "Probing is off, so refused mastodon connections are no longer detected."
    await agency.poll(after=POLL)
    assert said(agency) == [], "what the outage held was never said, and ends as quietly"
    assert open_subjects(agency) == []
    assert set(agency.statuses().values()) == {"valid"}


async def test_a_suspicion_about_a_scope_leaves_with_the_scope(store: Store, clock: ManualClock, tmp_path: Path) -> None:
    user = "65f0c0ffee0000000000a11c"
    world = World(clock=clock)
    world.add_source("agency", "postpost")
    world.add_user("agency", user=user, display_name="client")
    for number in range(CROWD):
        world.connect("agency", "mastodon", account=str(number), username=f"@u{number}", display_name="U", scope=user)
    async with running(store, clock, world, tmp_path, per_source={"agency": f'users = ["{user}"]'}) as cycle:
        await cycle.poll()
        for number in range(CROWD - 1):
            world.vanish("agency", f"mastodon-{number}")
        await cycle.poll(after=POLL)
        assert said(cycle) == [("source_failing", "suspicious_list")]
        reload(cycle, tmp_path, config_text(world, cycle.server, extra=CHANNEL, per_source={"agency": 'users = "none"'}))
        assert open_subjects(cycle) == []


# --- what is under way


async def test_a_list_of_a_source_removed_meanwhile_raises_nothing(store: Store, clock: ManualClock, tmp_path: Path) -> None:
    world = crowd(clock)
    world.add_source("other", "publora")
    async with running(store, clock, world, tmp_path) as cycle:
        await cycle.poll()
        work = cycle.work["agency"]
        world.expire("agency", "mastodon-0")
        report = await work.provider.poll()
        _, _, other = config_text(world, cycle.server).split("[[sources]]")
        reload(cycle, tmp_path, f"{CHANNEL}[[sources]]{other}")
        with store.begin_write() as conn:
            now = clock.now()
            poll = Poll(report=report, started_at=now, now=now)
            recorded = record_poll(conn, work.source, poll, channels=cycle.config.channels)
        assert (recorded.alert_count, recorded.changed) == (0, 0)
        assert cycle.source("agency").removed_at is not None


@dataclass
class Live:
    """A daemon's parts at work by the real clock, on one LinkedIn connection that runs out in 20 days."""

    daemon: Daemon
    world: World
    store: Store
    configured: Callable[[str], Config]

    @property
    def lists(self) -> int:
        """How often the list was asked for."""
        return self.world.sources["agency"].calls["list"]

    def status(self) -> str | None:
        with self.store.begin_read() as conn:
            statuses = [row.state.verdict.status.value for row in connection_queries.list_connections(conn)]
        return statuses[0] if statuses else None


@asynccontextmanager
async def at_work(store: Store, folder: Path) -> AsyncIterator[Live]:
    world = World()
    world.add_source("agency", "postpost")
    world.connect("agency", "linkedin", account="li", username="N", display_name="N", lifetime=20 * DAY)
    top = '[web]\nlisten = "off"\n[schedule]\npoll_every = "1s"\nprobe_every = "off"\nrequests_per_minute = 6000\n'
    path = folder / "config.toml"
    path.touch(mode=0o600)
    async with WorldServer(world) as server, HttpSessions(limits=HttpLimits(retry_wait=0.01)) as sessions:

        def configured(extra: str) -> Config:
            path.write_text(top + extra + config_text(world, server), encoding="utf-8")
            return load(path, {"HOME": str(folder)}).config

        clock, progress, metrics = SystemClock(), Progress(), Metrics()
        hosting = Hosting(clock=clock, metrics=metrics, progress=progress)
        daemon = Daemon(store=store, sessions=sessions, clock=clock, progress=progress, metrics=metrics, hosting=hosting)
        live = Live(daemon=daemon, world=world, store=store, configured=configured)
        try:
            await daemon.start(configured(""))
            await until(lambda: live.status() == "valid")
            yield live
        finally:
            await daemon.stop()


async def test_a_start_corrects_what_was_observed_by_a_clock_that_was_ahead(store: Store, tmp_path: Path) -> None:
    ahead = datetime.now(UTC) + timedelta(days=40)
    async with at_work(store, tmp_path):
        pass
    with store.begin_write() as conn:
        conn.execute(update(connections).values(token_dated_since=ahead, probe_at=ahead))
    async with at_work(store, tmp_path):
        with store.begin_read() as conn:
            [row] = conn.execute(select(connections.c.token_dated_since, connections.c.probe_at)).all()
        assert max(row) <= datetime.now(UTC)


async def test_a_poll_that_is_under_way_at_a_reload_does_not_undo_the_new_settings(store: Store, tmp_path: Path) -> None:
    async with at_work(store, tmp_path) as live:
        live.world.slow_source("agency", timedelta(seconds=1))
        asked = live.lists
        await until(lambda: live.lists > asked)
        await live.daemon.swap(live.configured('[policy]\nexpiring_within = "30d"\n'))
        live.world.slow_source("agency", timedelta(0))
        await until(lambda: live.status() == "expiring_soon")


async def test_a_reload_that_cannot_be_written_goes_on_as_before(tmp_path: Path) -> None:
    path = tmp_path / "monitor.db"
    with Store(f"sqlite:///{path}") as store:
        store.upgrade()
        async with at_work(store, tmp_path) as live:
            other = live.configured('[policy]\nexpiring_within = "30d"\n')
            away = path.rename(tmp_path / "away.db")
            with pytest.raises(StoreError):
                await live.daemon.swap(other)
            away.rename(path)
            asked = live.lists
            await until(lambda: live.lists > asked + 1)
            assert live.status() == "valid", "the configuration before it is in force"
            await live.daemon.swap(other)
            await until(lambda: live.status() == "expiring_soon")
