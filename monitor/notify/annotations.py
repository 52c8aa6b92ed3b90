"""Additional data of messages, for the services that take it: tags, the address that a click opens, and the acknowledge link."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from monitor.config import ChannelConfig
from monitor.domain import Alert
from monitor.notify.links import MessageLinks
from monitor.notify.messages import Part

_PLAIN = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")  # of a tag: services separate tags by commas, and some send them as a header


def annotated(part: Part, alerts: Sequence[Alert], *, channel: ChannelConfig, links: MessageLinks | None, now: datetime) -> Part:
    """Return the part with what is known about its alerts. `links` is None without `web.public_url`."""
    if not alerts:
        return part
    part = replace(part, tags=tags_of(alerts))
    if links is None:
        return part
    part = replace(part, page=links.about(alerts))
    last = alerts[-1]
    if not channel.actions or len({alert.incident for alert in alerts}) > 1:
        return part
    link = links.acknowledge(last, channel=channel.name, now=now)
    return part if link is None else replace(part, acknowledge=link, secrets=(*part.secrets, link))


def tags_of(alerts: Sequence[Alert]) -> tuple[str, ...]:
    """Return event, platform and source of these alerts, each only if it is the same for all of them."""
    kinds = ({alert.event.value for alert in alerts}, {alert.platform for alert in alerts}, {alert.source for alert in alerts})
    only = [next(iter(values)) or "" for values in kinds if len(values) == 1]
    return tuple(tag for tag in only if _PLAIN.fullmatch(tag))
