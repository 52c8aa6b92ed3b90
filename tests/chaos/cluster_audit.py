"""A record of who held which lease when, written by the database, and of who asked which source when, by the simulator."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from monitor.demo.world import World
from monitor.store import Store, cluster_tables

ARRIVES_WITHIN = timedelta(seconds=1)
"""The longest way of a request to a busy simulator."""
_RECORDING = """
    CREATE TABLE lease_record (name text, number bigint, holder text, at timestamptz);
    CREATE FUNCTION record_lease() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO public.lease_record VALUES (NEW.name, NEW.number, NEW.holder, clock_timestamp());
            RETURN NEW;
        END $$;
    CREATE TRIGGER record_new AFTER INSERT ON token_monitor_cluster.leases FOR EACH ROW EXECUTE FUNCTION record_lease();
    CREATE TRIGGER record_change AFTER UPDATE ON token_monitor_cluster.leases FOR EACH ROW
        WHEN (OLD.holder IS DISTINCT FROM NEW.holder OR OLD.number <> NEW.number) EXECUTE FUNCTION record_lease();
"""
NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenure:
    """The time in which a daemon held a lease, whether or not it was able to renew it."""

    name: str
    number: int
    pid: int
    began: datetime
    ended: datetime
    """When it released the lease, or another one took it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request that arrived at the simulator."""

    source: str
    daemon: str
    """The name of the daemon that sent it; empty for one without a name."""
    at: datetime


def prepare(store: Store) -> None:
    """Create all tables, and record every change of a lease's holder from now on."""
    store.upgrade()
    cluster_tables.prepare(store.server)
    with store.begin_write() as conn:
        conn.execute(text(_RECORDING))


def tenures(store: Store) -> list[Tenure]:
    """Return who held which lease, by lease and time."""
    with store.begin_read() as conn:
        rows = conn.execute(text("SELECT name, number, holder, at FROM lease_record ORDER BY name, at")).all()
    found = []
    for row, after in zip(rows, [*rows[1:], None], strict=True):
        if row.holder is not None:
            ended = after.at if after is not None and after.name == row.name else NEVER
            pid = int(row.holder.split("/")[1])
            found.append(Tenure(name=row.name, number=row.number, pid=pid, began=row.at, ended=ended))
    return found


def requests(world: World) -> list[Request]:
    """Return the requests that arrived with a source's key, in their order."""
    by_key = {source.key: name for name, source in world.sources.items()}
    found = []
    for seen in list(world.seen):
        names = [by_key.get(value.removeprefix("Bearer ")) for value in seen.headers.values()]
        source = next((name for name in names if name is not None), None)
        if source is not None:
            daemon = seen.headers.get("user-agent", "").rpartition(" ")[2]
            found.append(Request(source=source, daemon=daemon, at=seen.at))
    return found


def without_lease(world: World, store: Store, pids: Mapping[str, int]) -> Iterator[Request]:
    """Yield the requests of daemons that did not hold the lease of the source when they sent them. `pids` are by daemon."""
    asked = requests(world)  # before the leases: daemons that still run take further ones meanwhile
    held: dict[tuple[str, int], list[Tenure]] = defaultdict(list)
    for tenure in tenures(store):
        held[tenure.name, tenure.pid].append(tenure)
    for request in asked:
        own = held[f"source:{request.source}", pids[request.daemon]]
        if not any(each.began <= request.at <= _latest(each) for each in own):
            yield request


def _latest(tenure: Tenure) -> datetime:
    return tenure.ended if tenure.ended == NEVER else tenure.ended + ARRIVES_WITHIN


def repeated_numbers(store: Store) -> list[str]:
    """Return the leases that two tenures have with the same number."""
    seen, found = set[tuple[str, int]](), []
    for each in tenures(store):
        if (each.name, each.number) in seen:
            found.append(f"{each.name} was taken twice with the number {each.number}")
        seen.add((each.name, each.number))
    return found
