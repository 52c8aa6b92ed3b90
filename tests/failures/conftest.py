"""A daemon to be troubled: one source, two healthy connections, polled every second."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.demo.world import World
from tests.acceptance.daemon import Setting, setting

DAY = timedelta(days=1)


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Setting]:
    """One PostPost source with two healthy connections on SQLite, polled every second and never probed."""
    world = World()
    world.add_source("agency", "postpost")
    world.connect("agency", "linkedin", account="li", username="Northwind", display_name="Northwind", lifetime=50 * DAY)
    world.connect("agency", "threads", account="th", username="Lumen", display_name="Lumen", lifetime=20 * DAY)
    top = '[schedule]\npoll_every = "1s"\nprobe_every = "off"\nrequests_per_minute = 6000\n'
    with setting(tmp_path, world, database=f"sqlite:///{tmp_path / 'monitor.db'}", top=top) as made:
        yield made
