"""The status page and the API at every size, asked for one request after another."""

from __future__ import annotations

import http.client
import time

from benchmarks.bench import Bench, free_port
from benchmarks.daemon import BenchmarkFailed, Daemon
from benchmarks.databases import recorded_polls
from benchmarks.figures import figure, percentile
from benchmarks.settings import Settings
from monitor.store import Store

ADDRESSES = {"page": "/", "api": "/api/v1/connections"}
PATIENCE = 10.0


class NothingServed(Exception):
    """This version has no web page."""


def run(bench: Bench) -> None:
    """Latency, CPU and size of one answer. Raises NothingServed where the port stays closed."""
    plan = bench.plan
    for kind in bench.kinds:
        for size in sorted({plan.sizes[0], plan.large // 10, plan.large} if plan.variants else {plan.sizes[0], plan.large}):
            database = bench.populated(kind, size)
            port = free_port()
            with bench.simulated(f"population:1:{size}") as simulated:
                wanted = Settings(poll_every="1h", web=port)
                with bench.daemon(wanted, database=database, simulated=simulated) as daemon, Store(database) as store:
                    _await_port(port)
                    deadline = time.monotonic() + 15
                    while recorded_polls(store) < 2 and time.monotonic() < deadline:
                        time.sleep(0.1)
                    daemon.await_quiet()
                    for case, path in ADDRESSES.items():
                        _one(bench, daemon, port, path, kind=kind, case=case, size=size)
            bench.databases.drop(database)


def _one(bench: Bench, daemon: Daemon, port: int, path: str, *, kind: str, case: str, size: int) -> None:
    conn = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    sizes = [_get(conn, path)[1] for _ in range(2)]
    before = daemon.mark()
    took = []
    for _ in range(bench.plan.requests):
        began = time.monotonic()
        status, length = _get(conn, path)
        took.append((time.monotonic() - began) * 1000)
        if status != 200:
            raise BenchmarkFailed(f"{path} answers {status}.")
        sizes.append(length)
    after = daemon.mark()
    conn.close()
    figures = {
        "took": figure(took, "ms"),
        "p99": figure([percentile(took, 0.99)], "ms"),
        "cpu": figure([(after.cpu - before.cpu) / len(took) * 1000], "ms"),
        "bytes": figure(sizes, "B"),
        "blocked": figure([after.blocked * 1000], "ms"),
    }
    bench.add("pages", figures=figures, case=case, database=kind, size=size)


def _get(conn: http.client.HTTPConnection, path: str) -> tuple[int, int]:
    conn.request("GET", path)
    answer = conn.getresponse()
    return answer.status, len(answer.read())


def _await_port(port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            conn = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            conn.connect()
        except OSError as error:
            if time.monotonic() > deadline:
                raise NothingServed("nothing is served at web.listen: this version has no status page yet") from error
            time.sleep(0.2)
        else:
            conn.close()
            return
