"""Copying a database into another one: every row of every table, between SQLite and PostgreSQL and back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from monitor.demo.world import World
from monitor.domain.errors import StoreError
from monitor.domain.rules.silences import Silence
from monitor.store import Store, connection_queries, meta, open_store, silences
from monitor.store.copying import copy_store
from monitor.store.schema import metadata
from tests.support.fakes import ManualClock
from tests.support.poll_cycle import running

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def other(store: Store, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
    """Yield a new database of the other kind."""
    url = request.getfixturevalue("new_postgres")() if store.path is not None else f"sqlite:///{tmp_path / 'other.db'}"
    with open_store(url) as made:
        yield made


async def fill(store: Store, clock: ManualClock, folder: Path) -> None:
    """Record polls, probes, alerts, a silence, a session's key and names that are hard to store."""
    world = World(clock=clock)
    world.add_source("agency", "postpost")
    for number in range(30):
        world.connect(
            "agency", "linkedin", account=f"a{number}", username="n", display_name=f"Bäckerei 🥐 {number} 'x'", lifetime=9 * DAY
        )
    user = world.add_user("agency", display_name="Casa Verde")
    world.connect("agency", "tiktok", account="t", username="t", display_name="T", scope=user.id, lifetime=50 * DAY)
    async with running(store, clock, world, folder, per_source={"agency": 'users = "all"'}) as cycle:
        await cycle.poll()
        await cycle.probe()
        world.expire("agency", "linkedin-a3")
        await cycle.poll(after=HOUR)
        await cycle.pass_time(3 * DAY)
    with store.begin_write() as conn:
        silence = Silence(labels={"client": "Casa*"}, comment="why", starts_at=clock.now(), rrule="FREQ=DAILY", lasts=HOUR)
        silences.add(conn, silence, clock.now())
        meta.set(conn, "web_key", "00ff")


def rows(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table, in an order that does not depend on the database."""
    with store.begin_read() as conn:
        return {
            table.name: sorted((tuple(row) for row in conn.execute(select(table))), key=repr) for table in metadata.sorted_tables
        }


async def test_every_row_of_every_table_is_copied_and_can_be_copied_back(
    store: Store, other: Store, clock: ManualClock, tmp_path: Path
) -> None:
    await fill(store, clock, tmp_path)
    before = rows(store)
    counts = copy_store(store, other)
    assert rows(other) == before
    assert counts == {name: len(found) for name, found in before.items()}
    assert counts["connections"] == 31
    assert all(
        counts[name] for name in ("events", "alerts", "deliveries", "incidents", "polls", "scopes", "cohorts", "label_sets")
    )
    with open_store(f"sqlite:///{tmp_path / 'back.db'}") as back:
        copy_store(other, back)
        assert rows(back) == before


async def test_the_copy_continues_after_the_highest_id(store: Store, other: Store, clock: ManualClock, tmp_path: Path) -> None:
    await fill(store, clock, tmp_path)
    copy_store(store, other)
    world = World(clock=clock)
    world.add_source("agency", "postpost")
    world.connect("agency", "linkedin", account="new", username="n", display_name="N", lifetime=DAY)
    async with running(other, clock, world, tmp_path) as cycle:
        await cycle.poll(after=HOUR)
        assert len(cycle.alerts) >= 1
    with other.begin_read() as conn:
        assert "agency/linkedin-new" in {row.public_id for row in connection_queries.list_connections(conn)}


async def test_a_database_that_is_not_empty_is_left_alone(store: Store, other: Store, clock: ManualClock, tmp_path: Path) -> None:
    await fill(store, clock, tmp_path)
    with other.begin_write() as conn:
        meta.set(conn, "mine", "kept")
    before = rows(other)
    with pytest.raises(StoreError, match=r"is not empty \(meta\): copy into a new database\."):
        copy_store(store, other)
    assert rows(other) == before
