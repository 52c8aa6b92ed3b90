"""Addresses on the status page that messages and pages share, relative to its root."""

from __future__ import annotations

from urllib.parse import quote, urlencode

ACKNOWLEDGE = "/ack/"
"""The beginning of the addresses that acknowledge an incident without a login; the rest is a secret."""

SHARE = "/share/"
"""The beginning of the addresses of shared pages; the rest is a secret."""

SOURCES = "/sources"


def connection_address(public_id: str, **query: str | list[str]) -> str:
    """Return the address of a connection's page, for any ID."""
    suffix = f"?{urlencode(query, doseq=True)}" if query else ""
    if any(part in ("", ".", "..") for part in public_id.split("/")):
        # Browsers would resolve these parts away.
        return f"/connections/?{urlencode({'id': public_id, **query}, doseq=True)}"
    return f"/connections/{quote(public_id, safe='/')}{suffix}"
