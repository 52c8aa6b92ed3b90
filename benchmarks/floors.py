"""Floors: the least work with the same result, which the ratios of the other figures refer to.

`python -m benchmarks.floors changed|post …` prints one line of JSON per repeat. The bare loop of probes and lists is in
`benchmarks.baseline`, and the floor of a page in `benchmarks.pages`.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import unquote

import aiohttp
import msgspec
import uvloop

from benchmarks.baseline import Listing, Row
from benchmarks.machine import pin, written_bytes
from benchmarks.rows import LIST_PATH, key_of

if TYPE_CHECKING:
    import psycopg

IMPORTS = (sys.executable, "-c", "import sqlalchemy, pydantic")
"""The floor of the start and of every command: the interpreter, and the libraries of the store and the configuration."""

_UPDATED = (
    "fingerprint",
    "status",
    "reason",
    "message",
    "since",
    "word",
    "raw_word",
    "token_status",
    "token_reason",
    "token_message",
    "token_reconnected_at",
    "id",
)
_EVENTS = ("connection_id", "source", "at", "kind", "old", "new", "reason", "message")
_INCIDENTS = ("id", "source", "connection_id", "opened_at", "status", "said_at", "look_at")
_ALERTS = (
    "id",
    "incident_id",
    "event",
    "reason",
    "severity",
    "at",
    "source",
    "platform",
    "connection_id",
    "payload",
)
_CLOSED = ("closed_at", "id")
_DELIVERIES = ("alert_id", "channel", "state", "created_at", "next_attempt_at")


class Payload(msgspec.Struct, kw_only=True):
    """The text of an alert in the store: the monitor's fields, filled from one row."""

    id: str
    incident: str
    event: str
    reason: str
    severity: str = "critical"
    at: str
    source: str
    provider: str = "postpost"
    subject: str = ""
    count: int = 1
    scope: None = None
    connection: str
    external_id: str
    platform: str
    label: str | None
    status: str
    verdict_reason: str
    message: str
    since: str
    opened_at: str
    expires_at: str | None
    previous: str | None
    stage: None = None
    link: str = "https://app.postpost.dev"
    reminder: int = 0
    chart: None = None
    labels: dict[str, str] = {}
    label_sets: list[str] = []
    label_counts: list[int] = []
    cause: None = None
    unmonitored_since: None = None


class Change(NamedTuple):
    """A status that every row of a list has in one poll."""

    old: str
    new: str
    reason: str
    message: str
    event: str
    at: str
    number: int
    """Of the poll. It makes ids and fingerprints unique."""

    def incident_id(self, connection: int) -> str:
        """Return the id of the incident that this change opens for a connection."""
        return f"{self.number:08x}{connection:012x}"

    def alert_id(self, connection: int) -> str:
        """Return the id of the alert about this change of a connection."""
        return f"{self.number:08x}{connection:011x}a"


def stored_instant(at: datetime) -> str:
    """Return a UTC instant as the monitor stores it in SQLite; PostgreSQL reads the same text."""
    return at.isoformat(timespec="microseconds")[:26] + "Z"


def expired(number: int, at: str) -> Change:
    """Return the change in which every token expires."""
    message = "The provider reports that the token expired before its date, because the platform rejected it."
    return Change("valid", "expired", "rejected_by_platform", message, "expired", at, number)


def renewed(number: int, at: str) -> Change:
    """Return the change in which every token is valid again."""
    return Change("expired", "valid", "provider_valid", "Valid.", "recovered", at, number)


class Rows(NamedTuple):
    """The rows that a change writes, by table, in the order of the columns above."""

    connections: list[tuple[object, ...]]
    events: list[tuple[object, ...]]
    incidents: list[tuple[object, ...]]
    """New ones; for a change that ends them, (closed_at, id) of the open ones."""
    alerts: list[tuple[object, ...]]
    deliveries: list[tuple[object, ...]]


