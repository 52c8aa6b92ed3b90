"""Pushed reports: a program states that its tokens work, or when they expire, with the token of its source."""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.config import SourceConfig
from monitor.config.defined_sources import end_of_day
from monitor.domain import ReportedStatus, Snapshot, utc_text
from monitor.domain.errors import StoreError
from monitor.domain.rules.dates import EARLIEST
from monitor.domain.rules.platforms import canonical
from monitor.domain.text import sanitize, sanitize_or_none
from monitor.engine.intake import Intake, IntakeClosed
from monitor.engine.recording.pushes import TooManyIds
from monitor.views import json_types
from monitor.web.responses import JSON, Handler, Resource
from monitor.web.security import PUSH, client_address, content_type, read_body
from monitor.web.site import Site

MOST_REPORTS = 1000
"""Reports of one request."""
LARGEST_PUSH = 2 * 1024 * 1024
"""Bytes of one request."""
PLATFORM = "push"
"""The platform of a report that states none."""
_NO_CONTROLS = r"^[^\x00-\x1f\x7f]*$(?!\n)"
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_ITEM = re.compile(r" - at `(?:key` in `)?\$(?:\[(\d+)\])?(?:\.(\w+))?[^`]*`$")
_UNKNOWN_KEY = re.compile(r"Object contains unknown field `(.*)`$", re.DOTALL)

T = TypeVar("T")

Text = Annotated[str, Meta(max_length=256, pattern=_NO_CONTROLS)]
Labels = Annotated[dict[Annotated[Text, Meta(min_length=1)], Text], Meta(max_length=20)]


