"""Clients by their addresses, the limit on wrong tokens, and the limit on pushes."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

log = structlog.get_logger(__name__)

LOOPBACK = "loopback"
WRONG_AT_MOST = 20
"""Wrong tokens of one client within a minute, after which it is answered with 429."""
MOST_CLIENTS = 1000
"""Maximum number of clients that are counted. Beyond it, the one whose minute began first is forgotten."""
LINES_AT_MOST = 20
"""Log lines about wrong tokens within a minute, for all clients together."""
_MINUTE = timedelta(minutes=1)


def client_of(address: str | None) -> str:
    """Return the client at an address: the IPv4 address, the /64 network of an IPv6 address, or LOOPBACK."""
    try:
        found = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv6Address):
        mapped = found.ipv4_mapped
        if mapped is None:
            return LOOPBACK if found.is_loopback else str(ipaddress.ip_network((found, 64), strict=False))
        found = mapped
    return LOOPBACK if found.is_loopback else str(found)


@dataclass(slots=True)
class _Count:
    began_at: datetime
    number: int = 0

    def has_ended(self, now: datetime) -> bool:
        return not self.began_at <= now < self.began_at + _MINUTE


class WrongTokens:
    """Counts wrong tokens for each client and logs them.

    The right token is accepted from a client that exceeds the limit as well: the operator may share an address with others
    behind a proxy, and must not be locked out by them. The length of the token prevents guessing.
    """

    def __init__(self) -> None:
        self._clients: dict[str, _Count] = {}
        self._lines: _Count | None = None

    def count(self, address: str | None, now: datetime) -> None:
        """Count one wrong token from an address. The client's first of a minute is logged, and the one that reaches the limit."""
        client = client_of(address)
        known = self._clients.get(client)
        if known is None or known.has_ended(now):
            self._clients.pop(client, None)
            known = self._clients[client] = _Count(now)
            if len(self._clients) > MOST_CLIENTS:
                del self._clients[next(iter(self._clients))]
        known.number += 1
        if known.number in (1, WRONG_AT_MOST) and self._may_log(now):
            log.warning("web.wrong_token", client=address, within_a_minute=known.number)

    def retry_after(self, address: str | None, now: datetime) -> int | None:
        """Return the seconds until the minute of the address's client ends if it sent too many wrong tokens, else None."""
        known = self._clients.get(client_of(address))
        if known is None or known.number <= WRONG_AT_MOST or known.has_ended(now):
            return None
        return max(1, round((known.began_at + _MINUTE - now).total_seconds()))

    def _may_log(self, now: datetime) -> bool:
        if self._lines is None or self._lines.has_ended(now):
            self._lines = _Count(now)
        self._lines.number += 1
        return self._lines.number <= LINES_AT_MOST


class RequestRates:
    """Limits the requests to each source to a number within a minute. Unused requests allow a burst of that number."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, datetime]] = {}

    def take(self, source: str, per_minute: int, now: datetime) -> int | None:
        """Count one request to a source. Return None if it is within the limit, else the seconds until another one is."""
        left, at = self._left.get(source, (float(per_minute), now))
        left = min(per_minute, left + max((now - at).total_seconds(), 0) * per_minute / 60)
        if left < 1:
            return max(1, round((1 - left) * 60 / per_minute))
        self._left[source] = left - 1, now
        return None
