"""What services answered while a message was sent: HTTP status and Retry-After, or a mail server's code and words, or nothing.

Apprise tells success or failure and keeps the answer to itself. Its plugins all speak HTTP through `requests` and mail
through `smtplib`, so the one place that every answer passes is watched in each; only the sending thread's own context sees
its own answers, and nothing else of an answer is kept.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceResponse:
    """One answer. `retry_after` in seconds as the server said it, None where it said nothing usable."""

    status: int
    """The HTTP status, or the mail server's reply code."""
    retry_after: float | None = None
    mail: bool = False
    """A mail server gave it."""
    said: str = ""
    """The mail server's words: raw, they may name users."""

    @property
    def refuses(self) -> bool:
        """Whether it says no, for now or for good."""
        return (
            self.status >= HTTPStatus.BAD_REQUEST if self.mail else not HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES
        )

    @property
    def for_good(self) -> bool:
        """Whether only a person can change that: gone, forbidden, a login refused, nobody of that address."""
        return self.status in (_MAIL_FOR_GOOD if self.mail else _HTTP_FOR_GOOD)

    @property
    def down(self) -> bool:
        """Whether it says that the service does not work at present, and so took nothing."""
        if self.mail:
            return self.status == _MAIL_NOT_AVAILABLE
        # A gateway that gave up waiting knows nothing of what became of the message behind it.
        return self.status >= HTTPStatus.INTERNAL_SERVER_ERROR and self.status != HTTPStatus.GATEWAY_TIMEOUT


@dataclass(slots=True)
class ServiceResponses:
    """What came of the exchanges while one message was sent."""

    answers: list[ServiceResponse] = field(default_factory=list)
    unreached: bool = False
    """Some connection did not come about: nothing went out on it."""
    cut_off: bool = False
    """A connection was there and no answer came: nobody said that the service is down."""
    unanswered: bool = False
    """The message itself went out and no answer to it came."""

    @property
    def maybe_taken(self) -> bool:
        """Whether the message may have arrived although nobody said so: to send it again may repeat it."""
        refused = last_refusal(self.answers)
        # A gateway that gave up waiting knows nothing of what became of the message behind it.
        return self.unanswered or (refused is not None and not refused.mail and refused.status == HTTPStatus.GATEWAY_TIMEOUT)

    @property
    def down(self) -> bool:
        """Whether the message was certainly not taken, because the service does not work at present."""
        refused = last_refusal(self.answers)
        return not self.cut_off and (refused.down if refused is not None else self.unreached)


_HTTP_FOR_GOOD = frozenset({401, 403, 404, 410})
# Login needed (530), refused (535) or too weak (534, 538); no such mailbox (550, 551, 553), no mail taken here (521, 556).
_MAIL_FOR_GOOD = frozenset({521, 530, 534, 535, 538, 550, 551, 553, 556})

_MAIL_LOGGED_IN = 235
_MAIL_GO_ON = 354
_MAIL_NOT_AVAILABLE = 421

_seen: ContextVar[ServiceResponses | None] = ContextVar("monitor_channel_answers", default=None)
_installing = threading.Lock()


def last_refusal(answers: Sequence[ServiceResponse]) -> ServiceResponse | None:
    """The last answer that said no, None where none did. A login that succeeded in the end takes back what was refused of it."""
    for answer in reversed(answers):
        if answer.refuses:
            return answer
        if answer.mail and answer.status == _MAIL_LOGGED_IN:
            return None
    return None


@contextmanager
def watch_answers() -> Iterator[ServiceResponses]:
    """Collects what is heard of everything sent in this thread until the block ends."""
    _install()
    heard = ServiceResponses()
    token = _seen.set(heard)
    try:
        yield heard
    finally:
        _seen.reset(token)


