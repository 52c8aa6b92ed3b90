"""The responses of services while a message is sent: HTTP status and Retry-After, a mail server's code and text, or none.

Apprise reports only success or failure. All its plugins use `requests` for HTTP and `smtplib` for mail, so one function of
each is wrapped to record the responses, and to apply the channel's network. A context variable separates the sending
threads, and nothing else is kept.
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from monitor.notify.apprise.network import Network, cause_of, is_without_tls


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceResponse:
    """One response. `retry_after` is in seconds, None where the server sent no usable value."""

    status: int
    """The HTTP status, or the mail server's reply code."""
    retry_after: float | None = None
    mail: bool = False
    """True if it came from a mail server."""
    text: str = ""
    """The beginning of the text, unredacted: it may name users or quote the message."""

    @property
    def is_refusal(self) -> bool:
        """True if it rejects the message, temporarily or permanently."""
        return (
            self.status >= HTTPStatus.BAD_REQUEST if self.mail else not HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES
        )

    @property
    def permanent(self) -> bool:
        """True if only an operator can help: gone, forbidden, login rejected, no such mailbox."""
        return self.status in (_MAIL_PERMANENT if self.mail else _HTTP_PERMANENT)

    @property
    def maybe_too_large(self) -> bool:
        """True if a shorter message may be accepted. Some services report a failure with a status of success."""
        if self.permanent or self.status == HTTPStatus.TOO_MANY_REQUESTS:
            return False
        statuses = _MAIL_TOO_LARGE if self.mail else _HTTP_TOO_LARGE
        return self.status in statuses or _TOO_LARGE.search(self.text) is not None

    @property
    def down(self) -> bool:
        """True if the service does not work at present, so it certainly accepted nothing."""
        if self.mail:
            return self.status == _MAIL_UNAVAILABLE
        # After a timeout of a gateway it is unknown if the service behind it accepted the message. A service that refuses
        # a message because of its size works.
        failed = self.status >= HTTPStatus.INTERNAL_SERVER_ERROR and self.status != HTTPStatus.GATEWAY_TIMEOUT
        return failed and not self.maybe_too_large


@dataclass(slots=True)
class ServiceResponses:
    """The responses and failed connections while one message was sent."""

    network: Network = field(default_factory=Network)
    """Applied to every connection."""
    received: list[ServiceResponse] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    """The hosts that answered, or accepted a connection for mail."""
    not_connected: bool = False
    """A connection failed, so nothing was sent on it."""
    interrupted: bool = False
    """A connection was established and no response came: it is unknown if the service is down."""
    unanswered: bool = False
    """The message itself was sent and no response came."""
    cause: str = ""
    """Cause of the last failed connection, as the end of a sentence, unredacted; empty if it is unknown."""

    @property
    def maybe_accepted(self) -> bool:
        """True if the message may have arrived without confirmation, so sending it again may repeat it."""
        refused = last_refusal(self.received)
        # After a timeout of a gateway it is unknown if the service behind it accepted the message.
        return self.unanswered or (refused is not None and not refused.mail and refused.status == HTTPStatus.GATEWAY_TIMEOUT)

    @property
    def maybe_too_large(self) -> bool:
        """True if the message was refused, and its size may be the cause."""
        deciding = last_refusal(self.received) or (self.received[-1] if self.received else None)
        return deciding is not None and deciding.maybe_too_large

    @property
    def down(self) -> bool:
        """True if the message was certainly not accepted, because the service does not work at present."""
        refused = last_refusal(self.received)
        return not self.interrupted and (refused.down if refused is not None else self.not_connected)


_HTTP_PERMANENT = frozenset({401, 403, 404, 410})
# Login required (530), rejected (535) or too weak (534, 538); no such mailbox (550, 551, 553), no mail accepted (521, 556).
_MAIL_PERMANENT = frozenset({521, 530, 534, 535, 538, 550, 551, 553, 556})

