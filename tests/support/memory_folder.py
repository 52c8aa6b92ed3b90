"""A folder in memory, where there is one: databases wait for no disk there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_FOLDER = Path("/dev/shm")
_ROOM = 2 * 2**30


def memory_folder(*, executable: bool) -> Path | None:
    """Return a folder in memory with at least 2 GiB of room (and, if asked for, in which programs may be run), or None."""
    try:
        flags = os.statvfs(_FOLDER).f_flag
        fits = os.access(_FOLDER, os.W_OK) and shutil.disk_usage(_FOLDER).free >= _ROOM
    except OSError:
        return None
    return _FOLDER if fits and not (executable and flags & os.ST_NOEXEC) else None
