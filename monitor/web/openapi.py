"""The OpenAPI document and its schemas."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from monitor import __version__
from monitor.domain import AlertEvent, DeliveryState, EventKind, ProbeStatus, Severity, SourceStatus, Status
from monitor.domain.providers import provider_names
from monitor.web import api_params
from monitor.web.api_params import Parameter
from monitor.web.responses import JSON

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "integer"}
YES: Schema = {"type": "boolean"}
AT: Schema = {"type": "string", "format": "date-time", "description": "RFC 3339 in UTC, ending in Z."}
TEXTS: Schema = {"type": "array", "items": TEXT}
LABELS: Schema = {"type": "object", "additionalProperties": TEXT}


def nullable(schema: Schema) -> Schema:
    """The same, or null where there is none."""
    if "type" in schema:
        known = {**schema, "type": [schema["type"], "null"]}
        return {**known, "enum": [*schema["enum"], None]} if "enum" in schema else known
    return {"anyOf": [schema, {"type": "null"}]}


def words(kinds: Iterable[str]) -> Schema:
    """One of these words."""
    return {"type": "string", "enum": [str(kind) for kind in kinds]}


def ref(name: str) -> Schema:
    """A shape by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def shape(about: str, **members: Schema) -> Schema:
    """An object whose members are always there. More may be added by later versions."""
    return {"type": "object", "description": about, "properties": members, "required": list(members)}


def listed(name: str, of: str, **more: Schema) -> Schema:
    """A page of a list."""
    following = {**nullable(TEXT), "description": "The cursor of the next page, null on the last."}
    return shape(f"A page of {name}.", generated_at=AT, **{name: {"type": "array", "items": ref(of)}}, next=following, **more)


CONNECTION = shape(
    "One social account that a source lists.",
    id={**TEXT, "description": "source/external_id, or source/scope/external_id for a managed user."},
    source=TEXT,
    provider=words(provider_names()),
    scope={**nullable(TEXT), "description": "Managed user or workspace; null for the key's owner."},
    platform=TEXT,
    external_id=TEXT,
    username=nullable(TEXT),
    display_name=nullable(TEXT),
    profile_url=nullable(TEXT),
    status=words(Status),
    reason={**TEXT, "description": "A stable machine word."},
    message=TEXT,
    since=AT,
    expires_at=nullable(AT),
    seconds_left={**nullable(NUMBER), "description": "Negative after the date."},
    probe=shape("What the platform itself answers.", status=words(ProbeStatus), message=nullable(TEXT), at=nullable(AT)),
    last_seen_at=nullable(AT),
    last_successful_post_at=nullable(AT),
    last_error={"anyOf": [shape("The last posting error.", message=TEXT, occurred_at=nullable(AT)), {"type": "null"}]},
    scopes=nullable(TEXTS),
    labels=LABELS,
    flags=TEXTS,
    acked=YES,
    silenced_until=nullable(AT),
    stale={**YES, "description": "Its source has not told about it for three poll intervals."},
)
SOURCE = shape(
    "One API key at one provider.",
    name=TEXT,
    provider=words(provider_names()),
    status=words(SourceStatus),
    reason=TEXT,
    message=nullable(TEXT),
    last_poll_at=nullable(AT),
    last_success_at=nullable(AT),
    connections=COUNT,
    clock_skew_seconds={"type": ["number", "null"], "description": "Its clock minus the monitor's, at the last poll that told."},
)
CHANNEL = shape(
    "Where alerts go.",
    name=TEXT,
    problem=nullable(TEXT),
    failing_since=nullable(AT),
    broken=YES,
    last_success_at=nullable(AT),
)
EVENT = shape(
    "Something that changed.",
    connection={**nullable(TEXT), "description": "The connection's id, null for a source's own."},
    source=TEXT,
    at=AT,
    kind=words(EventKind),
    old=nullable(TEXT),
    new=nullable(TEXT),
    reason=nullable(TEXT),
    message=nullable(TEXT),
)
ATTEMPT = shape(
    "One try to send.", number=NUMBER, started_at=AT, finished_at=nullable(AT), outcome=nullable(TEXT), detail=nullable(TEXT)
)
DELIVERY = shape(
    "One alert to one channel.",
    channel=TEXT,
    state=words(DeliveryState),
    created_at=AT,
    next_attempt_at=nullable(AT),
    sent_at=nullable(AT),
    last_error=nullable(TEXT),
    may_repeat=YES,
    attempts={"type": "array", "items": ref("Attempt")},
)
ALERT = shape(
    "What was to be said, once.",
    id=TEXT,
    incident=TEXT,
    event=words(AlertEvent),
    reason=TEXT,
    severity=words(Severity),
    at=AT,
    source={**TEXT, "description": "Empty for an alert about the monitor itself."},
    provider=nullable(words(provider_names())),
    scope=nullable(TEXT),
    connection=nullable(TEXT),
    external_id=nullable(TEXT),
    platform=nullable(TEXT),
    label=nullable(TEXT),
    status=nullable(TEXT),
    previous=nullable(TEXT),
    rule=nullable(TEXT),
    message=nullable(TEXT),
    since=nullable(AT),
    expires_at=nullable(AT),
    stage_seconds=nullable(COUNT),
    labels=LABELS,
    note={**nullable(TEXT), "description": "Why there is no delivery."},
    deliveries={"type": "array", "items": ref("Delivery")},
)
NEED = shape(
    "One connection that needs a person.",
    id=TEXT,
    external_id=TEXT,
    label=TEXT,
    status=words(Status),
    since=AT,
    expires_at=nullable(AT),
    seconds_left=nullable(NUMBER),
    message=TEXT,
    acked=YES,
)
SITTING = shape(
    "Connections that one person can see to in one go.",
    overdue=YES,
    first_at=AT,
    last_at=AT,
    source=TEXT,
    provider=words(provider_names()),
    platform=TEXT,
    link=nullable(TEXT),
    count=COUNT,
    connections={"type": "array", "items": ref("Need")},
)
SILENCE = shape(
    "What is kept quiet, and when.",
    id=COUNT,
    state={"type": "string", "enum": ["active", "coming", "over", "removed"]},
    sources=TEXTS,
    platforms=TEXTS,
    connections={**TEXTS, "description": "Globs on ids."},
    labels=LABELS,
    comment=TEXT,
    created_at=nullable(AT),
    starts_at=AT,
    ends_at=nullable(AT),
    rrule=nullable(TEXT),
    window_seconds=nullable(COUNT),
    timezone=TEXT,
    removed_at=nullable(AT),
    active_until=nullable(AT),
    next_starts_at=nullable(AT),
)
PROBLEM = shape("What is wrong (RFC 9457).", title=TEXT, status=NUMBER, detail=TEXT)