def _install() -> None:
    import smtplib

    import requests

    with _installing:
        if not getattr(requests.Session.send, "watched", False):
            requests.Session.send = _watched(requests.Session.send)  # type: ignore[method-assign]  # see the module's first lines
        if not getattr(smtplib.SMTP.getreply, "watched", False):
            smtplib.SMTP.getreply = _watched_mail(smtplib.SMTP.getreply)  # type: ignore[method-assign]  # see the module's first lines
            smtplib.SMTP.connect = _watched_connect(smtplib.SMTP.connect)  # type: ignore[method-assign]  # see the module's first lines


def _watched(send: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(send)
    def watched_send(*args: Any, **kwargs: Any) -> Any:
        heard = _seen.get()
        try:
            response = send(*args, **kwargs)
        except Exception as error:
            if heard is not None:
                _note_silence(heard, connected=not _never_connected(error))
                heard.unanswered |= _went_out(error)
            raise
        if heard is not None:
            wait = parse_retry_after(response.headers.get("Retry-After"), now=datetime.now(UTC))
            heard.answers.append(ServiceResponse(status=response.status_code, retry_after=wait))
        return response

    watched_send.watched = True  # type: ignore[attr-defined]  # the mark by which _install knows its own work
    return watched_send


def _watched_mail(getreply: Callable[..., tuple[int, bytes]]) -> Callable[..., tuple[int, bytes]]:
    @functools.wraps(getreply)
    def watched_getreply(*args: Any, **kwargs: Any) -> tuple[int, bytes]:
        heard = _seen.get()
        try:
            code, said = getreply(*args, **kwargs)
        except OSError:
            if heard is not None:
                _note_silence(heard, connected=True)
                heard.unanswered |= _text_went_out(heard.answers)
            raise
        if heard is not None:
            heard.answers.append(ServiceResponse(status=code, mail=True, said=said.decode("utf-8", "replace")))
        return code, said

    watched_getreply.watched = True  # type: ignore[attr-defined]  # the mark by which _install knows its own work
    return watched_getreply


def _watched_connect(connect: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(connect)
    def watched_connect(*args: Any, **kwargs: Any) -> Any:
        heard = _seen.get()
        before = heard is not None and heard.cut_off
        try:
            return connect(*args, **kwargs)
        except OSError:
            if heard is not None:  # also where the greeting stayed away: no word of the message had gone out
                heard.cut_off = before
                _note_silence(heard, connected=False)
            raise

    return watched_connect


def _note_silence(heard: ServiceResponses, *, connected: bool) -> None:
    if connected:
        heard.cut_off = True
    else:
        heard.unreached = True


def _never_connected(error: Exception) -> bool:
    """Whether an HTTP request failed before there was a connection to send it on."""
    import requests
    from urllib3.exceptions import NewConnectionError

    if isinstance(error, requests.exceptions.ConnectTimeout):
        return True
    cause = (
        getattr(error.args[0], "reason", None) if isinstance(error, requests.exceptions.ConnectionError) and error.args else None
    )
    return isinstance(cause, NewConnectionError)


def _went_out(error: Exception) -> bool:
    """Whether an HTTP request may have left before it failed: the connection, or the tunnel to it, had come about."""
    import ssl

    from requests import exceptions as failed
    from urllib3.exceptions import ProxyError, SSLError

    if _never_connected(error) or not isinstance(
        error, failed.ConnectionError | failed.Timeout | failed.ChunkedEncodingError | failed.ContentDecodingError
    ):
        return False
    cause = getattr(error.args[0], "reason", None) if error.args else None
    refused = isinstance(cause, SSLError) and any(isinstance(each, ssl.SSLCertVerificationError) for each in cause.args)
    return not (refused or isinstance(cause, ProxyError))


def _text_went_out(answers: Sequence[ServiceResponse]) -> bool:
    """Whether a mail server had asked for the text, and refused nothing since: before that there was nothing to take."""
    for answer in reversed(answers):
        if not answer.mail or answer.refuses:
            return False
        if answer.status == _MAIL_GO_ON:
            return True
    return False


def parse_retry_after(text: str | None, *, now: datetime) -> float | None:
    """Seconds to wait, from whole ASCII digits or an HTTP date; None for anything else. Not clamped."""
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
