"""Acknowledge, silence and recheck through the API: the only calls that change anything, as JSON over POST."""

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

from monitor.config.error_text import nearest
from monitor.config.resolve import timezone_problem
from monitor.domain import utc_text
from monitor.domain.filters import ConnectionFilter
from monitor.domain.rules import recurrence
from monitor.domain.rules.platforms import canonical
from monitor.domain.rules.silences import Silence
from monitor.domain.text import clean
from monitor.domain.timefmt import zone
from monitor.engine import acknowledgements, rechecks
from monitor.store import Connection, connection_pages, connection_queries, silences, sources
from monitor.store.connection_queries import ConnectionRow
from monitor.views.connections import Reader, Suppressions
from monitor.views.json_types import listing
from monitor.views.label_filter import resolve_labels
from monitor.views.rechecks import RecheckView, find_rechecks
from monitor.views.silences import SilenceView
from monitor.web.responses import JSON, Handler, encode
from monitor.web.security import content_type, read_body
from monitor.web.site import Site

BY = "the API"
_READ_EVERY = 0.5
"""Seconds between two reads of the results of rechecks."""
_MOST = 100
"""Values in one list."""
_LONGEST_ID = 700
_LONGEST_WINDOW = 31 * 24 * 3600
_SHOWN = 120
# In Python `$` matches before a final newline too; the lookahead rules that out, in JSON Schema it changes nothing.
_NO_CONTROLS = r"^[^\x00-\x1f\x7f]*$(?!\n)"

# 60.0 is an integer in JSON Schema; the decoder takes it for one only as a float.
_WHOLE = Meta(ge=1, le=_LONGEST_WINDOW, multiple_of=1, extra_json_schema={"type": "integer"})

Body = TypeVar("Body", bound=msgspec.Struct)
Names = Annotated[list[Annotated[str, Meta(min_length=1, max_length=_LONGEST_ID, pattern=_NO_CONTROLS)]], Meta(max_length=_MOST)]
Labels = Annotated[
    dict[
        Annotated[str, Meta(min_length=1, max_length=300, pattern=_NO_CONTROLS)],
        Annotated[str, Meta(max_length=300, pattern=_NO_CONTROLS)],
    ],
    Meta(max_length=_MOST),
]
Instant = Annotated[datetime, Meta(tz=True)]


