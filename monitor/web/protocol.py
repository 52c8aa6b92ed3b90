"""One connection of the web server, with limits that the library does not have."""

from __future__ import annotations

import asyncio
import sys
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from monitor.web.clients import client_of
from monitor.web.connections import OpenConnections

RELEASE = "monitor.release"
"""The key in a request's scope of the function that removes its connection from the limits: streams have a separate limit."""
HEAD_WITHIN = 10.0
"""Seconds within which the head of a request must have arrived."""


class BoundedProtocol(H11Protocol):
    """A connection within the limits, whose next request head must arrive within HEAD_WITHIN."""

    def __init__(self, opened: OpenConnections, **settings: Any) -> None:
        super().__init__(**settings)
        self._opened = opened
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Admit the connection, or close it if there is no room."""
        super().connection_made(transport)
        if self._opened.admit(self, client_of(self.client[0] if self.client else None)):
            self._set_deadline()
        else:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Pass the data on and restart or end the time limit."""
        super().data_received(data)
        scope: Any = self.scope  # None before the first request, which the library's annotation leaves out
        if scope is not None:
            scope[RELEASE] = self._release
        self._set_deadline()

    def on_response_complete(self) -> None:
        """Count the connection as the newest one, which waits for its next request."""
        super().on_response_complete()
        self._opened.renew(self)
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._opened.remove(self)
        self._cancel_deadline()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the library passes it
        """Answer a malformed request, and close the connection.

        The library does not use the parser's status, and fails if it has answered already when the rest of a body is malformed.
        """
        cycle: Any = self.cycle
        if cycle is None or not (cycle.response_started and cycle.more_body):
            self.transport.write(_refusal(getattr(sys.exception(), "error_status_hint", 400)))
        self.transport.close()

    def is_waiting(self) -> bool:
        """Return True while no response is under way."""
        cycle: Any = self.cycle  # None before the first request, which the library's annotation leaves out
        return cycle is None or bool(cycle.response_complete)

    def abort(self) -> None:
        """Close the connection immediately."""
        self.transport.abort()

    def _release(self) -> None:
        self._opened.remove(self)

    def _set_deadline(self) -> None:
        """Start the time limit for the next request's head while no response is under way."""
        if not self.is_waiting():
            self._cancel_deadline()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_WITHIN, self._abort_if_waiting)

    def _abort_if_waiting(self) -> None:
        self._deadline = None
        if self.is_waiting():
            self.transport.abort()

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _refusal(status: int) -> bytes:
    """Return a whole response to a request that cannot be read."""
    phrase = HTTPStatus(status).phrase
    head = f"HTTP/1.1 {status} {phrase}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(phrase) + 1}\r\n"
    return f"{head}Connection: close\r\n\r\n{phrase}\n".encode("ascii")
