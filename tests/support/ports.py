"""Ports for programs that a test or a benchmark starts."""

from __future__ import annotations

import itertools
import os
import socket

_FIRST, _LAST = 20_000, 32_000
"""Below the ports that Linux gives to outgoing connections, one of which could take a port before its program starts."""
_offsets = itertools.count(os.getpid() * 997)  # the processes of a parallel run begin far apart


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing uses, and that this process has not returned before."""
    for _ in range(_FIRST, _LAST):
        port = _FIRST + next(_offsets) % (_LAST - _FIRST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"All ports from {_FIRST} to {_LAST} are in use.")
