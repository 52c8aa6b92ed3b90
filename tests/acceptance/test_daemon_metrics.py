"""The running daemon as Prometheus and a load balancer see it: what it does is counted, and it becomes ready by doing it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from monitor.demo.receivers import WebhookReply
from monitor.demo.world import World
from tests.acceptance.daemon import Setting, eventually, setting
from tests.support import prometheus_text
from tests.support.ports import free_port
from tests.support.prometheus_text import Read

pytestmark = pytest.mark.slow

QUICK = """
[schedule]
poll_every = "1s"
probe_every = "1s"
requests_per_minute = 6000
"""


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the daemon is told to listen."""
    listen = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("TOKEN_MONITOR_WEB__LISTEN", listen)
    return f"http://{listen}"


@pytest.fixture
def place(tmp_path: Path, url: str) -> Iterator[Setting]:
    """A source with one connection that works and one that has expired, and one webhook."""
    world = World()
    world.add_source("agency", "postpost")
    world.connect("agency", "linkedin", account="fine", username="Fine", display_name="Fine", lifetime=timedelta(days=50))
    world.connect("agency", "threads", account="over", username="Over", display_name="Over", lifetime=timedelta(days=50))
    world.expire("agency", "threads-over")
    with setting(tmp_path, world, database=f"sqlite:///{tmp_path / 'monitor.db'}", top=QUICK) as made:
        yield made


def scrape(url: str) -> dict[str, Read]:
    answer = httpx.get(f"{url}/metrics", trust_env=False)
    assert answer.status_code == 200
    families = prometheus_text.read(answer.text)
    prometheus_text.lint(families, prefix="token_monitor_")
    return families


def total(url: str, name: str, **labels: str) -> float:
    samples = scrape(url)[f"token_monitor_{name}"].samples
    return sum(number for _, given, number in samples if labels.items() <= given.items())


def test_the_daemon_counts_its_work_and_reports_readiness(place: Setting, url: str) -> None:
    process = place.start()
    eventually(lambda: _status(url, "/readyz") == 200)
    assert _status(url, "/healthz") == 200
    eventually(lambda: total(url, "polls_total", source="agency", outcome="ok") >= 2)
    eventually(lambda: total(url, "probes_total", source="agency", outcome="ok") >= 1)
    eventually(lambda: total(url, "deliveries_total", channel="hook", outcome="sent") >= 1)
    assert total(url, "connections", status="expired") == 1
    assert total(url, "connections") == 2
    assert total(url, "channel_broken", channel="hook") == 0
    assert total(url, "progress_up") == 1
    families = scrape(url)
    for name in ("poll_duration_seconds", "probe_duration_seconds"):
        counts = [number for sample, _, number in families[f"token_monitor_{name}"].samples if sample.endswith("_count")]
        assert counts[0] >= 1
    assert place.stop(process) == 0


def test_a_channel_that_refuses_for_good_shows_and_is_counted(place: Setting, url: str) -> None:
    place.receiver.reply = WebhookReply(status=410)
    process = place.start()
    eventually(lambda: _status(url, "/healthz") == 200)
    eventually(lambda: total(url, "channel_broken", channel="hook") == 1)
    assert total(url, "channel_failing", channel="hook") == 1
    eventually(lambda: total(url, "deliveries_total", channel="hook", outcome="failed") >= 1)
    assert total(url, "outbox_pending") >= 1
    assert place.stop(process) == 0


def _status(url: str, path: str) -> int | None:
    try:
        return httpx.get(url + path, trust_env=False).status_code
    except httpx.TransportError:
        return None
