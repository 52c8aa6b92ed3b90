"""The store as such: transactions, settings, files, and what errors become."""

from __future__ import annotations

import os
import pwd
import resource
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from structlog.testing import capture_logs

from monitor.domain.errors import StoreError, StoreUnavailable
from monitor.store import Store, meta, open_store, sqlite_file
from monitor.store.sources import find_source, sync_sources
from monitor.store.types import clean, instant_text
from tests.support.factories import NOW


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "monitor.db"


@pytest.fixture
def local(file: Path) -> Iterator[Store]:
    """A SQLite store that does not wait long for a lock."""
    with Store(f"sqlite:///{file}", busy_timeout=timedelta(milliseconds=100)) as store:
        store.upgrade()
        yield store


def pragma(conn: Connection, name: str) -> object:
    return conn.exec_driver_sql(f"PRAGMA {name}").scalar_one()


def read(store: Store, key: str) -> str | None:
    with store.begin_read() as conn:
        return meta.get(conn, key)


def write(store: Store, key: str, value: str) -> None:
    with store.begin_write() as conn:
        meta.set(conn, key, value)


def test_write_commits_and_an_exception_takes_everything_back(store: Store) -> None:
    write(store, "a", "1")
    write(store, "a", "2")

    def fail() -> None:
        with store.begin_write() as conn:
            meta.set(conn, "a", "3")
            meta.set(conn, "b", "1")
            raise KeyError("ours")

    with pytest.raises(KeyError, match="ours"):
        fail()
    assert (read(store, "a"), read(store, "b")) == ("2", None)


def test_reading_connection_cannot_write(store: Store) -> None:
    with pytest.raises((StoreError, StoreUnavailable)), store.begin_read() as conn:
        meta.set(conn, "a", "1")
    assert read(store, "a") is None


def test_reader_sees_one_state_while_a_writer_goes_on(store: Store) -> None:
    write(store, "a", "1")
    with store.begin_read() as conn:
        assert meta.get(conn, "a") == "1"
        write(store, "a", "2")
        assert meta.get(conn, "a") == "1"
    assert read(store, "a") == "2"


def test_foreign_keys_hold(store: Store) -> None:
    with pytest.raises(StoreError), store.begin_write() as conn:
        conn.execute(text("INSERT INTO scopes (source, scope) VALUES ('nobody', '')"))


def test_errors_of_the_callers_own_work_pass_through(store: Store) -> None:
    """A broken pipe while printing rows is none of the database's errors."""

    def show() -> None:
        with store.begin_read():
            raise BrokenPipeError("stdout is closed")

    with pytest.raises(BrokenPipeError):
        show()


def test_a_refused_statement_shows_no_values(store: Store) -> None:
    with pytest.raises(StoreError) as caught, store.begin_write() as conn:
        conn.execute(text("INSERT INTO nothing_there VALUES (:v)"), {"v": "hunter2"})
    assert not isinstance(caught.value, StoreUnavailable)
    assert "hunter2" not in f"{caught.value} {caught.value.__cause__}"


def test_concurrent_read_modify_write_loses_no_update(store: Store, database_url: str) -> None:
    """Two programs at once: SQLite without BEGIN IMMEDIATE loses updates or refuses them, PostgreSQL unless writers queue up."""
    write(store, "n", "0")
    with Store(database_url) as other:

        def increment(turn: int) -> None:
            with (store if turn % 2 else other).begin_write() as conn:
                known = int(meta.get(conn, "n") or "0")
                time.sleep(0.002)  # long enough for the other program to read the same number, if it could
                meta.set(conn, "n", str(known + 1))

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(increment, range(60)))
    assert read(store, "n") == "60"


async def test_writes_run_in_one_thread_in_order(store: Store) -> None:
    import asyncio

    def append(conn: Connection, value: str) -> int:
        meta.set(conn, "order", (meta.get(conn, "order") or "") + value)
        return threading.get_ident()

    threads = await asyncio.gather(*(store.write(partial(append, value=each)) for each in "abcdef"))
    assert len(set(threads)) == 1
    assert await store.read(lambda conn: meta.get(conn, "order")) == "abcdef"


async def test_errors_come_back_from_the_writer_thread(store: Store) -> None:
    def fail(conn: Connection) -> None:
        conn.execute(text("SELECT * FROM nothing_there"))

    with pytest.raises(StoreError, match="refused a statement"):
        await store.write(fail)


def test_close_may_be_called_twice(store: Store) -> None:
    store.close()
    store.close()


