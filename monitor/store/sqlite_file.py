"""The file of a SQLite database: creation, permissions, identity, filesystem, and consistent copies while the daemon runs."""

from __future__ import annotations

import glob
import os
import pwd
import re
import shlex
import sqlite3
import stat
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from monitor.domain.errors import StoreError
from monitor.store import db_errors

_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs", "fuse.glusterfs"})


def create(path: Path) -> None:
    """Create the file, readable only by its owner, and likewise its folder if it does not exist. Raise OSError."""
    real = path.resolve()  # a link to a file that does not exist yet
    make_folder(real.parent)
    # SQLite gives its -wal and -shm files the owner and the modes of the database.
    os.close(open_private(real))


def make_folder(path: Path) -> None:
    """Create a folder, accessible only by its owner, and those above it, if they do not exist. Raise OSError."""
    new = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for each in reversed(new):
        folder = os.open(each, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _give_to_owner_of(each.parent, folder)
        finally:
            os.close(folder)


def open_private(path: Path) -> int:
    """Open a file for reading and writing and return its descriptor; create it, readable only by its owner, if it is missing.

    The owner of the folder owns the new file, even if root creates it: otherwise root, running one command, would lock the
    service out. Raise OSError, also for a symbolic link.
    """
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    _give_to_owner_of(path.parent, file)
    return file


def _give_to_owner_of(folder: Path, new: int) -> None:
    """Give a new file or folder to the owner of the folder that it is in, if this process is root's and the folder is not."""
    owner = folder.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        with suppress(OSError):  # a container without the right to do so
            os.fchown(new, owner.st_uid, owner.st_gid)


def protect(path: Path) -> dict[Path, int]:
    """Remove the permissions of group and others from the database, its log, its lock and its copies.

    Return the files that had such permissions with their modes, including files of other owners, which keep them.
    """
    beside = (path.with_name(path.name + end) for end in ("", "-wal", "-shm", ".lock"))
    open_to_others: dict[Path, int] = {}
    for each in (*beside, *path.parent.glob(f"{glob.escape(path.name)}.*.backup")):
        if is_open_to_others(each):
            mode = open_to_others[each] = stat.S_IMODE(each.stat().st_mode)
            with suppress(OSError):
                each.chmod(mode & 0o700)
    return open_to_others


def is_open_to_others(path: Path) -> bool:
    """Return True if group or others have any permission on the file; False for a folder or a missing file."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and bool(mode & 0o077)


def identity(path: Path) -> tuple[int, int] | None:
    """Return the device and inode, None if there is no such file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_missing(path: Path) -> bool:
    """Return True if the file certainly does not exist; False if that cannot be checked."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def describe_access(path: Path) -> str:
    """Return owner and mode of the file, or of its folder, and what to do, for a message about a file that cannot be used.

    The text follows the cause and has no full stop.
    """
    for each, name in ((path, "the file"), (path.parent, "its folder")):
        try:
            found = each.stat()
        except OSError:
            continue
        folder = each is path and stat.S_ISDIR(found.st_mode)
        if each is path and not folder and not _advice(path, path) and _advice(path.parent, path):
            continue  # SQLite also writes its log into the folder
        called = "it is a folder, but a file is needed; it" if folder else name
        mode = f"{stat.S_IMODE(found.st_mode):04o}"
        facts = f"{called} belongs to {_owner(found.st_uid)} and has mode {mode}, and this program runs as {_owner(os.geteuid())}"
        return f" ({facts}){'' if folder else _advice(each, path)}"
    return " (its folder does not exist)"


def _advice(found: Path, path: Path) -> str:
    """Return what to do about a path, of which `found` exists: the file, or only its folder; nothing if it is accessible."""
    needed = os.R_OK | os.W_OK | (0 if found is path else os.X_OK)
    if os.access(found, needed, effective_ids=True):
        return ""
    owner, me = found.stat().st_uid, os.geteuid()
    if owner == me:
        return f". Make it accessible: chmod u+rw{'' if found is path else 'x'} {shlex.quote(str(found))}"
    if found is not path:
        return f". Run token-monitor as {_owner(owner)}, or set database.url to a folder that it can write to"
    # The database, its log, its lock and its copies.
    files = f"{shlex.quote(str(path.with_name(path.name.removesuffix('.lock'))))}*"
    change = f"change the owner of the database's files as root: chown {_owner(me).removeprefix('user ')} {files}"
    if path.parent.stat().st_uid == me:
        return f". C{change[1:]}"
    return f". Run token-monitor as {_owner(owner)}, or {change}"


def _owner(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def network_filesystem(path: Path, *, mounts: str | None = None) -> str | None:
    """Return the type of network filesystem that holds a path; None for a local or an unknown one.

    `mounts` is the text of /proc/self/mounts, which is read if it is None.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
    real, best, kind = path.resolve(), -1, None
    for fields in (line.split() for line in mounts.splitlines()):
        if len(fields) < 3:
            continue
        point = Path(fields[1].replace("\\040", " "))
        if real.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), fields[2]
    return kind if kind in _NETWORK else None


KEPT = 3
"""Copies made before migrations that are kept; older ones are deleted."""


def require_free(file: Path) -> None:
    """Raise StoreError if a backup cannot be written to this path."""
    if file.exists():
        raise StoreError(f"The file {file} already exists: choose another name.")
    if not file.parent.is_dir():
        raise StoreError(f"The folder {file.parent} does not exist: create it, or choose another one.")


def copy(source: sqlite3.Connection, file: Path) -> int:
    """Copy a database into a new file that only its owner can read, and return its size in bytes.

    The file gets its name only once it is complete. Raise StoreError if it cannot be written.
    """
    part = file.with_name(f".{file.name}.part")
    try:
        with db_errors.translate_errors(where=f"The backup {file}", hint=lambda: describe_access(file), system=True):
            create(part)
            with closing(sqlite3.connect(part, isolation_level=None)) as target:
                source.backup(target)
                # A single file that can be moved, without a log beside it.
                target.execute("PRAGMA journal_mode=DELETE")
            _flush(part)
            part.rename(file)
            _flush(file.parent)
    except StoreError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    return file.stat().st_size


def before_migration(path: Path, revision: str, now: datetime) -> Path:
    """Copy a SQLite database at this revision, which is about to be migrated, into the same folder, and return the copy.

    Delete all but the newest KEPT of these copies. Raise StoreError if the copy cannot be made.
    """
    file = path.with_name(f"{path.name}.{revision}-{now:%Y%m%dT%H%M%SZ}.backup")
    if not file.exists():
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as source:
            copy(source, file)
    for old in made_before_migrations(path)[KEPT:]:
        with suppress(OSError):
            old.unlink()
    return file


def made_before_migrations(path: Path) -> list[Path]:
    """Return the copies that before_migration() made of this database, newest first."""
    pattern = re.compile(re.escape(path.name) + r"\.\w+-(\d{8}T\d{6}Z)\.backup")
    found = [(match[1], each) for each in path.parent.glob("*.backup") if (match := pattern.fullmatch(each.name))]
    return [each for _, each in sorted(found, reverse=True)]


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
