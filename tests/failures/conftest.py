"""A daemon to be troubled: one source, two healthy connections, polled every second."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.demo.world import World
from tests.acceptance.daemon import Setting, setting
from tests.support import postgres

DAY = timedelta(days=1)
QUICK = '[schedule]\npoll_every = "1s"\nprobe_every = "off"\nrequests_per_minute = 6000\n'


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Setting]:
    """One PostPost source with two healthy connections on SQLite, polled every second and never probed."""
    world = World()
    world.add_source("agency", "postpost")
    world.connect("agency", "linkedin", account="li", username="Northwind", display_name="Northwind", lifetime=50 * DAY)
    world.connect("agency", "threads", account="th", username="Lumen", display_name="Lumen", lifetime=20 * DAY)
    with setting(tmp_path, world, database=f"sqlite:///{tmp_path / 'monitor.db'}", top=QUICK) as made:
        yield made


@pytest.fixture
def server() -> Iterator[postgres.PrivateServer]:
    """A PostgreSQL server that only this test uses, and may stop."""
    with postgres.private_server() as made:
        yield made


@pytest.fixture
def on_postgres(tmp_path: Path, server: postgres.PrivateServer) -> Iterator[Setting]:
    """One PostPost source with a healthy connection on PostgreSQL, polled every second and never probed."""
    world = World()
    world.add_source("agency", "postpost")
    world.connect("agency", "linkedin", account="li", username="Northwind", display_name="Northwind", lifetime=50 * DAY)
    url = postgres.create_database(server.url.render_as_string(hide_password=False))
    with setting(tmp_path, world, database=url, top=QUICK) as made:
        yield made


def count_messages(made: Setting, text: str) -> int:
    """Return how many messages contain a text."""
    return sum(text in message["message"] for message in made.messages())