class PushedReport(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A report about one connection. It replaces the one before it as a whole."""

    id: Annotated[str, Meta(min_length=1, max_length=256, pattern=_NO_CONTROLS, description="Stable id, unique in the source.")]
    name: Text | None = None
    platform: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$(?!\n)")] | None = None
    expires_at: Annotated[
        str | None,
        Meta(
            description="RFC 3339 with an offset, or a date, which ends at the end of that day in the configured time zone. A "
            "connection that passes it is expired."
        ),
    ] = None
    status: Literal["valid", "expiring_soon", "failing", "expired", "revoked"] | None = None
    message: Annotated[str, Meta(max_length=1000)] | None = None
    labels: Annotated[Labels | None, Meta(description="Labels that the configuration sets take precedence.")] = None


_ALLOWED = {
    "id": "must be a text of 1 to 256 characters, without control characters",
    "name": "must be a text of at most 256 characters, without control characters",
    "platform": "must be a text of 1 to 64 letters, digits, `_`, `.` or `-`, such as `aws`",
    "expires_at": "must be a time such as 2027-01-15T00:00:00Z, or a date such as 2027-01-15",
    "status": "must be one of valid, expiring_soon, failing, expired, revoked",
    "message": "must be a text of at most 1000 characters",
    "labels": "must be an object of at most 20 texts of at most 256 characters, without control characters",
}
"""What each key allows, as the end of a sentence."""


class PushResult(Struct, frozen=True, kw_only=True):
    """The result of one push."""

    generated_at: json_types.Instant
    reports: Annotated[int, Meta(ge=1, description="The number of reports that were stored.")]
    changed: Annotated[int, Meta(ge=0, description="The number of connections that are new or that changed.")]


_BODY = PushedReport | Annotated[list[PushedReport], Meta(min_length=1, max_length=MOST_REPORTS)]
_DECODER = msgspec.json.Decoder(_BODY)


@dataclass(frozen=True, slots=True)
class _Accepted:
    source: SourceConfig
    intake: Intake


def routes(site: Site) -> list[Route]:
    """Return the address of pushed reports. Its handlers check the token of the source themselves."""
    return [Route(f"{PUSH}{{source}}", Resource(post=_push(site), delete=_retire(site)))]


def _push(site: Site) -> Handler:
    async def respond(request: Request) -> Response:
        accepted = _accept(site, request)
        if content_type(request) != JSON:
            raise HTTPException(415, f"The content type must be {JSON}.", {"accept": JSON})
        reports = _decode(await read_body(request, largest=LARGEST_PUSH))
        snapshots = [_snapshot(each, place, site.config().timezone) for place, each in enumerate(reports)]
        recorded = await _recorded(accepted.intake.push(accepted.source.name, snapshots))
        result = PushResult(generated_at=utc_text(site.clock.now()), reports=len(snapshots), changed=recorded.changed)
        return Response(msgspec.json.encode(result), media_type=JSON)

    return respond


def _retire(site: Site) -> Handler:
    async def respond(request: Request) -> Response:
        accepted = _accept(site, request)
        wanted = request.query_params.getlist("id")
        if len(wanted) != 1 or not wanted[0] or len(request.query_params.multi_items()) != 1:
            raise HTTPException(400, "Exactly one parameter is required: id.")
        if not await _recorded(accepted.intake.retire(accepted.source.name, wanted[0])):
            raise HTTPException(404, "The source has no connection with this id.")
        return Response(status_code=204)

    return respond


def _accept(site: Site, request: Request) -> _Accepted:
    """Return the source of a request with the right token. Raise HTTPException otherwise, or if its limit is reached.

    An unknown source is answered like a wrong token, after the same comparison.
    """
    name, now = request.path_params["source"], site.clock.now()
    source = next((each for each in site.config().sources if each.name == name and each.push_token is not None), None)
    right = source.push_token.reveal() if source is not None and source.push_token is not None else ""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    is_right = hmac.compare_digest(_digest(given.strip()), _digest(right))
    if source is None or not right or scheme.lower() != "bearer" or not is_right:
        if given:
            site.wrong_tokens.count(client_address(request), now)
        wait = site.wrong_tokens.retry_after(client_address(request), now)
        if wait is not None:
            raise HTTPException(429, f"Too many wrong tokens. Try again in {wait} seconds.", {"retry-after": str(wait)})
        raise HTTPException(
            401,
            "The source is unknown, or the token is wrong: send `Authorization: Bearer TOKEN`.",
            {"www-authenticate": "Bearer"},
        )
    wait = site.push_rates.take(source.name, source.requests_per_minute, now)
    if wait is not None:
        detail = f"The source accepts {source.requests_per_minute} requests a minute. Send several reports in one list."
        raise HTTPException(429, detail, {"retry-after": str(wait)})
    if site.intake is None:
        raise _closed()
    return _Accepted(source, site.intake)


def _digest(token: str) -> bytes:
    # Digests have one length, so that not even the length of the token can be measured.
    return hmac.digest(b"push", token.encode("utf-8", "surrogatepass"), "sha256")


async def _recorded(work: Awaitable[T]) -> T:
    """Return the result of the intake. Raise HTTPException if it recorded nothing."""
    try:
        return await work
    except TooManyIds as error:
        raise HTTPException(409, str(error)) from None
    except IntakeClosed:
        raise _closed() from None
    except StoreError:  # its message contains the address of the database
        raise HTTPException(503, "The database is not available at the moment.", {"retry-after": "5"}) from None


def _closed() -> HTTPException:
    return HTTPException(503, "This daemon cannot record reports at the moment. Try again.", {"retry-after": "5"})


def _decode(body: bytes) -> Sequence[PushedReport]:
    """Return the reports of a body. Raise HTTPException with the place of the first mistake."""
    try:
        found = _DECODER.decode(body)
    except msgspec.ValidationError as error:
        raise HTTPException(422, _body_problem(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise HTTPException(400, "The body is not valid JSON.") from None
    reports = found if isinstance(found, list) else [found]
    places: dict[str, int] = {}
    for place, each in enumerate(reports):
        if sanitize(each.id) != each.id:
            raise _mistake(place, "id", "has white space at an end, or invisible characters")
        if each.id in places:
            raise _mistake(place, "id", f"is the same as that of report {places[each.id] + 1}")
        places[each.id] = place
    return reports


def _body_problem(problem: str) -> str:
    """Return what is wrong with a body in place of a message of the decoder, with the number of the report and the key first."""
    found = _ITEM.search(problem)
    item, key = (found[1], found[2]) if found else (None, None)
    what = problem[: found.start()] if found else problem
    unknown = _UNKNOWN_KEY.match(what)
    if key:
        what = f", {key}: {_ALLOWED[key]}"
    elif unknown:
        what = f": unknown key {sanitize(unknown[1])[:64]}; allowed are {', '.join(PushedReport.__struct_fields__)}"
    elif "missing required field" in what:
        what = ", id: is missing"
    elif item is not None:
        what = ": must be an object"
    else:
        return f"The body must be one report, or a list of 1 to {MOST_REPORTS} reports. Nothing was recorded."
    return f"Report {int(item or 0) + 1}{what}. Nothing was recorded."


def _mistake(place: int, key: str, what: str) -> HTTPException:
    return HTTPException(422, f"Report {place + 1}, {key}: {what}. Nothing was recorded.")


def _snapshot(report: PushedReport, place: int, zone: str) -> Snapshot:
    return Snapshot(
        external_id=report.id,
        platform=canonical(report.platform or PLATFORM),
        reported=ReportedStatus(report.status) if report.status else ReportedStatus.UNSTATED,
        raw_status=report.status,
        expires_at=None if report.expires_at is None else _instant(report.expires_at, place, zone),
        trusted=True,
        detail=sanitize_or_none(report.message),
        labels=report.labels or None,
        display_name=sanitize_or_none(report.name),
    )


def _instant(text: str, place: int, zone: str) -> datetime:
    try:
        instant = end_of_day(date.fromisoformat(text), zone) if _DATE.fullmatch(text) else datetime.fromisoformat(text)
        if instant.tzinfo is None:
            raise _mistake(place, "expires_at", "has no offset: end it with Z, or with one such as +02:00")
        instant = instant.astimezone(UTC)
    except (ValueError, OverflowError):
        raise _mistake(place, "expires_at", "is not a time such as 2027-01-15T00:00:00Z, or a date such as 2027-01-15") from None
    if instant < EARLIEST:
        raise _mistake(place, "expires_at", f"is before {EARLIEST:%Y}: omit it if the date is unknown")
    return instant
