"""Requests to one source's API: key header, request budget, retries, and HTTP status checks."""

from __future__ import annotations

import string
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from urllib.parse import quote, quote_plus, urlencode

import httpx
import stamina
from httpx_aiohttp import AiohttpTransport

from monitor.config import SourceConfig
from monitor.domain.clock import Clock
from monitor.domain.errors import (
    ConfigError,
    ProviderError,
    ProviderPayloadInvalid,
    ProviderRateLimited,
    ProviderUnauthorized,
    ProviderUnreachable,
)
from monitor.domain.records import Record
from monitor.providers import payload
from monitor.providers.http import USER_AGENT, HttpSessions, exchange
from monitor.providers.rate_limit import DEFAULT_WAIT, RequestBudget, http_date, retry_after
from monitor.providers.route import ApiRoute, header_lines
from monitor.providers.transport import SUCCESS, Bounds, HttpResponse

_REDACTED = b"<secret>"
_SHORTEST_REDACTED = 8
"""Shorter keys are not redacted: that would damage ordinary words, and no service issues such keys."""

_INVALID_URL = "base_url is not a valid URL."

_MOST_TEMPORARY = 3
"""The number of access tokens, the newest, that are redacted."""

_PLAIN = frozenset(string.ascii_letters + string.digits + "-._~")
"""Characters that no JSON encoder escapes."""

_YEARS = range(2015, 2100)
"""Plausible years of a server's clock."""

_TRANSIENT = frozenset({408, 425})
_WORTH_WAITING = 5.0
"""Maximum Retry-After in seconds, on a server error, for which a list request waits before it retries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRequest:
    """A request to a whole address, with all headers."""

    method: str
    url: str = field(repr=False)
    """May contain a secret, see `secret_in_query`."""
    headers: Mapping[str, str] = field(repr=False)
    content: bytes | None = field(default=None, repr=False)
    answers: frozenset[int] = SUCCESS
    """HTTP statuses whose response is returned; any other is raised as an error."""


class ApiResponse(Record, frozen=True, kw_only=True):
    """An expected response. Its body is without the source's secrets, which some services echo."""

    status: int
    body: bytes
    content_type: str | None
    at: datetime
    """The response's Date, or this machine's time if it has none: the reference of relative durations."""
    headers: Mapping[str, str] = {}
    """By case-insensitive name."""


