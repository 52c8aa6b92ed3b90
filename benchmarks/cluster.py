"""Daemons that share the work of one PostgreSQL database: their cost beside one daemon alone, and a million connections."""

from __future__ import annotations

import asyncio
import http.client
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from statistics import median

import psycopg

from benchmarks import cluster_model, machine
from benchmarks.bench import Bench
from benchmarks.cluster_model import Costs
from benchmarks.daemon import BenchmarkFailed, Daemon, command, running, until
from benchmarks.databases import database_size, make_due, recorded_polls, repeat_source, vacuum
from benchmarks.figures import Figure, figure
from benchmarks.machine import spawn
from benchmarks.settings import Settings
from benchmarks.simulated import ROOT, Simulated
from monitor.config import load
from monitor.engine import config_sync
from monitor.store import Store, migrate, revisions
from monitor.store.postgres import WRITERS_LOCK
from monitor.store.work_queue import Unit, WorkQueue
from tests.support.ports import free_port

DAEMONS, WORKERS = 2, 4
KIND = "postgres"
LISTED = 50
"""Connections of a source whose polls are compared."""
POLLED_BEFORE = 5
"""Rounds before polls are measured. Each daemon reads each list in full once, and sources change between daemons at random."""
PROBED = 500
"""Connections of a source whose probes are compared."""
SLOW = 200.0
"""Milliseconds after which the slow provider answers."""
PATIENCE = 900.0
"""Seconds in which a daemon of the large database must have started, however busy the machine is."""
MILLION_EACH = 500
"""Connections of a source of the large database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What some polls or probes cost."""

    number: int
    seconds: float
    cpu: float
    """CPU seconds of all daemons together."""
    server: float
    """CPU seconds of PostgreSQL."""
    locked: float
    """Seconds in which a daemon held the lock of the writers."""


def members(workers: int) -> str:
    """Return the table of a configuration; empty for a daemon that works alone."""
    return f"[cluster]\nworkers = {workers}\n" if workers else ""


@contextmanager
def started(
    bench: Bench, wanted: Settings, *, database: str, simulated: Simulated, daemons: int, workers: int
) -> Iterator[list[Daemon]]:
    """Run daemons with equal configurations until the block ends; the first one plans."""
    with ExitStack() as stack:
        found = []
        for _ in range(daemons):
            config = bench.config(replace(wanted, policy=members(workers)), database=database, simulated=simulated)
            found.append(stack.enter_context(running(config, with_loop_watch=False)))
        yield found


def _spend(bench: Bench, daemons: list[Daemon], *, database: str, done: Callable[[], int], seconds: float) -> Spent:
    """Measure for about so many seconds; `done` counts what was done."""
    with closing(psycopg.connect(database.replace("postgresql+psycopg", "postgresql"), autocommit=True)) as conn:
        number, cpu = done(), [machine.cpu_seconds(each.pid) for each in daemons]
        server, began, samples, locked = bench.databases.server_cpu(), time.monotonic(), 0, 0
        while time.monotonic() - began < seconds:
            row = conn.execute(
                "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
                " WHERE d.datname = current_database() AND locktype = 'advisory' AND granted"
                " AND (classid::bigint << 32) + objid::bigint = %s",
                (WRITERS_LOCK,),
            ).fetchone()
            samples, locked = samples + 1, locked + (1 if row and row[0] else 0)
            time.sleep(0.05)
        for each in daemons:
            each.require_running()
        took = time.monotonic() - began
        return Spent(
            number=done() - number,
            seconds=took,
            cpu=sum(machine.cpu_seconds(each.pid) for each in daemons) - sum(cpu),
            server=bench.databases.server_cpu() - server,
            locked=took * locked / max(samples, 1),
        )


def cost(bench: Bench) -> None:
    """Compare CPU per poll and per probe of a cluster with that of one daemon alone, on the same database."""
    if KIND not in bench.kinds:
        return
    costs = {kind: _compare(bench, kind) for kind in ("polls", "probes")}
    unit = _empty_units(bench)
    bench.add("cluster-cost", case="units without work", database=KIND, figures={"cpu_each": figure([unit * 1000], "ms")})
    polls, probes = costs["polls"], costs["probes"]
    for case, figures in cluster_model.table(Costs.of(polls=polls, probes=probes, unit=unit)):
        bench.add("cluster-model", case=case, figures=figures)


