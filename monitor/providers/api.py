"""One source's API: requests with its key inside its budget, and answers with their HTTP status judged once."""

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
from monitor.providers.http import GOOD, USER_AGENT, Bounds, HttpResponse, HttpSessions, exchange, post
from monitor.providers.rate_limit import WITHOUT_HINT, RequestBudget, http_date, retry_after

_REDACTED = b"<secret>"
_SHORTEST_REDACTED = 8
"""A shorter key is left alone: taking it out would cut ordinary words, and no service gives out such keys."""

_NO_ADDRESS = "base_url is no address that can be asked."

_PLAIN = frozenset(string.ascii_letters + string.digits + "-._~")
"""What no JSON encoder escapes."""

_YEARS = range(2015, 2100)
"""Between these any server's clock stands, right or wrong."""

_PASSING = frozenset({408, 425})
_WORTH_WAITING = 5.0
"""Seconds of Retry-After on a server error that a list request still waits for by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiResponse:
    """A usable answer: its status, its body (with our key taken out, should it echo it), and the server's own time."""

    status: int
    body: bytes
    content_type: str | None
    at: datetime
    """The answer's Date, or our clock's time where it has none: the anchor of relative spans."""


class Api:
    """Asks one provider's API with one source's key."""

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
        most = self._info.most_per_minute or source.requests_per_minute
        self.budget = budget or RequestBudget(min(source.requests_per_minute, most))
        self.limits = sessions.limits
        self.clock_skew: float | None = None
        """Server Date minus our clock in seconds, by the latest answer that had a Date."""
        self.list_requests = 0
        """List requests sent so far, repetitions included."""
        self._keys = _as_written(source.api_key.reveal())
        self._probe_bounds = self._bounds(self.limits.probe_timeout, self.limits.other_bytes)

    async def get(
        self, path: str, *, query: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> ApiResponse:
        """GET base_url + path. Repeats what may help (no connection, timeout, 5xx), within one overall bound.

        Returns 200 answers. Raises the ProviderError that any other status or the failure means; what depends on
        the request (400, 401, 403, 404) is a RequestRefused.
        """
        limits = self.limits
        deadline = time.monotonic() + limits.overall_timeout

        async def once() -> ApiResponse:
            left = max(deadline - time.monotonic(), 0.001)
            bounds = self._bounds(min(limits.list_timeout, left), limits.list_bytes)
            request = self._request("GET", _with_query(path, query), headers)
            async with self.budget.request("GET"):
                self.list_requests += 1
                return self._judge(await self._exchange(request, bounds))

        def may_help(exc: Exception) -> bool | float:
            if not isinstance(exc, ProviderUnreachable) or time.monotonic() >= deadline:
                return False
            if exc.retry_after is None:
                return True
            # A little longer than asked: the budget stays closed until exactly then.
            return exc.retry_after + 0.1 if exc.retry_after <= _WORTH_WAITING else False

        caller = stamina.AsyncRetryingCaller(
            attempts=limits.attempts,
            timeout=limits.overall_timeout,
            wait_initial=limits.retry_wait,
            wait_jitter=limits.retry_wait,
        )
        return await caller(may_help, once)

    async def post(self, path: str, *, headers: Mapping[str, str] | None = None) -> ApiResponse:
        """POST base_url + path with an empty body, once: never repeated here. Returns and raises like get.

        The path's every byte is sent as it is. What all probes share is made once: this is what the monitor does most.
        """
        base, shared = self._probing
        sent = CIMultiDict(shared, **headers) if headers else shared
        async with self.budget.request("POST"):
            url = URL(base + path, encoded=True)
            return self._judge(await post(self._transport(), url, sent, bounds=self._probe_bounds))

    @cached_property
    def _probing(self) -> tuple[str, CIMultiDict[str]]:
        """Where probes go and the headers of all of them. Raises what _headers raises, again each time."""
        headers = CIMultiDict(self._headers(None))
        try:
            return str(URL(self._source.base_url)), headers
        except ValueError as exc:
            raise ProviderPayloadInvalid(_NO_ADDRESS) from exc

    def _bounds(self, timeout: float, body_bytes: int) -> Bounds:
        limits = self.limits
        return Bounds(timeout=timeout, body_bytes=body_bytes, error_bytes=limits.other_bytes, inflation=limits.inflation)

    async def _exchange(self, request: httpx.Request, bounds: Bounds) -> HttpResponse:
        answer = await exchange(self._transport(), request, bounds=bounds, on_headers=self._note_date)
        redirected = self._same_host_redirect(request, answer)
        if redirected is not None:
            self.list_requests += 1
            answer = await exchange(self._transport(), redirected, bounds=bounds, on_headers=self._note_date)
        return answer

    def _transport(self) -> AiohttpTransport:
        proxy = self._source.proxy
        try:
            return self._sessions.transport(
                self._source.base_url, ca_file=self._source.ca_file, proxy=None if proxy is None else proxy.reveal()
            )
        except ConfigError as exc:  # a ca_file that vanished since the configuration was read
            raise ProviderUnreachable(str(exc)) from exc

    def _request(self, method: str, path: str, headers: Mapping[str, str] | None) -> httpx.Request:
        try:
            return httpx.Request(method, self._source.base_url + path, headers=self._headers(headers))
        except httpx.InvalidURL as exc:
            raise ProviderPayloadInvalid(_NO_ADDRESS) from exc

    def _headers(self, more: Mapping[str, str] | None) -> dict[str, str]:
        """All headers of a request. Raises ProviderUnauthorized for a key that no header can carry."""
        key = self._source.api_key.reveal()
        if not key or not _is_header_safe(key):
            # The library's own error would show the key.
            raise ProviderUnauthorized("The API key is empty or holds a character that cannot be sent in a header.")
        return {
            "User-Agent": USER_AGENT,
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            self._info.key_header: self._info.key_prefix + key,
            **(more or {}),
        }

    def _same_host_redirect(self, request: httpx.Request, answer: HttpResponse) -> httpx.Request | None:
        """The request to send once more where a GET is redirected within its own https host (a trailing slash, say)."""
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

    def _note_date(self, headers: Mapping[str, str]) -> None:
        date = _server_time(headers)
        if date is not None:
            self.clock_skew = (date - self._clock.now()).total_seconds()

    def _judge(self, answer: HttpResponse) -> ApiResponse:
        """The reply to a 200 or 201. Raises what any other status means."""
        body = self._without_key(answer.body)
        if answer.status in GOOD:
            at = _server_time(answer.headers) or self._clock.now()
            return ApiResponse(status=answer.status, body=body, content_type=answer.headers.get("content-type"), at=at)
        raise self._refusal(answer, body)

    def _refusal(self, answer: HttpResponse, body: bytes) -> ProviderError:
        status = answer.status
        fields = payload.error_fields(body)
        said = payload.error_text(fields) if fields is not None else payload.not_json(body, answer.headers.get("content-type"))
        tail = _after_colon(said)
        wait = None
        if status == 429 or status >= 500:
            wait = retry_after(answer.headers, fields, now=self._clock.now())
        if status == 429:
            self.budget.wait(wait or WITHOUT_HINT)
            return ProviderRateLimited(f"The API asked us to slow down (HTTP 429){tail}", retry_after=wait)
        if wait is not None:
            self.budget.wait(wait)
        if status >= 500 or status in _PASSING:
            return ProviderUnreachable(f"The API answered HTTP {status}{tail}", retry_after=wait)
        if 300 <= status < 400:
            return ProviderPayloadInvalid(f"The API redirected us (HTTP {status}), which is not followed: check base_url.")
        return RequestRefused(status, said, spoken_by_api=fields is not None)

    def _without_key(self, body: bytes) -> bytes:
        # Here once for all that is read from it: errors, names, messages (some services echo credentials).
        for written in self._keys:
            if written in body:
                body = body.replace(written, _REDACTED)
        return body


def _as_written(key: str) -> Sequence[bytes]:
    """A key in every way in which a JSON document has it; none where it is too short to be told from other text."""
    if len(key) < _SHORTEST_REDACTED:
        return ()
    forms = {key, key.replace("/", "\\/")}
    for slash in ("/", "\\/"):
        for escape in ("\\u{:04x}", "\\u{:04X}"):
            forms.add("".join(slash if each == "/" else each if each in _PLAIN else escape.format(ord(each)) for each in key))
    return [form.encode("utf-8", "surrogatepass") for form in sorted(forms, key=len, reverse=True)]


class RequestRefused(ProviderPayloadInvalid):
    """The API answered with a status whose meaning depends on what was asked (400, 401, 403, 404, ...)."""

    def __init__(self, status: int, said: str, *, spoken_by_api: bool) -> None:
        super().__init__(f"The API answered HTTP {status}{_after_colon(said)}")
        self.status = status
        """The HTTP status."""
        self.said = said
        """The API's own words, cleaned, at most 256 characters."""
        self.spoken_by_api = spoken_by_api
        """Whether the body is one of the API's own error objects, and not a proxy's page."""

    def unauthorized(self) -> ProviderUnauthorized | None:
        """The error to raise where a 401 or 403 concerns the key itself, None for any other status."""
        if self.status not in (401, 403):
            return None
        hint = " The plan may lack API access." if self.status == 403 else ""
        return ProviderUnauthorized(f"The API refused the key (HTTP {self.status}){_after_colon(self.said)}{hint}")


def _server_time(headers: Mapping[str, str]) -> datetime | None:
    """The answer's own Date; None where there is none that can be meant: a box without a battery says 1970, a joker 9999."""
    date = http_date(headers.get("date"))
    return date if date is not None and date.year in _YEARS else None


def _after_colon(said: str) -> str:
    return f": {said if said.endswith(('.', '…')) else said + '.'}" if said else "."


def _is_header_safe(text: str) -> bool:
    return text.isascii() and text.isprintable() and text == text.strip()


def header_value(text: str) -> str | None:
    """The text where it can stand in a header as one visible ASCII word, else None."""
    return text if text and len(text) <= 256 and text.isascii() and text.isprintable() and " " not in text else None


def segment(text: str) -> str:
    """One path segment: everything but A-Z a-z 0-9 . _ : ~ - is percent-encoded (FAILURES S9)."""
    return quote(text, safe=":~", errors="strict")


def _with_query(path: str, query: Mapping[str, str] | None) -> str:
    return f"{path}?{urlencode(query)}" if query else path