_PLAIN = r"^[^\x00-\x1f\x7f]*$"


def _given(longest: int, *, least: int = 0) -> Schema:
    return {"type": "string", "minLength": least, "maxLength": longest, "pattern": _PLAIN}


def _sent(**members: Schema) -> Schema:
    return {"type": "object", "properties": members, "additionalProperties": False}


_SOME = {"type": ["array", "null"], "items": _given(700, least=1), "maxItems": 100}
_LENGTH: Schema = {"type": ["integer", "null"], "minimum": 1, "maximum": 31 * 24 * 3600}
_WHEN: Schema = {"type": ["string", "null"], "format": "date-time"}
NEW_ACK = {
    **_sent(connection=_given(700, least=1), until=_WHEN, comment=nullable(_given(400)), remove=YES),
    "required": ["connection"],
}
NEW_SILENCE = {
    **_sent(
        sources=_SOME,
        platforms=_SOME,
        connections=_SOME,
        labels={
            "type": ["object", "null"],
            "additionalProperties": _given(300),
            "propertyNames": _given(300, least=1),
            "maxProperties": 100,
        },
        comment=_given(400, least=1),
        starts_at=_WHEN,
        ends_at=_WHEN,
        rrule=nullable(_given(500)),
        window_seconds=_LENGTH,
        timezone=nullable(_given(100)),
    ),
    "required": ["comment"],
}

SCHEMAS: dict[str, Schema] = {
    "Connection": CONNECTION,
    "Source": SOURCE,
    "Channel": CHANNEL,
    "Event": EVENT,
    "Attempt": ATTEMPT,
    "Delivery": DELIVERY,
    "Alert": ALERT,
    "Need": NEED,
    "Sitting": SITTING,
    "Silence": SILENCE,
    "Problem": PROBLEM,
    "Summary": shape("How many of the selected connections have each status.", **{str(status): COUNT for status in Status}),
    "ConnectionPage": listed(
        "connections",
        "Connection",
        summary=ref("Summary"),
        sources={"type": "array", "items": ref("Source"), "description": "On the first page; empty on the others."},
    ),
    "SourcePage": listed("sources", "Source", channels={"type": "array", "items": ref("Channel")}),
    "EventPage": listed("events", "Event"),
    "AlertPage": listed("alerts", "Alert"),
    "ForecastPage": listed("forecast", "Sitting"),
    "SilenceList": shape("Silences.", generated_at=AT, silences={"type": "array", "items": ref("Silence")}),
    "OneConnection": shape("A connection as it is now.", generated_at=AT, connection=ref("Connection")),
    "OneSilence": shape("A silence as it is now.", generated_at=AT, silence=ref("Silence")),
    "Nothing": _sent(),
    "NewAck": NEW_ACK,
    "NewSilence": NEW_SILENCE,
}


