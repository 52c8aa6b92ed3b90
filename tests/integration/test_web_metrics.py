"""/metrics as Prometheus reads it: named as the interface says, well formed for any name, and bounded."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from monitor.config import Config, load
from monitor.domain import Status
from monitor.domain.records import replace
from monitor.store import Store, alerts, channel_states, connection_queries, connections, outbox
from monitor.store.connections import NewConnection
from monitor.telemetry.metrics import Metrics
from monitor.telemetry.progress import SCHEDULER, Progress
from tests.support import prometheus_text
from tests.support.command_line import add_source, make_world, write_config
from tests.support.factories import make_alert, make_state
from tests.support.fakes import ManualClock
from tests.support.hostile_names import HOSTILE
from tests.support.prometheus_text import Read
from tests.support.web_client import Served, serving

PREFIX = "token_monitor_"
NAMED = {
    "token_monitor_connections": {"source", "platform", "status"},
    "token_monitor_source_last_success_timestamp_seconds": {"source"},
    "token_monitor_polls_total": {"source", "outcome"},
    "token_monitor_probes_total": {"source", "outcome"},
    "token_monitor_probe_duration_seconds": set(),
    "token_monitor_deliveries_total": {"channel", "outcome"},
    "token_monitor_outbox_pending": set(),
    "token_monitor_outbox_oldest_timestamp_seconds": set(),
    "token_monitor_connection_status": {"source", "scope", "platform", "external_id", "status"},
    "token_monitor_connection_expiry_timestamp_seconds": {"source", "scope", "platform", "external_id"},
    "token_monitor_connection_info": {"source", "scope", "platform", "external_id", "name", "client"},
}
"""As the interface names them, with their labels."""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load(write_config(tmp_path), {}).config


async def scrape(served: Served) -> dict[str, Read]:
    """What Prometheus would read, checked on the way."""
    answer = await served.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = prometheus_text.read(answer.text)
    prometheus_text.lint(families, prefix=PREFIX)
    return families


def value(families: dict[str, Read], name: str, **labels: str) -> float:
    """The one sample with these labels."""
    [found] = [number for _, given, number in families[PREFIX + name].samples if labels.items() <= given.items()]
    return found


def busy(metrics: Metrics) -> Metrics:
    """Counters of a process that did something."""
    metrics.poll_done("agency", "ok", seconds=0.2)
    metrics.poll_done("agency", "unreachable", seconds=30)
    metrics.probe_done("agency", "ok", 0.07)
    metrics.probe_done("agency", "expired", 400)
    metrics.delivery_done("ops", "sent", count=3)
    return metrics


async def test_every_metric_of_the_interface_is_there_with_its_labels(
    store: Store, config: Config, clock: ManualClock, now: datetime
) -> None:
    ids = make_world(store, now)
    with store.begin_write() as conn:
        alerts.add_alerts(conn, [(make_alert(), ids[Status.EXPIRED], None)])
        outbox.add_deliveries(conn, [("alert-1", "ops", now)], now - timedelta(minutes=5))
        channel_states.record_failure(conn, "ops", now, problem="410 Gone", broken=True)
        channel_states.record_success(conn, "night", now)
    async with serving(store, config, clock, metrics=busy(Metrics())) as served:
        families = await scrape(served)
    for name, labels in NAMED.items():
        assert {frozenset(given) - {"le"} for _, given, _ in families[name].samples} == {frozenset(labels)}, name
    assert value(families, "connections", source="agency", platform="linkedin", status="expired") == 1
    assert value(families, "connections", source="agency", platform="linkedin", status="failing") == 0
    assert value(families, "source_last_success_timestamp_seconds", source="agency") == now.timestamp()
    assert value(families, "polls_total", source="agency", outcome="unreachable") == 1
    assert value(families, "polls_total", source="studio", outcome="ok") == 0
    assert value(families, "probes_total", source="agency", outcome="expired") == 1
    assert value(families, "deliveries_total", channel="ops", outcome="sent") == 3
    assert value(families, "outbox_pending") == 1
    assert value(families, "outbox_oldest_timestamp_seconds") == (now - timedelta(minutes=5)).timestamp()
    assert value(families, "channel_broken", channel="ops") == 1
    assert value(families, "channel_broken", channel="night") == 0
    assert value(families, "channel_last_success_timestamp_seconds", channel="night") == now.timestamp()
    assert value(families, "connection_status", external_id="linkedin-expired") == 1
    [(_, labels_of, _)] = [
        sample for sample in families["token_monitor_connection_status"].samples if sample[1]["external_id"] == "linkedin-expired"
    ]
    assert labels_of == {
        "source": "agency", "scope": "", "platform": "linkedin", "external_id": "linkedin-expired", "status": "expired",
    }  # fmt: skip
    expiry = value(families, "connection_expiry_timestamp_seconds", external_id="linkedin-expired")
    assert expiry == (now - timedelta(days=1)).timestamp()
    assert value(families, "store_up") == value(families, "progress_up") == 1
    assert families["process_cpu_seconds_total"].kind == "counter"


async def test_an_empty_store_gives_well_formed_metrics_without_missing_instants(
    store: Store, config: Config, clock: ManualClock
) -> None:
    async with serving(store, config, clock) as served:
        families = await scrape(served)
    for name in ("source_last_success_timestamp_seconds", "outbox_oldest_timestamp_seconds", "connection_status"):
        assert families[PREFIX + name].samples == []
    assert value(families, "outbox_pending") == 0
    assert value(families, "source_status", source="agency", status="pending") == 1


async def test_hostile_names_stay_inside_their_labels(store: Store, config: Config, clock: ManualClock, now: datetime) -> None:
    """IDs and platforms are untrusted: no line is broken, and every one can be read back."""
    states = [
        make_state(snapshot=replace(make_state().snapshot, external_id=f"{n}-{name}", platform=name[:100]))
        for n, name in enumerate(HOSTILE)
    ]
    add_source(store, "agency", states, now=now)
    metrics = Metrics()
    for name in HOSTILE:
        metrics.poll_done(name, name)
        metrics.delivery_done(name, "sent")
    async with serving(store, config, clock, metrics=metrics) as served:
        families = await scrape(served)
    ids = {given["external_id"] for _, given, _ in families["token_monitor_connection_status"].samples}
    with store.begin_read() as conn:
        assert ids == {row.state.snapshot.external_id for row in connection_queries.list_connections(conn)}
    assert len(ids) == len(HOSTILE)
    assert "evil_metric" not in families


@pytest.mark.parametrize(
    ("setting", "count", "there"), [("auto", 1000, True), ("auto", 1001, False), ("on", 1001, True), ("off", 5, False)]
)
async def test_series_of_single_connections_are_bounded(
    store: Store, config: Config, clock: ManualClock, now: datetime, *, setting: str, count: int, there: bool
) -> None:
    rows = [NewConnection(state=make_state(external_id=f"linkedin-{n}"), fingerprint="") for n in range(count)]
    add_source(store, "agency", now=now)
    with store.begin_write() as conn:
        connections.insert(conn, source="agency", provider=config.sources[0].provider, rows=rows, now=now)
    async with serving(store, config, clock, connection_metrics=setting) as served:  # type: ignore[arg-type]  # a plain text here
        families = await scrape(served)
    samples = families["token_monitor_connection_status"].samples if "token_monitor_connection_status" in families else []
    assert len(samples) == (count if there else 0)
    assert value(families, "connections", source="agency", status="valid") == count


async def test_connections_of_one_id_in_two_scopes_are_two_series(
    store: Store, config: Config, clock: ManualClock, now: datetime
) -> None:
    states = [make_state(external_id="linkedin-1", scope=scope) for scope in (None, "user-1", "user-2")]
    add_source(store, "agency", states, now=now)
    async with serving(store, config, clock) as served:
        families = await scrape(served)
    scopes = [given["scope"] for _, given, _ in families["token_monitor_connection_status"].samples]
    assert sorted(scopes) == ["", "user-1", "user-2"]


async def test_retired_connections_and_removed_sources_have_no_series(
    store: Store, config: Config, clock: ManualClock, now: datetime
) -> None:
    ids = make_world(store, now)
    with store.begin_write() as conn:
        connections.retire(conn, ids[Status.REVOKED], now)
    async with serving(store, config, clock) as served:
        families = await scrape(served)
    assert value(families, "connections", source="agency", status="revoked") == 0


@pytest.mark.parametrize("backend", ["sqlite"])  # a file can be moved away, a server cannot
async def test_an_unavailable_store_is_a_metric_and_not_a_failed_scrape(
    store: Store, config: Config, clock: ManualClock, now: datetime
) -> None:
    """Counters must not vanish with the database: alerts on them would end by themselves."""
    assert store.path is not None
    make_world(store, now)
    async with serving(store, config, clock, metrics=busy(Metrics())) as served:
        store.path.rename(store.path.with_suffix(".gone"))
        families = await scrape(served)
    assert value(families, "store_up") == 0
    assert value(families, "polls_total", source="agency", outcome="ok") == 1
    assert "token_monitor_connections" not in families


async def test_a_standstill_is_a_metric(store: Store, config: Config, clock: ManualClock) -> None:
    passed = [0.0]
    progress = Progress(monotonic=lambda: passed[0])
    progress.note(SCHEDULER)
    passed[0] = 3600
    async with serving(store, config, clock, progress=progress) as served:
        families = await scrape(served)
    assert value(families, "progress_up") == 0


async def test_scrapes_at_the_same_time_share_one_collection(
    store: Store, config: Config, clock: ManualClock, now: datetime
) -> None:
    """Ten concurrent scrapes read the store once."""
    make_world(store, now)
    async with serving(store, config, clock) as served:
        texts = [answer.text for answer in await asyncio.gather(*(served.get("/metrics") for _ in range(10)))]
    cpu = {line for text in texts for line in text.splitlines() if line.startswith("process_cpu_seconds_total")}
    assert len(cpu) == 1


@pytest.fixture
def promtool() -> str:
    """The real one, where Debian's prometheus is installed."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("LOUD: promtool is not here (Debian: apt-get install prometheus), its own check of /metrics is skipped")
    return found


