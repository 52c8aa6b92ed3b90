"""Acknowledge and silence by API: JSON over POST, the only calls that change anything."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from monitor.config.error_text import nearest
from monitor.config.resolve import timezone_problem
from monitor.domain import utc_text
from monitor.domain.rules import recurrence
from monitor.domain.rules.platforms import canonical
from monitor.domain.rules.silences import Silence
from monitor.domain.text import clean
from monitor.domain.timefmt import zone
from monitor.engine import acknowledgements
from monitor.store import Connection, keyset, silences, sources
from monitor.store.connection_queries import ConnectionRow
from monitor.store.keyset import CursorFilter
from monitor.views.connections import Reader, Suppressions
from monitor.views.filters import listing
from monitor.views.silences import SilenceView
from monitor.web.api_params import Refusal
from monitor.web.responses import JSON, Handling
from monitor.web.site import Site

LARGEST_BODY = 64 * 1024
BODY_WITHIN = 10.0
"""Seconds in which a body must have arrived."""
BY = "the API"
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_LONGEST_WINDOW = 31 * 24 * 3600
_SHOWN = 120


def silence_list(views: Sequence[SilenceView], now: datetime) -> dict[str, Any]:
    """The shape of `silence list --json`."""
    return listing("silences", views, now=now)


def ack(site: Site) -> Handling:
    """Acknowledge a connection's open incident, or take that back."""

    async def respond(request: Request) -> Response:
        body = JsonBody(await _json(request), ("connection", "until", "comment", "remove"))
        wanted = body.text("connection", needed=True, longest=700) or ""
        comment = body.text("comment", longest=400) or ""
        until, remove = body.instant("until"), body.yes("remove")

        def write() -> dict[str, Any]:
            now, config = site.clock.now(), site.config()
            if until is not None and until <= now:
                raise Refusal(422, "until is over already.")
            with site.store.begin_write() as conn:
                row = _live(conn, wanted, now)
                known = {each.name: each for each in sources.all_sources(conn)}
                elapsed = Reader(config, known, now=now).view(row).row
                if remove:
                    acknowledgements.take_back(conn, elapsed, now=now, by=BY)
                else:
                    acknowledgements.acknowledge(conn, elapsed, now=now, until=until, comment=comment, by=BY)
                after = Reader(config, known, now=now, quieted=Suppressions.read(conn, now)).view(row)
            return {"generated_at": utc_text(now), "connection": after.json()}

        return JSONResponse(await site.write(write))

    return respond


def silence(site: Site) -> Handling:
    """Keep quiet about what matches."""

    async def respond(request: Request) -> Response:
        body = JsonBody(await _json(request), _SILENCE)

        def write() -> dict[str, Any]:
            now = site.clock.now()
            made = _silence(body, now, site.config().timezone)
            with site.store.begin_write() as conn:
                _require_sources(conn, site, made.sources)
                number = acknowledgements.add_silence(conn, made, now=now, by=BY)
                found = silences.find_silence(conn, number)
            assert found is not None  # noqa: S101 - it was just written
            return {"generated_at": utc_text(now), "silence": SilenceView(silence=found, now=now).json()}

        return JSONResponse(await site.write(write), status_code=201)

    return respond


def unsilence(site: Site) -> Handling:
    """End a silence for good."""

    async def respond(request: Request) -> Response:
        JsonBody(await _json(request, empty=True), ())
        text = request.path_params["number"]
        number = int(text) if re.fullmatch("[0-9]{1,9}", text) else 0

        def write() -> dict[str, Any]:
            now = site.clock.now()
            with site.store.begin_write() as conn:
                if silences.find_silence(conn, number) is None:
                    raise Refusal(404, "There is no silence of this number.")
                acknowledgements.remove_silence(conn, number, now=now, by=BY)
                found = silences.find_silence(conn, number)
            assert found is not None  # noqa: S101 - it was there a moment ago
            return {"generated_at": utc_text(now), "silence": SilenceView(silence=found, now=now).json()}

        return JSONResponse(await site.write(write))

    return respond


def _live(conn: Connection, public_id: str, now: datetime) -> ConnectionRow:
    """The connection of exactly this id."""
    found = keyset.connections_after(conn, 0, wanted=CursorFilter(connection=public_id), now=now, limit=1)
    if not found:
        raise Refusal(404, f"There is no connection {clean(public_id, limit=_SHOWN)}: /api/v1/connections lists every id.")
    return found[0]


def _require_sources(conn: Connection, site: Site, names: Sequence[str]) -> None:
    known = {source.name for source in site.config().sources} | {row.name for row in sources.all_sources(conn)}
    for name in names:
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near}?" if near else "/api/v1/sources lists every one."
            raise Refusal(404, f"There is no source {clean(name, limit=_SHOWN)}; {hint}")


_SILENCE = (
    "sources", "platforms", "connections", "labels", "comment", "starts_at", "ends_at", "rrule", "window_seconds", "timezone",
)  # fmt: skip


