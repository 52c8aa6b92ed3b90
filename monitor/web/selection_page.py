"""The page that confirms a change of many connections, selected by check boxes or by the filters of the status page.

The page lists what is covered, and its form carries a digest of that: if the selection covers something else by then, the page is
shown again instead of the change being made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from monitor.config import Config
from monitor.domain.errors import MonitorError
from monitor.domain.rules.silences import Silence, literal
from monitor.engine import acknowledgements, rechecks
from monitor.engine.bulk_changes import BulkOutcome
from monitor.store import Connection, connection_queries
from monitor.store.connection_queries import ConnectionRow
from monitor.views.connections import ConnectionView
from monitor.views.selection import reader_at, select_connections
from monitor.views.silences import confined
from monitor.web import bulk
from monitor.web.auth import Visit, visit_of
from monitor.web.forms import BY, MOST_LISTED
from monitor.web.pages import UNFILLED, show
from monitor.web.query_params import platform_names, read_query, source_names
from monitor.web.silence_forms import ENDLESS, LENGTHS, WEEKDAYS, InvalidForm, comment_of, filled_in, length_of, times_of
from monitor.web.site import Site

ALL = "all"
"""The value of the field `which` for all connections that match the filters."""
MOST_SILENCED = 1000
MOST_RECHECKED = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedChange:
    """A change that the page offers."""

    verb: str
    """The text of the button and the heading; the number of connections follows."""
    notice: str
    """The code of the notice that is shown afterwards."""
    most: int
    """Connections that one form may change."""


ACTIONS: Mapping[str, OfferedChange] = {
    "ack": OfferedChange(verb="Acknowledge", notice="acknowledged", most=bulk.MOST_SELECTED),
    "silence": OfferedChange(verb="Silence", notice="silenced", most=MOST_SILENCED),
    "recheck": OfferedChange(verb="Check now", notice="checking", most=MOST_RECHECKED),
    "forget": OfferedChange(verb="Retire", notice="retired", most=bulk.MOST_SELECTED),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The connections that a form covers."""

    views: Sequence[ConnectionView]
    outcome: BulkOutcome
    digest: str

    @property
    def covered(self) -> list[ConnectionView]:
        """The connections that would be changed."""
        keys = set(self.outcome.rows)
        return [view for view in self.views if view.row.id in keys]


def routes(site: Site) -> list[Route]:
    """Return the route of the page."""

    async def change(request: Request) -> Response:
        visit, now = visit_of(request), site.clock.now()
        action = ACTIONS.get(visit.field("action"))
        if action is None:
            raise InvalidForm("The form names no action.")
        plan = await site.read(lambda conn: _plan(conn, site, request, visit, now))
        problem = _problem(plan, action)
        if problem is None and visit.field("step") == "confirm":
            if visit.field("digest") != plan.digest:
                problem = "Something else matches by now. Nothing was changed: check the list again."
            else:
                try:
                    await _carry_out(site, visit, plan, now)
                except MonitorError as error:
                    if error.transient:
                        raise
                    problem = str(error)
                else:
                    query = f"{request.url.query}&" if request.url.query else ""
                    return RedirectResponse(f"/?{query}said={action.notice}#connections", 303)  # codespell:ignore said
        return await show(
            site,
            request,
            "selection.html",
            lambda _, config: _context(config, request, visit, plan, action),
            status=200 if problem is None else 422,
            problem=problem,
        )

    return [Route("/selection", change, methods=["POST"])]


def _plan(conn: Connection, site: Site, request: Request, visit: Visit, now: datetime) -> Plan:
    """Return what the form covers now."""
    config = site.config()
    if visit.field("which") == ALL:
        known, platforms = source_names(conn, config, visit.selection), platform_names(conn, config, visit.selection)
        query = read_query(conn, request, config, sources=known, platforms=platforms)
        filters = query.for_stale_data(reader_at(conn, config, now).stale_limits()).filters
        views = select_connections(conn, config, now=now, filters=filters, limit=bulk.MOST_SELECTED + 1)
    else:
        rows = [connection_queries.find_by_public_id(conn, each) for each in visit.form.get("connection", [])]
        keys = {row.id for row in rows if row is not None and row.retired_at is None}
        views = select_connections(conn, config, now=now, filters=visit.selection, keys=keys)
    outcome = bulk.check_all(conn, views, _checks(visit))
    text = "\n".join(sorted(outcome.changed))
    return Plan(views=views, outcome=outcome, digest=hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest())


def _checks(visit: Visit) -> bulk.Change:
    match visit.field("action"):
        case "ack":
            return acknowledgements.incident_to_acknowledge
        case "forget":
            return lambda _, row: acknowledgements.require_monitored(row)
        case _:
            return lambda *_: None


def _problem(plan: Plan, action: OfferedChange) -> str | None:
    """Return why the change cannot be made, None if it can."""
    if not plan.views:
        return "No connection is selected. Tick connections of the list, or choose all that match."
    if not plan.outcome.changed:
        return "The change applies to none of these connections."
    if len(plan.views) > action.most:
        return f"At most {action.most:,} connections can be changed by one form. Filter the list, or use the command line."
    return None


async def _carry_out(site: Site, visit: Visit, plan: Plan, now: datetime) -> None:
    """Make the change. Raise InvalidForm, or MonitorError if it is refused."""
    config, covered, author = site.config(), plan.covered, visit.author(BY)
    match visit.field("action"):
        case "ack":
            length, comment = visit.field("for"), comment_of(visit)
            until = None if length in ("", ENDLESS) else now + length_of(length)

            def acknowledge(conn: Connection, row: ConnectionRow) -> None:
                acknowledgements.acknowledge(conn, row, now=now, until=until, comment=comment, author=author)

            await bulk.change_all(site, covered, acknowledge)
        case "silence":
            named = tuple(literal(view.id) for view in covered)
            silence = Silence(connections=named, comment=comment_of(visit, required=True), **times_of(visit, config, now))
            silence = confined(silence, visit.selection.bound_to)
            await site.store.write(lambda conn: acknowledgements.add_silence(conn, silence, now=now, author=author))
        case "recheck":
            rows = [view.row for view in covered]
            await site.store.write(lambda conn: rechecks.request(conn, rows, now=now, author=author))
        case "forget":

            def retire(conn: Connection, row: ConnectionRow) -> None:
                acknowledgements.retire(conn, row, now=now, author=author)

            await bulk.change_all(site, covered, retire)


def _context(config: Config, request: Request, visit: Visit, plan: Plan, action: OfferedChange) -> dict[str, Any]:
    chosen = visit.field("which") == ALL
    return {
        "action": visit.field("action"),
        "verb": action.verb,
        "filters": f"?{request.url.query}" if request.url.query else "",
        "which": ALL if chosen else "selected",
        "ids": [] if chosen else [view.id for view in plan.views],
        "digest": plan.digest,
        "number": len(plan.outcome.changed),
        "covered": plan.covered[:MOST_LISTED],
        "skipped": plan.outcome.skipped,
        "possible": _problem(plan, action) is None,
        "lengths": {key: text for key, (text, _) in LENGTHS.items()},
        "weekdays": WEEKDAYS,
        "filled": {**UNFILLED, **(filled_in(visit) if visit.field("step") else {})},
        "zone": config.timezone,
    }