class NewAck(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An acknowledgement of a connection's open incident, or its withdrawal."""

    connection: Annotated[
        str, Meta(min_length=1, max_length=_LONGEST_ID, pattern=_NO_CONTROLS, description="The connection's full ID.")
    ]
    until: Annotated[Instant | None, Meta(description="When it ends, at the latest; null for no limit.")] = None
    comment: Annotated[str, Meta(max_length=400, pattern=_NO_CONTROLS)] | None = None
    remove: Annotated[bool, Meta(description="True removes the acknowledgement.")] = False


class NewSilence(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A silence. A connection must match every matcher that is given, and any of a matcher's values."""

    sources: Names | None = None
    platforms: Names | None = None
    connections: Annotated[Names | None, Meta(description="Globs on IDs.")] = None
    labels: Labels | None = None
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


class NewRecheck(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A request to check connections now: those that are named, and those that match all of the other filters."""

    connections: Annotated[Names | None, Meta(description="Full IDs.")] = None
    sources: Names | None = None
    labels: Labels | None = None
    wait_seconds: Annotated[
        float, Meta(ge=0, le=60, description="Wait this long for the results before the response is sent.")
    ] = 0


class EmptyObject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An object without members. An empty body is accepted as well."""


def ack(site: Site) -> Handler:
    """Return the handler that acknowledges a connection's open incident, or withdraws an acknowledgement."""

    async def respond(request: Request) -> Response:
        body = await _read_json(request, NewAck)
        until = _utc(body, "until")

        def write(conn: Connection) -> dict[str, Any]:
            now, config = site.clock.now(), site.config()
            if until is not None and until <= now:
                raise HTTPException(422, "until is in the past.")
            row = _find(conn, body.connection, now)
            known = {each.name: each for each in sources.all_sources(conn)}
            elapsed = Reader(config, known, now=now).view(row).row
            if body.remove:
                acknowledgements.unacknowledge(conn, elapsed, now=now, author=BY)
            else:
                acknowledgements.acknowledge(conn, elapsed, now=now, until=until, comment=body.comment or "", author=BY)
            after = Reader(config, known, now=now, suppressions=Suppressions.read(conn, now)).view(row)
            return {"generated_at": utc_text(now), "connection": after.json()}

        return Response(encode(await site.store.write(write)), media_type=JSON)

    return respond


def silence(site: Site) -> Handler:
    """Return the handler that adds a silence."""

    async def respond(request: Request) -> Response:
        body = await _read_json(request, NewSilence)

        def write(conn: Connection) -> dict[str, Any]:
            now = site.clock.now()
            wanted = _silence(body, now, site.config().timezone)
            _require_sources(conn, site, wanted.sources)
            return _silence_json(conn, acknowledgements.add_silence(conn, wanted, now=now, author=BY), now)

        return Response(encode(await site.store.write(write)), 201, media_type=JSON)

    return respond


def unsilence(site: Site) -> Handler:
    """Return the handler that removes a silence."""

    async def respond(request: Request) -> Response:
        await _read_json(request, EmptyObject)
        text = request.path_params["number"]
        number = int(text) if re.fullmatch("[0-9]{1,9}", text) else 0

        def write(conn: Connection) -> dict[str, Any]:
            now = site.clock.now()
            if silences.find_silence(conn, number) is None:
                raise HTTPException(404, "There is no silence with this number.")
            acknowledgements.remove_silence(conn, number, now=now, author=BY)
            return _silence_json(conn, number, now)

        return Response(encode(await site.store.write(write)), media_type=JSON)

    return respond


def recheck(site: Site) -> Handler:
    """Return the handler that requests rechecks, and waits for their results if the request asks for that."""

    async def respond(request: Request) -> Response:
        body = await _read_json(request, NewRecheck)
        if not (body.connections or body.sources or body.labels):
            raise HTTPException(422, "Name connections, sources or labels.")

        def write(conn: Connection) -> list[int]:
            now = site.clock.now()
            chosen = _chosen(conn, site, body, now)
            try:
                return [each.id for each in rechecks.request(conn, chosen, now=now, author=BY)]
            except rechecks.TooManyRechecks as error:
                raise HTTPException(429, str(error), {"retry-after": "60"}) from None

        ids = await site.store.write(write)
        views = await _await_rechecks(site, ids, timedelta(seconds=body.wait_seconds))
        status = 202 if any(view.is_pending for view in views) else 200
        return Response(encode(listing("rechecks", views, now=site.clock.now())), status, media_type=JSON)

    return respond


async def _await_rechecks(site: Site, ids: Sequence[int], wait: timedelta) -> list[RecheckView]:
    """Return the rechecks once all are finished, or as they are after this time."""
    deadline = time.monotonic() + wait.total_seconds()
    while True:
        views = await site.read(lambda conn: find_rechecks(conn, ids, now=site.clock.now()))
        left = deadline - time.monotonic()
        if left <= 0 or not any(view.is_pending for view in views):
            return views
        await asyncio.sleep(min(_READ_EVERY, left))


def _chosen(conn: Connection, site: Site, body: NewRecheck, now: datetime) -> list[ConnectionRow]:
    """Return the connections that the request names or matches. Raise HTTPException if there are none or too many."""
    _require_sources(conn, site, body.sources or ())
    rows = [_find(conn, public_id, now) for public_id in body.connections or ()]
    if body.sources or body.labels:
        wanted = ConnectionFilter(sources=frozenset(body.sources) if body.sources else None, labels=body.labels or {})
        found = connection_queries.list_connections(
            conn, resolve_labels(conn, wanted, site.config()), limit=_MOST + 1, worst_first=False
        )
        rows += found
    chosen = list({row.id: row for row in rows}.values())
    if not chosen:
        raise HTTPException(404, "No connection matches the request.")
    if len(chosen) > _MOST:
        raise HTTPException(422, f"The request matches more than {_MOST} connections. Name fewer.")
    return chosen


def _silence_json(conn: Connection, number: int, now: datetime) -> dict[str, Any]:
    found = silences.find_silence(conn, number)
    assert found is not None  # noqa: S101 - it was written in this transaction
    return {"generated_at": utc_text(now), "silence": SilenceView(silence=found, now=now).json()}


def _find(conn: Connection, public_id: str, now: datetime) -> ConnectionRow:
    """Return the connection with exactly this ID. Raise HTTPException (404) if there is none."""
    found = connection_pages.connections_after(conn, ConnectionFilter(connection=public_id), now=now, limit=1)
    if not found:
        raise HTTPException(404, f"There is no connection {clean(public_id, limit=_SHOWN)}: /api/v1/connections lists every ID.")
    return found[0]


def _require_sources(conn: Connection, site: Site, names: Sequence[str]) -> None:
    known = {source.name for source in site.config().sources} | {row.name for row in sources.all_sources(conn)}
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
