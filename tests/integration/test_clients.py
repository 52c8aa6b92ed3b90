"""Clients of a workspace key: names from the service, labels by rule, and alerts that reach each client's own team only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.config import Config, load
from monitor.demo.source import Trouble
from monitor.demo.world import World
from monitor.domain import Status
from monitor.domain.filters import ConnectionFilter
from monitor.domain.rules.routing import as_seen_by
from monitor.engine import config_sync
from monitor.engine.recording import Recorded
from monitor.store import Store, connection_queries, history, incidents, label_sets, outbox, shares
from monitor.views.connections import ConnectionView
from monitor.views.label_filter import labels_in_use, resolve_labels
from monitor.views.pages import PageRequest, alert_page, connection_page
from monitor.views.sources import source_views
from monitor.views.status import overview
from tests.support.fakes import ManualClock
from tests.support.poll_cycle import Cycle, config_text, running

DAY = timedelta(days=1)
U0, U1, U9 = "0" * 24, "1" * 24, "9" * 24
USERS = 'users = "all"\nprobe = false\n'
TEAMS = """
[[labels]]
match = { scope = "casa*" }
set = { team = "red" }
[[labels]]
match = { scope = "Brava*" }
set = { team = "blue" }

[[channels]]
name = "red"
url = "json://127.0.0.1:9/red"
labels = { team = "red" }
group_wait = "0s"

[[channels]]
name = "blue"
url = "json://127.0.0.1:9/blue"
labels = { team = ["blue", "green"] }
group_wait = "0s"

