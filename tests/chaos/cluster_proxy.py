"""A way to a PostgreSQL server's socket over TCP that can be cut: closed, or silent as a network that drops every packet."""

from __future__ import annotations

import select
import socket
import threading
import time
from types import TracebackType
from typing import Self

from sqlalchemy import make_url


class DatabaseWay:
    """Listens on 127.0.0.1 and forwards to the server of a database, until its context ends."""

    def __init__(self, database: str) -> None:
        """`database` is the URL of a database that is reached through a Unix socket."""
        self._target = make_url(database)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._thread = threading.Thread(target=self._serve, daemon=True, name="database-way")
        self._is_closed = self._is_silent = self._ended = False

    @property
    def url(self) -> str:
        """The URL of the database over this way."""
        host, port = self._listener.getsockname()
        return self._target.set(host=host, port=port, query={}).render_as_string(hide_password=False)

    def close(self) -> None:
        """Close every connection, and every new one, until restore()."""
        self._is_closed = True

    def silence(self) -> None:
        """Forward nothing more, and leave every connection open, until restore()."""
        self._is_silent = True

    def restore(self) -> None:
        """Accept connections again; those of before are closed."""
        self._is_closed = True
        time.sleep(0.3)
        self._is_closed = self._is_silent = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended = True
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while not self._ended:
            if self._is_closed:
                self._drop(list(self._pairs))
            elif self._is_silent:
                time.sleep(0.05)
                continue
            other = {one: two for pair in self._pairs for one, two in (pair, pair[::-1])}
            for ready in select.select([self._listener, *other], [], [], 0.05)[0]:
                if ready is self._listener:
                    self._accept()
                else:
                    self._forward(ready, other[ready])
        self._drop(list(self._pairs))

    def _accept(self) -> None:
        client = self._listener.accept()[0]
        if self._is_closed:
            client.close()
            return
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{self._target.query['host']}/.s.PGSQL.{self._target.port or 5432}")
        self._pairs.append((client, server))

    def _forward(self, ready: socket.socket, other: socket.socket) -> None:
        pair = next((each for each in self._pairs if ready in each), None)
        if pair is None:
            return
        try:
            data = ready.recv(65536)
            other.sendall(data)
        except OSError:
            data = b""
        if not data:
            self._drop([pair])

    def _drop(self, pairs: list[tuple[socket.socket, socket.socket]]) -> None:
        for pair in pairs:
            self._pairs.remove(pair)
            for end in pair:
                end.close()