def _compare(bench: Bench, kind: str) -> dict[str, float]:
    """Return the cluster's cost of one poll or probe, by name."""
    sources = max(bench.plan.sources // 10, 3) if kind == "polls" else max(bench.plan.backlog // PROBED, 2)
    size, window = LISTED if kind == "polls" else PROBED, max(bench.plan.window * 2, 4.0)
    names, database = [f"population-{number}" for number in range(sources)], bench.databases.empty(KIND)
    every = {"poll_every": "15s"} if kind == "polls" else {"poll_every": "1h", "probe_every": "5s"}
    single: list[Spent] = []
    shared: list[Spent] = []
    with bench.simulated(f"population:{sources}:{size}") as simulated:
        wanted = Settings(sources=names, **every)  # type: ignore[arg-type]  # its texts
        for daemons, workers, found in ((1, 0, single), (DAEMONS, WORKERS, shared)):
            simulated.ask("reset")
            with (
                started(bench, wanted, database=database, simulated=simulated, daemons=daemons, workers=workers) as processes,
                Store(database) as store,
            ):
                done = _counter(kind, store, simulated)
                _await_more(done, sources * (POLLED_BEFORE if kind == "polls" else size), known=done())
                time.sleep(2.0)
                for _ in range(bench.plan.repeats):
                    found.append(_spend(bench, processes, database=database, done=done, seconds=window))
    bench.databases.drop(database)
    if min(each.number for each in single + shared) < 1:
        raise BenchmarkFailed(f"No {kind} were seen.")
    for case, found, floor in (
        ("one daemon alone", single, None),
        (f"{DAEMONS} daemons, {WORKERS} workers each", shared, single),
    ):
        bench.add("cluster-cost", case=f"{kind}, {case}", database=KIND, figures=_cost_figures(found, floor))
    cpu, server, locked = (median(getattr(each, name) / each.number for each in shared) for name in ("cpu", "server", "locked"))
    # On a machine with other load a transaction waits for the core; without it, it takes no longer than the CPU of both sides.
    return {"cpu": cpu, "server": server, "locked": min(locked, cpu + server)}


def _counter(kind: str, store: Store, simulated: Simulated) -> Callable[[], int]:
    """Return what counts polls, or probes."""
    return (lambda: recorded_polls(store)) if kind == "polls" else (lambda: int(simulated.counts()["probes"]))


def _await_more(done: Callable[[], int], number: int, *, known: int) -> float:
    """Wait until this number more than `known` were done. Return the seconds that it took."""
    began = time.monotonic()
    until(lambda: done() - known >= number, what="a round", within=1800, step=0.05)
    return time.monotonic() - began


_REST = 10.0


def _await_rest(worker: Daemon) -> None:
    """Wait until the worker needs less than half a core for ten seconds: it begins with the first probe of each connection."""
    since, used = time.monotonic(), machine.cpu_seconds(worker.pid)

    def rests() -> bool:
        nonlocal since, used
        took, cpu = time.monotonic() - since, machine.cpu_seconds(worker.pid) - used
        if took < _REST:
            return False
        since, used = time.monotonic(), used + cpu
        return cpu < took / 2

    until(rests, what="the end of the first probes", within=1800, step=0.5)


def _cost_figures(found: list[Spent], floor: list[Spent] | None) -> dict[str, Figure]:
    figures = {
        "cpu_each": figure((each.cpu / each.number * 1000 for each in found), "ms"),
        "postgresql_each": figure((each.server / each.number * 1000 for each in found), "ms"),
        "locked_each": figure((each.locked / each.number * 1000 for each in found), "ms"),
        "a_second": figure((each.number / each.seconds for each in found), "/s"),
    }
    if floor is None:
        return figures
    alone = median(each.cpu / each.number for each in floor)
    return {
        "times_single": figure((each.cpu / each.number / alone for each in found), "x"),
        **figures,
        "floor": figure([alone * 1000], "ms"),
    }


def _empty_units(bench: Bench, count: int = 400) -> float:
    """Return the CPU seconds of a unit in which nothing is due, planner and worker together."""
    database = bench.databases.empty(KIND)
    server = Store(database).server
    ended = 0

    async def run() -> float:
        nonlocal ended
        queue = WorkQueue(server, connections=2)
        await asyncio.to_thread(prepare, queue)
        finished = asyncio.Event()

        async def handler(_names: object, _configuration: str) -> None:
            nonlocal ended
            ended += 1
            if ended == count:
                finished.set()

        await queue.open({"polls": handler})
        began = time.process_time()
        await queue.defer([Unit(kind="polls", names=(str(number),), configuration="0") for number in range(count)])
        working = asyncio.create_task(queue.work({("polls",): WORKERS}, drain=timedelta(seconds=1)))
        async with asyncio.timeout(120):
            await finished.wait()
        spent = time.process_time() - began
        queue.stop_work()
        await working
        await queue.close()
        return spent

    def prepare(queue: WorkQueue) -> None:
        from monitor.store import cluster_tables

        cluster_tables.prepare(server)
        queue.prepare()

    each = asyncio.run(run()) / count
    bench.databases.drop(database)
    return each


def speed_up(bench: Bench) -> None:
    """Poll all sources of a slow provider once: by one daemon with one worker, by one with two, and by two with one each.

    The three take turns, so that other load of the machine meets each of them.
    """
    if KIND not in bench.kinds:
        return
    sources = max(bench.plan.sources // 10, 3)
    names, database = [f"population-{number}" for number in range(sources)], bench.databases.empty(KIND)
    rounds: dict[tuple[int, int], list[Round]] = {(1, 1): [], (1, 2): [], (2, 1): []}
    with bench.simulated(f"population:{sources}:10", latency_ms=SLOW) as simulated, Store(database) as store:
        wanted = Settings(sources=names, poll_every="1h")
        for _ in range(bench.plan.repeats):
            for (daemons, workers), found in rounds.items():
                with started(
                    bench, wanted, database=database, simulated=simulated, daemons=daemons, workers=workers
                ) as processes:
                    until(lambda: recorded_polls(store) >= sources, what="the first round", within=300, step=0.5)
                    time.sleep(6.0)  # every daemon has reported itself
                    found.append(_round(processes, database=database, store=store, sources=sources))
    bench.databases.drop(database)
    alone = median(each.seconds for each in rounds[1, 1])
    for (daemons, workers), found in rounds.items():
        figures = {
            "took": figure((each.seconds for each in found), "s"),
            "cpu": figure((each.cpu for each in found), "s"),
            "waited": figure((each.waited for each in found), "s"),
        }
        if (daemons, workers) != (1, 1):
            # The target is on daemons; a second worker of the same daemon is shown beside it.
            name = "times_faster" if daemons > 1 else "with_two_workers"
            figures[name] = figure((alone / each.seconds for each in found), "x")
        case = f"{daemons} daemon{'s' * (daemons > 1)} of {workers} worker{'s' * (workers > 1)}, {SLOW:.0f} ms"
        bench.add("cluster-speed", case=case, database=KIND, figures=figures)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One poll of each source of a slow provider."""

    seconds: float
    cpu: float
    """CPU seconds of all daemons together."""
    waited: float
    """Seconds in which the event loop of a daemon was ready and waited for the core; of several daemons the mean."""


def _round(daemons: list[Daemon], *, database: str, store: Store, sources: int) -> Round:
    cpu, waited = (sum(read(each.pid) for each in daemons) for read in (machine.cpu_seconds, machine.waited_seconds))
    known = recorded_polls(store)
    make_due(database)
    seconds = _await_more(lambda: recorded_polls(store), sources, known=known)
    return Round(
        seconds=seconds,
        cpu=sum(machine.cpu_seconds(each.pid) for each in daemons) - cpu,
        waited=(sum(machine.waited_seconds(each.pid) for each in daemons) - waited) / len(daemons),
    )


def million(bench: Bench) -> None:
    """Share a database of a million connections of 2,000 sources: planning, a round, memory and the status page."""
    if KIND not in bench.kinds:
        return
    sources, database, port = bench.plan.large_sources, bench.databases.empty(KIND), free_port()
    with bench.simulated(f"population:{sources}:{MILLION_EACH}:same") as simulated, Store(database) as store:
        wanted = Settings(sources=[f"population-{number}" for number in range(sources)], poll_every="6h", probe_every="6h")
        _fill(bench, wanted, database=database, simulated=simulated)
        with _planner_and_worker(bench, wanted, database=database, simulated=simulated, port=port) as (planner, worker):
            _await_rest(worker)
            bench.add("cluster-million", case="nothing due", database=KIND, figures=_planning(bench, planner, worker, 20.0))
            known, cpu = recorded_polls(store), machine.cpu_seconds(planner.pid)
            others, server, began = machine.cpu_seconds(worker.pid), bench.databases.server_cpu(), time.monotonic()
            make_due(database)
            until(lambda: recorded_polls(store) - known >= sources, what="a round of polls", within=1800, step=0.5)
            seconds = time.monotonic() - began
            figures = {
                "took": figure([seconds], "s"),
                "planner": figure([(machine.cpu_seconds(planner.pid) - cpu) / seconds * 100], "%"),
                "worker_cpu": figure([machine.cpu_seconds(worker.pid) - others], "s"),
                "postgresql": figure([bench.databases.server_cpu() - server], "s"),
                "resident": figure([max(machine.resident_mb(each.pid) for each in (planner, worker))], "MB"),
                "peak": figure([max(machine.peak_mb(each.pid) for each in (planner, worker))], "MB"),
            }
            bench.add("cluster-million", case="a round of unchanged polls", database=KIND, figures=figures)
            pages = [_served(bench, planner, port) for _ in range(max(bench.plan.requests // 3, 3))]
            measured = zip(("took_page", "page_cpu", "page_postgresql"), zip(*pages, strict=True), strict=True)
            figures = {name: figure(found, "ms") for name, found in measured}
            bench.add("cluster-million", case="status page", database=KIND, figures=figures)
    bench.databases.drop(database)


def upgrade(bench: Bench) -> None:
    """Migrate a database of a million connections from earlier revisions with `db upgrade`."""
    if KIND not in bench.kinds:
        return
    sources, database = bench.plan.large_sources, bench.databases.empty(KIND)
    with bench.simulated(f"population:{sources}:{MILLION_EACH}:same") as simulated, Store(database) as store:
        wanted = Settings(sources=[f"population-{number}" for number in range(sources)], poll_every="6h", probe_every="6h")
        _fill(bench, wanted, database=database, simulated=simulated)
        line = command(bench.config(wanted, database=database, simulated=simulated), "db", "upgrade")
        for revision, version in (("0008", "before the speed indexes"), ("0002", "version 0.1")):
            if revision == revisions.HEAD:
                continue
            migrate.downgrade(store.target, to=revision)
            vacuum(database, full=True)
            before, server, began = database_size(database), bench.databases.server_cpu(), time.monotonic()
            with spawn(line, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as done:
                _, output = done.communicate(timeout=1800)
            if done.returncode:
                raise BenchmarkFailed(f"db upgrade failed (exit {done.returncode}): {output[-1000:]}")
            figures = {
                "took": figure([time.monotonic() - began], "s"),
                "postgresql": figure([bench.databases.server_cpu() - server], "s"),
                "size_before": figure([before / 2**20], "MB"),
                "size_after": figure([database_size(database) / 2**20], "MB"),
            }
            bench.add("cluster-upgrade", case=f"from revision {revision}, {version}", database=KIND, figures=figures)
    bench.databases.drop(database)


def _fill(bench: Bench, wanted: Settings, *, database: str, simulated: Simulated) -> None:
    """Poll the first source, and store copies of it as the others."""
    first, *others = wanted.sources
    config = bench.config(replace(wanted, sources=[first]), database=database, simulated=simulated)
    with running(config, with_loop_watch=False), Store(database) as store:
        until(lambda: recorded_polls(store) >= 1, what="the first source was polled")
    configured = load(bench.config(wanted, database=database, simulated=simulated), {}).config
    with Store(database) as store, store.begin_write() as conn:
        config_sync.sync(conn, configured, datetime.now(UTC))
    bench.report(f"storing {len(wanted.sources)} sources of {MILLION_EACH} connections")
    repeat_source(database, first, others)
    vacuum(database)


@contextmanager
def _planner_and_worker(
    bench: Bench, wanted: Settings, *, database: str, simulated: Simulated, port: int
) -> Iterator[tuple[Daemon, Daemon]]:
    """Run a daemon that only plans (and serves pages), and one that polls."""
    plans = replace(wanted, policy=members(1) + 'queues = ["deliveries"]\n', web=port)
    polls = replace(wanted, policy=members(WORKERS))
    with running(bench.config(plans, database=database, simulated=simulated), with_loop_watch=False, ready=False) as planner:
        planner.await_start(within=PATIENCE)
        started = {"cpu": figure([machine.cpu_seconds(planner.pid)], "s")}
        bench.add("cluster-million", case="start of the planner", database=KIND, figures=started)
        with running(bench.config(polls, database=database, simulated=simulated), with_loop_watch=False, ready=False) as worker:
            worker.await_start(within=PATIENCE)
            yield planner, worker


def _planning(bench: Bench, planner: Daemon, worker: Daemon, seconds: float) -> dict[str, Figure]:
    before, server = [machine.cpu_seconds(each.pid) for each in (planner, worker)], bench.databases.server_cpu()
    began = time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    after = [machine.cpu_seconds(each.pid) for each in (planner, worker)]
    return {
        "planner": figure([(after[0] - before[0]) / took * 100], "%"),
        "worker": figure([(after[1] - before[1]) / took * 100], "%"),
        "postgresql_share": figure([(bench.databases.server_cpu() - server) / took * 100], "%"),
        "resident": figure([max(machine.resident_mb(each.pid) for each in (planner, worker))], "MB"),
    }


def _served(bench: Bench, daemon: Daemon, port: int) -> tuple[float, float, float]:
    """Return the milliseconds of the status page, of the daemon's CPU and of PostgreSQL's."""
    cpu, server = machine.cpu_seconds(daemon.pid), bench.databases.server_cpu()
    took = _page(port)
    return took, (machine.cpu_seconds(daemon.pid) - cpu) * 1000, (bench.databases.server_cpu() - server) * 1000


def _page(port: int) -> float:
    """Return the milliseconds in which the status page is served."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as conn:
        began = time.monotonic()
        conn.request("GET", "/")
        answer = conn.getresponse()
        answer.read()
        if answer.status != 200:
            raise BenchmarkFailed(f"The status page answers {answer.status}.")
        return (time.monotonic() - began) * 1000
