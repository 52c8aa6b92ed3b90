"""The file of a SQLite database: creation, permissions, identity and filesystem."""

from __future__ import annotations

import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path

_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs", "fuse.glusterfs"})


def create(path: Path) -> None:
    """Create the file, readable only by its owner, and likewise its folder if it does not exist. Raise OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # SQLite gives its -wal and -shm files the modes of the database.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def protect(path: Path) -> dict[Path, int]:
    """Remove the permissions of group and others from the database, its log, its lock and its copies.

    Return the files that had such permissions with their modes, including files of other owners, which keep them.
    """
    beside = (path.with_name(path.name + end) for end in ("", "-wal", "-shm", ".lock"))
    open_to_others: dict[Path, int] = {}
    for each in (*beside, *path.parent.glob(f"{path.name}.*.backup")):
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
    """Return owner and mode of the file, or of its folder, for a message about a file that cannot be used."""
    for each, name in ((path, "the file"), (path.parent, "its folder")):
        try:
            found = each.stat()
        except OSError:
            continue
        folder = each is path and stat.S_ISDIR(found.st_mode)
        called = "it is a folder, but a file is needed; it" if folder else name
        mode = f"{stat.S_IMODE(found.st_mode):04o}"
        return f" ({called} belongs to {_owner(found.st_uid)} and has mode {mode}, this program runs as {_owner(os.geteuid())})"
    return " (its folder does not exist)"


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
