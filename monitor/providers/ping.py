"""A call that only says something: where the heartbeat goes. Nothing of the answer is used but its status."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx

from monitor.domain.errors import ProviderError, ProviderPayloadInvalid, ProviderUnreachable
from monitor.providers.http import USER_AGENT, Bounds, HttpSessions, exchange

_BOUNDS = Bounds(timeout=10.0, body_bytes=64 * 1024, error_bytes=64 * 1024, inflation=100)
_LONGEST = 10_000
"""Bytes of text; the services keep no more of it."""


async def ping(sessions: HttpSessions, url: str, *, suffix: str = "", text: str = "") -> None:
    """POST `text` to the URL, with `suffix` at the end of its path. Follows no redirect, repeats nothing.

    Raises ProviderError where it was not taken; the message names the host alone, for the path may be a secret.
    """
    parts = urlsplit(url)
    target = parts._replace(path=parts.path.rstrip("/") + suffix).geturl() if suffix else url
    host = parts.hostname or "there"
    try:
        request = httpx.Request(
            "POST",
            target,
            content=text.encode("utf-8", "replace")[:_LONGEST],
            headers={"User-Agent": USER_AGENT, "Content-Type": "text/plain; charset=utf-8"},
        )
        transport = sessions.transport(target, ca_file=None, proxy=None)
        answer = await exchange(transport, request, bounds=_BOUNDS, on_headers=lambda _: None)
    except (ProviderError, httpx.InvalidURL) as error:
        raise ProviderUnreachable(f"The heartbeat's address at {host} was not reached: {_why(error)}") from error
    if not 200 <= answer.status < 300:
        raise ProviderPayloadInvalid(f"The heartbeat's address at {host} answered with HTTP {answer.status}.")


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, ProviderError) else "it cannot be called."