async def test_promtool_reports_no_problems(
    store: Store, config: Config, clock: ManualClock, now: datetime, promtool: str
) -> None:
    make_world(store, now)
    states = [make_state(external_id=f"{n}-{name}") for n, name in enumerate(HOSTILE)]
    add_source(store, "studio", states, now=now, provider=config.sources[1].provider)
    async with serving(store, config, clock, metrics=busy(Metrics())) as served:
        text = (await served.get("/metrics")).content
    done = await asyncio.to_thread(
        subprocess.run, [promtool, "check", "metrics"], input=text, capture_output=True, check=False, timeout=30
    )
    output = (done.stdout + done.stderr).decode()
    ours = [line for line in output.splitlines() if line.startswith(PREFIX)]
    assert ours == []
    assert b"error" not in done.stderr.lower(), output


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("token_monitor_x 1\n", "outside of its family"),
        ("# TYPE x gauge\nx 1\n", "TYPE before HELP"),
        ("# HELP x y\n# TYPE x gauge\nx 1\nx 2\n", "twice"),
        ("# HELP x y\n# TYPE x gauge\nx NaN\n", "no number"),
        ("# HELP x y\n# TYPE x gauge\nx 1 123\n", "more than a value"),
        ('# HELP x y\n# TYPE x gauge\nx{a="b\\z"} 1\n', "escape"),
        ("# HELP x y\n# TYPE x gauge\nx 1", "does not end"),
        ("# HELP token_monitor_x_ms y\n# TYPE token_monitor_x_ms gauge\ntoken_monitor_x_ms 1\n", "base units"),
        ("# HELP token_monitor_x y\n# TYPE token_monitor_x counter\ntoken_monitor_x 1\n", "_total"),
        ("# HELP token_monitor_x  \n# TYPE token_monitor_x gauge\ntoken_monitor_x 1\n", "no help"),
    ],
)
def test_the_reader_of_these_tests_is_strict(text: str, says: str) -> None:
    with pytest.raises(prometheus_text.BadTextError, match=says):
        prometheus_text.lint(prometheus_text.read(text), prefix=PREFIX)
