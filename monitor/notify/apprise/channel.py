"""One configured channel: an Apprise service that sends one message at a time and reports the outcome."""

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
from typing import TYPE_CHECKING, Any, Self

from monitor.config import ChannelConfig, Secret
from monitor.domain.errors import ChannelRejected, ChannelUnreachable, ConfigError
from monitor.notify.apprise import services, url_check
from monitor.notify.apprise.errors import ServiceResponses, capture_responses, last_refusal
from monitor.notify.apprise.format import ServiceAdapter, attachments, notify_type
from monitor.notify.apprise.network import Network, UnusableNetwork, uses_http
from monitor.notify.apprise.recipients import Recipient, send_each, split
from monitor.notify.apprise.redaction import UrlRedactor
from monitor.notify.messages import ChannelProfile, Part

if TYPE_CHECKING:
    from apprise import Apprise, AppriseResult

APP_NAME = "Token expiry monitor"

_DEFAULT_WAIT = 60.0  # seconds, for a 429 without Retry-After
_LONGEST_PACE = 1.0
_building = threading.Lock()  # the first channel makes Apprise load its plugins into a registry that all share


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A message that the channel accepted."""

    service: str
    """Apprise's name of the service."""
    url_id: str
    """A stable hash that identifies the URL without showing it."""
    detail: str
    """A sentence for the list of attempts."""
    host: str
    """The host that answered; empty for a service without one."""
    confirmed: bool
    """False if the service never reports that a message was lost."""