[[channels]]
name = "casa"
url = "json://127.0.0.1:9/casa"
labels = { client = "Casa*" }
group_wait = "0s"
"""


@asynccontextmanager
async def agency(
    store: Store, clock: ManualClock, folder: Path, *, extra: str = TEAMS, clients: tuple[str, ...] = ("Casa Verde", "Brava")
) -> AsyncIterator[Cycle]:
    """One workspace key with a managed user per client, with one account each, and one of the owner."""
    world = World(clock=clock)
    world.add_source("agency", "postpost")
    world.connect("agency", "linkedin", account="own", username="own", display_name="Own", lifetime=50 * DAY)
    for number, name in enumerate(clients):
        user = world.add_user("agency", user=str(number) * 24, display_name=name)
        world.connect(
            "agency", "linkedin", account=f"a{number}", username=f"n{number}", display_name=f"N{number}", scope=user.id,
            lifetime=50 * DAY,
        )  # fmt: skip
    async with running(store, clock, world, folder, extra=extra, per_source={"agency": USERS}) as made:
        yield made


def labels(store: Store) -> dict[str, dict[str, str]]:
    with store.begin_read() as conn:
        return {row.public_id: dict(row.labels or {}) for row in connection_queries.list_connections(conn)}


def channels_of(store: Store, recorded: Recorded) -> set[str]:
    with store.begin_read() as conn:
        return {each.channel for alert in recorded.alerts for each in outbox.deliveries_of(conn, alert.id)}


def view(store: Store, config: Config, clock: ManualClock, **wanted: str) -> list[ConnectionView]:
    with store.begin_read() as conn:
        return list(overview(conn, config, now=clock.now(), filters=ConnectionFilter(labels=wanted)).connections)


async def test_a_clients_name_is_its_label_and_rules_add_more(store: Store, clock: ManualClock, tmp_path: Path) -> None:
    async with agency(store, clock, tmp_path) as cycle:
        await cycle.poll()
        assert labels(store) == {
            "agency/linkedin-own": {},
            f"agency/{U0}/linkedin-a0": {"client": "Casa Verde", "team": "red"},
            f"agency/{U1}/linkedin-a1": {"client": "Brava", "team": "blue"},
        }
        found = view(store, cycle.config, clock, client="Casa Verde")
        assert [(each.id, each.json().scope_name) for each in found] == [(f"agency/{U0}/linkedin-a0", "Casa Verde")]


async def test_an_alert_reaches_the_channels_of_its_clients_labels_only(store: Store, clock: ManualClock, tmp_path: Path) -> None:
    async with agency(store, clock, tmp_path) as cycle:
        await cycle.poll()
        cycle.world.expire("agency", "linkedin-a0", scope=U0)
        recorded = await cycle.poll(after=timedelta(minutes=15))
        assert [alert.connection for alert in recorded.alerts] == [f"agency/{U0}/linkedin-a0"]
        assert recorded.alerts[0].labels == {"client": "Casa Verde", "team": "red"}
        assert channels_of(store, recorded) == {"red", "casa"}


async def test_a_new_client_needs_no_change_of_the_configuration(store: Store, clock: ManualClock, tmp_path: Path) -> None:
    async with agency(store, clock, tmp_path) as cycle:
        await cycle.poll()
        user = cycle.world.add_user("agency", user=U9, display_name="Casa Nova")
        cycle.world.connect("agency", "linkedin", account="a9", username="n", display_name="N", scope=user.id, lifetime=DAY)
        recorded = await cycle.poll(after=timedelta(minutes=15))
        assert labels(store)[f"agency/{U9}/linkedin-a9"] == {"client": "Casa Nova", "team": "red"}
        assert channels_of(store, recorded) == {"red", "casa"}  # its first alert already


async def test_a_renamed_client_changes_labels_without_event_or_alert(store: Store, clock: ManualClock, tmp_path: Path) -> None:
    async with agency(store, clock, tmp_path) as cycle:
        await cycle.poll()
        users = cycle.world.sources["agency"].users
        users[U0] = replace(users[U0], display_name="Casa Nuova")
        recorded = await cycle.poll(after=timedelta(minutes=15))
        assert (recorded.alert_count, recorded.changed) == (0, 0)
        assert labels(store)[f"agency/{U0}/linkedin-a0"] == {"client": "Casa Nuova", "team": "red"}
        with store.begin_read() as conn:
            rows = {row.public_id: row.id for row in connection_queries.list_connections(conn)}
            assert [each.kind for each in history.history_of(conn, rows[f"agency/{U0}/linkedin-a0"])] == ["appeared"]


async def test_a_rename_that_empties_a_channels_filter_is_a_problem_of_the_monitor(
    store: Store, clock: ManualClock, tmp_path: Path
) -> None:
    async with agency(store, clock, tmp_path) as cycle:
        await cycle.poll()
        users = cycle.world.sources["agency"].users
        users[U0] = replace(users[U0], display_name="Verde")
        recorded = await cycle.poll(after=timedelta(minutes=15))
        assert [(each.event, each.reason, each.subject) for each in recorded.alerts] == [
            ("monitor_problem", "filter_empty", "filter:casa"),
            ("monitor_problem", "filter_empty", "filter:red"),
        ]
        assert channels_of(store, recorded) == {"red", "blue", "casa"}
        assert (await cycle.poll(after=timedelta(minutes=15))).alert_count == 0
        users[U0] = replace(users[U0], display_name="Casa Again")
        recorded = await cycle.poll(after=timedelta(minutes=15))
        assert [(each.event, each.subject) for each in recorded.alerts] == [
            ("monitor_recovered", "filter:casa"),
            ("monitor_recovered", "filter:red"),
        ]


async def test_a_rename_that_empties_the_selection_of_a_user_or_a_share_is_a_problem_too(
    store: Store, clock: ManualClock, tmp_path: Path
) -> None:
    user = '[[web.users]]\nname = "Anna B"\ntoken = "0123456789abcdef0123456789abcdef"\nlabels = { team = "red" }\n'
    async with agency(store, clock, tmp_path, extra=TEAMS.partition("[[channels]]")[0] + user) as cycle:
        await cycle.poll()
        with store.begin_write() as conn:
            for days in (90, 0):  # the second one has expired, and is not reported
                shares.add(conn, {"team": "red"}, until=clock.now() + days * DAY, now=clock.now(), author="ann")
        users = cycle.world.sources["agency"].users
        users[U0] = replace(users[U0], display_name="Verde")
        recorded = await cycle.poll(after=timedelta(minutes=15))
        assert [(each.reason, each.subject) for each in recorded.alerts] == [
            ("filter_empty", "filter:share/1"),
            ("filter_empty", "filter:user/Anna B"),
        ]
        assert recorded.alerts[1].message.startswith("The selection of the user Anna B no longer matches any connection")
        with store.begin_write() as conn:
            shares.revoke(conn, None, now=clock.now(), author="ann")
        users[U0] = replace(users[U0], display_name="Casa Again")
        recorded = await cycle.poll(after=timedelta(minutes=15))
        assert [(each.event, each.subject) for each in recorded.alerts] == [("monitor_recovered", "filter:user/Anna B")]
        with store.begin_read() as conn:
            assert incidents.open_subjects(conn, "") == []


async def test_equal_names_of_two_clients_stay_apart(store: Store, clock: ManualClock, tmp_path: Path) -> None:
    async with agency(store, clock, tmp_path, clients=("Casa", "casa")) as cycle:
        await cycle.poll()
        assert labels(store)[f"agency/{U0}/linkedin-a0"]["client"] == f"Casa ({U0})"
        assert labels(store)[f"agency/{U1}/linkedin-a1"]["client"] == f"casa ({U1})"


async def test_a_changed_rule_labels_again_at_the_start(store: Store, clock: ManualClock, tmp_path: Path) -> None:
    async with agency(store, clock, tmp_path) as cycle:
        await cycle.poll()
        changed = TEAMS.replace('set = { team = "red" }', 'set = { team = "green", client = "casa" }')
        (tmp_path / "config.toml").write_text(
            config_text(cycle.world, cycle.server, extra=changed, per_source={"agency": USERS}), encoding="utf-8"
        )
        config = load(tmp_path / "config.toml", {"HOME": str(tmp_path)}).config
        with store.begin_write() as conn:
            config_sync.sync(conn, config, clock.now())
        assert labels(store)[f"agency/{U0}/linkedin-a0"] == {"client": "casa", "team": "green"}
        with store.begin_read() as conn:
            stored = [dict(each.values) for each in label_sets.all_sets(conn).values()]
            assert {"client": "Casa Verde", "team": "red"} not in stored  # what no connection has is deleted


async def test_connections_that_an_earlier_version_recorded_are_labelled_at_the_start(
    store: Store, clock: ManualClock, tmp_path: Path
) -> None:
    async with agency(store, clock, tmp_path) as cycle:
        await cycle.poll()
        with store.begin_write() as conn:
            conn.exec_driver_sql("UPDATE connections SET label_set = NULL")
            conn.exec_driver_sql("DELETE FROM label_sets")
        assert view(store, cycle.config, clock, team="red") == []  # nothing matches by mistake meanwhile
        with store.begin_write() as conn:
            config_sync.sync(conn, cycle.config, clock.now())
        assert [each.id for each in view(store, cycle.config, clock, team="red")] == [f"agency/{U0}/linkedin-a0"]


async def test_a_source_that_fails_reaches_every_team_and_counts_its_own_connections(
    store: Store, clock: ManualClock, tmp_path: Path
) -> None:
    async with agency(store, clock, tmp_path) as cycle:
        await cycle.poll()
        cycle.world.break_source("agency", Trouble.UNAUTHORIZED)
        recorded = await cycle.poll(after=timedelta(minutes=15))
        [alert] = recorded.alerts
        assert channels_of(store, recorded) == {"red", "blue", "casa"}
        by_team = {each.get("team"): count for each, count in zip(alert.label_sets, alert.label_counts, strict=True)}
        assert (alert.count, by_team) == (3, {None: 1, "red": 1, "blue": 1})
        red = next(each for each in cycle.config.channels if each.name == "red")
        assert "3 connections have not been monitored since" in alert.message
        assert "1 connection has not been monitored since" in as_seen_by(red, alert).message


async def test_a_client_that_cannot_be_read_concerns_its_own_team_only(store: Store, clock: ManualClock, tmp_path: Path) -> None:
    async with agency(store, clock, tmp_path) as cycle:
        await cycle.poll()
        del cycle.world.sources["agency"].users[U0]
        recorded = Recorded()
        for _ in range(2):
            recorded.add(await cycle.poll(after=timedelta(minutes=15)))
        assert channels_of(store, recorded) <= {"red", "casa"}


async def test_lists_of_alerts_events_and_sources_follow_a_label(store: Store, clock: ManualClock, tmp_path: Path) -> None:
    async with agency(store, clock, tmp_path) as cycle:
        await cycle.poll()
        cycle.world.expire("agency", "linkedin-a0", scope=U0)
        await cycle.poll(after=timedelta(minutes=15))
        with store.begin_read() as conn:
            now = clock.now()
            red = PageRequest(filters=ConnectionFilter(labels={"team": "red"}), limit=50)
            blue = PageRequest(filters=ConnectionFilter(labels={"team": "blue"}), limit=50)
            assert len(alert_page(conn, cycle.config, red, now=now).items) == 1
            assert len(alert_page(conn, cycle.config, blue, now=now).items) == 0
            assert len(connection_page(conn, cycle.config, blue, now=now).connections) == 1
            assert [each.name for each in source_views(conn, cycle.config, now=now, filters=blue.filters)] == ["agency"]
            none = ConnectionFilter(labels={"team": "violet"})
            assert source_views(conn, cycle.config, now=now, filters=none) == []
            assert ("client", "Casa Verde") in labels_in_use(conn, cycle.config)
            resolved = resolve_labels(conn, ConnectionFilter(labels={"client": "casa*", "team": "RED"}), cycle.config)
            assert connection_queries.count_by_status(conn, resolved)[Status.EXPIRED] == 1


async def test_names_of_workspaces_are_read_from_postbreeze(store: Store, clock: ManualClock, tmp_path: Path) -> None:
    world = World(clock=clock)
    world.add_source("studio", "postbreeze")
    world.sources["studio"].workspaces["ws_1"] = "Café\u202e Nord"
    world.connect("studio", "linkedin", account="a", username="n", display_name="N", lifetime=50 * DAY)
    async with running(store, clock, world, tmp_path) as cycle:
        await cycle.poll()
        [found] = labels(store).values()
        assert found == {"client": "Café\ufffd Nord"}  # text from outside: no control character is stored
        before = world.sources["studio"].calls["workspaces"]
        await cycle.poll(after=timedelta(minutes=15))
        assert world.sources["studio"].calls["workspaces"] == before  # known names are not requested at every poll


@pytest.mark.parametrize("wider", [True, False])
async def test_thresholds_of_a_rule_apply_to_its_connections_only(
    store: Store, clock: ManualClock, tmp_path: Path, wider: bool
) -> None:
    wide = TEAMS + '\n[[labels]]\nmatch = { scope = "Casa*" }\n[labels.policy]\nexpiring_within = "40d"\n'
    async with agency(store, clock, tmp_path, extra=wide if wider else TEAMS) as cycle:
        await cycle.poll()
        await cycle.poll(after=15 * DAY)
        expected = "expiring_soon" if wider else "valid"
        assert cycle.statuses() == {
            "agency/linkedin-own": "valid",
            f"agency/{U0}/linkedin-a0": expected,
            f"agency/{U1}/linkedin-a1": "valid",
        }


@pytest.mark.parametrize(("users", "reported"), [("", True), ('users = "none"', False)])
async def test_a_key_that_manages_users_while_users_is_not_set_is_a_warning_with_their_number(
    store: Store, clock: ManualClock, tmp_path: Path, users: str, reported: bool
) -> None:
    world = World(clock=clock)
    world.add_source("agency", "postpost")
    for number in range(3):
        world.add_user("agency", user=str(number) * 24, display_name=f"Client {number}")
    async with running(store, clock, world, tmp_path, per_source={"agency": users}) as cycle:
        await cycle.poll()
        with store.begin_read() as conn:
            [found] = source_views(conn, cycle.config, now=clock.now())
        problems = " ".join(found.problems())
        assert ("The key manages 3 users whose connections are not monitored" in problems) is reported
        assert found.status == "ok"
        before = world.sources["agency"].calls["users"]
        await cycle.poll(after=timedelta(minutes=15))
        assert world.sources["agency"].calls["users"] == before  # counted once a day
