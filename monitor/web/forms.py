"""What the pages can change: acknowledge and silence, as the command line does, through the same functions.

The daemon looks at the store twice a second, so it notices these writes as it notices the command line's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from monitor.config import Config
from monitor.domain.errors import MonitorError
from monitor.domain.rules.platforms import canonical
from monitor.domain.rules.silences import Silence
from monitor.domain.timefmt import zone
from monitor.engine import acknowledgements
from monitor.store import Connection, sources
from monitor.web.auth import Visit, visit_of
from monitor.web.connection_page import NoSuchConnection, id_of, read_one, show_connection
from monitor.web.pages import LENGTHS, show, silences_context
from monitor.web.rendering import connection_link
from monitor.web.site import Site

BY = "the status page"
LONGEST_COMMENT = 400
_ENDLESS = "removed"
"""The length that means: until somebody removes it."""


class InvalidForm(MonitorError):
    """A form that cannot be taken as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Times:
    starts_at: datetime
    ends_at: datetime | None


def routes(site: Site) -> list[Route]:
    """Acknowledge and silence one connection; add and remove silences."""

    async def connection(request: Request) -> Response:
        visit, public_id = visit_of(request), id_of(request)
        try:
            said = await site.write(_quieten, site, visit, public_id)
        except NoSuchConnection:
            return await show_connection(site, request, public_id)
        except MonitorError as error:
            if error.transient:
                raise
            return await show_connection(site, request, public_id, status=422, problem=str(error))
        return RedirectResponse(connection_link(public_id, said=said), 303)

    async def add(request: Request) -> Response:
        visit = visit_of(request)
        try:
            await site.write(_add, site, visit)
        except InvalidForm as error:
            filled = {key: visit.form.get(key, []) for key in ("source", "platform", "label")}
            filled |= {key: [visit.field(key)] for key in ("connection", "for", "comment", "from", "until")}
            return await _again(site, request, filled, str(error))
        return RedirectResponse("/silences?said=silenced", 303)

    async def remove(request: Request) -> Response:
        try:
            await site.write(_remove, site, int(request.path_params["number"]))
        except MonitorError as error:
            if error.transient:
                raise
            return await _again(site, request, {}, str(error))
        return RedirectResponse("/silences?said=lifted", 303)

    return [
        Route("/connections/{id:path}", connection, methods=["POST"]),
        Route("/silences", add, methods=["POST"]),
        Route("/silences/{number:int}/remove", remove, methods=["POST"]),
    ]


async def _again(site: Site, request: Request, filled: Mapping[str, list[str]], problem: str) -> Response:
    """The silences page with what was typed and what is wrong with it."""
    single = ("connection", "for", "comment", "from", "until")
    values: dict[str, Any] = {key: value[0] if key in single else value for key, value in filled.items()}
    return await show(
        site,
        request,
        "silences.html",
        lambda conn, config: silences_context(conn, config, site, everything=False, filled=values),
        status=422,
        problem=problem,
    )


def _quieten(site: Site, visit: Visit, public_id: str) -> str:
    """Do what a connection's form says; the word for what was done."""
    config, now = site.config(), site.clock.now()
    with site.store.begin_write() as conn:
        view = read_one(conn, config, now, public_id)
        if view.row.retired_at is not None:
            raise InvalidForm("This connection is retired: nothing is said about it any more.")
        match visit.field("action"):
            case "ack":
                length = visit.field("for")
                until = None if length in ("", _ENDLESS) else now + _length(length)
                acknowledgements.acknowledge(conn, view.row, now=now, until=until, comment=_comment(visit), by=BY)
                return "acknowledged"
            case "unack":
                acknowledgements.take_back(conn, view.row, now=now, by=BY)
                return "unacknowledged"
            case "silence":
                times = _times(visit, config, now)
                silence = Silence(
                    connections=(literal(view.id),),
                    comment=_comment(visit, needed=True),
                    timezone=config.timezone,
                    starts_at=times.starts_at,
                    ends_at=times.ends_at,
                )
                acknowledgements.add_silence(conn, silence, now=now, by=BY)
                return "silenced"
            case _:
                raise InvalidForm("The form does not say what to do.")


def _add(site: Site, visit: Visit) -> None:
    config, now = site.config(), site.clock.now()
    times = _times(visit, config, now)
    globs = tuple(dict.fromkeys(part for part in visit.field("connection").split() if part))
    with site.store.begin_write() as conn:
        chosen = _known(conn, config, visit)
        if not any(chosen.values()) and not globs:
            raise InvalidForm("Say what to silence: a source, a platform, a label or connections. * silences every connection.")
        silence = Silence(
            sources=tuple(sorted(chosen["source"])),
            platforms=tuple(sorted(chosen["platform"])),
            connections=globs,
            labels=dict(each.split("=", 1) for each in chosen["label"]),
            comment=_comment(visit, needed=True),
            timezone=config.timezone,
            starts_at=times.starts_at,
            ends_at=times.ends_at,
        )
        acknowledgements.add_silence(conn, silence, now=now, by=BY)


def _known(conn: Connection, config: Config, visit: Visit) -> dict[str, list[str]]:
    """The filters of the form. What does not exist is refused: a slip must not look like silence."""
    given = {key: [value for value in visit.form.get(key, []) if value] for key in ("source", "platform", "label")}
    names = {row.name for row in sources.all_sources(conn)} | {source.name for source in config.sources}
    labels = {f"{key}={value}" for source in config.sources for key, value in source.labels.items()}
    for noun, known in (("source", names), ("label", labels)):
        if not set(given[noun]) <= known:
            raise InvalidForm(f"There is no such {noun}.")
    given["platform"] = [canonical(slug.lower()) for slug in given["platform"]]
    return given


def _remove(site: Site, number: int) -> None:
    with site.store.begin_write() as conn:
        acknowledgements.remove_silence(conn, number, now=site.clock.now(), by=BY)


def _times(visit: Visit, config: Config, now: datetime) -> _Times:
    """From when until when, as two dates, or as a length."""
    begin, end, length = visit.field("from"), visit.field("until"), visit.field("for")
    starts = _local(begin, config) if begin else now
    if end and length not in ("", _ENDLESS):
        raise InvalidForm("Give either an end or a length, not both.")
    if end:
        ends: datetime | None = _local(end, config)
    elif length == _ENDLESS:
        ends = None
    elif length:
        ends = starts + _length(length)
    else:
        raise InvalidForm("Say how long.")
    if ends is not None and ends <= max(starts, now):
        raise InvalidForm("It would be over before it begins: give a later end.")
    return _Times(starts_at=starts, ends_at=ends)


def _length(word: str) -> timedelta:
    if word not in LENGTHS:
        raise InvalidForm("This length cannot be chosen.")
    return LENGTHS[word][1]


def _local(text: str, config: Config) -> datetime:
    """A browser's date and time, in the configured time zone."""
    try:
        found = datetime.fromisoformat(text)
        aware = found if found.tzinfo is not None else found.replace(tzinfo=zone(config.timezone) or UTC)
        return aware.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidForm("This is no date with a time.") from None


def _comment(visit: Visit, *, needed: bool = False) -> str:
    text = visit.field("comment")
    if needed and not text:
        raise InvalidForm("Say why, for those who wonder later.")
    if len(text) > LONGEST_COMMENT:
        raise InvalidForm(f"The comment is too long: at most {LONGEST_COMMENT} characters.")
    return text


def literal(public_id: str) -> str:
    """A glob that fits this id alone."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in public_id)
