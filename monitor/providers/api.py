"""Requests to one source's API: key header, request budget, retries, and HTTP status checks."""

from __future__ import annotations

import string
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from urllib.parse import quote, urlencode

import httpx
import stamina
from httpx_aiohttp import AiohttpTransport
from multidict import CIMultiDict
from yarl import URL

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
from monitor.providers import payload
from monitor.providers.http import SUCCESS, USER_AGENT, Bounds, HttpResponse, HttpSessions, exchange, post
from monitor.providers.rate_limit import DEFAULT_WAIT, RequestBudget, http_date, retry_after

_REDACTED = b"<secret>"
_SHORTEST_REDACTED = 8
"""Shorter keys are not redacted: that would damage ordinary words, and no service issues such keys."""

_INVALID_URL = "base_url is not a valid URL."

_PLAIN = frozenset(string.ascii_letters + string.digits + "-._~")
"""Characters that no JSON encoder escapes."""

_YEARS = range(2015, 2100)
"""Plausible years of a server's clock."""

_TRANSIENT = frozenset({408, 425})
_WORTH_WAITING = 5.0
"""Maximum Retry-After in seconds, on a server error, for which a list request waits before it retries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiResponse:
    """A successful response: its status, its body without the API key (some services echo it), and the server's time."""

    status: int
    body: bytes
    content_type: str | None
    at: datetime
    """The response's Date, or this machine's time if it has none: the reference of relative durations."""


