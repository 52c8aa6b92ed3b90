"""Acknowledge, silence, recheck and forget through the API: the only calls that change anything, as JSON over POST."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from monitor.config import Config
from monitor.config.error_text import nearest
from monitor.config.resolve import timezone_problem
from monitor.domain import Status, utc_text
from monitor.domain.records import replace
from monitor.domain.rules import recurrence
from monitor.domain.rules.platforms import canonical
from monitor.domain.rules.silences import Silence
from monitor.domain.text import clean
from monitor.domain.timefmt import zone
from monitor.engine import acknowledgements, rechecks
from monitor.engine.bulk_changes import BulkOutcome
from monitor.store import Connection, connection_queries, silences, sources
from monitor.store.connection_queries import ConnectionRow
from monitor.views.connections import ConnectionView, Reader, Suppressions
from monitor.views.json_types import listing
from monitor.views.label_filter import resolve_labels
from monitor.views.rechecks import RecheckView, selected_rechecks
from monitor.views.selection import outcome_json, views_silenced
from monitor.views.silences import SilenceView, confined, is_confined
from monitor.web import bulk
from monitor.web.auth import Visit, visit_of
from monitor.web.query_params import source_names
from monitor.web.responses import JSON, Handler, encode
from monitor.web.security import content_type, read_body
from monitor.web.site import Site

BY = "the API"
_READ_EVERY = 0.5
"""Seconds between two reads of the results of rechecks."""
_MOST = 100
"""Values in one list, and connections that are checked by one request."""
_MOST_IDS = 250
"""IDs or globs in one list: with usual ids the body stays below its limit."""
_LONGEST_ID = 700
_LONGEST_WINDOW = 31 * 24 * 3600
_SHOWN = 120
# In Python `$` matches before a final newline too; the lookahead rules that out, in JSON Schema it changes nothing.
_NO_CONTROLS = r"^[^\x00-\x1f\x7f]*$(?!\n)"

# 60.0 is an integer in JSON Schema; the decoder takes it for one only as a float.
_WHOLE = Meta(ge=1, le=_LONGEST_WINDOW, multiple_of=1, extra_json_schema={"type": "integer"})

Body = TypeVar("Body", bound=msgspec.Struct)
Names = Annotated[list[Annotated[str, Meta(min_length=1, max_length=_LONGEST_ID, pattern=_NO_CONTROLS)]], Meta(max_length=_MOST)]
ManyNames = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=_LONGEST_ID, pattern=_NO_CONTROLS)]], Meta(max_length=_MOST_IDS)
]
Labels = Annotated[
    dict[
        Annotated[str, Meta(min_length=1, max_length=300, pattern=_NO_CONTROLS)],
        Annotated[str, Meta(max_length=300, pattern=_NO_CONTROLS)],
    ],
    Meta(max_length=_MOST),
]
Instant = Annotated[datetime, Meta(tz=True)]


class Selected(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The connections that a request is about: all filters must match, and one of `connections` if there are any."""

    connections: Annotated[ManyNames | None, Meta(description="Full IDs, or patterns for IDs and names, such as `agency/*`.")] = (
        None
    )
    sources: Names | None = None
    platforms: Names | None = None
    statuses: Annotated[list[Status], Meta(max_length=len(Status))] | None = None
    labels: Annotated[Labels | None, Meta(description="Values may be patterns.")] = None
    dry_run: Annotated[bool, Meta(description="True changes nothing: the response lists the connections that match.")] = False


