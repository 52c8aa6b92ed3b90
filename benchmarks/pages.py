"""Every page, list and feed at every size, with every filter and order, asked for one request after another.

The floor of a page is one query of an index for as many rows as the page lists, and a template that writes them.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from urllib.parse import quote, urlencode

from benchmarks.bench import Bench
from benchmarks.daemon import BenchmarkFailed, Daemon
from benchmarks.databases import vacuum
from benchmarks.figures import Figure, figure, percentile
from benchmarks.machine import MEASURED, pin
from benchmarks.page_population import diversify
from benchmarks.rows import FIRST_ACCOUNT, PLATFORMS, external_id
from benchmarks.settings import Settings
from benchmarks.simulated import ROOT
from monitor.domain import Status
from monitor.store import Store
from monitor.store.connection_pages import Order
from tests.support.ports import free_port

PATIENCE = 10.0
CLIENT, SOURCE = "client 007", "population"
API = "/api/v1"
_FILTERS = {
    **{f"status {status}": {"status": status.value} for status in Status},
    "attention": {"status": "attention"},
    "stale": {"status": "stale"},
    "source": {"source": SOURCE},
    "platform": {"platform": PLATFORMS[0]},
    "client": {"label": f"client={CLIENT}"},
    "a name": {"q": f"Person {FIRST_ACCOUNT // 1000}"},
    "part of many names": {"q": "person5"},
    "no name": {"q": "nothing like it"},
}
_PER_PAGE = 100


class NothingServed(Exception):
    """This version has no web page."""


def addresses(size: int) -> dict[str, str]:
    """Return the address of each case for a population of this size."""
    last, middle = max(1, size // _PER_PAGE), max(1, size // _PER_PAGE // 2)
    found = {"page": "/", "api": f"{API}/connections"}
    found |= {f"page, {name}": _with("/", **values) for name, values in _FILTERS.items()}
    for order in Order:
        found[f"page by {order}"] = _with("/", sort=order)
        found[f"page by {order}, middle"] = _with("/", sort=order, per=_PER_PAGE, page=middle)
        found[f"page by {order}, last"] = _with("/", sort=order, per=_PER_PAGE, page=last)
        found[f"page by {order}, valid"] = _with("/", sort=order, status="valid", page=middle)
        found[f"page by {order}, client"] = _with("/", sort=order, label=f"client={CLIENT}")
        found[f"connection by {order}"] = _with(_connection(size // 2), sort=order)
        found[f"connection by {order}, valid"] = _with(_connection(size // 2), sort=order, status="valid")
    found |= {"connection": _connection(size // 2), "clients": "/clients", "sources": "/sources", "silences": "/silences"}
    found |= {f"forecast, {days} days": _with("/forecast", days=days) for days in (7, 30, 90)}
    found |= {"alerts": "/alerts", "alerts, far": _with("/alerts", page=100)}
    found |= {"calendar": "/calendar.ics", "feed": "/feed.atom", "badge": "/badge.svg"}
    values = {name: each for name, each in _FILTERS.items() if each.get("status") not in ("attention", "stale")}
    found |= {f"api, {name}": _with(f"{API}/connections", **each) for name, each in values.items()}
    found |= {"api, far": _with(f"{API}/connections", cursor=size * 9 // 10)}
    for name in ("sources", "events", "alerts", "forecast", "silences"):
        found[f"api {name}"] = f"{API}/{name}"
    return found


def _with(path: str, **values: object) -> str:
    return f"{path}?{urlencode({name: str(value) for name, value in values.items()})}"


def _connection(number: int) -> str:
    return f"/connections/{quote(f'{SOURCE}/{external_id(number)}')}"


def run(bench: Bench) -> None:
    """Latency, CPU and size of one answer. Raises NothingServed where the port stays closed."""
    plan = bench.plan
    for kind in bench.kinds:
        for size in sorted({plan.sizes[0], plan.large // 10, plan.large} if plan.variants else {plan.sizes[0], plan.large}):
            database = bench.populated(kind, size)
            diversify(database)
            if kind == "postgres":
                vacuum(database)
            floor = _floor(bench, database)
            port = free_port()
            with bench.simulated(f"population:1:{size}") as simulated:
                wanted = Settings(poll_every="6h", web=port)
                with bench.daemon(wanted, database=database, simulated=simulated) as daemon:
                    _await_port(port)
                    daemon.await_quiet()
                    cases = addresses(size)
                    for case, path in cases.items() if size == plan.large else list(cases.items())[:2]:
                        _one(bench, daemon, port, path, kind=kind, case=case, size=size, floor=floor)
            bench.databases.drop(database)


def _one(bench: Bench, daemon: Daemon, port: int, path: str, *, kind: str, case: str, size: int, floor: Figure) -> None:
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
    cpu = (after.cpu - before.cpu) / len(took) * 1000
    figures = {
        "times_floor": figure([cpu / floor.median], "x"),
        "took": figure(took, "ms"),
        "p99": figure([percentile(took, 0.99)], "ms"),
        "cpu": figure([cpu], "ms"),
        "floor": floor,
        "bytes": figure(sizes, "B"),
        "blocked": figure([after.blocked * 1000], "ms"),
    }
    bench.add("pages", figures=figures, case=case, database=kind, size=size)


def _get(conn: http.client.HTTPConnection, path: str) -> tuple[int, int]:
    conn.request("GET", path)
    answer = conn.getresponse()
    return answer.status, len(answer.read())


def _floor(bench: Bench, database: str) -> Figure:
    """Return the CPU of the floor in milliseconds, measured in a process on the core of the daemon."""
    line = [sys.executable, "-m", "benchmarks.pages", database, str(max(bench.plan.requests, 5))]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkFailed(f"The floor of a page failed: {done.stderr[-1000:]}")
    return figure(json.loads(done.stdout), "ms")


_QUERY = """
SELECT id, source, external_id, platform, status, display_name, username, since, expires_at, message
FROM connections WHERE id > {0} ORDER BY id LIMIT 50
"""
_TEMPLATE = """<!doctype html><title>Connections</title><table>{% for row in rows %}
<tr>{% for value in row %}<td>{{ value }}</td>{% endfor %}</tr>{% endfor %}</table>"""


def main(database: str, count: int) -> None:
    """Print the milliseconds of CPU that each of `count` floors takes."""
    import jinja2

    pin(MEASURED)
    template = jinja2.Environment(autoescape=True).from_string(_TEMPLATE)
    query = _QUERY.format("?" if database.startswith("sqlite") else "%s")
    with Store(database) as store, store.begin_read() as conn:
        rounds = []
        for turn in range(count + 1):
            began = time.process_time()
            rows = conn.exec_driver_sql(query, (turn,)).fetchall()
            template.render(rows=rows)
            rounds.append((time.process_time() - began) * 1000)
    json.dump(rounds[1:], sys.stdout)


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


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