ROOT = "/api/v1"
_ABOUT = """\
What the monitor knows, in the shapes of the command line's `--json`. Lists come a page at a time: `next` is the cursor of the
next page, and rows that change, come or go meanwhile move no other. Every answer has an ETag that leaves `generated_at` and
`seconds_left` out. What is wrong is said as a problem (RFC 9457)."""
_PROBLEMS = {
    400: "A parameter, or the body, is not as it must be.",
    401: "The token is missing or wrong.",
    403: "The request came from a page of another site.",
    404: "There is nothing of that name.",
    405: "The address does not know this method.",
    408: "The body did not arrive in time.",
    409: "The connection or silence is in no state for that.",
    413: "The body is too large.",
    415: "The body is of another kind.",
    421: "The monitor is not known under this host name.",
    422: "What was asked for makes no sense.",
    503: "The store cannot be read or written for now.",
}
_ALWAYS = (400, 401, 405, 421, 503)
_LISTS: dict[str, tuple[str, tuple[Parameter, ...], str]] = {
    "connections": ("Connections, in the order in which they appeared.", api_params.CONNECTIONS, "ConnectionPage"),
    "sources": ("Sources by name, and how the channels do.", api_params.SOURCES, "SourcePage"),
    "events": ("What happened, newest first.", api_params.EVENTS, "EventPage"),
    "alerts": ("Alerts with their deliveries, newest first.", api_params.ALERTS, "AlertPage"),
    "forecast": ("What will need a person, in sittings, the most urgent first.", api_params.FORECAST, "ForecastPage"),
    "silences": ("Silences that are in force or will be, the oldest first.", api_params.SILENCES, "SilenceList"),
}


@cache
def document() -> dict[str, Any]:
    """The whole document. Nobody may change what it gives."""
    paths = {f"{ROOT}/{name}": {"get": _list(name, *how)} for name, how in _LISTS.items()}
    paths[f"{ROOT}/silences"]["post"] = _change("addSilence", "Keep quiet about what matches.", "NewSilence", "OneSilence", 201)
    paths[f"{ROOT}/acks"] = {
        "post": _change("acknowledge", "Acknowledge an open incident, or take that back.", "NewAck", "OneConnection", 200)
    }
    number = {
        "name": "number",
        "in": "path",
        "required": True,
        "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
    }
    paths[f"{ROOT}/silences/{{number}}/remove"] = {
        "post": {**_change("removeSilence", "End a silence for good.", "Nothing", "OneSilence", 200), "parameters": [number]}
    }
    paths[f"{ROOT}/openapi.json"] = {"get": _operation("describe", "This document.", {"type": "object"}, ())}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Token expiry monitor",
            "version": __version__,
            "summary": "Read only, but for ack and silence.",
            "description": _ABOUT,
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "web.token, where one is set; else nothing."}
            },
        },
    }


def _list(name: str, about: str, parameters: Sequence[Parameter], shape: str) -> dict[str, Any]:
    return _operation(name, about, ref(shape), parameters)


def _operation(name: str, about: str, schema: dict[str, Any], parameters: Sequence[Parameter]) -> dict[str, Any]:
    headers = {"ETag": {"schema": {"type": "string"}}, "Link": {"schema": {"type": "string"}, "description": "The next page."}}
    found = {"description": about, "headers": headers, "content": {JSON: {"schema": schema}}}
    kept = {"name": "If-None-Match", "in": "header", "required": False, "schema": {"type": "string"}}
    return {
        "operationId": name,
        "summary": about,
        "parameters": [*(parameter.document() for parameter in parameters), kept],
        "responses": {
            "200": found,
            "304": {"description": "Nothing has changed since the answer with this ETag."},
            **_refusals(*_ALWAYS, 404),
        },
    }


def _change(name: str, about: str, body: str, shape: str, status: int) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": about,
        "requestBody": {"required": True, "content": {JSON: {"schema": ref(body)}}},
        "responses": {
            str(status): {"description": about, "content": {JSON: {"schema": ref(shape)}}},
            **_refusals(*_ALWAYS, 403, 404, 408, 409, 413, 415, 422),
        },
    }


def _refusals(*statuses: int) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": ref("Problem")}}
    return {str(status): {"description": _PROBLEMS[status], "content": content} for status in sorted(statuses)}