# Malformed, content too large, URI too long, unprocessable, header too large: services use each of them for a long message.
_HTTP_TOO_LARGE = frozenset({400, 413, 414, 422, 431})
_MAIL_TOO_LARGE = frozenset({523, 552})  # RFC 5321, section 4.2.3, and RFC 1870, section 6
_TOO_LARGE = re.compile(
    r"too[ _-]?(?:long|large|big)|size[ _]limit|out of limit|exceed\w*.{0,40}(?:size|length|characters|bytes)"
    r"|(?:size|length).{0,40}exceed|max(?:imum)?[ _-]?(?:message[ _-]?)?(?:size|length)|or fewer in length",
    re.IGNORECASE | re.DOTALL,
)
_TEXT_READ = 1000  # bytes
_BODY_READ = 1024 * 1024  # bytes: no service answers with more, and an endless body would fill the memory
_PIECE = 64 * 1024

_MAIL_LOGGED_IN = 235
_MAIL_START_INPUT = 354
_MAIL_UNAVAILABLE = 421

_current: ContextVar[ServiceResponses | None] = ContextVar("monitor_channel_answers", default=None)
_installing = threading.Lock()


def last_refusal(responses: Sequence[ServiceResponse]) -> ServiceResponse | None:
    """Return the last refusal, None where there is none. A login that succeeds cancels the refusals before it."""
    for response in reversed(responses):
        if response.is_refusal:
            return response
        if response.mail and response.status == _MAIL_LOGGED_IN:
            return None
    return None


@contextmanager
def capture_responses(network: Network) -> Iterator[ServiceResponses]:
    """Collect the responses to everything sent in this thread until the block ends, and send it by this network."""
    _install()
    responses = ServiceResponses(network=network)
    token = _current.set(responses)
    try:
        yield responses
    finally:
        _current.reset(token)


def _install() -> None:
    import smtplib

    import requests

    with _installing:
        if not getattr(requests.Session.send, "watched", False):
            requests.Session.send = _watched(requests.Session.send)  # type: ignore[method-assign]  # see the module's docstring
        if not getattr(smtplib.SMTP.getreply, "watched", False):
            smtplib.SMTP.getreply = _watched_mail(smtplib.SMTP.getreply)  # type: ignore[method-assign]  # see the module's docstring
            smtplib.SMTP.connect = _watched_connect(smtplib.SMTP.connect)  # type: ignore[method-assign]  # see the module's docstring
            smtplib.SMTP.starttls = _trusting(smtplib.SMTP.starttls)  # type: ignore[method-assign]  # see the module's docstring
            smtplib.SMTP_SSL.__init__ = _trusting(smtplib.SMTP_SSL.__init__)  # type: ignore[method-assign]  # see the module's docstring


