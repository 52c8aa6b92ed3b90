"""What a user would run instead: Debian's Prometheus and blackbox_exporter, asking the same simulator at the same pace."""

from __future__ import annotations

import json
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path

from benchmarks import machine
from benchmarks.bench import Bench, variant
from benchmarks.daemon import until
from benchmarks.figures import figure
from benchmarks.plan import Plan
from benchmarks.rows import PROBE_PATH, external_id, key_of
from benchmarks.simulated import PATIENCE, Simulated
from tests.support.ports import free_port

PROGRAMS = ("prometheus", "prometheus-blackbox-exporter")


class NotInstalled(Exception):
    """This machine has nothing to compare with."""


def run(bench: Bench) -> None:
    """Both on the measured core, every account once a minute. Raises NotInstalled where a program is missing."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        raise NotInstalled(f"not installed here: {', '.join(missing)} (Debian's packages of these names)")
    accounts = bench.plan.accounts
    folder = bench.folder / "prometheus"
    folder.mkdir(exist_ok=True)
    with bench.simulated(f"population:1:{accounts}") as simulated:
        ports = free_port(), free_port()
        _configure(folder, simulated, bench.plan, exporter=ports[1])
        lines = [
            [
                PROGRAMS[1],
                f"--config.file={folder}/blackbox.yml",
                f"--web.listen-address=127.0.0.1:{ports[1]}",
                "--log.level=error",
            ],
            [
                PROGRAMS[0],
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address=127.0.0.1:{ports[0]}",
                "--log.level=error",
            ],
        ]
        with (folder / "log").open("wb") as log:
            running = [machine.spawn(line, stdout=log, stderr=log) for line in lines]
        try:
            until(lambda: _ready(ports[0]), what="Prometheus is ready")
            until(
                lambda: simulated.counts()["distinct"] >= accounts * 0.99,
                what="every account was probed",
                within=bench.plan.minute * 2 + 30,
            )
            _measure(bench, simulated, [process.pid for process in running])
            _compare(bench)
        finally:
            for process in running:
                process.terminate()
                process.wait(timeout=PATIENCE)


def _measure(bench: Bench, simulated: Simulated, pids: list[int]) -> None:
    simulated.ask("reset")
    before, began = [machine.read(pid) for pid in pids], time.monotonic()
    time.sleep(bench.plan.paced_window * 2)
    after, took, probes = [machine.read(pid) for pid in pids], time.monotonic() - began, simulated.counts()["probes"]
    figures = {
        "cpu_per_10000": figure([sum(b.cpu - a.cpu for a, b in zip(before, after, strict=True)) / probes * 10_000], "s"),
        "times_bare": figure(
            [sum(b.cpu - a.cpu for a, b in zip(before, after, strict=True)) / probes / bench.baseline("probes").cpu_each], "x"
        ),
        "written_each": figure([sum(b.written - a.written for a, b in zip(before, after, strict=True)) / probes], "B"),
        "resident": figure([sum(each.resident for each in after)], "MB"),
        "a_second": figure([probes / took], "/s"),
    }
    bench.add("prometheus", figures=figures, case="with blackbox_exporter, once a minute")


def _compare(bench: Bench) -> None:
    """Add the monitor's shares of that CPU and memory, for the same accounts at the same pace in the same run."""
    instead = bench.measurements[-1].figures
    for each in bench.measurements:
        if each.benchmark == "probes-paced" and each.case == variant(tls=False, latency_ms=0):
            figures = {
                f"{name}_share": figure([each.figures[taken].median / instead[taken].median], "x")
                for name, taken in (("cpu", "cpu_per_10000"), ("memory", "resident"))
            }
            figures |= {"cpu_per_10000": each.figures["cpu_per_10000"], "resident": each.figures["resident"]}
            bench.add("prometheus", figures=figures, case="the monitor beside it", database=each.database)


def _configure(folder: Path, simulated: Simulated, plan: Plan, *, exporter: int) -> None:
    module = {
        "modules": {
            "probe": {
                "prober": "http",
                "timeout": "15s",
                "http": {
                    "method": "POST",
                    "headers": {"x-api-key": key_of("population")},
                    "fail_if_body_not_matches_regexp": ['"status":"ok"'],
                },
            }
        }
    }
    targets = [f"{simulated.address}{PROBE_PATH.decode()}{external_id(number)}" for number in range(plan.accounts)]
    (folder / "targets.json").write_text(json.dumps([{"targets": targets}]), encoding="utf-8")
    job = {
        "job_name": "probe",
        "metrics_path": "/probe",
        "params": {"module": ["probe"]},
        "file_sd_configs": [{"files": [f"{folder}/targets.json"]}],
        "relabel_configs": [
            {"source_labels": ["__address__"], "target_label": "__param_target"},
            {"source_labels": ["__param_target"], "target_label": "instance"},
            {"target_label": "__address__", "replacement": f"127.0.0.1:{exporter}"},
        ],
    }
    # JSON is YAML.
    (folder / "blackbox.yml").write_text(json.dumps(module), encoding="utf-8")
    settings = {
        "global": {"scrape_interval": f"{plan.minute:.0f}s", "scrape_timeout": f"{min(plan.minute, 20):.0f}s"},
        "scrape_configs": [job],
    }
    (folder / "prometheus.yml").write_text(json.dumps(settings), encoding="utf-8")


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