class Api:
    """Sends requests to one provider's API with one source's key."""

    def __init__(
        self,
        source: SourceConfig,
        *,
        sessions: HttpSessions,
        clock: Clock,
        budget: RequestBudget | None = None,
    ) -> None:
        self._source = source
        self._info = source.info
        self._sessions = sessions
        self._clock = clock
        limit = self._info.most_per_minute or source.requests_per_minute
        self.budget = budget or RequestBudget(min(source.requests_per_minute, limit))
        self.limits = sessions.limits
        self.clock_skew: float | None = None
        """The latest response's Date minus this machine's clock, in seconds; None without a Date so far."""
        self.list_requests = 0
        """List requests sent so far, retries included."""
        self._keys = _as_written(source.api_key.reveal())
        self._probe_bounds = self._bounds(self.limits.probe_timeout, self.limits.other_bytes)

    async def get(
        self, path: str, *, query: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> ApiResponse:
        """Send GET base_url + path and return a 200 response. Retries after connection errors, timeouts and 5xx.

        Raises the ProviderError for any other status or failure. A status whose meaning depends on the request (400, 401,
        403, 404) is a RequestRefused. The limits' overall timeout includes retries.
        """
        limits = self.limits
        deadline = time.monotonic() + limits.overall_timeout

        async def attempt() -> ApiResponse:
            left = max(deadline - time.monotonic(), 0.001)
            bounds = self._bounds(min(limits.list_timeout, left), limits.list_bytes)
            request = self._request("GET", _with_query(path, query), headers)
            async with self.budget.request("GET"):
                self.list_requests += 1
                return self._check_status(await self._exchange(request, bounds))

        def may_help(exc: Exception) -> bool | float:
            if not isinstance(exc, ProviderUnreachable) or time.monotonic() >= deadline:
                return False
            if exc.retry_after is None:
                return True
            # Slightly longer than requested: the budget stays closed until exactly that instant.
            return exc.retry_after + 0.1 if exc.retry_after <= _WORTH_WAITING else False

        caller = stamina.AsyncRetryingCaller(
            attempts=limits.attempts,
            timeout=limits.overall_timeout,
            wait_initial=limits.retry_wait,
            wait_jitter=limits.retry_wait,
        )
        return await caller(may_help, attempt)

    async def post(self, path: str, *, headers: Mapping[str, str] | None = None) -> ApiResponse:
        """Send POST base_url + path with an empty body, without retries. Returns and raises like get.

        The path must be percent-encoded already. URL and headers are prepared once, because probes are the most frequent
        requests of the monitor.
        """
        base, shared = self._probing
        sent = CIMultiDict(shared, **headers) if headers else shared
        async with self.budget.request("POST"):
            url = URL(base + path, encoded=True)
            return self._check_status(await post(self._transport(), url, sent, bounds=self._probe_bounds))

    @cached_property
    def _probing(self) -> tuple[str, CIMultiDict[str]]:
        """The base URL and headers of probes. Raises like _headers."""
        headers = CIMultiDict(self._headers(None))
        try:
            return str(URL(self._source.base_url)), headers
        except ValueError as exc:
            raise ProviderPayloadInvalid(_INVALID_URL) from exc

    def _bounds(self, timeout: float, body_bytes: int) -> Bounds:
        limits = self.limits
        return Bounds(timeout=timeout, body_bytes=body_bytes, error_bytes=limits.other_bytes, inflation=limits.inflation)

    async def _exchange(self, request: httpx.Request, bounds: Bounds) -> HttpResponse:
        answer = await exchange(self._transport(), request, bounds=bounds, on_headers=self._record_clock_skew)
        redirected = self._same_host_redirect(request, answer)
        if redirected is not None:
            self.list_requests += 1
            answer = await exchange(self._transport(), redirected, bounds=bounds, on_headers=self._record_clock_skew)
        return answer

    def _transport(self) -> AiohttpTransport:
        proxy = self._source.proxy
        try:
            return self._sessions.transport(
                self._source.base_url, ca_file=self._source.ca_file, proxy=None if proxy is None else proxy.reveal()
            )
        except ConfigError as exc:  # a ca_file deleted since the configuration was read
            raise ProviderUnreachable(str(exc)) from exc

    def _request(self, method: str, path: str, headers: Mapping[str, str] | None) -> httpx.Request:
        try:
            return httpx.Request(method, self._source.base_url + path, headers=self._headers(headers))
        except httpx.InvalidURL as exc:
            raise ProviderPayloadInvalid(_INVALID_URL) from exc

    def _headers(self, more: Mapping[str, str] | None) -> dict[str, str]:
        """Return all headers of a request. Raises ProviderUnauthorized for a key that cannot be sent in a header."""
        key = self._source.api_key.reveal()
        if not key or not _is_header_safe(key):
            # The library's error message would contain the key.
            raise ProviderUnauthorized("The API key is empty or contains a character that cannot be sent in a header.")
        return {
            "User-Agent": USER_AGENT,
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
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

    def _check_status(self, answer: HttpResponse) -> ApiResponse:
        """Return a 200 or 201 response. Raises the error for any other status."""
        body = self._without_key(answer.body)
        if answer.status in SUCCESS:
            at = _server_time(answer.headers) or self._clock.now()
            return ApiResponse(status=answer.status, body=body, content_type=answer.headers.get("content-type"), at=at)
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

    def _without_key(self, body: bytes) -> bytes:
        # Done once for everything read from the body: errors, names, messages (some services echo credentials).
        for written in self._keys:
            if written in body:
                body = body.replace(written, _REDACTED)
        return body


def _as_written(key: str) -> Sequence[bytes]:
    """Return a key in every form in which a JSON document may contain it; nothing for a key too short to redact."""
    if len(key) < _SHORTEST_REDACTED:
        return ()
    forms = {key, key.replace("/", "\\/")}
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


def _is_header_safe(text: str) -> bool:
    return text.isascii() and text.isprintable() and text == text.strip()


def header_value(text: str) -> str | None:
    """Return the text if it is valid as a header value of visible ASCII characters, else None."""
    return text if text and len(text) <= 256 and text.isascii() and text.isprintable() and " " not in text else None


def segment(text: str) -> str:
    """Return a path segment with everything but A-Z a-z 0-9 . _ : ~ - percent-encoded (FAILURES S9)."""
    return quote(text, safe=":~", errors="strict")


def _with_query(path: str, query: Mapping[str, str] | None) -> str:
    return f"{path}?{urlencode(query)}" if query else path
