"""Links from messages to the status page: to what a message is about, and to acknowledge an incident.

An acknowledge link works without a login, so its address is a secret: it is built for the message that contains it, and neither
stored nor logged. It holds the incident, the channel, the end of its validity and a signature of these.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

from monitor.domain import RECOVERY_EVENTS, Alert, Status
from monitor.domain.addresses import ACKNOWLEDGE, SOURCES, connection_address
from monitor.domain.rules.labels import CLIENT
from monitor.domain.signatures import sign

ACKNOWLEDGE_WITHIN = timedelta(days=14)
"""The longest validity of an acknowledge link. It ends earlier with its incident."""

_PURPOSE = "acknowledge"
_SIGNATURE_LENGTH = 32  # hexadecimal digits: 128 bits
_MOST_VALUES = 3  # of one filter: an address with more of them is too long for a message
_STATUSES = frozenset(status.value for status in Status)


@dataclass(frozen=True, slots=True, kw_only=True)
class AcknowledgeLink:
    """The permission to acknowledge one incident, in the name of the channel that received the link."""

    incident: str
    channel: str
    until: datetime
    """The end of its validity, in whole seconds."""

    def text(self, key: bytes) -> str:
        """Return the secret part of the address."""
        content = f"{self.incident}.{self.channel}.{int(self.until.timestamp())}"
        return f"{content}.{sign(key, _PURPOSE, content)[:_SIGNATURE_LENGTH]}"


def read_acknowledge_link(text: str, key: bytes) -> AcknowledgeLink | None:
    """Return what the secret part of an address permits, None if its signature is wrong. It may have ended."""
    content, _, signature = text.rpartition(".")
    expected = sign(key, _PURPOSE, content)[:_SIGNATURE_LENGTH]
    if not hmac.compare_digest(signature.encode("utf-8", "replace"), expected.encode()):
        return None
    incident, channel, until = content.split(".")
    return AcknowledgeLink(incident=incident, channel=channel, until=datetime.fromtimestamp(int(until), UTC))


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageLinks:
    """Builds the addresses that messages contain. It exists only where `web.public_url` is set."""

    public_url: str
    """Without a trailing slash."""
    key: bytes = field(repr=False)
    """The store's key for signatures."""

    def connection(self, public_id: str) -> str:
        """Return the address of a connection's page."""
        return self.public_url + connection_address(public_id)

    def page(self, filters: Iterable[tuple[str, str]] = ()) -> str:
        """Return the address of the status page with these filters, as (name, value): ("label", "client=acme")."""
        query = urlencode(list(filters), quote_via=quote, safe="=/:")  # ntfy would not keep a + for a space
        return f"{self.public_url}/?{query}" if query else f"{self.public_url}/"

    def about(self, alerts: Sequence[Alert]) -> str:
        """Return the address of the page that shows what these alerts are about, at least one."""
        connections = dict.fromkeys(alert.connection for alert in alerts)
        if None not in connections:
            only = next(iter(connections))
            return self.connection(only) if only and len(connections) == 1 else self.page(_shared_filters(alerts))
        return self.public_url + SOURCES if len(connections) == 1 else self.page()

    def acknowledge(self, alert: Alert, *, channel: str, now: datetime) -> str | None:
        """Return the address that acknowledges the alert's incident; None where there is nothing to acknowledge."""
        if alert.connection is None or alert.event in RECOVERY_EVENTS or alert.event not in _STATUSES:
            return None
        until = (now + ACKNOWLEDGE_WITHIN).replace(microsecond=0)
        link = AcknowledgeLink(incident=alert.incident, channel=channel, until=until)
        return f"{self.public_url}{ACKNOWLEDGE}{link.text(self.key)}"


def _shared_filters(alerts: Sequence[Alert]) -> list[tuple[str, str]]:
    """Return filters of the status page that show the connections of these alerts, and few others."""
    chosen: list[tuple[str, Iterable[str]]] = [
        ("status", (alert.status if alert.event in _STATUSES else "" for alert in alerts)),  # recovered ones have any
        ("source", (alert.source for alert in alerts)),
        ("platform", (alert.platform or "" for alert in alerts)),
    ]
    found = [(name, value) for name, values in chosen for value in _few(values)]
    clients = {alert.labels.get(CLIENT) for alert in alerts}
    client = next(iter(clients)) if len(clients) == 1 else None
    return [*found, ("label", f"{CLIENT}={client}")] if client else found


def _few(values: Iterable[str]) -> list[str]:
    """Return the different values; none where one is empty or there are too many for an address."""
    different = sorted(set(values))
    return different if len(different) <= _MOST_VALUES and "" not in different else []
