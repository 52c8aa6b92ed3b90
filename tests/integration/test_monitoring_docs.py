"""docs/monitoring: every name in rules, dashboard and tables is exported, and the real tools load them."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitor.config import WORK_QUEUES, Config, load
from monitor.domain import Status
from monitor.domain.clock import SystemClock
from monitor.store import Store, alerts, channel_states, outbox
from monitor.store.cluster_tables import ClusterState, QueueRow
from monitor.telemetry.metrics import Metrics, render
from monitor.views.cluster import ClusterView, families
from tests.support import prometheus_text
from tests.support.command_line import make_world, real_now, write_config
from tests.support.factories import make_alert
from tests.support.fakes import ManualClock
from tests.support.ports import free_port
from tests.support.prometheus_text import Read
from tests.support.web_client import Served, serving

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "monitoring"
RULES, DASHBOARD, PAGE = FOLDER / "alert-rules.yml", FOLDER / "grafana-dashboard.json", FOLDER / "README.md"
DATA = Path(__file__).resolve().parents[1] / "data" / "monitoring"
NAME = re.compile(r"\b(?:token_monitor|process)_[a-z_]+\b")
MATCHER = re.compile(r"((?:token_monitor|process)_[a-z_]+)\{([^}]*)\}")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load(write_config(tmp_path), {}).config


@pytest.fixture
async def exported(store: Store, config: Config, clock: ManualClock, now: datetime) -> dict[str, Read]:
    """Everything that there is to export."""
    fill(store, now)
    async with serving(store, config, clock, metrics=busy()) as served:
        found = prometheus_text.read((await served.get("/metrics")).text)
    return found | exported_by_cluster(now)


def exported_by_cluster(now: datetime) -> dict[str, Read]:
    """Everything that a daemon exports about its cluster."""
    queues = tuple(QueueRow(kind=kind, waiting=1, running=0, waiting_since=now) for kind in WORK_QUEUES)
    view = ClusterView.of(ClusterState(daemons=(), queues=queues, leases=0), now=now)
    found = prometheus_text.read(render(Metrics(), families(view)).decode())
    return {name: family for name, family in found.items() if name.startswith("token_monitor_cluster_")}


def fill(store: Store, now: datetime) -> None:
    ids = make_world(store, now)
    with store.begin_write() as conn:
        alerts.add_alerts(conn, [(make_alert(), ids[Status.EXPIRED], None)])
        outbox.add_deliveries(conn, [("alert-1", "ops", now)], now)
        channel_states.record_failure(conn, "ops", now, problem="410 Gone", broken=True)
        channel_states.record_success(conn, "night", now)


def busy() -> Metrics:
    metrics = Metrics()
    metrics.poll_done("agency", "ok", seconds=0.2)
    metrics.probe_done("agency", "ok", 0.07)
    metrics.delivery_done("ops", "dead")
    metrics.hook_done("agency", "accepted")
    return metrics


def dashboard() -> dict[str, Any]:
    found = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def panel_queries() -> Iterator[str]:
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield str(target["expr"])


def rule_queries() -> Iterator[str]:
    """The expressions of the rules, block by block, without a YAML library."""
    lines = RULES.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if line.strip().startswith("expr: "):
            first = line.strip().removeprefix("expr: ")
            block = [each.strip() for each in lines[number + 1 :]] if first == "|" else []
            end = next((at for at, each in enumerate(block) if each.startswith(("for:", "labels:"))), 0)
            yield first if first != "|" else " ".join(block[:end])


def sample_names(exported: dict[str, Read]) -> set[str]:
    return {name for family in exported.values() for name, _, _ in family.samples} | set(exported)


async def test_every_metric_that_rules_and_dashboard_name_is_exported_with_those_labels(exported: dict[str, Read]) -> None:
    queries = [*rule_queries(), *panel_queries()]
    assert len(queries) > 30
    known = sample_names(exported)
    labels = {name: set(given) for family in exported.values() for name, given, _ in family.samples}
    for query in queries:
        assert set(NAME.findall(query)) <= known, query
        for name, matchers in MATCHER.findall(query):
            asked = set(re.findall(r"(\w+)\s*[=!]", matchers)) - {"job", "instance"}
            assert asked <= labels[name], query
    for variable in dashboard()["templating"]["list"]:
        assert set(NAME.findall(json.dumps(variable))) <= known


async def test_status_words_in_rules_and_dashboard_exist(exported: dict[str, Read]) -> None:
    """A word that is spelt wrong selects nothing and alerts nobody."""
    words = {
        given.get(key, "")
        for family in exported.values()
        for _, given, _ in family.samples
        for key in ("status", "outcome", "state")
    }
    for query in (*rule_queries(), *panel_queries()):
        for asked in re.findall(r'(?:status|outcome|state)=~?"([^"]+)"', query):
            assert set(asked.split("|")) <= words, query


async def test_the_page_describes_every_metric_with_its_labels(exported: dict[str, Read]) -> None:
    rows = re.findall(r"^\| `(token_monitor_\w+)` \| (.*?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    described = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    ours = {name: family for name, family in exported.items() if name.startswith("token_monitor_")}
    assert described.keys() == ours.keys()
    for name, family in ours.items():
        assert {frozenset(given) - {"le"} for _, given, _ in family.samples} == {frozenset(described[name])}, name


def test_the_dashboard_is_what_grafana_imports() -> None:
    found = dashboard()
    assert found["id"] is None
    assert found["uid"] == "token-expiry-monitor"
    assert found["schemaVersion"] >= 36
    ids = [panel["id"] for panel in found["panels"]]
    assert len(ids) == len(set(ids))
    variables = {variable["name"] for variable in found["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)\}?", DASHBOARD.read_text(encoding="utf-8"))) <= variables | {"__all", "__rate_interval"}
    taken: set[tuple[int, int]] = set()
    for panel in found["panels"]:
        place = panel["gridPos"]
        assert 0 <= place["x"] <= place["x"] + place["w"] <= 24
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, f"{panel['title']} lies over another"
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["description"]


@pytest.fixture
def promtool() -> str:
    """The real one, where Debian's prometheus is installed."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("LOUD: promtool is not here (Debian: apt-get install prometheus), the rules are not checked by it")
    return found


