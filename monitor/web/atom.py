"""/feed.atom: what was said lately, for feed readers (RFC 4287). An entry never changes once it is there."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from urllib.parse import quote
from xml.etree import ElementTree as ET  # nosec B405

from monitor import __version__
from monitor.domain import Alert, utc_text
from monitor.domain.text import clean
from monitor.domain.timefmt import zone
from monitor.notify.messages import Dispatch
from monitor.notify.messages.alert_text import item_of

MEDIA_TYPE = "application/atom+xml"
ENTRIES = 100
"""The newest alerts that are in the feed."""
_ATOM = "http://www.w3.org/2005/Atom"
_NAMESPACE = uuid.UUID("0c0b8f55-0f0e-5c92-8f0c-2e4b3f1a9d10")


def feed(alerts: Sequence[Alert], *, site: str, begun_at: datetime, timezone: str) -> bytes:
    """The feed of these alerts, newest first. `site` is the address of the pages, without a slash at its end.

    `begun_at` is what an empty feed was changed at last.
    """
    root = ET.Element("feed", {"xmlns": _ATOM, "xml:lang": "en"})
    _add(root, "id", id_of("feed"))
    _add(root, "title", "Token expiry monitor: alerts")
    _add(root, "subtitle", "What happens to the social accounts behind your keys.")
    _add(root, "updated", utc_text(max((alert.at for alert in alerts), default=begun_at)) or "")
    _add(root, "generator", "token-expiry-monitor", version=__version__)
    _add(_add(root, "author"), "name", "token-expiry-monitor")
    _add(root, "link", rel="self", type=MEDIA_TYPE, href=f"{site}/feed.atom")
    _add(root, "link", rel="alternate", type="text/html", href=f"{site}/")
    for alert in alerts:
        _entry(root, alert, site=site, timezone=timezone)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))


def id_of(alert_id: str) -> str:
    """An entry's id, from its alert's id alone."""
    return uuid.uuid5(_NAMESPACE, alert_id).urn


def _entry(root: ET.Element, alert: Alert, *, site: str, timezone: str) -> None:
    item = item_of([Dispatch(alert=alert)], zone=zone(timezone), now=alert.at)
    entry = _add(root, "entry")
    _add(entry, "id", id_of(alert.id))
    _add(entry, "title", item.opening, type="text")
    _add(entry, "updated", utc_text(alert.at) or "")
    _add(entry, "published", utc_text(alert.at) or "")
    _add(entry, "category", term=str(alert.event))
    _add(entry, "category", term=str(alert.severity), scheme="urn:token-expiry-monitor:severity")
    where = f"{site}/connections/{quote(alert.connection)}" if alert.connection else f"{site}/alerts"
    _add(entry, "link", rel="alternate", type="text/html", href=where)
    lines = [item.opening, item.expiry, item.cause, *item.told, item.advice and f"What to do: {item.advice}", item.link or ""]
    _add(entry, "content", "\n".join(line for line in lines if line), type="text")


def _add(parent: ET.Element, name: str, text: str = "", **attributes: str) -> ET.Element:
    """A child. Texts hold nothing that XML 1.0 does not know."""
    legal = {key: _legal(value) for key, value in attributes.items()}
    element = ET.SubElement(parent, name, legal)
    element.text = _legal(text) or None
    return element


def _legal(text: str) -> str:
    return "\n".join(clean(line, limit=2000) for line in text.split("\n"))
