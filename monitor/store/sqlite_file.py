"""The SQLite database as a file: where it lies, who owns it, whether it is still the one that was opened."""

from __future__ import annotations

import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path

_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs", "fuse.glusterfs"})


def create(path: Path) -> None:
    """Make the file readable by its owner alone, and its folder too where it does not exist. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # SQLite gives its -wal and -shm files the modes of the database.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def protect(path: Path) -> dict[Path, int]:
    """Take the rights of group and others away from the database, its log, its lock and its copies.

    Returns the files that had such rights with their modes, also those whose owner we are not, which keep them.
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
    """Whether group or others have any right to the file; False where there is none, or it is a folder."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and bool(mode & 0o077)


def identity(path: Path) -> tuple[int, int] | None:
    """Device and inode, None when there is no such file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_missing(path: Path) -> bool:
    """Whether there certainly is no such file; False where we may not look."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def describe_access(path: Path) -> str:
    """Owner and modes of the file, or of its folder, for a message about a file that cannot be used."""
    for each, name in ((path, "the file"), (path.parent, "its folder")):
        try:
            found = each.stat()
        except OSError:
            continue
        folder = each is path and stat.S_ISDIR(found.st_mode)
        called = "it is a folder: name a file in it; it" if folder else name
        mode = f"{stat.S_IMODE(found.st_mode):04o}"
        return f" ({called} belongs to {_owner(found.st_uid)} and has mode {mode}, this program runs as {_owner(os.geteuid())})"
    return " (its folder does not exist)"


def _owner(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def network_filesystem(path: Path, *, mounts: str | None = None) -> str | None:
    """The kind of network filesystem that a path lies on, None for a local one or where nobody can tell.

    `mounts` is the text of /proc/self/mounts, which is read when it is not given.
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
