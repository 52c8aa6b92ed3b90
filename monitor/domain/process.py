"""The identity of this process."""

from __future__ import annotations

import os
import secrets
import socket


def unique_name() -> str:
    """Return a text that no other process has, on any machine, past ones included; a new one at each call."""
    return f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
