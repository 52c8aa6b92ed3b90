"""Files of another owner: what root creates belongs to the service; an error names the file, its owner and the command."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from monitor.config.database_urls import sqlite_url
from monitor.domain.errors import StoreUnavailable
from monitor.store import meta, migrate, open_store, sqlite_file
from monitor.store.lock import DaemonLock
from tests.support.memory_folder import memory_folder

SERVICE, OTHER = 23_456, 23_457
"""User ids without names, as in many containers."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="not root: files of other owners are NOT tested")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that belongs to the service, in a place that every user can reach."""
    made = Path(tempfile.mkdtemp(prefix="tm-owners-", dir=memory_folder(executable=False)))
    made.chmod(0o755)
    state = made / "state [1]?"
    state.mkdir(mode=0o700)
    os.chown(state, SERVICE, SERVICE)
    yield state
    shutil.rmtree(made)


@contextmanager
def user(uid: int) -> Iterator[None]:
    """Run the block with this user's rights."""
    os.setegid(uid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def one_cycle(file: Path, value: str) -> None:
    """Take the lock, migrate, write and read, as `check` does."""
    with DaemonLock(sqlite_url(file)), open_store(sqlite_url(file)) as store:
        with store.begin_write() as conn:
            meta.set(conn, "a", value)
        with store.begin_read() as conn:
            assert meta.get(conn, "a") == value


def owners(folder: Path) -> dict[str, tuple[int, int]]:
    return {each.name: (each.stat().st_uid, stat.S_IMODE(each.stat().st_mode)) for each in folder.iterdir()}


@needs_root
def test_P13_what_root_creates_in_a_users_folder_belongs_to_the_user(folder: Path) -> None:
    file = folder / "monitor.db"
    sqlite_file.create(file)
    migrate.upgrade(file, to="0002")
    one_cycle(file, "root's")
    with open_store(sqlite_url(file)) as store, store.begin_write() as conn:
        meta.set(conn, "b", "1")
        found = owners(folder)
        assert {"monitor.db", "monitor.db-wal", "monitor.db-shm", "monitor.db.lock"} < found.keys()
        assert any(name.endswith(".backup") for name in found)
        assert set(found.values()) == {(SERVICE, 0o600)}
    with user(SERVICE):
        one_cycle(file, "the service's")
    one_cycle(file, "root's again")
    with user(SERVICE):
        one_cycle(file, "the service's again")


@needs_root
def test_P13_folders_that_root_creates_belong_to_the_user_too(folder: Path) -> None:
    file = folder / "new" / "newer" / "monitor.db"
    one_cycle(file, "root's")
    assert {each.stat().st_uid for each in (file, file.parent, file.parent.parent)} == {SERVICE}
    with user(SERVICE):
        one_cycle(file, "the service's")


@needs_root
def test_P13_root_changes_no_file_that_another_user_put_there(folder: Path, tmp_path: Path) -> None:
    """A link in the lock's place would let its owner have root empty any file, or give it away."""
    private = tmp_path / "private"
    private.write_text("root's own", encoding="utf-8")
    (folder / "monitor.db.lock").symlink_to(private)
    with pytest.raises(StoreUnavailable, match=r"The lock file .* cannot be opened"):
        DaemonLock(sqlite_url(folder / "monitor.db")).acquire()
    assert private.read_text(encoding="utf-8") == "root's own"
    assert private.stat().st_uid == 0


@needs_root
@pytest.mark.parametrize("ending", [".lock", ""])
def test_P13_a_file_of_root_in_the_services_folder_is_named_with_the_command(folder: Path, ending: str) -> None:
    file = folder / "monitor.db"
    one_cycle(file, "root's")
    wrong = folder / f"monitor.db{ending}"
    os.chown(wrong, 0, 0)
    with user(SERVICE), pytest.raises(StoreUnavailable) as raised:
        one_cycle(file, "the service's")
    text = str(raised.value)
    assert str(wrong) in text
    assert f"(the file belongs to root and has mode 0600, and this program runs as user {SERVICE})" in text
    assert text.endswith(f". Change the owner of the database's files as root: chown {SERVICE} '{file}'*.")


@needs_root
def test_P13_a_volume_of_another_user_is_named_with_both_remedies(folder: Path) -> None:
    folder.chmod(0o777)
    file = folder / "monitor.db"
    with user(SERVICE):
        one_cycle(file, "the service's")
    with user(OTHER):
        for use in (partial(one_cycle, file, "another's"), DaemonLock(sqlite_url(file)).holder):
            with pytest.raises(StoreUnavailable) as raised:
                use()
            assert str(raised.value).endswith(
                f"this program runs as user {OTHER}). Run token-monitor as user {SERVICE}, or change the owner of the database's "
                f"files as root: chown {OTHER} '{file}'*."
            )
    folder.chmod(0o700)
    with user(OTHER), pytest.raises(StoreUnavailable, match=r"The lock file .* cannot be opened: Permission denied"):
        one_cycle(file, "another's")


@needs_root
def test_P13_a_folder_of_another_user_is_named(folder: Path) -> None:
    folder.chmod(0o755)
    with user(OTHER), pytest.raises(StoreUnavailable) as raised:
        one_cycle(folder / "monitor.db", "another's")
    assert str(raised.value).endswith(
        f"(its folder belongs to user {SERVICE} and has mode 0755, and this program runs as user {OTHER}). Run token-monitor as "
        f"user {SERVICE}, or set database.url to a folder that it can write to."
    )


@needs_root
def test_P13_a_mode_that_locks_its_owner_out_is_named(folder: Path) -> None:
    file = folder / "monitor.db"
    with user(SERVICE):
        one_cycle(file, "a")
        file.chmod(0o400)
        with pytest.raises(StoreUnavailable, match=r"has mode 0400, .* Make it accessible: chmod u\+rw '"):
            one_cycle(file, "b")


@needs_root
def test_P13_a_folder_that_refuses_new_files_is_named_although_the_database_is_accessible(folder: Path) -> None:
    file = folder / "monitor.db"
    with user(SERVICE):
        one_cycle(file, "a")
        folder.chmod(0o500)
        with pytest.raises(StoreUnavailable) as raised:
            one_cycle(file, "b")
    assert f"(its folder belongs to user {SERVICE} and has mode 0500, " in str(raised.value)
    assert str(raised.value).endswith(f". Make it accessible: chmod u+rwx '{folder}'.")


def test_protection_covers_the_copies_of_this_database_alone(tmp_path: Path) -> None:
    """`[`, `*` and `?` in the name of a database stand for themselves."""
    file, other = tmp_path / "monitor[12]*.db", tmp_path / "monitor1x.db.0001-20260101T000000Z.backup"
    own = tmp_path / "monitor[12]*.db.0001-20260101T000000Z.backup"
    for each in (file, other, own):
        each.touch(mode=0o644)
        each.chmod(0o644)
    assert sqlite_file.protect(file).keys() == {file, own}
    assert stat.S_IMODE(other.stat().st_mode) == 0o644
