"""Who gives a command, for the history of what was quietened."""

from __future__ import annotations

import getpass
import os


def who() -> str:
    """The login name (of whoever called sudo, where that was used), else that somebody used the command line."""
    called = os.environ.get("SUDO_USER", "").strip()
    if called:
        return called
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user id without a name, as in many a container
        return "somebody on the command line"