def rows_of(
    listed: Sequence[Row], ids: dict[str, int], change: Change, *, source: str, opened: Change | None, deliveries: int
) -> Rows:
    """Return what a change of these connections writes. `opened` opened their incidents; None if this change opens them."""
    rows = Rows([], [], [], [], [])
    old, new, reason, message, event, at, number = change
    later = stored_instant(datetime.fromisoformat(at) + timedelta(hours=1))
    reconnected = None if opened is None else at
    for row in listed:
        key, name = ids[row.platform_id], row.platform_id
        platform = name.partition("-")[0]
        incident, alert = (opened or change).incident_id(key), change.alert_id(key)
        payload = Payload(
            id=alert,
            incident=incident,
            event=event,
            reason="first" if opened is None else "recovered",
            at=at,
            source=source,
            connection=f"{source}/{name}",
            external_id=name,
            platform=platform,
            label=row.display_name,
            status=new,
            verdict_reason=reason,
            message=message,
            since=at,
            opened_at=(opened or change).at,
            expires_at=row.access_token_expires_at,
            previous=None if opened is None else old,
        )
        text = msgspec.json.encode(payload).decode()
        print_of = f"{number:012x}{key:012x}"
        rows.connections.append((print_of, new, reason, message, at, new, new, new, reason, message, reconnected, key))
        rows.events.append((key, source, at, "status_changed", old, new, reason, message))
        rows.incidents.append((incident, source, key, at, new, at, later) if opened is None else (at, incident))
        rows.alerts.append((alert, incident, event, payload.reason, "critical", at, source, platform, key, text))
        if len(rows.deliveries) < deliveries:
            rows.deliveries.append((alert, "hook", "pending", at, later))
    return rows


class Writer(Protocol):
    """Stores a change in one transaction."""

    def ids(self, source: str) -> dict[str, int]:
        """Return the ids of a source's connections by the service's ids."""

    def write(self, rows: Rows, *, opens: bool) -> None:
        """Store all rows. `opens`: True if the incidents are new."""

    def close(self) -> None:
        """Close the database."""


class SqliteWriter:
    """Prepared statements, as durable as the monitor's: WAL, synchronous, foreign keys checked."""

    def __init__(self, path: str) -> None:
        self._conn = sqlite3.connect(path, isolation_level=None)
        for pragma in ("journal_mode=WAL", "foreign_keys=ON", "temp_store=MEMORY", "synchronous=FULL"):
            self._conn.execute(f"PRAGMA {pragma}")

    def ids(self, source: str) -> dict[str, int]:
        return dict(self._conn.execute("SELECT external_id, id FROM connections WHERE source = ?", (source,)))

    def write(self, rows: Rows, *, opens: bool) -> None:
        self._conn.execute("BEGIN IMMEDIATE")
        for statement, values in _statements(rows, opens=opens, mark="?"):
            self._conn.executemany(statement, values)
        self._conn.execute("COMMIT")

    def close(self) -> None:
        self._conn.close()


class PostgresWriter:
    """Prepared statements in the driver's pipeline."""

    def __init__(self, url: str) -> None:
        import psycopg

        self._conn: psycopg.Connection = psycopg.connect(url)

    def ids(self, source: str) -> dict[str, int]:
        found = self._conn.execute("SELECT external_id, id FROM connections WHERE source = %s", (source,))
        return {str(name): int(key) for name, key in found}

    def write(self, rows: Rows, *, opens: bool) -> None:
        with self._conn.cursor() as cursor:
            self._store(cursor, rows, opens=opens)
        self._conn.commit()

    def _store(self, cursor: psycopg.Cursor, rows: Rows, *, opens: bool) -> None:
        for statement, values in _statements(rows, opens=opens, mark="%s"):
            if values:
                cursor.executemany(statement.encode(), values)

    def close(self) -> None:
        self._conn.close()


class CopyingWriter(PostgresWriter):
    """COPY, and one UPDATE from a copied table: the least work for a client, because the server does nearly all of it."""

    def _store(self, cursor: psycopg.Cursor, rows: Rows, *, opens: bool) -> None:
        self._update(cursor, "connections", _UPDATED, rows.connections)
        _copy(cursor, "events", _EVENTS, rows.events)
        if opens:
            _copy(cursor, "incidents", _INCIDENTS, rows.incidents)
        else:
            self._update(cursor, "incidents", _CLOSED, rows.incidents)
        _copy(cursor, "alerts", _ALERTS, rows.alerts)
        _copy(cursor, "deliveries", _DELIVERIES, rows.deliveries)

    def _update(self, cursor: psycopg.Cursor, table: str, columns: Sequence[str], rows: Sequence[tuple[object, ...]]) -> None:
        names = ", ".join(columns)
        cursor.execute(f"CREATE TEMP TABLE new_{table} ON COMMIT DROP AS SELECT {names} FROM {table} LIMIT 0".encode())  # noqa: S608 - constants
        _copy(cursor, f"new_{table}", columns, rows)
        changes = ", ".join(f"{name} = new.{name}" for name in columns[:-1])
        cursor.execute(f"UPDATE {table} SET {changes} FROM new_{table} AS new WHERE {table}.id = new.id".encode())  # noqa: S608 - constants


