"""Fresh databases of both kinds, empty or holding a population, and what can be read from them beside a running daemon."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from sqlalchemy import URL, create_engine, func, make_url, select, text, update

from benchmarks.machine import OTHERS, family_cpu, pin, pin_group
from monitor.store import Store
from monitor.store.schema import connections, metadata, polls, sources
from tests.support import postgres


class Databases:
    """Makes databases in a folder and on a PostgreSQL of the tests' own, which stays on the other core."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._server: str | None = None
        self._made = 0
        self._templates: dict[tuple[str, int], str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def empty(self, kind: str) -> str:
        """Return the URL of a database without a schema."""
        self._made += 1
        if kind == "postgres":
            return postgres.create_database(self._postgres())
        return f"sqlite:///{self._folder}/{self._made}.db"

    def template(self, kind: str, size: int) -> str | None:
        """Return the template database of this size."""
        return self._templates.get((kind, size))

    def keep(self, kind: str, size: int, url: str) -> None:
        """Copy from this one from now on. No client may be connected to it."""
        self._templates[kind, size] = url
        if kind == "postgres":
            postgres.settle(url)

    def copy(self, kind: str, size: int) -> str:
        """Return the URL of a copy of a template, with every source due."""
        template = self._templates[kind, size]
        if kind == "postgres":
            url = postgres.create_database(self._postgres(), template=postgres.name_of(template))
        else:
            url = self.empty(kind)
            for ending in ("", "-wal"):
                path = Path(str(make_url(template).database) + ending)
                if path.exists():
                    _copy_to_disk(path, Path(str(make_url(url).database) + ending))
        make_due(url)
        return url

    def drop(self, url: str) -> None:
        """Give the room back."""
        if make_url(url).drivername.startswith("sqlite"):
            for path in Path(str(make_url(url).database)).parent.glob(f"{Path(str(make_url(url).database)).name}*"):
                path.unlink(missing_ok=True)
        else:
            postgres.drop_database(url)

    def server_cpu(self) -> float:
        """CPU seconds of PostgreSQL so far, its ended processes included; 0 for an external server."""
        return sum(family_cpu(pid) for pid in _postmaster(self._postgres()))

    def _postgres(self) -> str:
        if self._server is None:
            self._server = self._stack.enter_context(postgres.server_url())
            pin(OTHERS)
            for pid in _postmaster(self._server):
                pin_group(pid, OTHERS)
        return self._server


def _copy_to_disk(source: Path, target: Path) -> None:
    """Copy a file and wait until it is on the disk: otherwise the daemon's first checkpoint waits for all of it."""
    shutil.copy(source, target)
    with target.open("rb+") as copied:
        os.fsync(copied.fileno())


def _postmaster(url: str) -> list[int]:
    """Return the first process of the private server, None for an external server."""
    folder = make_url(url).query.get("host")
    file = Path(str(folder)) / "data" / "postmaster.pid"
    return [int(file.read_text(encoding="ascii").split()[0])] if folder and file.exists() else []


def make_due(url: str) -> None:
    """Let every source be due for a poll. The store is the truth about that."""
    with Store(url) as store, store.begin_write() as conn:
        conn.execute(update(sources).values(next_poll_at=datetime.now(UTC) - timedelta(seconds=1)))


def repeat_source(url: str, source: str, names: Sequence[str]) -> None:
    """Store copies of a PostgreSQL database's source and of its connections under other names, which are configured already."""
    with Store(url) as store, store.begin_write() as conn:
        conn.exec_driver_sql("SET LOCAL statement_timeout = 0")
        for table, key in (("sources", "name"), ("scopes", "source"), ("connections", "source")):
            columns = [column.name for column in metadata.tables[table].columns if column.name not in (key, "id")]
            into, values = (", ".join(f'{prefix}"{name}"' for name in columns) for prefix in ("", "original."))
            replaced = ", ".join(f'"{name}" = excluded."{name}"' for name in columns)
            known = f"ON CONFLICT (name) DO UPDATE SET {replaced}" if table == "sources" else ""
            conn.exec_driver_sql(
                f'INSERT INTO {table} ("{key}", {into}) SELECT made.name, {values}'  # noqa: S608 - names of the schema
                f" FROM {table} original CROSS JOIN unnest(%(names)s::text[]) made (name)"
                f' WHERE original."{key}" = %(source)s ORDER BY made.name {known}',
                {"names": list(names), "source": source},
            )


def vacuum(url: str, *, full: bool = False) -> None:
    """Do now what PostgreSQL does itself some minutes later; `full` also rewrites the tables."""
    engine = create_engine(make_url(url), isolation_level="AUTOCOMMIT")
    with engine.connect() as conn:
        conn.exec_driver_sql("VACUUM (FULL, ANALYZE)" if full else "VACUUM ANALYZE")
    engine.dispose()


def database_size(url: str) -> int:
    """Return the bytes of a PostgreSQL database."""
    engine = create_engine(make_url(url))
    with engine.connect() as conn:
        found = conn.scalar(text("SELECT pg_database_size(current_database())"))
    engine.dispose()
    return int(found or 0)


def recorded_polls(store: Store) -> int:
    """Return the number of stored polls."""
    with store.begin_read() as conn:
        return conn.scalar(select(func.count()).select_from(polls)) or 0


def listed(store: Store) -> int:
    """Return the number of stored connections."""
    with store.begin_read() as conn:
        return conn.scalar(select(func.count()).select_from(connections)) or 0


def planned_polls(url: str) -> dict[str, float]:
    """When each source is due next, as seconds since 1970."""
    with Store(url) as store, store.begin_read() as conn:
        rows = conn.execute(select(sources.c.name, sources.c.next_poll_at))
        return {row.name: row.next_poll_at.timestamp() for row in rows if row.next_poll_at is not None}


def stored(url: str, table: str) -> int:
    """Return the number of rows of a table."""
    with Store(url) as store, store.begin_read() as conn:
        return conn.scalar(select(func.count()).select_from(metadata.tables[table])) or 0


def rows_changed(url: str) -> int | None:
    """Rows that PostgreSQL inserted, updated and deleted in this database so far; None for SQLite, whose connections know."""
    parsed: URL = make_url(url)
    if parsed.drivername.startswith("sqlite"):
        return None
    engine = create_engine(parsed)
    with engine.connect() as conn:
        found = conn.scalar(text("SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables"))
    engine.dispose()
    return int(found or 0)


def size_on_disk(url: str) -> int:
    """Bytes of a SQLite file and its log; 0 for PostgreSQL."""
    path = str(make_url(url).database)
    if not make_url(url).drivername.startswith("sqlite"):
        return 0
    return sum(Path(path + ending).stat().st_size for ending in ("", "-wal") if Path(path + ending).exists())