def test_promtool_takes_the_rules_and_every_query_of_the_dashboard(promtool: str, tmp_path: Path) -> None:
    queries = [query.replace("$__rate_interval", "5m") for query in panel_queries()]
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "panels.yml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    for path in (RULES, file):
        done = subprocess.run([promtool, "check", "rules", str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_fire_when_they_should_and_not_before(promtool: str, tmp_path: Path) -> None:
    file = Path(shutil.copy(DATA / "fired.yml", tmp_path))
    shutil.copy(RULES, tmp_path)
    done = subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@asynccontextmanager
async def prometheus(site: Served, folder: Path) -> AsyncIterator[str]:
    """The real Prometheus, scraping the site every second with our rules loaded."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("LOUD: prometheus is not here (Debian: apt-get install prometheus), nothing of it is run")
    port = free_port()
    settings = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": "token-monitor", "static_configs": [{"targets": [site.url.removeprefix("http://")]}]}],
    }
    file = folder / "prometheus.yml"
    file.write_text(json.dumps(settings), encoding="utf-8")
    running = await asyncio.create_subprocess_exec(
        program,
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        running.terminate()
        await running.wait()


async def until(client: httpx.AsyncClient, url: str, holds: Any) -> Any:
    """What an address of Prometheus says once that holds, for at most 30 seconds."""
    found: Any = None
    for _ in range(300):
        try:
            found = (await client.get(url)).json()["data"]
            if holds(found):
                return found
        except (httpx.HTTPError, ValueError, KeyError):
            pass
        await asyncio.sleep(0.1)
    raise AssertionError(f"{url} never said so: {found}")


@pytest.mark.slow
async def test_the_real_prometheus_scrapes_the_site_and_loads_the_rules(store: Store, config: Config, tmp_path: Path) -> None:
    fill(store, real_now())
    async with serving(store, config, SystemClock(), metrics=busy()) as site, prometheus(site, tmp_path) as url:
        [target] = (
            await until(
                site.client,
                f"{url}/api/v1/targets",
                lambda data: data["activeTargets"] and data["activeTargets"][0]["health"] == "up",
            )
        )["activeTargets"]
        assert target["lastError"] == ""
        groups = (
            await until(
                site.client,
                f"{url}/api/v1/rules",
                lambda data: all(rule["health"] == "ok" for group in data["groups"] for rule in group["rules"]),
            )
        )["groups"]
        assert len([rule for group in groups for rule in group["rules"]]) == len(list(rule_queries()))
        query = f"{url}/api/v1/query?query=token_monitor_connections%7Bstatus%3D%22expired%22%2Cplatform%3D%22linkedin%22%7D"
        [sample] = (await until(site.client, query, lambda data: data["result"]))["result"]
        assert sample["value"][1] == "1"
        firing = await until(
            site.client, f"{url}/api/v1/alerts", lambda data: any(each["state"] == "firing" for each in data["alerts"])
        )
        assert "TokenMonitorChannelBroken" in {
            each["labels"]["alertname"] for each in firing["alerts"] if each["state"] == "firing"
        }
