"""Real receivers on loopback: a webhook and a mail server that record what arrives and answer as configured."""

from __future__ import annotations

import json
import logging
import socket
import ssl
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.support import canary
from tests.support.ports import free_port

logging.getLogger("mail.log").setLevel(logging.WARNING)  # aiosmtpd logs every answer, also one that repeats a password


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The body, read as a JSON object."""
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found

    @property
    def title(self) -> str:
        """The title of an Apprise json:// message."""
        return str(self.json["title"])

    @property
    def text(self) -> str:
        """The text of an Apprise json:// message."""
        return str(self.json["message"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """How a request is answered."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    until: threading.Event | None = None
    """Answer only once this is set (20 seconds at most)."""
    reset: bool = False
    """Take the request, then break the connection off without an answer."""


class WebhookReceiver:
    """An HTTP server in threads of its own. Replies queued with `script` are used up in order, then `reply` holds."""

    def __init__(self, *, port: int = 0, context: ssl.SSLContext | None = None) -> None:
        """`context`: TLS, plain HTTP without."""
        self.reply = Reply()
        self._received: list[Received] = []
        self._script: deque[Reply] = deque()
        self._arrived = threading.Condition()
        self._server = _Server(("127.0.0.1", port), self)
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        """Where it listens; another one may do so once this one has ended."""
        return self._server.server_port

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.port}"

    @property
    def received(self) -> list[Received]:
        """What arrived so far, in order."""
        with self._arrived:
            return list(self._received)

    def apprise_url(self, path: str = "/hook", *, schema: str = "json") -> str:
        """An Apprise URL that ends here."""
        return f"{schema}://{self.address}{path}"

    def script(self, *replies: Reply) -> None:
        """Answer the next requests like this."""
        self._script.extend(replies)

    def wait_for(self, count: int, *, within: float = 30) -> list[Received]:
        """Waits in this thread until so many requests have arrived; fails the test if they do not."""
        deadline = time.monotonic() + within
        with self._arrived:
            while len(self._received) < count:
                left = deadline - time.monotonic()
                assert left > 0, f"{len(self._received)} of {count} requests arrived"
                self._arrived.wait(left)
            return list(self._received)

    def take(self, request: Received) -> Reply:
        """Record a request and return the reply to it."""
        canary.WATCH.look(request.body, f"a message to {request.path.partition('?')[0][:20]}")
        with self._arrived:
            self._received.append(request)
            self._arrived.notify_all()
            return self._script.popleft() if self._script else self.reply


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], receiver: WebhookReceiver) -> None:
        super().__init__(address, _Handler)
        self.receiver = receiver

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is part of the game."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _take(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        request = Received(method=self.command, path=self.path, headers=dict(self.headers), body=self.rfile.read(length))
        reply = self.server.receiver.take(request)
        if reply.until is not None:
            reply.until.wait(20)
        if reply.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    do_POST = do_PUT = do_GET = do_CONNECT = _take  # noqa: N815 - http.server's own names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's own name
        """Log nothing."""


class MailReceiver:
    """An SMTP server in a thread of its own. Recipients in `refused` get the given answer.

    With `login` (user and password) mail without it is refused; if it `quotes`, its refusal repeats what was given. With a
    `context` it offers STARTTLS, or expects TLS from the first byte if `implicit`.
    """

    def __init__(
        self,
        *,
        login: tuple[str, str] | None = None,
        quotes: bool = False,
        context: ssl.SSLContext | None = None,
        implicit: bool = False,
        size_limit: int | None = None,
    ) -> None:
        """`size_limit`: a larger mail is refused with 552, in bytes."""
        self.refused: dict[str, str] = {}
        self.login, self._quotes = login, quotes
        self.messages: list[EmailMessage] = []
        self.port = free_port()
        logins: dict[str, Any] = {}
        if login is not None:
            logins = {"auth_required": True, "auth_require_tls": False, "authenticator": self._authenticate}
        if context is not None:
            logins["ssl_context" if implicit else "tls_context"] = context
        if size_limit is not None:
            logins["data_size_limit"] = size_limit
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port, **logins)

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._controller.stop()

    def apprise_url(self, to: str = "ops@example.com") -> str:
        """An Apprise URL that ends here."""
        return self.apprise_url_as("", to=to)

    def apprise_url_as(self, login: str, *, to: str = "ops@example.com") -> str:
        """The same with `user:password` in it."""
        user = f"{login}@" if login else ""
        return f"mailto://{user}localhost:{self.port}?smtp=127.0.0.1&from=monitor@example.com&to={to}"

    def _authenticate(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        given = (data.login.decode(), data.password.decode()) if isinstance(data, LoginPassword) else None
        if self._quotes and given is not None and given != self.login:
            return AuthResult(success=False, handled=False, message=f"535 5.7.8 {given[0]} with {given[1]} is unknown here")
        return AuthResult(success=given == self.login, handled=False)

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, rcpt_options: list[str]) -> str:
        """Takes a recipient or refuses it."""
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Records a message."""
        assert isinstance(envelope.content, bytes)
        canary.WATCH.look(envelope.content, "a mail")
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.messages.append(message)
        return "250 OK"
