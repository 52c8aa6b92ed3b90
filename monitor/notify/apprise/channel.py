"""One configured channel: an Apprise service that sends one message at a time and tells how that went."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from monitor.config import Secret
from monitor.domain.errors import ChannelRejected, ChannelUnreachable, ConfigError
from monitor.notify.apprise import services
from monitor.notify.apprise.errors import ServiceResponses, last_refusal, watch_answers
from monitor.notify.apprise.format import Speech, attachments, notify_type
from monitor.notify.apprise.recipients import Recipient, send_each, split
from monitor.notify.apprise.redaction import UrlHider
from monitor.notify.messages import ChannelProfile, Part

if TYPE_CHECKING:
    from apprise import Apprise, AppriseResult

APP_NAME = "Token expiry monitor"

_DEFAULT_WAIT = 60.0  # seconds, for a 429 that names none
_LONGEST_PACE = 1.0
_building = threading.Lock()  # the first channel makes Apprise load its plugins, into one registry for all


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
    url: Secret = field(repr=False)
    _service: Any = field(default=None, init=False, repr=False)
    _target: Apprise | None = field(default=None, init=False, repr=False)
    _hider: UrlHider | None = field(default=None, init=False, repr=False)
    _pace: float = field(default=0.0, init=False, repr=False)
    _speech: Speech | None = field(default=None, init=False, repr=False)

    def verify(self) -> None:
        """Raises ConfigError with one sentence where the URL is none that Apprise can use. Sends nothing."""
        self._built()

    @property
    def profile(self) -> ChannelProfile:
        """What this channel understands and can carry. Raises ConfigError as `verify` does."""
        self._built()
        return self._spoken().profile

    @property
    def pace(self) -> float:
        """Seconds to leave between two messages, so that the service is not flooded; 0 before the first."""
        return self._pace

    def send(self, part: Part, *, done: AbstractSet[str] = frozenset()) -> Sent:
        """Hands over one message to every recipient that is not `done`; returns once the service accepted it for each.

        Raises ChannelUnreachable for what may pass (with `retry_after` in seconds where the service said when) and
        ChannelRejected where only a person can help: 401, 403, 404, 410, a mail login that is refused, a mailbox that does
        not exist, or a URL that is no use. Either names those who have the message all the same.
        """
        try:
            self._built()
        except ConfigError as error:
            raise ChannelRejected(str(error)) from None
        speech = self._spoken()
        speech.tell(part)
        send_each(split(self._service), partial(self._send_to, speech, part), done=done)
        return Sent(service=self._service_name, url_id=self._service.url_id() or "", detail=f"{self._service_name} accepted it.")

    def _send_to(self, speech: Speech, part: Part, recipient: Recipient) -> None:
        from apprise import Apprise

        target = Apprise(asset=recipient.service.asset)
        target.add(recipient.service)
        with watch_answers() as heard:
            result = target.notify(
                body=part.body,
                title=part.title,
                notify_type=notify_type(part),
                body_format=speech.body_format(part),
                attach=attachments(part.files),
            )
        if not result or not result.results:
            raise self._failure(result, heard, part.secrets)

    @property
    def _service_name(self) -> str:
        return str(self._service.service_name)

    def _spoken(self) -> Speech:
        assert self._speech is not None  # noqa: S101 - made together with the service
        return self._speech

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
        services.load_for(url)
        with _captured_reasons() as reasons:
            service = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
        if service is None:
            # What Apprise says about it quotes the URL, password and all.
            plain = reasons and "://" not in reasons[-1] and "URL" not in reasons[-1]
            because = f": {UrlHider(url).hide(reasons[-1]).rstrip('.')}" if plain else ""
            schema = url.partition("://")[0] if "://" in url else ""
            shown = f" ({schema}://...)" if re.fullmatch(r"[A-Za-z][A-Za-z0-9+]{0,20}", schema) else ""
            raise ConfigError(
                f"The URL of channel {self.name}{shown} is none that Apprise can use{because}: see Apprise's own "
                "page of that service for what it must hold."
            )
        self._service, self._hider = service, UrlHider(url, _plugin_values(service))
        self._pace = min(float(service.request_rate_per_sec), _LONGEST_PACE)
        service.request_rate_per_sec = 0  # its throttle sleeps; the pace is kept outside
        self._speech = Speech(service, url)
        service.overflow_mode = apprise.OverflowMode.SPLIT  # parts are made to fit; should one not, nothing is cut off
        target = apprise.Apprise(asset=asset)
        target.add(service)
        return target

    def _failure(
        self, result: AppriseResult, heard: ServiceResponses, secrets: Sequence[str]
    ) -> ChannelUnreachable | ChannelRejected:
        refused = last_refusal(heard.answers)
        words = refused.said if refused is not None and refused.mail else _last_word(result)
        said = self._reason(words, secrets)
        if refused is None:
            how = "did not take the message" if heard.answers else "could not be reached or did not take the message"
            return ChannelUnreachable(f"{self._service_name} {how}{said}.", down=heard.down, uncertain=heard.maybe_taken)
        sentence = f"{self._service_name} answered {refused.status if refused.mail else _status_text(refused.status)}{said}."
        if refused.for_good:
            return ChannelRejected(sentence, uncertain=heard.maybe_taken)
        wait = refused.retry_after
        if wait is None and refused.status == HTTPStatus.TOO_MANY_REQUESTS:
            wait = _DEFAULT_WAIT
        return ChannelUnreachable(sentence, retry_after=wait, down=heard.down, uncertain=heard.maybe_taken)

    def _reason(self, words: str, secrets: Sequence[str]) -> str:
        """What a mail server or Apprise said about a failure, which may name logins, or quote the message."""
        for secret in secrets:
            words = UrlHider(secret).take_out(words)
        words = self._hider.hide(words).rstrip(".") if self._hider is not None else ""
        return f" ({words})" if words else ""


def _last_word(result: AppriseResult) -> str:
    messages = [entry.message for entry in result.logs()]
    return str(messages[-1]) if messages else ""


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