def _watched(send: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(send)
    def watched_send(session: Any, request: Any, **options: Any) -> Any:
        responses = _current.get()
        try:
            if responses is not None:
                responses.network.prepare(session, request, options)
                request.hooks["response"].insert(0, _read_bounded)
            response = send(session, request, **options)
        except Exception as error:
            if responses is not None:
                responses.cause = cause_of(error)
                _note_no_response(responses, connected=not _never_connected(error))
                responses.unanswered |= _was_sent(error)
            raise
        if responses is not None:
            wait = parse_retry_after(response.headers.get("Retry-After"), now=datetime.now(UTC))
            responses.received.append(
                ServiceResponse(status=response.status_code, retry_after=wait, text=_text(response, options))
            )
            responses.hosts.append(urlsplit(response.url).hostname or "")
        return response

    watched_send.watched = True  # type: ignore[attr-defined]  # shows _install that it is wrapped already
    return watched_send


def _read_bounded(response: Any, **options: Any) -> None:
    """Read the body of a response up to the limit and drop the rest, as a hook of `requests`."""
    if options.get("stream"):
        return
    body = bytearray()
    for piece in response.iter_content(_PIECE):
        body += piece
        if len(body) > _BODY_READ:
            response.close()
            break
    # `content` reads everything, without a limit, unless it finds a body here.
    response._content, response._content_consumed = bytes(body[:_BODY_READ]), True  # noqa: SLF001 - it has no public setter


def _text(response: Any, options: Mapping[str, Any]) -> str:
    """Return the beginning of the body of an HTTP response; empty where the plugin reads it as a stream."""
    return "" if options.get("stream") else response.content[:_TEXT_READ].decode("utf-8", "replace")


def _watched_mail(getreply: Callable[..., tuple[int, bytes]]) -> Callable[..., tuple[int, bytes]]:
    @functools.wraps(getreply)
    def watched_getreply(*args: Any, **kwargs: Any) -> tuple[int, bytes]:
        responses = _current.get()
        try:
            code, text = getreply(*args, **kwargs)
        except OSError as error:
            if responses is not None:
                responses.cause = cause_of(error)
                _note_no_response(responses, connected=True)
                responses.unanswered |= _text_sent(responses.received)
            raise
        if responses is not None:
            responses.received.append(ServiceResponse(status=code, mail=True, text=text.decode("utf-8", "replace")))
        return code, text

    watched_getreply.watched = True  # type: ignore[attr-defined]  # shows _install that it is wrapped already
    return watched_getreply


def _watched_connect(connect: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(connect)
    def watched_connect(*args: Any, **kwargs: Any) -> Any:
        responses = _current.get()
        before = responses is not None and responses.interrupted
        try:
            answer = connect(*args, **kwargs)
        except OSError as error:
            if responses is not None:  # also where no greeting came: nothing of the message was sent
                responses.cause = cause_of(error)
                responses.interrupted = before
                _note_no_response(responses, connected=False)
            raise
        if responses is not None:
            responses.hosts.append(str(kwargs.get("host") or (*args, "localhost")[1]))  # the first argument is the client
        return answer

    return watched_connect


def _trusting(start: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that begins TLS with a mail server, with the channel's certificates in its context."""

    @functools.wraps(start)
    def trusting_start(*args: Any, **kwargs: Any) -> Any:
        responses = _current.get()
        if responses is not None:
            responses.network.trust(kwargs.get("context"))
        try:
            return start(*args, **kwargs)
        except OSError as error:
            if responses is not None:
                responses.cause = cause_of(error) or responses.cause
            raise

    return trusting_start


def _note_no_response(responses: ServiceResponses, *, connected: bool) -> None:
    if connected:
        responses.interrupted = True
    else:
        responses.not_connected = True


def _never_connected(error: Exception) -> bool:
    """Return True if an HTTP request failed before there was a connection to send it on, or a tunnel through the proxy."""
    import requests
    from urllib3.exceptions import NewConnectionError, ProxyError

    if isinstance(error, requests.exceptions.ConnectTimeout):
        return True
    cause = (
        getattr(error.args[0], "reason", None) if isinstance(error, requests.exceptions.ConnectionError) and error.args else None
    )
    return isinstance(cause, NewConnectionError | ProxyError)


def _was_sent(error: Exception) -> bool:
    """Return True if an HTTP request may have been sent before it failed: the connection or tunnel was established."""
    import ssl

    from requests import exceptions as failed
    from urllib3.exceptions import SSLError

    if (_never_connected(error) or is_without_tls(error)) or not isinstance(
        error, failed.ConnectionError | failed.Timeout | failed.ChunkedEncodingError | failed.ContentDecodingError
    ):
        return False
    cause = getattr(error.args[0], "reason", None) if error.args else None
    refused = isinstance(cause, SSLError) and any(isinstance(each, ssl.SSLCertVerificationError) for each in cause.args)
    return not refused


def _text_sent(responses: Sequence[ServiceResponse]) -> bool:
    """Return True if a mail server asked for the text and refused nothing since: before that, nothing can have arrived."""
    for response in reversed(responses):
        if not response.mail or response.is_refusal:
            return False
        if response.status == _MAIL_START_INPUT:
            return True
    return False


def parse_retry_after(text: str | None, *, now: datetime) -> float | None:
    """Return the seconds to wait, from whole ASCII digits or an HTTP date; None for anything else. Not clamped."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text) if len(text) <= 9 else 1e9
    try:
        instant = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    return max((instant - now).total_seconds(), 0.0)
