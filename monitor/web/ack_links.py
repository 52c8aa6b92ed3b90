"""The page of an acknowledge link: what it is about, and the button that acknowledges it.

The link is the permission: it works without a login. Mail scanners and chat previews open links, so only a POST changes
anything, and the form repeats the link, which no other site knows.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from monitor.config import Config
from monitor.domain.addresses import ACKNOWLEDGE
from monitor.domain.filters import EVERY
from monitor.engine import acknowledgements
from monitor.notify.links import AcknowledgeLink, read_acknowledge_link
from monitor.store import Connection, connection_queries, incidents
from monitor.store.incidents import Incident
from monitor.views.connections import ConnectionView
from monitor.web.auth import visit_of
from monitor.web.connection_page import read_one
from monitor.web.rendering import page
from monitor.web.security import client_address
from monitor.web.site import Site


def routes(site: Site) -> list[Route]:
    """Return the routes of acknowledge links."""

    async def show(request: Request) -> Response:
        link = _link_of(request, site)
        return await site.read(lambda conn: _shown(conn, site, request, link))

    async def acknowledge(request: Request) -> Response:
        link, visit = _link_of(request, site), visit_of(request)
        secret = str(request.path_params["link"])
        if not hmac.compare_digest(visit.field("link").encode("utf-8", "replace"), secret.encode("utf-8", "replace")):
            raise HTTPException(403, "This form is not complete. Open the link again. Nothing was changed.")
        seen = visit.field("status")
        if await site.store.write(lambda conn: _acknowledge(conn, site, link, seen=seen)):
            return RedirectResponse(secret, 303)  # relative to this address, whatever the base path
        return await site.read(lambda conn: _shown(conn, site, request, link, seen=seen))

    address = f"{ACKNOWLEDGE}{{link}}"
    return [Route(address, show, methods=["GET"]), Route(address, acknowledge, methods=["POST"])]


def _link_of(request: Request, site: Site) -> AcknowledgeLink:
    """Return what the link in the address permits. Count a wrong one, and raise HTTPException."""
    found = read_acknowledge_link(str(request.path_params["link"]), site.signing_key)
    if found is not None:
        return found
    now, client = site.clock.now(), client_address(request)
    site.wrong_tokens.count(client, now)
    wait = site.wrong_tokens.retry_after(client, now)
    if wait is not None:
        raise HTTPException(429, f"Too many wrong links. Try again in {wait} seconds.", {"retry-after": str(wait)})
    raise HTTPException(404, "This link is not valid. Copy the whole link from the message.")


@dataclass(frozen=True, slots=True, kw_only=True)
class _LinkedIncident:
    """The incident of a link and its connection, at one instant."""

    link: AcknowledgeLink
    incident: Incident | None
    view: ConnectionView | None
    ended: str
    """The reason why the link no longer acknowledges anything, as a sentence; empty while it does."""

    @property
    def acknowledged(self) -> bool:
        """True if an acknowledgement of the incident is in force."""
        return not self.ended and self.view is not None and self.view.acked

    @property
    def context(self) -> dict[str, Any]:
        """The values of the template."""
        names = "link", "incident", "view", "ended", "acknowledged"
        return {name: getattr(self, name) for name in names}


def _read(conn: Connection, config: Config, link: AcknowledgeLink, now: datetime) -> _LinkedIncident:
    incident = incidents.find_incident(conn, link.incident)
    row = None
    if incident is not None and incident.connection_id is not None:
        row = connection_queries.get_connection(conn, incident.connection_id)
    view = None if row is None else read_one(conn, config, now, row.public_id, EVERY)
    return _LinkedIncident(link=link, incident=incident, view=view, ended=_why_ended(config, link, incident, view, now))


def _why_ended(
    config: Config, link: AcknowledgeLink, incident: Incident | None, view: ConnectionView | None, now: datetime
) -> str:
    """Return why the link acknowledges nothing any more, as a sentence; empty while it does."""
    if incident is None or view is None:
        return "The incident of this link has ended and is no longer stored."
    if view.row.retired_at is not None:
        return "This connection is no longer monitored, so there is nothing to acknowledge."
    if not view.status.needs_attention:
        return "This connection has already recovered, so there is nothing to acknowledge."
    if incident.closed_at is not None:
        return "The incident of this link has ended. A later message about this connection has its own link."
    if now >= link.until:
        return "This link has expired. A later message about this connection has a new link."
    if not any(channel.name == link.channel and channel.actions for channel in config.channels):
        return f"Links in messages of the channel {link.channel} no longer acknowledge alerts."
    return ""


def _acknowledge(conn: Connection, site: Site, link: AcknowledgeLink, *, seen: str) -> bool:
    """Acknowledge the incident, if its status is still the one that the page showed. Return True if nothing is left to do."""
    now = site.clock.now()
    subject = _read(conn, site.config(), link, now)
    if subject.ended or subject.view is None:
        return False
    if subject.acknowledged:
        return True
    if seen != subject.view.status:
        return False
    author = f"channel {link.channel}"
    acknowledgements.acknowledge(conn, subject.view.row, now=now, until=None, comment="", author=author)
    return True


def _shown(conn: Connection, site: Site, request: Request, link: AcknowledgeLink, *, seen: str | None = None) -> Response:
    """Return the page. `seen` is the status on the page whose form was sent and had to be refused."""
    config, now = site.config(), site.clock.now()
    subject = _read(conn, config, link, now)
    changed = seen is not None and not subject.ended and not subject.acknowledged
    status = 410 if subject.ended else 409 if changed else 200
    values = {**subject.context, "secret": str(request.path_params["link"]), "changed": changed}
    return page(request, "acknowledge.html", config, now, values, status=status)
