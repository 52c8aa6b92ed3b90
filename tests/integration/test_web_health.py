"""/healthz and /readyz: by progress and not by being alive, with the reason in the body."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from monitor.config import Config, load
from monitor.domain import SourceStatus
from monitor.store import Store
from monitor.telemetry.progress import SCHEDULER, Progress
from tests.support.command_line import add_source, make_world, write_config
from tests.support.fakes import ManualClock
from tests.support.web_client import serving


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load(write_config(tmp_path), {}).config


def read(answer: httpx.Response) -> tuple[int, str, list[str]]:
    found: dict[str, Any] = answer.json()
    return answer.status_code, found["status"], found["reasons"]


async def test_a_daemon_that_polled_every_source_is_healthy_and_ready(
    store: Store, config: Config, clock: ManualClock, now: datetime
) -> None:
    make_world(store, now)
    async with serving(store, config, clock) as site:
        assert read(await site.get("/healthz")) == (200, "ok", [])
        assert read(await site.get("/readyz")) == (200, "ok", [])


async def test_a_standstill_is_neither_healthy_nor_ready(store: Store, config: Config, clock: ManualClock, now: datetime) -> None:
    make_world(store, now)
    passed = [0.0]
    progress = Progress(monotonic=lambda: passed[0])
    progress.note(SCHEDULER)
    passed[0] = 600
    async with serving(store, config, clock, progress=progress) as site:
        status, health, reasons = read(await site.get("/healthz"))
        assert (status, health) == (503, "stuck")
        assert reasons == ["The scheduler has not checked for due work for 10 minutes."]
        assert read(await site.get("/readyz"))[0] == 503
        progress.note(SCHEDULER)
        assert read(await site.get("/healthz"))[0] == 200


async def test_it_is_not_ready_before_every_source_was_polled_once(store: Store, config: Config, clock: ManualClock) -> None:
    async with serving(store, config, clock) as site:
        assert read(await site.get("/healthz"))[0] == 200
        status, health, reasons = read(await site.get("/readyz"))
    assert (status, health) == (503, "not_ready")
    assert reasons == ["The source agency has not been polled yet.", "The source studio has not been polled yet."]


async def test_it_is_not_ready_if_polls_are_three_intervals_late(
    store: Store, config: Config, clock: ManualClock, now: datetime
) -> None:
    make_world(store, now)
    async with serving(store, config, clock) as site:
        clock.advance(timedelta(minutes=45))
        assert read(await site.get("/readyz"))[0] == 200
        clock.advance(timedelta(seconds=1))
        status, _, reasons = read(await site.get("/readyz"))
    assert status == 503
    assert reasons[0] == "The source agency was polled last 45 minutes ago, more than 3 intervals of 15 minutes."


async def test_a_failed_poll_counts_for_readiness(store: Store, config: Config, clock: ManualClock, now: datetime) -> None:
    """What a provider's API does is no fault of the monitor's."""
    make_world(store, now)
    add_source(store, "agency", now=now, status=SourceStatus.FAILING)
    async with serving(store, config, clock) as site:
        assert read(await site.get("/readyz"))[0] == 200


@pytest.mark.parametrize("backend", ["sqlite"])  # a file can be moved away, a server cannot
async def test_P18_an_unavailable_store_makes_it_unready_and_not_unhealthy(
    store: Store, config: Config, clock: ManualClock, now: datetime
) -> None:
    """Nothing is won by a restart then."""
    assert store.path is not None
    make_world(store, now)
    async with serving(store, config, clock) as site:
        store.path.rename(store.path.with_suffix(".gone"))
        status, health, reasons = read(await site.get("/readyz"))
        assert (status, health) == (503, "not_ready")
        assert "was moved, replaced or deleted" in reasons[0]
        assert read(await site.get("/healthz"))[0] == 200
        store.path.with_suffix(".gone").rename(store.path)
        assert read(await site.get("/readyz"))[0] == 200


async def test_a_schema_of_another_version_is_not_ready(store: Store, config: Config, clock: ManualClock, now: datetime) -> None:
    make_world(store, now)
    with store.begin_write() as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    async with serving(store, config, clock) as site:
        status, _, reasons = read(await site.get("/readyz"))
    assert status == 503
    assert "9999" in reasons[0]


async def test_unauthenticated_clients_get_the_status_without_reasons(store: Store, config: Config, clock: ManualClock) -> None:
    async with serving(store, config, clock, token="t0ken-of-the-web") as site:
        for path, status, health in (("/healthz", 200, "ok"), ("/readyz", 503, "not_ready")):
            answer = await site.get(path)
            assert (answer.status_code, answer.json()) == (status, {"status": health})
        known = await site.get("/readyz", headers={"authorization": "Bearer t0ken-of-the-web"})
        assert len(known.json()["reasons"]) == 2


async def test_health_responses_are_never_cached(store: Store, config: Config, clock: ManualClock) -> None:
    async with serving(store, config, clock) as site:
        for path in ("/healthz", "/readyz"):
            assert (await site.get(path)).headers["cache-control"] == "no-store"
            assert (await site.client.head(site.url + path)).content == b""
            assert (await site.client.request("DELETE", site.url + path)).status_code in (403, 405)


async def test_a_member_of_a_cluster_that_waits_is_healthy_but_not_ready(
    store: Store, config: Config, clock: ManualClock, now: datetime
) -> None:
    make_world(store, now)
    progress, reasons = Progress(), ["Its clock is 5 minutes ahead of the planner's: correct the clock."]
    progress.waits_because = lambda: reasons[0] if reasons else None
    async with serving(store, config, clock, progress=progress) as site:
        assert read(await site.get("/healthz")) == (200, "ok", [])
        assert read(await site.get("/readyz")) == (503, "not_ready", reasons)
        reasons.clear()
        assert read(await site.get("/readyz")) == (200, "ok", [])