def _statements(rows: Rows, *, opens: bool, mark: str) -> Iterator[tuple[str, Sequence[tuple[object, ...]]]]:
    yield _update("connections", _UPDATED, mark), rows.connections
    yield _insert("events", _EVENTS, mark), rows.events
    yield (_insert("incidents", _INCIDENTS, mark) if opens else _update("incidents", _CLOSED, mark)), rows.incidents
    yield _insert("alerts", _ALERTS, mark), rows.alerts
    yield _insert("deliveries", _DELIVERIES, mark), rows.deliveries


def _update(table: str, columns: Sequence[str], mark: str) -> str:
    changes = ", ".join(f"{name} = {mark}" for name in columns[:-1])
    return f"UPDATE {table} SET {changes} WHERE {columns[-1]} = {mark}"  # noqa: S608 - constants


def _insert(table: str, columns: Sequence[str], mark: str) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join([mark] * len(columns))})"  # noqa: S608 - constants


def _copy(cursor: psycopg.Cursor, table: str, columns: Sequence[str], rows: Sequence[tuple[object, ...]]) -> None:
    with cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN".encode()) as copy:
        for row in rows:
            copy.write_row(row)


def writer(url: str, *, copies: bool = False) -> Writer:
    """Return the writer of the database with this URL. `copies`: with COPY (PostgreSQL only)."""
    if url.startswith("sqlite:///"):
        return SqliteWriter(unquote(url.removeprefix("sqlite:///")))
    plain = url.replace("postgresql+psycopg://", "postgresql://")
    return CopyingWriter(plain) if copies else PostgresWriter(plain)


async def _changed(session: aiohttp.ClientSession, arguments: argparse.Namespace) -> None:
    """Read the list, decode it, and store that every connection expired, then that each is valid again, and so on."""
    decoder, opened = msgspec.json.Decoder(Listing), None
    with closing(writer(arguments.database, copies=arguments.copy)) as database:
        for number in range(arguments.repeats + 1):
            began, written = time.process_time(), written_bytes(os.getpid())
            headers = {"x-api-key": key_of(arguments.source)}
            async with session.get(f"{arguments.url}{LIST_PATH.decode()}", headers=headers) as response:
                listed = decoder.decode(await response.read()).connections
            if number == 0:
                continue  # the first request warms up
            at = stored_instant(datetime.now(UTC))
            change = renewed(number, at) if opened else expired(number, at)
            ids = database.ids(arguments.source)
            rows = rows_of(listed, ids, change, source=arguments.source, opened=opened, deliveries=arguments.deliveries)
            database.write(rows, opens=opened is None)
            opened = None if opened else change
            cpu = time.process_time() - began
            _print(cpu=cpu, alerts=len(rows.alerts), written=written_bytes(os.getpid()) - written)


async def _post(session: aiohttp.ClientSession, arguments: argparse.Namespace) -> None:
    """Send messages to a webhook, one after another on one connection."""
    body = json.dumps({"version": "1.0", "title": "expired", "message": "x" * 600, "type": "failure"}).encode()
    for number in range(arguments.repeats + 1):
        began, cpu = time.monotonic(), time.process_time()
        async with session.post(arguments.url, data=body, headers={"content-type": "application/json"}) as response:
            await response.read()
            assert response.status == 200, response.status
        if number:  # the first request opens the connection
            _print(took=time.monotonic() - began, cpu=time.process_time() - cpu)


def _print(**found: float) -> None:
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


async def _run(arguments: argparse.Namespace) -> None:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        await (_changed if arguments.kind == "changed" else _post)(session, arguments)


def main() -> None:
    """Do the work and print its cost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.floors")
    parser.add_argument("kind", choices=["changed", "post"])
    parser.add_argument("--url", required=True, help="the simulator, or the webhook")
    parser.add_argument("--database", help="changed: the URL of a database that holds the connections")
    parser.add_argument("--copy", action="store_true", help="changed, on PostgreSQL: with COPY")
    parser.add_argument("--source", default="population")
    parser.add_argument("--deliveries", type=int, default=0, help="changed: deliveries to store with each change")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--core", type=int, default=None)
    arguments = parser.parse_args()
    pin(arguments.core)
    gc.disable()
    uvloop.run(_run(arguments))


if __name__ == "__main__":
    main()
