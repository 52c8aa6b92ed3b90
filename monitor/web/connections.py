"""The limit on open connections, in total and for each client: an idle connection makes room for a new one."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from monitor.web.clients import LOOPBACK

MOST_CONNECTIONS = 200
"""Open connections of all clients. The daemon needs its file descriptors for more than pages."""
RESERVED = 20
"""Connections that are kept for this machine, so that its health checks always get an answer."""
MOST_PER_CLIENT = 64


class Closable(Protocol):
    """A connection of a client."""

    def is_waiting(self) -> bool:
        """Return True while no response is under way."""

    def abort(self) -> None:
        """Close the connection immediately."""


class OpenConnections:
    """Admits connections within the limits.

    If a limit is reached, the connection that has been open for longest without a response under way is closed; if every
    connection is busy, the new one is refused. So connections that are only held open cannot keep out new ones.
    """

    def __init__(self) -> None:
        self._open: dict[Closable, str] = {}
        self._by_client: Counter[str] = Counter()

    def admit(self, connection: Closable, client: str) -> bool:
        """Record a new connection. Return False, and record nothing, if there is no room for it."""
        total = MOST_CONNECTIONS if client == LOOPBACK else MOST_CONNECTIONS - RESERVED
        if self._by_client[client] >= MOST_PER_CLIENT and not self._close_oldest(client):
            return False
        if len(self._open) >= total and not self._close_oldest(None):
            return False
        self._open[connection] = client
        self._by_client[client] += 1
        return True

    def remove(self, connection: Closable) -> None:
        """Forget a connection that was closed. Does nothing if it is not known."""
        client = self._open.pop(connection, None)
        if client is not None:
            self._by_client[client] -= 1
            if not self._by_client[client]:
                del self._by_client[client]

    def renew(self, connection: Closable) -> None:
        """Count the connection as the newest, because it has just been used."""
        client = self._open.pop(connection, None)
        if client is not None:
            self._open[connection] = client

    def _close_oldest(self, client: str | None) -> bool:
        """Close the oldest waiting connection of this client, or of any. Return False if there is none."""
        for connection, owner in self._open.items():
            if client in (None, owner) and connection.is_waiting():
                self.remove(connection)
                connection.abort()
                return True
        return False
