"""Counters: what is counted where, by many threads, and without prometheus_client until somebody scrapes."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from monitor.telemetry.metrics import Family, Metrics, render
from tests.support import prometheus_text


def test_what_is_counted_is_there_by_its_labels() -> None:
    metrics = Metrics()
    metrics.poll_done("agency", "ok", seconds=0.3)
    metrics.poll_done("agency", "ok")
    metrics.probes_done("agency", [("ok", 0.01), ("ok", 0.1), ("expired", 31)])
    metrics.delivery_done("ops", "sent", count=5)
    metrics.delivery_done("ops", "dead", count=0)
    assert metrics.polls() == {("agency", "ok"): 2}
    assert metrics.probes() == {("agency", "ok"): 2, ("agency", "expired"): 1}
    assert metrics.deliveries() == {("ops", "sent"): 5}
    read = prometheus_text.read(render(metrics, []).decode())
    buckets = {
        labels["le"]: number for name, labels, number in read["token_monitor_probe_duration_seconds"].samples if "le" in labels
    }
    assert (buckets["0.05"], buckets["0.1"], buckets["30"], buckets["+Inf"]) == (1, 2, 2, 3)
    sums = {name: number for name, _, number in read["token_monitor_poll_duration_seconds"].samples}
    assert sums["token_monitor_poll_duration_seconds_sum"] == 0.3


def test_counting_in_many_threads_during_a_scrape_loses_nothing() -> None:
    metrics = Metrics()

    def work(number: int) -> None:
        for step in range(500):
            metrics.probe_done(f"source-{number}-{step % 50}", "ok", 0.2)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        prometheus_text.read(render(metrics, _family(metrics)).decode())
    for thread in threads:
        thread.join()
    assert sum(metrics.probes().values()) == 4000


def _family(metrics: Metrics) -> list[Family]:
    samples = [(key, float(number)) for key, number in metrics.probes().items()]
    return [Family(name="probes_total", help="Probes.", kind="counter", labels=("source", "outcome"), samples=samples)]


def test_labels_and_help_are_escaped() -> None:
    odd = 'a"b\\c\nd\\n'
    family = Family(name="odd", help="One\nline \\ only", labels=("name",), samples=[((odd,), 1)])
    read = prometheus_text.read(render(Metrics(), [family]).decode())
    assert read["token_monitor_odd"].samples == [("token_monitor_odd", {"name": odd}, 1.0)]
    assert read["token_monitor_odd"].help == "One\\nline \\\\ only"


@pytest.mark.slow
def test_the_library_is_loaded_at_the_first_scrape() -> None:
    """A monitor without a web server never pays for it."""
    code = (
        "import sys, monitor.telemetry.metrics, monitor.engine.poller, monitor.notify; print('prometheus_client' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