@dataclass(slots=True)
class Channel:
    """A channel by its name, Apprise URL and network. Built on first use: Apprise is loaded only where a message is sent.

    Synchronous: run it in a separate thread, one message at a time. No text that it returns or raises holds a part of the URL.
    """

    name: str
    url: Secret = field(repr=False)
    network: Network = field(default_factory=Network)
    _service: Any = field(default=None, init=False, repr=False)
    _target: Apprise | None = field(default=None, init=False, repr=False)
    _redactor: UrlRedactor | None = field(default=None, init=False, repr=False)
    _pace: float = field(default=0.0, init=False, repr=False)
    _built_adapter: ServiceAdapter | None = field(default=None, init=False, repr=False)

    @classmethod
    def of(cls, config: ChannelConfig) -> Self:
        """Return the channel that the configuration describes."""
        return cls(config.name, config.url, Network(ca_file=config.ca_file, proxy=config.proxy))

    def rebuilt(self) -> Self:
        """Return the same channel, not built yet."""
        return type(self)(self.name, self.url, self.network)

    def verify(self) -> None:
        """Raise ConfigError with one sentence if Apprise cannot use the URL or the network, MisreadUrl if it misreads the URL."""
        self._built()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Unsafe properties of the URL, as ends of sentences. Raises ConfigError as `verify` does."""
        self._built()
        return tuple(url_check.warnings(self.url.reveal(), self._service))

    @property
    def host(self) -> str:
        """The host that the URL names; empty if the service has a fixed host or none. Raises ConfigError as `verify` does."""
        self._built()
        return url_check.host_of(self.url.reveal(), self._service) or ""

    @property
    def profile(self) -> ChannelProfile:
        """The capabilities of this channel. Raises ConfigError as `verify` does."""
        self._built()
        return self._adapter.profile

    @property
    def pace(self) -> float:
        """The seconds to leave between two messages, so that the service is not flooded; 0 before the first."""
        return self._pace

    def send(self, part: Part, *, done: AbstractSet[str] = frozenset()) -> Sent:
        """Send one message to every recipient that is not in `done`; return once the service accepted it for each.

        Raises ChannelUnreachable for temporary failures (with `retry_after` in seconds where the service asked for a pause)
        and ChannelRejected where only an operator can help: 401, 403, 404, 410, a rejected mail login, a mailbox that does
        not exist, or an unusable URL. Both hold the recipients that have nevertheless received the message.
        """
        try:
            self._built()
        except ConfigError as error:
            raise ChannelRejected(str(error)) from None
        self._adapter.prepare(part)
        hosts: list[str] = []
        send_each(split(self._service), partial(self._send_to, part, hosts), done=done)
        confirmed = not url_check.is_unconfirmed(self._service)
        return Sent(
            service=self._service_name,
            url_id=self._service.url_id() or "",
            detail=f"{self._service_name} accepted it." if confirmed else f"Sent, not confirmed by {self._service_name}.",
            host=", ".join(dict.fromkeys(hosts)) or self.host,
            confirmed=confirmed,
        )

    def _send_to(self, part: Part, hosts: list[str], recipient: Recipient) -> None:
        from apprise import Apprise

        target = Apprise(asset=recipient.service.asset)
        target.add(recipient.service)
        with capture_responses(self.network) as responses:
            result = target.notify(
                body=part.body,
                title=part.title,
                notify_type=notify_type(part),
                body_format=self._adapter.body_format(part),
                attach=attachments(part.files),
            )
        if not result or not result.results:
            raise self._failure(result, responses, part.secrets)
        hosts += responses.hosts

    @property
    def _service_name(self) -> str:
        return str(self._service.service_name)

    @property
    def _adapter(self) -> ServiceAdapter:
        assert self._built_adapter is not None  # noqa: S101 - made together with the service
        return self._built_adapter

    def _built(self) -> Apprise:
        with _building:
            if self._target is None:
                self._target = self._build()
            return self._target

    def _build(self) -> Apprise:
        import apprise

        asset = apprise.AppriseAsset(
            app_id=APP_NAME,
            app_desc="Monitors the tokens of social accounts",
            app_url="",
            image_url_mask="",
            image_url_logo="",
            async_mode=False,  # one service, in the calling thread
            service_timeout=0,  # else it uses a shared pool, where one slow channel delays the others
            http_redirects=False,  # credentials would follow
        )
        url = self.url.reveal()
        services.load_for(url)
        with _captured_reasons() as reasons:
            service = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
        if found := url_check.text_problem(url) if service is None else url_check.problem(url, service):
            raise url_check.MisreadUrl(f"The URL of the channel {self.name}{_shown_schema(url)} {found}.")
        if service is None:
            # Apprise's reason may quote the URL with its password.
            plain = reasons and "://" not in reasons[-1] and "URL" not in reasons[-1]
            because = f": {UrlRedactor(url).redact_line(reasons[-1]).rstrip('.')}" if plain else ""
            if services.has_unknown_scheme(url):
                because = ": it has no service with this scheme"
            raise ConfigError(
                f"Apprise cannot use the URL of the channel {self.name}{_shown_schema(url)}{because}. "
                "Apprise's documentation of the service describes the expected form."
            )
        self._verify_network(service)
        self._service, self._redactor = service, UrlRedactor(url, _plugin_values(service))
        self._pace = min(float(service.request_rate_per_sec), _LONGEST_PACE)
        service.request_rate_per_sec = 0  # its throttle sleeps; the sender keeps the pace
        self._built_adapter = ServiceAdapter(service, url)
        service.overflow_mode = apprise.OverflowMode.SPLIT  # parts are made to fit; if one does not, nothing is cut off
        target = apprise.Apprise(asset=asset)
        target.add(service)
        return target

    def _verify_network(self, service: Any) -> None:
        """Raise UnusableNetwork where ca_file or proxy cannot be used, or has no effect on this service."""
        http, mail = uses_http(service), services.kind_of(service) == "email"
        for key, is_set, applies in (("ca_file", self.network.ca_file, http or mail), ("proxy", self.network.proxy, http)):
            if is_set is not None and not applies:
                raise UnusableNetwork(f"{key} has no effect on {service.service_name}, which is not reached by HTTP: remove it.")
        self.network.verify()

    def _failure(
        self, result: AppriseResult, responses: ServiceResponses, secrets: Sequence[str]
    ) -> ChannelUnreachable | ChannelRejected:
        refused = last_refusal(responses.received)
        text = refused.text if refused is not None and refused.mail else _last_log_message(result)
        reason = self._reason(text, secrets)
        if refused is None:
            problem = self._problem(responses, reason)
            return ChannelUnreachable(
                f"{self._service_name} {problem}.",
                down=responses.down,
                uncertain=responses.maybe_accepted,
                maybe_too_large=responses.maybe_too_large,
            )
        sentence = f"{self._service_name} answered {refused.status if refused.mail else _status_text(refused.status)}{reason}."
        if refused.permanent:
            return ChannelRejected(sentence, uncertain=responses.maybe_accepted)
        wait = refused.retry_after
        if wait is None and refused.status == HTTPStatus.TOO_MANY_REQUESTS:
            wait = _DEFAULT_WAIT
        return ChannelUnreachable(
            sentence,
            retry_after=wait,
            down=responses.down,
            uncertain=responses.maybe_accepted,
            maybe_too_large=responses.maybe_too_large,
        )

    def _problem(self, responses: ServiceResponses, reason: str) -> str:
        """Return what happened where the service refused nothing."""
        if responses.cause and self._redactor is not None:
            before = "did not confirm the message" if responses.unanswered else "could not be reached"
            return f"{before}: {self._redactor.redact_line(responses.cause)}"
        return f"{'' if responses.received else 'could not be reached or '}did not accept the message{reason}"

    def _reason(self, text: str, secrets: Sequence[str]) -> str:
        """Return the reason in parentheses without secrets: it may name logins or quote the message."""
        for secret in secrets:
            text = UrlRedactor(secret).redact(text)
        text = self._redactor.redact_line(text).rstrip(".") if self._redactor is not None else ""
        return f" ({text})" if text else ""


def _shown_schema(url: str) -> str:
    """Return the schema for a message, in parentheses; empty if the text before "://" is none."""
    schema = url.partition("://")[0] if "://" in url else ""
    return f" ({schema}://...)" if re.fullmatch(r"[A-Za-z][A-Za-z0-9+]{0,20}", schema) else ""


def _last_log_message(result: AppriseResult) -> str:
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


def _isolated_logger() -> logging.Logger:
    """Return Apprise's logger, detached from all others: its messages hold hosts and parts of URLs."""
    logger = logging.getLogger("apprise")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return logger


@contextmanager
def _captured_reasons() -> Iterator[list[str]]:
    """Collect what Apprise logs in this thread until the block ends: the only source of the reason for an unusable URL."""
    reasons: list[str] = []
    thread = threading.get_ident()

    def take(record: logging.LogRecord) -> bool:
        if record.thread == thread:
            reasons.append(record.getMessage())
        return True

    logger = _isolated_logger()
    logger.addFilter(take)
    try:
        yield reasons
    finally:
        logger.removeFilter(take)