@pytest.mark.parametrize(
    "given", [NOW, NOW + timedelta(microseconds=1), datetime(2026, 3, 10, 1, 30, 0, 5, tzinfo=timezone(timedelta(hours=2)))]
)
def test_instants_come_back_as_aware_utc(store: Store, given: datetime) -> None:

    with store.begin_write() as conn:
        sync_sources(conn, [("agency", "postpost", "h")], given)
        source = find_source(conn, "agency")
    assert source is not None
    assert source.since == given
    assert source.since.tzinfo is UTC


def test_naive_instants_are_refused(store: Store) -> None:

    with pytest.raises(StoreError, match="A naive datetime cannot be stored"), store.begin_write() as conn:
        sync_sources(conn, [("agency", "postpost", "h")], NOW.replace(tzinfo=None))


def test_sqlite_instants_sort_as_text() -> None:
    """Every text has the same length, also without microseconds and in early years."""
    instants = [datetime(999, 1, 1, tzinfo=UTC), NOW - timedelta(microseconds=1), NOW, NOW + timedelta(seconds=1)]
    texts = [instant_text(each) for each in instants]
    assert texts == sorted(texts)
    assert {len(each) for each in texts} == {27}


def test_characters_that_no_database_takes_are_replaced(store: Store) -> None:
    write(store, "name", "a\x00b\ud800c\U0001f600")
    assert read(store, "name") == "a\ufffdb\ufffdc\U0001f600"
    assert clean("plain") == "plain"


def test_url_of_another_database_is_refused_without_repeating_it() -> None:
    for url in ("mysql://u:hunter2@h/d", "sqlite://", "sqlite:///:memory:", "hunter2 is no url"):
        with pytest.raises(StoreError) as caught:
            Store(url)
        assert "hunter2" not in str(caught.value)


def test_sqlite_settings(local: Store) -> None:
    with local.begin_write() as conn:
        found = {name: pragma(conn, name) for name in ("journal_mode", "synchronous", "foreign_keys", "query_only")}
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "query_only": 0}
    with local.begin_read() as conn:
        assert (pragma(conn, "query_only"), pragma(conn, "foreign_keys")) == (1, 1)
    with Store(f"sqlite:///{local.path}") as usual, usual.begin_write() as conn:
        assert pragma(conn, "busy_timeout") == 30_000


def test_sqlite_file_and_folder_belong_to_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "monitor.db"
    old = os.umask(0)
    try:
        with capture_logs() as told, open_store(f"sqlite:///{path}") as store:
            write(store, "a", "1")
            modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    finally:
        os.umask(old)
    assert told == [], "nothing had to be closed to others, not even for an instant"
    assert modes == {"monitor.db": 0o600, "monitor.db-wal": 0o600, "monitor.db-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_missing_sqlite_file_is_reported_and_not_created(file: Path) -> None:
    with Store(f"sqlite:///{file}") as store:
        with pytest.raises(StoreUnavailable, match="does not exist: run `token-monitor db upgrade`"), store.begin_read():
            pass
        assert store.current() is None
    assert not file.exists()


@contextmanager
def locked(file: Path) -> Iterator[sqlite3.Connection]:
    """Somebody else's open write transaction, such as a backup's or a shell's."""
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


def test_P14_write_waits_for_another_process_and_then_goes_through(file: Path, local: Store) -> None:
    with Store(f"sqlite:///{local.path}") as patient, locked(file) as other:
        timer = threading.Timer(0.2, other.execute, ["ROLLBACK"])
        timer.start()
        write(patient, "a", "1")
        timer.join()
        assert read(patient, "a") == "1"


def test_P14_lock_that_stays_is_unavailable_and_passes(file: Path, local: Store) -> None:
    with locked(file):
        with pytest.raises(StoreUnavailable, match="is locked by another process"):
            write(local, "a", "1")
        assert read(local, "a") is None
    write(local, "a", "1")
    assert read(local, "a") == "1"


def test_P11_full_disk_is_unavailable_and_recovers_by_itself(local: Store) -> None:
    with local.begin_write() as conn:
        pages = pragma(conn, "page_count")
        conn.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StoreUnavailable) as caught:
        write(local, "big", "x" * 1_000_000)
    advice = ": database or disk is full. Free space on its disk; the daemon then continues automatically."
    assert str(caught.value).endswith(advice), "owner and mode of the file are not the problem"
    with local.begin_write() as conn:
        conn.exec_driver_sql("PRAGMA max_page_count=1000000")
    write(local, "big", "x" * 1_000_000)
    with local.begin_read() as conn:
        assert pragma(conn, "integrity_check") == "ok"


