"""Verdicts that were once wrong, through the daemon as its users run it: what arrives at the webhook, and what does not."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.demo.world import World
from tests.acceptance.daemon import Setting, eventually, setting

pytestmark = pytest.mark.slow

DAY = timedelta(days=1)
TOP = '[schedule]\npoll_every = "1s"\nprobe_every = "1s"\nrequests_per_minute = 6000\n'


def world_of(kind: str, count: int) -> tuple[World, list[str]]:
    """Return a world with one source and healthy connections, and their ids."""
    world = World()
    world.add_source("agency", kind)
    made = [
        world.connect("agency", "linkedin", account=f"a{number}", username=f"a{number}", lifetime=50 * DAY)
        for number in range(count)
    ]
    return world, [connection.external_id for connection in made]


def await_first_look(made: Setting) -> None:
    """Wait until every connection was polled and probed, without an alert."""
    made.await_polls(3)
    assert made.messages() == []


def test_signal_01_an_expiry_beside_an_odd_field_arrives_once(tmp_path: Path, empty_database: str) -> None:
    world, names = world_of("postpost", 2)
    with setting(tmp_path, world, database=empty_database, top=TOP) as made:
        process = made.start()
        await_first_look(made)
        world.state("agency", names[0], tokenStatus="expired", tokenExpiresIn=-3600, lastError=["odd"], username=4711)
        eventually(lambda: made.find_post(names[0], "[EXPIRED]"))
        made.await_polls(3)
        assert len(made.messages()) == 1
        assert made.status() == {f"agency/{names[0]}": "expired", f"agency/{names[1]}": "valid"}
        assert made.stop(process) == 0


@pytest.mark.parametrize("kind", ["postpost", "postbreeze"])
def test_signal_11_a_lost_permission_and_its_return_arrive_once(kind: str, tmp_path: Path, empty_database: str) -> None:
    world, (name,) = world_of(kind, 1)
    granted = world.find("agency", name).permissions
    with setting(tmp_path, world, database=empty_database, top=TOP) as made:
        process = made.start()
        await_first_look(made)
        world.change("agency", name, permissions=tuple(each for each in granted if each != "w_member_social"))
        eventually(lambda: made.find_post("[FAILING]", "w_member_social"))
        world.change("agency", name, permissions=granted)
        eventually(lambda: made.find_post("[RECOVERED]"))
        made.await_polls(3)
        assert len(made.messages()) == 2
        assert made.stop(process) == 0


def test_signal_15_a_swapped_key_is_named_and_nothing_recovers(tmp_path: Path, empty_database: str) -> None:
    world, names = world_of("postpost", 8)
    with setting(tmp_path, world, database=empty_database, top=TOP) as made:
        process = made.start()
        await_first_look(made)
        with world.lock:
            for number, name in enumerate(names):
                world.vanish("agency", name)
                world.connect("agency", "linkedin", account=f"b{number}", username=f"b{number}", lifetime=50 * DAY)
        eventually(lambda: made.find_post("8 of 8 known connections are gone, 8 new ones appeared: was the key changed?"))
        eventually(lambda: all(made.find_post("disconnected", name) for name in names))
        made.await_polls(3)
        assert "RECOVERED" not in json.dumps(made.messages())
        assert made.stop(process) == 0