def _silence(body: JsonBody, now: datetime, timezone: str) -> Silence:
    """The silence that a body describes. Raises Refusal where it makes no sense."""
    matchers: dict[str, Any] = {
        "sources": tuple(sorted(set(body.texts("sources")))),
        "platforms": tuple(sorted({canonical(name) for name in body.texts("platforms")})),
        "connections": tuple(dict.fromkeys(body.texts("connections"))),
        "labels": body.pairs("labels"),
    }
    if not any(matchers.values()):
        raise Refusal(422, "Say what to silence: sources, platforms, connections or labels; connections ['*'] is every one.")
    comment = (body.text("comment", needed=True, longest=400) or "").strip()
    if not comment:
        raise Refusal(422, "comment says nothing: say why, for those who wonder later.")
    where = body.text("timezone", longest=100) or timezone
    problem = timezone_problem(where)
    if problem is not None:
        raise Refusal(422, "timezone is no IANA time zone.")
    starts, ends = body.instant("starts_at") or now, body.instant("ends_at")
    if ends is not None and ends <= max(starts, now):
        raise Refusal(422, "It would be over before it begins: give a later ends_at.")
    rrule, seconds = body.text("rrule", longest=500), body.seconds("window_seconds")
    if (rrule is None) != (seconds is None):
        raise Refusal(422, "rrule and window_seconds belong together: when windows begin, and how long each is.")
    lasts = None if seconds is None else timedelta(seconds=seconds)
    made = Silence(**matchers, comment=comment, starts_at=starts, ends_at=ends, rrule=rrule, lasts=lasts, timezone=where)
    if rrule is not None:
        _require_recurring(made, rrule, now)
    return made


def _require_recurring(made: Silence, rule: str, now: datetime) -> None:
    problem = recurrence.rule_problem(rule)
    if problem is not None:
        raise Refusal(422, f"rrule {problem}")
    local = made.starts_at.astimezone(zone(made.timezone) or UTC).replace(tzinfo=None)
    if not recurrence.recurs(rule, local) or SilenceView(silence=made, now=now).window is None:
        raise Refusal(422, "rrule never comes due between starts_at and ends_at.")


async def _json(request: Request, *, empty: bool = False) -> dict[str, Any]:
    """The object that was sent. Nothing larger, slower or of another kind is read.

    The kind is required even where there is no body: a foreign page's form cannot state it.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        raise Refusal(415, f"The body is {JSON}.", headers={"accept": JSON})
    body = await _read(request)
    if empty and not body:
        return {}
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(400, "The body is no JSON.") from None
    if not isinstance(found, dict):
        raise Refusal(400, "The body is one JSON object.")
    return found


async def _read(request: Request) -> bytes:
    found = b""
    try:
        async with asyncio.timeout(BODY_WITHIN):
            async for part in request.stream():
                found += part
                if len(found) > LARGEST_BODY:
                    raise Refusal(413, f"A body has at most {LARGEST_BODY // 1024} KiB.")
    except TimeoutError:
        raise Refusal(408, "The body did not arrive in time.") from None
    return found


class JsonBody:
    """The members of an object, each read as what it must be. Raises Refusal."""

    def __init__(self, found: Mapping[str, Any], known: Sequence[str]) -> None:
        unknown = sorted(set(found) - set(known))
        if unknown:
            raise Refusal(400, f"There is no such member here; there are: {', '.join(known) or 'none'}.")
        self._found = found

    def text(self, name: str, *, longest: int, needed: bool = False) -> str | None:
        """A text without control characters, None where there is none."""
        value = self._found.get(name)
        if value is None and not needed:
            return None
        if not isinstance(value, str) or not _is_plain(value) or len(value) > longest or (needed and not value):
            raise Refusal(400, f"{name} is a text of at most {longest} characters, without control characters.")
        return value

    def texts(self, name: str) -> list[str]:
        """A list of texts, empty where there is none."""
        value = self._found.get(name)
        if value is None:
            return []
        if not isinstance(value, list) or len(value) > 100 or not all(_is_word(each) for each in value):
            raise Refusal(400, f"{name} is a list of at most 100 texts of 1 to 700 characters, without control characters.")
        return value

    def pairs(self, name: str) -> dict[str, str]:
        """An object of texts, empty where there is none."""
        value = self._found.get(name)
        if value is None:
            return {}
        good = isinstance(value, dict) and len(value) <= 100
        if not good or not all(_is_word(key) and isinstance(each, str) and _is_plain(each) for key, each in value.items()):
            raise Refusal(400, f"{name} is an object of at most 100 texts, without control characters.")
        return dict(value)

    def instant(self, name: str) -> datetime | None:
        """An instant with its offset (RFC 3339), None where there is none."""
        value = self._found.get(name)
        if value is None:
            return None
        problem = Refusal(400, f"{name} is an instant such as 2030-01-31T08:00:00Z.")
        if not isinstance(value, str) or not _INSTANT.fullmatch(value):
            raise problem
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            raise problem from None

    def yes(self, name: str) -> bool:
        """True or false, false where it is not there."""
        value = self._found.get(name, False)
        if not isinstance(value, bool):
            raise Refusal(400, f"{name} is true or false.")
        return value

    def seconds(self, name: str) -> int | None:
        """A positive whole number of seconds up to a month, None where there is none."""
        value = self._found.get(name)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _LONGEST_WINDOW:
            raise Refusal(400, f"{name} is a whole number of seconds from 1 to {_LONGEST_WINDOW}.")
        return value


def _is_plain(text: str) -> bool:
    return not re.search("[\x00-\x1f\x7f\ud800-\udfff]", text)


def _is_word(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 700 and _is_plain(value)
