"""The care of a SQLite file: copied before a migration, readable by its owner alone, bounded, and shrunk when asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text
from structlog.testing import capture_logs

from monitor.domain.errors import StoreError
from monitor.store import Store, maintenance, meta, migrate, outbox, revisions, sqlite_file
from monitor.store.schema import attempts
from tests.support.delivery import numbered, queue

AT = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def older(path: Path, revision: str = "0001") -> Store:
    """A store that a version before this one left."""
    sqlite_file.create(path)
    migrate.upgrade(path, to=revision)
    store = Store(f"sqlite:///{path}")
    with store.begin_write() as conn:
        meta.set(conn, "mine", "kept")
    return store


def copies(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.backup"))


def test_a_copy_is_made_before_a_migration_and_holds_what_was_there(tmp_path: Path) -> None:
    with older(tmp_path / "monitor.db") as store:
        assert store.upgrade() is True
        assert store.upgrade() is False
    (name,) = copies(tmp_path)
    assert name.startswith("monitor.db.0001-20")
    copy = tmp_path / name
    assert copy.stat().st_mode & 0o777 == 0o600
    with Store(f"sqlite:///{copy}") as before:
        assert before.current() == "0001"
        with before.begin_read() as conn:
            assert meta.get(conn, "mine") == "kept"


def test_a_new_database_and_one_that_is_current_are_not_copied(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path / 'monitor.db'}") as store:
        assert store.upgrade() is True
        assert store.upgrade() is False
    assert copies(tmp_path) == []


def test_without_a_copy_there_is_no_migration_unless_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    with older(tmp_path / "monitor.db") as store:
        with monkeypatch.context() as patch:
            patch.setattr(sqlite_file, "create", full)
            with pytest.raises(StoreError, match=r"not migrated, because it could not be copied first: .*No space left"):
                store.upgrade()
            assert store.current() == "0001"
        assert store.upgrade(copy_first=False) is True
        assert store.current() == revisions.HEAD
    assert copies(tmp_path) == []


def test_the_three_newest_copies_stay_and_nothing_else_is_touched(tmp_path: Path) -> None:
    path = tmp_path / "monitor.db"
    (tmp_path / "other.db.0001-20200101T000000Z.backup").touch()
    (tmp_path / "monitor.db.mine.backup").touch()
    with older(path):
        for days in range(5):
            sqlite_file.before_migration(path, "0001", AT + timedelta(days=days))
    assert copies(tmp_path) == [
        *(f"monitor.db.0001-202603{day}T120000Z.backup" for day in (12, 13, 14)),
        "monitor.db.mine.backup",
        "other.db.0001-20200101T000000Z.backup",
    ]


def test_S14_what_others_could_read_is_closed_to_them_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "monitor.db"
    with Store(f"sqlite:///{path}") as store:
        store.upgrade()
        with store.begin_write() as conn:
            meta.set(conn, "a", "b")
        copy = sqlite_file.before_migration(path, "0001", AT)
        files = [path, path.with_name("monitor.db-wal"), path.with_name("monitor.db-shm"), copy]
        assert {each.stat().st_mode & 0o777 for each in files} == {0o600}
        for each in files:
            each.chmod(0o644)
        with capture_logs() as told:
            store.upgrade()
        assert {each.stat().st_mode & 0o777 for each in files} == {0o600}
    assert [line["event"] for line in told].count("store.open_to_others") == 4
    fresh = tmp_path / "new" / "folder" / "monitor.db"
    with Store(f"sqlite:///{fresh}") as store:
        store.upgrade()
    assert fresh.parent.stat().st_mode & 0o777 == 0o700


def test_a_folder_in_the_place_of_the_file_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o755)
    with Store(f"sqlite:///{folder}") as store, pytest.raises(StoreError, match="it is a folder, but a file is needed"):
        store.upgrade()
    assert folder.stat().st_mode & 0o777 == 0o755


def test_a_file_is_used_again_where_rows_were_deleted_and_shrinks_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "monitor.db"

    def fill(store: Store) -> None:
        with store.begin_write() as conn:
            for number in range(2000):
                meta.set(conn, f"key-{number}", "x" * 500)

    def size() -> int:
        with Store(f"sqlite:///{path}") as store, store.begin_read() as conn:
            return int(conn.exec_driver_sql("PRAGMA page_count").scalar_one())

    with Store(f"sqlite:///{path}") as store:
        store.upgrade()
        fill(store)
        full = size()
        for _ in range(3):
            with store.begin_write() as conn:
                conn.execute(text("DELETE FROM meta WHERE key LIKE 'key-%'"))
            fill(store)
        assert size() <= full * 1.05
        with store.begin_write() as conn:
            conn.execute(text("DELETE FROM meta WHERE key LIKE 'key-%'"))
        store.shrink()
        assert size() < full / 3
        assert path.with_name("monitor.db-wal").stat().st_size == 0
        with store.begin_write() as conn:
            meta.set(conn, "still", "works")


def test_of_many_failed_attempts_the_first_and_the_last_stay_and_who_has_it_already_is_not_forgotten(store: Store) -> None:
    queue(store, numbered(1, at=AT))
    with store.begin_write() as conn:
        for number in range(1, 61):
            claimed = outbox.claim(conn, channel="ops", owner="me", now=AT, lease=HOUR, limit=9)
            reached = ["somebody"] if number == 30 else []
            ids = [each.delivery_id for each in claimed]
            outbox.mark_failed(conn, ids, "me", AT, next_attempt_at=AT, detail="503", reached=reached)
        gone = maintenance.prune(conn, AT, history=400 * DAY, polls_kept=30 * DAY)
        rows = conn.execute(select(attempts.c.number, attempts.c.outcome)).all()
    assert gone.attempts == 60 - 5 - 21
    assert sorted(row.number for row in rows if row.outcome == "failed") == [*range(1, 6), *range(40, 61)]
    assert [row.number for row in rows if row.outcome == outbox.REACHED] == [30]