def test_P12_after_an_io_error_the_connection_is_opened_anew(file: Path, local: Store) -> None:
    """What an error of the disk left of a connection is not to be trusted. A limit on the size of files makes such an error."""
    with local.begin_write() as conn:
        conn.exec_driver_sql("PRAGMA cache_size=77")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.with_name("monitor.db-wal").stat().st_size + 65_536, hard))
    try:
        with pytest.raises(StoreUnavailable, match="disk I/O error"):
            write(local, "big", "x" * 1_000_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with local.begin_write() as conn:
        assert pragma(conn, "cache_size") != 77
    assert read(local, "big") is None


def test_P13_a_file_that_cannot_be_opened_is_reported_with_its_owner(tmp_path: Path) -> None:
    """A folder in the file's place cannot be opened by anybody, root included."""
    (tmp_path / "monitor.db").mkdir()
    owner = pwd.getpwuid(os.geteuid()).pw_name
    told = rf"unable to open database file \(it is a folder, but a file is needed; it belongs to {owner} and has mode 0"
    with Store(f"sqlite:///{tmp_path / 'monitor.db'}") as store, pytest.raises(StoreUnavailable, match=told):
        store.current()


@pytest.mark.parametrize("damage", ["header", "page"])
def test_P15_damaged_file_is_named_with_what_to_do(file: Path, damage: str) -> None:
    with open_store(f"sqlite:///{file}") as store:
        write(store, "a", "1")
    content = bytearray(file.read_bytes())
    if damage == "header":
        content[:16] = b"not a database!!"
    else:
        content[4096:] = b"\xff" * (len(content) - 4096)
    file.write_bytes(content)
    with Store(f"sqlite:///{file}") as store, pytest.raises(StoreError, match=r"is damaged .*backup") as caught:
        store.upgrade()
    assert str(file) in str(caught.value)
    assert not isinstance(caught.value, StoreUnavailable)


def test_P16_file_that_was_moved_away_is_noticed(file: Path, local: Store) -> None:
    write(local, "a", "1")
    file.rename(file.with_name("elsewhere.db"))
    with pytest.raises(StoreUnavailable, match="was moved, replaced or deleted while it was in use"):
        write(local, "a", "2")
    with pytest.raises(StoreUnavailable, match="does not exist"):
        write(local, "a", "2")
    assert not file.exists()


def test_P16_file_that_was_restored_from_a_backup_is_used_after_one_error(file: Path, local: Store) -> None:
    write(local, "a", "1")
    local.backup(file.with_name("copy.db"))
    write(local, "a", "2")
    file.unlink()
    file.with_name("copy.db").rename(file)
    with pytest.raises(StoreUnavailable):
        read(local, "a")
    for left in ("-wal", "-shm"):
        file.with_name(file.name + left).unlink(missing_ok=True)
    assert read(local, "a") == "1"


def test_backup_is_one_whole_private_file(file: Path, local: Store) -> None:
    write(local, "a", "1")
    copy = file.with_name("copy.db")
    assert local.backup(copy) == copy.stat().st_size
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert sorted(each.name for each in file.parent.glob("*copy*")) == ["copy.db"]
    with open_store(f"sqlite:///{copy}", upgrade=False) as store:
        assert read(store, "a") == "1"


def test_backup_overwrites_nothing(file: Path, local: Store) -> None:
    with pytest.raises(StoreError, match="already exists"):
        local.backup(file)


def test_backup_that_cannot_be_written_leaves_nothing(file: Path, local: Store) -> None:
    target = file.with_name("no") / "copy.db"
    file.with_name("no").write_text("a file where a folder should be")
    with pytest.raises(StoreError):
        local.backup(target)


def test_backup_makes_no_folder(file: Path, local: Store) -> None:
    write(local, "a", "1")
    target = file.parent / "nowhere" / "copy.db"
    with pytest.raises(StoreError, match=r"The folder .*nowhere does not exist"):
        local.backup(target)
    assert not target.parent.exists()


def test_backup_of_postgresql_names_the_right_tool() -> None:
    with Store("postgresql://u@localhost/db") as store, pytest.raises(StoreError, match="pg_dump"):
        store.backup(Path("copy.db"))


MOUNTS = "/dev/sda1 / ext4 rw 0 0\nnas:/vol /mnt/nas nfs4 rw 0 0\ntmpfs /mnt/nas/local tmpfs rw 0 0\nbad\n"


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/var/lib/m.db", None), ("/mnt/nas/m.db", "nfs4"), ("/mnt/nas/local/m.db", None), ("/mnt/nasty/m.db", None)],
)
def test_P16_network_filesystem_is_recognised(path: str, kind: str | None) -> None:
    assert sqlite_file.network_filesystem(Path(path), mounts=MOUNTS) == kind


def test_names_of_the_store_hide_the_password() -> None:
    with Store("postgresql://u:hunter2@db.example/monitor") as store:
        assert store.name == "The PostgreSQL database monitor on db.example"
        assert "hunter2" not in f"{store!r} {store} {store.name}"
