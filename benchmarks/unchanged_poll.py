"""What a poll of unchanged connections costs: CPU of the whole process, peak memory above rest, rows written.

Run as `python -m benchmarks.unchanged_poll CONFIG`; prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
import time
from pathlib import Path

from sqlalchemy import func, select

from benchmarks.setting import spread
from monitor import logs
from monitor.app import build_work
from monitor.clock import SystemClock
from monitor.config import Config, load
from monitor.poller import Poller
from monitor.providers import HttpSessions
from monitor.store import Store, open_store, sources
from monitor.store.schema import metadata

RUNS = 5


def rows(store: Store) -> int:
    """Rows in all tables."""
    with store.read() as conn:
        return sum(conn.scalar(select(func.count()).select_from(table)) or 0 for table in metadata.sorted_tables)


def peak_mb() -> float:
    """The largest resident set so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def resident_mb() -> float:
    """The resident set now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1_048_576


async def measure(config: Config) -> dict[str, object]:
    """One first poll, one to warm up, then RUNS measured ones."""
    clock = SystemClock()
    store = open_store(config.database.url.reveal())
    source = config.sources[0]
    with store.write() as conn:
        sources.sync_sources(conn, [(source.name, source.provider, "127.0.0.1")], clock.now())
    async with HttpSessions() as sessions:
        work = build_work(config, sessions=sessions, clock=clock)[source.name]
        poller = Poller(store=store, clock=clock, channels=config.channels)
        before_first = time.process_time()
        first = await poller.poll(work.source, work.provider)
        first_cpu = time.process_time() - before_first
        await poller.poll(work.source, work.provider)
        gc.collect()
        cpu, written = [], []
        rest = resident_mb()
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the first poll's peak
        for _ in range(RUNS):
            count, started = rows(store), time.process_time()
            recorded = await poller.poll(work.source, work.provider)
            cpu.append(time.process_time() - started)
            written.append(float(rows(store) - count))
            assert recorded.changed == 0, "the crowd changed in the middle of the measurement"
    store.close()
    return {
        "connections": first.changed,
        "first_poll_cpu_s": round(first_cpu, 3),
        "cpu_s": spread(cpu),
        "rows_added": max(written),
        "peak_above_rest_mb": round(high_water_mb() - rest, 1),
    }


def high_water_mb() -> float:
    """The peak since it was last reset."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    logs.configure(level="warning", format="console")
    loaded = load(Path(sys.argv[1]), os.environ)
    print(json.dumps(asyncio.run(measure(loaded.config))))
