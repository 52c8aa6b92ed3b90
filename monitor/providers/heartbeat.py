"""Calls to the heartbeat URL: the requests that each service expects, and their sending."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from urllib.parse import SplitResult, quote, unquote_plus, urlsplit

import httpx

from monitor.config import HeartbeatKind
from monitor.domain.errors import ProviderError, ProviderPayloadInvalid, ProviderUnreachable
from monitor.domain.records import Record
from monitor.providers.http import USER_AGENT, HttpSessions, exchange
from monitor.providers.transport import Bounds, HttpResponse


class Signal(StrEnum):
    """State of the monitor that a call reports."""

    START = "start"
    SUCCESS = "success"
    FAILURE = "failure"
    TEST = "test"
    """A test by `config check --live`: a call that reports no state, or success where the service has no such call."""


class HeartbeatCall(Record, frozen=True):
    """One request."""

    method: str
    url: str
    body: str = ""


_LONGEST_BODY = 10_000
"""Bytes; heartbeat services store no more."""
_LONGEST_MESSAGE = 500
"""Characters of text in a URL."""
_SUFFIXES = {Signal.START: "/start", Signal.FAILURE: "/fail", Signal.TEST: "/log"}
"""Healthchecks: appended to the path (its Pinging API)."""
_NOT_TAKEN = (404, 405, 501)
"""Statuses of a server that does not know the path or the method."""
_BOUNDS = Bounds(timeout=10.0, body_bytes=64 * 1024, error_bytes=64 * 1024, inflation=100)


def calls_for(kind: HeartbeatKind | None, url: str, signal: Signal, text: str) -> tuple[HeartbeatCall, ...]:
    """Return the calls that report a signal, to be tried in order until the server takes one; none if there is no such call.

    A URL of unknown kind is called like one of Healthchecks, and without a suffix if its server does not know the suffix.
    """
    match kind:
        case "uptime-kuma":
            return (HeartbeatCall("GET", _kuma(url, signal, text)),)
        case "cronitor":
            return (HeartbeatCall("GET", _cronitor(url, signal, text)),)
        case "plain":
            return () if signal is Signal.FAILURE else _post_or_get(url, text)
    suffix = _SUFFIXES.get(signal, "")
    if kind is None and signal is Signal.TEST:
        suffix = ""
    parts = urlsplit(url)
    suffixed = parts._replace(path=parts.path.rstrip("/") + suffix).geturl() if suffix else url
    calls = _post_or_get(suffixed, text)
    replaceable = signal is Signal.TEST or (signal is Signal.START and kind is None)
    return (*calls, *_post_or_get(url, text)) if suffix and replaceable else calls


def _post_or_get(url: str, text: str) -> tuple[HeartbeatCall, ...]:
    return HeartbeatCall("POST", url, text), HeartbeatCall("GET", url)


def _kuma(url: str, signal: Signal, text: str) -> str:
    """Return a push URL of Uptime Kuma: any status but "up" is down, and an empty message is "OK" (its api-router.js)."""
    if signal is Signal.FAILURE:
        return _with_query(url, fixed={"status": "down"}, message="msg", text=text)
    return _with_query(url, missing={"status": "up"}, message="msg", text=text)


def _cronitor(url: str, signal: Signal, text: str) -> str:
    """Return a telemetry URL of Cronitor, with its states run, complete and fail (its Telemetry API)."""
    if signal is Signal.FAILURE:
        return _with_query(url, fixed={"state": "fail"}, message="message", text=text)
    return _with_query(url, missing={"state": "run" if signal is Signal.START else "complete"}, message="message", text=text)


def _with_query(
    url: str, *, message: str, text: str, fixed: Mapping[str, str] | None = None, missing: Mapping[str, str] | None = None
) -> str:
    """Return the URL with parameters added: `fixed` ones replace the user's, `missing` ones and the message do not.

    With `fixed` ones, which report a failure, the text follows the user's own message. Everything else stays as written.
    """
    parts = urlsplit(url)
    given = [(item.partition("=")[0], item) for item in parts.query.split("&") if item]
    own = next((unquote_plus(item.partition("=")[2]) for name, item in given if name == message), "")
    added = dict(fixed or {})
    if fixed:
        added[message] = (f"{own}: {text}" if own not in ("", "OK") else text)[:_LONGEST_MESSAGE]
    elif not own:
        added[message] = text[:_LONGEST_MESSAGE]
    added |= {name: value for name, value in (missing or {}).items() if name not in dict(given)}
    query = [item for name, item in given if name not in added]
    query += [f"{name}={quote(value, safe='')}" for name, value in added.items()]
    return parts._replace(query="&".join(query)).geturl()


async def ping(
    sessions: HttpSessions, url: str, *, kind: HeartbeatKind | None, signal: Signal, text: str, method: str | None = None
) -> str | None:
    """Report a signal, by this method first; return the method that was accepted, None if the kind has no such call.

    No redirects, no retries. Raises ProviderError on failure. The message contains only the host, because the path may be a
    secret.
    """
    calls = sorted(calls_for(kind, url, signal, text), key=lambda call: method is not None and call.method != method)
    parts = urlsplit(url)
    for call in calls:
        answer = await _send(sessions, call, parts)
        if answer.status not in _NOT_TAKEN or call is calls[-1]:
            _require_accepted(answer, kind, parts)
            return call.method
    return None


async def _send(sessions: HttpSessions, call: HeartbeatCall, parts: SplitResult) -> HttpResponse:
    headers = {"User-Agent": USER_AGENT}
    if call.method == "POST":
        headers["Content-Type"] = "text/plain; charset=utf-8"
    content = call.body.encode("utf-8", "replace")[:_LONGEST_BODY] if call.method == "POST" else None
    try:
        request = httpx.Request(call.method, call.url, content=content, headers=headers)
        transport = sessions.transport(call.url, ca_file=None, proxy=None)
        return await exchange(transport, request, bounds=_BOUNDS, on_headers=lambda _: None)
    except (ProviderError, httpx.InvalidURL) as error:
        raise ProviderUnreachable(f"The heartbeat URL at {_host(parts)} could not be reached: {_reason(error)}") from error


_HINTS: Mapping[HeartbeatKind | None, Mapping[int, str]] = {
    "uptime-kuma": dict.fromkeys((404, 500), ": the push monitor does not exist, or is paused"),
    "healthchecks": {404: ": the check does not exist", 409: ": several checks have this slug"},
}
"""The meaning of error statuses, by the service's own source or documentation."""


def _require_accepted(answer: HttpResponse, kind: HeartbeatKind | None, parts: SplitResult) -> None:
    host, status = _host(parts), answer.status
    if 300 <= status < 400:
        end = ", a redirect, which is not followed: set heartbeat.url to the final URL."
        raise ProviderPayloadInvalid(f"The heartbeat URL at {host} returned HTTP {status}{end}")
    if not 200 <= status < 300:
        hint = _HINTS.get(kind, {}).get(status, "")
        raise ProviderPayloadInvalid(f"The heartbeat URL at {host} returned HTTP {status}{hint}.")
    if kind in ("healthchecks", None) and answer.body[:20].startswith((b"OK (not found)", b"OK (rate limited)")):
        refused = answer.body[3:20].decode("ascii", "replace").strip("() \n")  # healthchecks.io does so with HTTP 200
        raise ProviderPayloadInvalid(f"The heartbeat URL at {host} did not accept the call: {refused}.")


def _host(parts: SplitResult) -> str:
    return parts.hostname or "an unknown host"


def _reason(error: Exception) -> str:
    text = str(error) if isinstance(error, ProviderError) else "it is not a valid URL."
    return text.partition(" could not be reached: ")[2] or text