class Api:
    """Sends requests to one provider's API with one source's key."""

    def __init__(
        self,
        source: SourceConfig,
        *,
        sessions: HttpSessions,
        clock: Clock,
        budget: RequestBudget,
    ) -> None:
        self._source = source
        self._info = source.info
        self._sessions = sessions
        self._clock = clock
        self.budget = budget
        self.limits = sessions.limits
        self.clock_skew: float | None = None
        """The latest response's Date minus this machine's clock, in seconds; None without a Date so far."""
        self.list_requests = 0
        """List requests sent so far, retries included."""
        self._keys = tuple(written for secret in _secrets_of(source) for written in _as_written(secret))
        self._temporary: tuple[Sequence[bytes], ...] = ()
        self._probe_bounds = self._bounds(self.limits.probe_timeout, self.limits.other_bytes)

    async def get(
        self, path: str, *, query: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> ApiResponse:
        """Send GET base_url + path and return a 200 response. Retries and raises like send()."""
        lines = self._header_lines + header_lines(headers or {})
        target = _with_query(path, query)
        return await self._retried(lambda bounds: self._get(target, lines, bounds), SUCCESS)

    async def send(self, sent: ApiRequest) -> ApiResponse:
        """Send a request that reads a list, and return an expected response. Retries after connection errors, timeouts and 5xx.

        Raises the ProviderError for any other status or failure. A status whose meaning depends on the request (400, 401,
        403, 404) is a RequestRefused. The limits' overall timeout includes retries.
        """
        request = _http_request(sent)
        return await self._retried(lambda bounds: self._exchange(request, bounds), sent.answers)

    async def _retried(self, exchanged: Callable[[Bounds], Awaitable[HttpResponse]], answers: frozenset[int]) -> ApiResponse:
        """Return the response of `exchanged`, which sends a request. Retries and raises like send()."""
        limits = self.limits
        deadline = time.monotonic() + limits.overall_timeout

        async def attempt() -> ApiResponse:
            left = max(deadline - time.monotonic(), 0.001)
            bounds = self._bounds(min(limits.list_timeout, left), limits.list_bytes)
            async with self.budget.request("GET"):
                self.list_requests += 1
                return self._check_status(await exchanged(bounds), answers)

        def may_help(exc: Exception) -> bool | float:
            if not isinstance(exc, ProviderUnreachable) or time.monotonic() >= deadline:
                return False
            if exc.retry_after is None:
                return True
            # Slightly longer than requested: the budget stays closed until exactly that instant.
            return exc.retry_after + 0.1 if exc.retry_after <= _WORTH_WAITING else False

        try:
            return await attempt()
        except ProviderError as exc:
            failed = [exc]

        async def attempt_again() -> ApiResponse:
            if failed:  # the retries begin after the first failure, which is rare
                raise failed.pop()
            return await attempt()

        caller = stamina.AsyncRetryingCaller(
            attempts=limits.attempts,
            timeout=max(deadline - time.monotonic(), 0.001),
            wait_initial=limits.retry_wait,
            wait_jitter=limits.retry_wait,
        )
        return await caller(may_help, attempt_again)

    async def send_once(self, sent: ApiRequest) -> ApiResponse:
        """Send a request that tests a connection, without retries, and return an expected response. Raises like send()."""
        request = _http_request(sent)
        async with self.budget.request("POST"):
            return self._check_status(await self._exchange(request, self._probe_bounds), sent.answers)

    async def post(self, path: str, *, headers: Mapping[str, str]) -> ApiResponse:
        """Send POST base_url + path with an empty body, without retries. Returns and raises like get.

        The path must be percent-encoded already.
        """
        route, lines = self._route, self._header_lines + header_lines(headers)
        async with self.budget.request("POST"):
            return self._check_status(await route.send("POST", path, lines, bounds=self._probe_bounds))

    async def _get(self, target: str, lines: str, bounds: Bounds) -> HttpResponse:
        """Send a GET request to base_url + target with these headers, and follow a redirect like _exchange()."""
        answer = await self._route.send("GET", target, lines, bounds=bounds, on_headers=self._record_clock_skew)
        if not 300 <= answer.status < 400:
            return answer
        headers = dict(line.split(": ", 1) for line in lines.splitlines())
        request = _http_request(ApiRequest(method="GET", url=self._source.base_url + target, headers=headers))
        return await self._follow(request, answer, bounds)

    @cached_property
    def _route(self) -> ApiRoute:
        """The way to the base URL."""
        proxy = self._source.proxy
        try:
            return self._sessions.route(
                self._source.base_url, ca_file=self._source.ca_file, proxy=None if proxy is None else proxy.reveal()
            )
        except ConfigError as exc:  # a ca_file deleted since the configuration was read
            raise ProviderUnreachable(str(exc)) from exc
        except (httpx.InvalidURL, ValueError) as exc:
            raise ProviderPayloadInvalid(_INVALID_URL) from exc

    @cached_property
    def _header_lines(self) -> str:
        """The headers of every request to the base URL. Raises like _headers."""
        return header_lines(self._headers(None))

    def _bounds(self, timeout: float, body_bytes: int) -> Bounds:
        limits = self.limits
        return Bounds(timeout=timeout, body_bytes=body_bytes, error_bytes=limits.other_bytes, inflation=limits.inflation)

    async def _exchange(self, request: httpx.Request, bounds: Bounds) -> HttpResponse:
        transport = self._transport(str(request.url.copy_with(raw_path=b"/")))
        answer = await exchange(transport, request, bounds=bounds, on_headers=self._record_clock_skew)
        return await self._follow(request, answer, bounds)

    async def _follow(self, request: httpx.Request, answer: HttpResponse, bounds: Bounds) -> HttpResponse:
        """Return the response to the request after a redirect within its host; without one, the answer itself."""
        redirected = self._same_host_redirect(request, answer)
        if redirected is None:
            return answer
        self.list_requests += 1
        transport = self._transport(str(redirected.url.copy_with(raw_path=b"/")))
        return await exchange(transport, redirected, bounds=bounds, on_headers=self._record_clock_skew)

    def _transport(self, url: str) -> AiohttpTransport:
        proxy = self._source.proxy
        try:
            return self._sessions.transport(url, ca_file=self._source.ca_file, proxy=None if proxy is None else proxy.reveal())
        except ConfigError as exc:  # a ca_file deleted since the configuration was read
            raise ProviderUnreachable(str(exc)) from exc

    def _headers(self, more: Mapping[str, str] | None) -> dict[str, str]:
        """Return all headers of a request. Raises ProviderUnauthorized for a key that cannot be sent in a header."""
        key = self._source.api_key.reveal()
        if not key or not is_header_safe(key):
            # The library's error message would contain the key.
            raise ProviderUnauthorized("The API key is empty or contains a character that cannot be sent in a header.")
        return {
            **COMMON_HEADERS,
            self._info.key_header: self._info.key_prefix + key,
            **(more or {}),
        }

    def _same_host_redirect(self, request: httpx.Request, answer: HttpResponse) -> httpx.Request | None:
        """Return the redirected request if a GET is redirected within its https host (such as a trailing slash), else None."""
        location = answer.headers.get("location")
        if request.method != "GET" or answer.status not in (301, 302, 307, 308) or not location:
            return None
        try:
            target = request.url.join(location)
        except (httpx.InvalidURL, ValueError):
            return None
        ours, theirs = request.url, target
        if theirs.scheme != "https" or (ours.scheme, ours.netloc) != (theirs.scheme, theirs.netloc) or theirs.userinfo:
            return None
        return httpx.Request("GET", target, headers=request.headers)

    def _record_clock_skew(self, headers: Mapping[str, str]) -> None:
        date = _server_time(headers)
        if date is not None:
            self.clock_skew = (date - self._clock.now()).total_seconds()

    def _check_status(self, answer: HttpResponse, answers: frozenset[int] = SUCCESS) -> ApiResponse:
        """Return a response with one of these statuses. Raises the error for any other status."""
        body = self._without_secrets(answer.body)
        if answer.status in answers:
            at, kind = _server_time(answer.headers) or self._clock.now(), answer.headers.get("content-type")
            return ApiResponse(status=answer.status, body=body, content_type=kind, headers=answer.headers, at=at)
        raise self._error_for(answer, body)

    def _error_for(self, answer: HttpResponse, body: bytes) -> ProviderError:
        status = answer.status
        fields = payload.error_fields(body)
        detail = payload.error_text(fields) if fields is not None else payload.not_json(body, answer.headers.get("content-type"))
        tail = _after_colon(detail)
        wait = None
        if status == 429 or status >= 500:
            wait = retry_after(answer.headers, fields, now=self._clock.now())
        if status == 429:
            self.budget.wait(wait or DEFAULT_WAIT)
            return ProviderRateLimited(f"The API limits the request rate (HTTP 429){tail}", retry_after=wait)
        if wait is not None:
            self.budget.wait(wait)
        if status >= 500 or status in _TRANSIENT:
            return ProviderUnreachable(f"The API returned HTTP {status}{tail}", retry_after=wait)
        if 300 <= status < 400:
            return ProviderPayloadInvalid(f"The API returned a redirect (HTTP {status}), which is not followed: check base_url.")
        return RequestRefused(status, detail, from_api=fields is not None)

    def redact(self, secret: str) -> None:
        """Remove a further secret, such as an access token, from everything that is read."""
        self._temporary = (*self._temporary, _as_written(secret))[-_MOST_TEMPORARY:]

    def without_secrets(self, text: str) -> str:
        """Return a text, such as a response's header, without the source's secrets."""
        return self._without_secrets(text.encode("utf-8", "surrogatepass")).decode("utf-8", "replace")

    def _without_secrets(self, body: bytes) -> bytes:
        # Done once for everything read from the body: errors, names, messages (some services echo credentials).
        for written in (*self._keys, *(each for forms in self._temporary for each in forms)):
            if written in body:
                body = body.replace(written, _REDACTED)
        return body


COMMON_HEADERS: Mapping[str, str] = {"User-Agent": USER_AGENT, "Accept": "application/json", "Accept-Encoding": "gzip"}
"""Headers of every request for a list."""


def _secrets_of(source: SourceConfig) -> list[str]:
    """Return every secret that requests of a source contain."""
    tokens = (token.secret for token in source.tokens)
    known = (source.api_key, source.client_secret, *source.secrets.values(), *tokens)
    return [secret.reveal() for secret in known if secret is not None]


def _http_request(sent: ApiRequest) -> httpx.Request:
    """Return the request. Raises ProviderPayloadInvalid for an address that is not valid."""
    try:
        return httpx.Request(sent.method, sent.url, headers=dict(sent.headers), content=sent.content)
    except (httpx.InvalidURL, ValueError) as exc:
        raise ProviderPayloadInvalid(_INVALID_URL) from exc


def _as_written(key: str) -> Sequence[bytes]:
    """Return a key in every form in which a JSON document may contain it; nothing for a key too short to redact."""
    if len(key) < _SHORTEST_REDACTED:
        return ()
    forms = {key, key.replace("/", "\\/")}
    for safe in ("", "/"):  # as an address contains it
        forms |= {quote(key, safe=safe), quote_plus(key, safe=safe)}
    for slash in ("/", "\\/"):
        for escape in ("\\u{:04x}", "\\u{:04X}"):
            forms.add("".join(slash if each == "/" else each if each in _PLAIN else escape.format(ord(each)) for each in key))
    return [form.encode("utf-8", "surrogatepass") for form in sorted(forms, key=len, reverse=True)]


class RequestRefused(ProviderPayloadInvalid):
    """The API returned a status whose meaning depends on the request (400, 401, 403, 404, ...)."""

    def __init__(self, status: int, detail: str, *, from_api: bool) -> None:
        super().__init__(f"The API returned HTTP {status}{_after_colon(detail)}")
        self.status = status
        """The HTTP status."""
        self.detail = detail
        """The API's error text, sanitized, at most 256 characters."""
        self.from_api = from_api
        """True if the body is an error object of the API, not a page of a proxy."""

    def unauthorized(self) -> ProviderUnauthorized | None:
        """Return the error for a 401 or 403 that concerns the key; None for any other status."""
        if self.status not in (401, 403):
            return None
        hint = " The plan may not include API access." if self.status == 403 else ""
        return ProviderUnauthorized(f"The API rejected the key (HTTP {self.status}){_after_colon(self.detail)}{hint}")


def _server_time(headers: Mapping[str, str]) -> datetime | None:
    """Return the response's Date; None if it is missing or implausible (such as 1970, from a clock without a battery)."""
    date = http_date(headers.get("date"))
    return date if date is not None and date.year in _YEARS else None


def _after_colon(detail: str) -> str:
    return f": {detail if detail.endswith(('.', '…')) else detail + '.'}" if detail else "."


def is_header_safe(text: str) -> bool:
    """Return True if a text can be sent as a header's value."""
    return text.isascii() and text.isprintable() and text == text.strip()


def header_value(text: str) -> str | None:
    """Return the text if it is valid as a header value of visible ASCII characters, else None."""
    return text if text and len(text) <= 256 and text.isascii() and text.isprintable() and " " not in text else None


def segment(text: str) -> str:
    """Return a path segment with everything but A-Z a-z 0-9 . _ : ~ - percent-encoded (FAILURES S9)."""
    return quote(text, safe=":~", errors="strict")


def _with_query(path: str, query: Mapping[str, str] | None) -> str:
    return f"{path}?{urlencode(query)}" if query else path