class NewAck(Selected, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An acknowledgement of the open incidents of connections, or its withdrawal."""

    connection: Annotated[
        Annotated[str, Meta(min_length=1, max_length=_LONGEST_ID, pattern=_NO_CONTROLS)] | None,
        Meta(description="The full ID of one connection, without other selectors. The response is the connection."),
    ] = None
    until: Annotated[Instant | None, Meta(description="When it ends, at the latest; null for no limit.")] = None
    comment: Annotated[str, Meta(max_length=400, pattern=_NO_CONTROLS)] | None = None
    remove: Annotated[bool, Meta(description="True removes the acknowledgements.")] = False


class Forgotten(Selected, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Connections that were removed on purpose, to retire."""


class NewSilence(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A silence. A connection must match every matcher that is given, and any of a matcher's values."""

    sources: Names | None = None
    platforms: Names | None = None
    connections: Annotated[ManyNames | None, Meta(description="Globs on IDs.")] = None
    labels: Labels | None = None
    dry_run: Annotated[bool, Meta(description="True adds no silence: the response lists the connections that match now.")] = False
    comment: Annotated[str, Meta(min_length=1, max_length=400, pattern=_NO_CONTROLS)]
    starts_at: Annotated[Instant | None, Meta(description="Now if null.")] = None
    ends_at: Annotated[Instant | None, Meta(description="Null lasts until the silence is removed.")] = None
    rrule: Annotated[
        Annotated[str, Meta(max_length=500, pattern=_NO_CONTROLS)] | None,
        Meta(description="An RFC 5545 recurrence rule for the start of each window. Needs window_seconds."),
    ] = None
    window_seconds: Annotated[float, _WHOLE] | None = None
    timezone: Annotated[
        Annotated[str, Meta(max_length=100, pattern=_NO_CONTROLS)] | None,
        Meta(description="The IANA time zone of the rule; the configured one if null."),
    ] = None


class NewRecheck(Selected, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A request to check connections now."""

    connections: Annotated[Names | None, Meta(description="Full IDs, or patterns for IDs and names.")] = None
    wait_seconds: Annotated[
        float, Meta(ge=0, le=60, description="Wait this long for the results before the response is sent.")
    ] = 0


class EmptyObject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An object without members. An empty body is accepted as well."""


def ack(site: Site) -> Handler:
    """Return the handler that acknowledges open incidents, or withdraws acknowledgements."""

    async def respond(request: Request) -> Response:
        body, visit = await _read_json(request, NewAck), visit_of(request)
        until = _utc(body, "until")
        if until is not None and until <= site.clock.now():
            raise HTTPException(422, "until is in the past.")

        def change(conn: Connection, row: ConnectionRow) -> None:
            now, author = site.clock.now(), visit.author(BY)
            if body.remove:
                acknowledgements.unacknowledge(conn, row, now=now, author=author)
            else:
                acknowledgements.acknowledge(conn, row, now=now, until=until, comment=body.comment or "", author=author)

        if body.connection is not None:
            if _selects(body) or body.dry_run:
                raise HTTPException(422, "connection cannot be combined with other selectors: use connections.")
            public_id = body.connection
            found = await site.store.write(lambda conn: _change_one(conn, site, visit, public_id, change))
            return Response(encode(found), media_type=JSON)
        check = acknowledgements.acknowledged_incident if body.remove else acknowledgements.incident_to_acknowledge
        return await _change_selected(site, visit, body, check=check, change=change)

    return respond


def forget(site: Site) -> Handler:
    """Return the handler that retires connections."""

    async def respond(request: Request) -> Response:
        body, visit = await _read_json(request, Forgotten), visit_of(request)

        def change(conn: Connection, row: ConnectionRow) -> None:
            acknowledgements.retire(conn, row, now=site.clock.now(), author=visit.author(BY))

        return await _change_selected(
            site, visit, body, check=lambda _, row: acknowledgements.require_monitored(row), change=change
        )

    return respond


def _change_one(conn: Connection, site: Site, visit: Visit, public_id: str, change: bulk.Change) -> dict[str, Any]:
    """Change one connection, and return it as it is afterwards."""
    now, config = site.clock.now(), site.config()
    row = _find(conn, config, visit, public_id)
    known = {each.name: each for each in sources.all_sources(conn)}
    change(conn, Reader(config, known, now=now).view(row).row)
    after = Reader(config, known, now=now, suppressions=Suppressions.read(conn, now)).view(row)
    return {"generated_at": utc_text(now), "connection": after.json()}


async def _change_selected(
    site: Site, visit: Visit, body: Selected, *, check: bulk.Change, change: bulk.Change, most: int = bulk.MOST_SELECTED
) -> Response:
    """Change the connections that the request selects, or list them if it is a dry run."""
    now = site.clock.now()

    def read(conn: Connection) -> tuple[Sequence[ConnectionView], BulkOutcome | None]:
        views = _selected(conn, site, visit, body, now, most=most)
        return views, bulk.check_all(conn, views, check) if body.dry_run else None

    views, outcome = await site.read(read)
    if outcome is None:
        outcome = await bulk.change_all(site, views, change)
    found = outcome_json(outcome, now=now, dry_run=body.dry_run)
    return Response(encode(msgspec.to_builtins(found)), media_type=JSON)


def _selects(body: Selected) -> bool:
    return bool(body.connections or body.sources or body.platforms or body.statuses or body.labels)


def _selected(
    conn: Connection, site: Site, visit: Visit, body: Selected, now: datetime, *, most: int = bulk.MOST_SELECTED
) -> list[ConnectionView]:
    """Return the connections that a request selects. Raise HTTPException if there are none or too many."""
    if not _selects(body):
        raise HTTPException(422, "Name connections, sources, platforms, statuses or labels.")
    _require_sources(conn, site.config(), visit, body.sources or ())
    filters = replace(
        visit.selection,
        sources=frozenset(body.sources) if body.sources else None,
        platforms=frozenset(map(canonical, body.platforms)) if body.platforms else None,
        statuses=frozenset(each.value for each in body.statuses) if body.statuses else None,
        labels=body.labels or {},
    )
    return bulk.selected(conn, site, filters=filters, names=body.connections or None, now=now, most=most)


def silence(site: Site) -> Handler:
    """Return the handler that adds a silence."""

    async def respond(request: Request) -> Response:
        body, visit = await _read_json(request, NewSilence), visit_of(request)
        now = site.clock.now()
        wanted = confined(_silence(body, now, site.config().timezone), visit.selection.bound_to)

        def read(conn: Connection) -> list[str]:
            _require_sources(conn, site.config(), visit, wanted.sources)
            return [view.id for view in views_silenced(conn, site.config(), wanted, now=now, selection=visit.selection)]

        matching = await site.read(read)
        if body.dry_run:
            found = outcome_json(BulkOutcome(changed=matching[: bulk.MOST_SELECTED]), now=now, dry_run=True)
            return Response(encode(msgspec.to_builtins(found)), media_type=JSON)

        def write(conn: Connection) -> dict[str, Any]:
            return _silence_json(conn, acknowledgements.add_silence(conn, wanted, now=now, author=visit.author(BY)), now)

        added = {**await site.store.write(write), "matches": len(matching)}
        return Response(encode(added), 201, media_type=JSON)

    return respond


def unsilence(site: Site) -> Handler:
    """Return the handler that removes a silence."""

    async def respond(request: Request) -> Response:
        await _read_json(request, EmptyObject)
        text = request.path_params["number"]
        number = int(text) if re.fullmatch("[0-9]{1,9}", text) else 0

        def write(conn: Connection) -> dict[str, Any]:
            now, visit = site.clock.now(), visit_of(request)
            known = silences.find_silence(conn, number)
            if known is None or not is_confined(known, visit.selection.bound_to):
                raise HTTPException(404, "There is no silence with this number.")
            acknowledgements.remove_silence(conn, number, now=now, author=visit.author(BY))
            return _silence_json(conn, number, now)

        return Response(encode(await site.store.write(write)), media_type=JSON)

    return respond


def recheck(site: Site) -> Handler:
    """Return the handler that requests rechecks, and waits for their results if the request asks for that."""

    async def respond(request: Request) -> Response:
        body, visit = await _read_json(request, NewRecheck), visit_of(request)
        if body.dry_run:
            return await _change_selected(site, visit, body, check=lambda *_: None, change=lambda *_: None, most=_MOST)

        def write(conn: Connection) -> list[int]:
            now = site.clock.now()
            rows = [view.row for view in _selected(conn, site, visit, body, now, most=_MOST)]
            try:
                return [each.id for each in rechecks.request(conn, rows, now=now, author=visit.author(BY))]
            except rechecks.TooManyRechecks as error:
                raise HTTPException(429, str(error), {"retry-after": "60"}) from None

        ids = await site.store.write(write)
        views = await _await_rechecks(site, visit, ids, timedelta(seconds=body.wait_seconds))
        status = 202 if any(view.is_pending for view in views) else 200
        return Response(encode(listing("rechecks", views, now=site.clock.now())), status, media_type=JSON)

    return respond


async def _await_rechecks(site: Site, visit: Visit, ids: Sequence[int], wait: timedelta) -> list[RecheckView]:
    """Return the rechecks once all are finished, or as they are after this time."""
    deadline = time.monotonic() + wait.total_seconds()
    while True:
        views = await site.read(lambda conn: selected_rechecks(conn, site.config(), visit.selection, ids, now=site.clock.now()))
        left = deadline - time.monotonic()
        if left <= 0 or not any(view.is_pending for view in views):
            return views
        await asyncio.sleep(min(_READ_EVERY, left))


def _silence_json(conn: Connection, number: int, now: datetime) -> dict[str, Any]:
    found = silences.find_silence(conn, number)
    assert found is not None  # noqa: S101 - it was written in this transaction
    return {"generated_at": utc_text(now), "silence": SilenceView(silence=found, now=now).json()}


def _find(conn: Connection, config: Config, visit: Visit, public_id: str) -> ConnectionRow:
    """Return the connection with exactly this ID. Raise HTTPException (404) if none that the user may see has it."""
    wanted = resolve_labels(conn, replace(visit.selection, connection=public_id), config)
    found = list(connection_queries.list_connections(conn, wanted, worst_first=False, limit=1))
    if not found:
        raise HTTPException(404, f"There is no connection {clean(public_id, limit=_SHOWN)}: /api/v1/connections lists every ID.")
    return found[0]


def _require_sources(conn: Connection, config: Config, visit: Visit, names: Sequence[str]) -> None:
    known = source_names(conn, config, visit.selection) if names else set()
    for name in names:
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near}?" if near else "/api/v1/sources lists every source."
            raise HTTPException(404, f"There is no source {clean(name, limit=_SHOWN)}; {hint}")


def _silence(body: NewSilence, now: datetime, timezone: str) -> Silence:
    """Return the silence that a body describes. Raise HTTPException if it contradicts itself or matches nothing."""
    matchers: dict[str, Any] = {
        "sources": tuple(sorted(set(body.sources or ()))),
        "platforms": tuple(sorted({canonical(name) for name in body.platforms or ()})),
        "connections": tuple(dict.fromkeys(body.connections or ())),
        "labels": body.labels or {},
    }
    if not any(matchers.values()):
        raise HTTPException(
            422, "A matcher is required: sources, platforms, connections or labels. connections ['*'] matches all."
        )
    comment = body.comment.strip()
    if not comment:
        raise HTTPException(422, "comment is empty: give the reason for the silence.")
    where = body.timezone or timezone
    if timezone_problem(where) is not None:
        raise HTTPException(422, "timezone is not an IANA time zone.")
    starts, ends = _utc(body, "starts_at") or now, _utc(body, "ends_at")
    if ends is not None and ends <= max(starts, now):
        raise HTTPException(422, "ends_at must be in the future and after starts_at.")
    rrule = None if body.rrule is None else recurrence.bare_rule(body.rrule)
    seconds = body.window_seconds
    if (rrule is None) != (seconds is None):
        raise HTTPException(422, "rrule and window_seconds must be given together: the start and the length of each window.")
    lasts = None if seconds is None else timedelta(seconds=seconds)
    made = Silence(**matchers, comment=comment, starts_at=starts, ends_at=ends, rrule=rrule, lasts=lasts, timezone=where)
    if rrule is not None:
        _require_recurring(made, rrule, now)
    return made


def _require_recurring(made: Silence, rule: str, now: datetime) -> None:
    problem = recurrence.rule_problem(rule)
    if problem is not None:
        raise HTTPException(422, f"rrule {problem}")
    local = made.starts_at.astimezone(zone(made.timezone) or UTC).replace(tzinfo=None)
    if not recurrence.recurs(rule, local) or SilenceView(silence=made, now=now).window is None:
        raise HTTPException(422, "rrule has no occurrence between starts_at and ends_at.")


async def _read_json(request: Request, kind: type[Body]) -> Body:
    """Decode the body. Raise HTTPException if it is too large, too slow, not JSON or not of this type.

    The content type is required even without a body: a form on a page of another site cannot send it.
    """
    if content_type(request) != JSON:
        raise HTTPException(415, f"The content type must be {JSON}.", {"accept": JSON})
    body = await read_body(request)
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise HTTPException(400, _body_problem(str(error), msgspec.structs.fields(kind))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise HTTPException(400, "The body is not valid JSON.") from None


def _body_problem(problem: str, fields: Iterable[msgspec.structs.FieldInfo]) -> str:
    if "unknown field" in problem:  # the library repeats the name, which may be anything
        return f"The body has an unknown member. Allowed: {', '.join(field.name for field in fields) or 'none'}."
    return f"The body is not valid: {problem}."


def _utc(body: NewAck | NewSilence, name: str) -> datetime | None:
    """Return a member's instant in UTC. Raise HTTPException if it is outside of the calendar there."""
    instant: datetime | None = getattr(body, name)
    try:
        return None if instant is None else instant.astimezone(UTC)
    except OverflowError:
        raise HTTPException(400, f"{name} is outside of the calendar.") from None
