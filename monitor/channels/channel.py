"""One configured channel: an Apprise service that sends one message at a time and tells how that went."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

from monitor.channels.answers import Answer, watch_answers
from monitor.channels.hiding import UrlHider
from monitor.errors import ChannelRejected, ChannelUnreachable, ConfigError
from monitor.rules.wording import Limits, Part, Tone

if TYPE_CHECKING:
    from apprise import Apprise, AppriseResult

APP_NAME = "Token expiry monitor"

_GONE = frozenset({401, 403, 404, 410})  # nothing but a person changes these answers
_DEFAULT_WAIT = 60.0  # seconds, for a 429 that names none
_MARGIN = 0.95  # some services count bytes, or escape characters, after Apprise counted them
_LONGEST_PACE = 1.0
_building = threading.Lock()  # the first channel makes Apprise load its plugins, into one registry for all


class Revealable(Protocol):
    """A secret text."""

    def reveal(self) -> str:
        """The text itself."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A message that the channel accepted."""

    service: str
    """Apprise's name of the kind of service."""
    url_id: str
    """A stable hash that tells URLs apart without showing them."""
    detail: str
    """A sentence for the record of attempts."""


@dataclass(slots=True)
class Channel:
    """A channel by its name and Apprise URL. Built on first use, so that Apprise is loaded only where something is sent.

    Synchronous: run it in a thread of its own, one message at a time. No text that leaves it holds a piece of the URL.
    """

    name: str
    url: Revealable = field(repr=False)
    _service: Any = field(default=None, init=False, repr=False)
    _target: Apprise | None = field(default=None, init=False, repr=False)
    _hider: UrlHider | None = field(default=None, init=False, repr=False)
    _pace: float = field(default=0.0, init=False, repr=False)

    def verify(self) -> None:
        """Raises ConfigError with one sentence where the URL is none that Apprise can use. Sends nothing."""
        self._built()

    @property
    def limits(self) -> Limits:
        """What one message on this channel can hold. Raises ConfigError as `verify` does."""
        self._built()
        service = self._service
        return Limits(
            body=max(int(service.body_maxlen * _MARGIN), 40),
            title=max(service.title_maxlen, 0),
            shared=bool(service.overflow_amalgamate_title),
            lines=service.body_max_line_count,
        )

    @property
    def pace(self) -> float:
        """Seconds to leave between two messages, so that the service is not flooded; 0 before the first."""
        return self._pace

    def send(self, part: Part) -> Sent:
        """Hands over one message; returns once the service accepted it.

        Raises ChannelUnreachable for what may pass (with `retry_after` in seconds where the service said when) and
        ChannelRejected where only a person can help: 401, 403, 404, 410, or a URL that is no use.
        """
        try:
            target = self._built()
        except ConfigError as error:
            raise ChannelRejected(str(error)) from None
        from apprise import NotifyFormat

        with watch_answers() as answers:
            result = target.notify(
                body=part.body, title=part.title, notify_type=_notify_type(part.tone), body_format=NotifyFormat.TEXT.value
            )
        if not result or not result.results:
            raise self._failure(result, answers)
        return Sent(service=self._service_name, url_id=self._service.url_id() or "", detail=f"{self._service_name} accepted it.")

    @property
    def _service_name(self) -> str:
        return str(self._service.service_name)

    def _built(self) -> Apprise:
        with _building:
            if self._target is None:
                self._target = self._build()
            return self._target

    def _build(self) -> Apprise:
        import apprise

        asset = apprise.AppriseAsset(
            app_id=APP_NAME,
            app_desc="Watches the tokens of social accounts",
            app_url="",
            image_url_mask="",
            image_url_logo="",
            async_mode=False,  # one service, in the calling thread
            service_timeout=0,  # else it moves to a shared pool, where one slow channel delays the others
            http_redirects=False,  # credentials would follow
        )
        url = self.url.reveal()
        with _captured_reasons() as reasons:
            service = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
        if service is None:
            because = f": {UrlHider(url).hide(reasons[-1]).rstrip('.')}" if reasons else ""
            raise ConfigError(f"The URL of channel {self.name} is none that Apprise can use{because}.")
        self._service, self._hider = service, UrlHider(url, _plugin_values(service))
        self._pace = min(float(service.request_rate_per_sec), _LONGEST_PACE)
        service.request_rate_per_sec = 0  # its throttle sleeps; the pace is kept outside
        service.overflow_mode = apprise.OverflowMode.SPLIT  # parts are made to fit; should one not, nothing is cut off
        target = apprise.Apprise(asset=asset)
        target.add(service)
        return target

    def _failure(self, result: AppriseResult, answers: list[Answer]) -> ChannelUnreachable | ChannelRejected:
        refused = next(
            (answer for answer in reversed(answers) if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES), None
        )
        said = self._reason(result)
        if refused is None:
            how = "did not take the message" if answers else "could not be reached or did not take the message"
            return ChannelUnreachable(f"{self._service_name} {how}{said}.")
        sentence = f"{self._service_name} answered {_status_text(refused.status)}{said}."
        if refused.status in _GONE:
            return ChannelRejected(sentence)
        wait = refused.retry_after
        if wait is None and refused.status == HTTPStatus.TOO_MANY_REQUESTS:
            wait = _DEFAULT_WAIT
        return ChannelUnreachable(sentence, retry_after=wait)

    def _reason(self, result: AppriseResult) -> str:
        messages = [entry.message for entry in result.logs()]
        if not messages or self._hider is None:
            return ""
        return f" ({self._hider.hide(messages[-1]).rstrip('.')})"


def _notify_type(tone: Tone) -> str:
    return tone.value  # Apprise's own words: info, success, warning, failure


def _status_text(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _plugin_values(service: Any) -> Iterator[object]:
    for key, value in vars(service).items():
        if key not in ("asset", "logger", "store"):
            yield value


def _keep_to_itself() -> logging.Logger:
    """Apprise's log holds hosts and pieces of URLs: it is read here, made harmless and said by us, and goes nowhere else."""
    logger = logging.getLogger("apprise")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return logger


@contextmanager
def _captured_reasons() -> Iterator[list[str]]:
    """What Apprise logs in this thread until the block ends: the only place where it says why a URL is unusable."""
    reasons: list[str] = []
    thread = threading.get_ident()

    def take(record: logging.LogRecord) -> bool:
        if record.thread == thread:
            reasons.append(record.getMessage())
        return True

    logger = _keep_to_itself()
    logger.addFilter(take)
    try:
        yield reasons
    finally:
        logger.removeFilter(take)
