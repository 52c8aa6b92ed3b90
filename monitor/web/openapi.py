"""The OpenAPI document. Its schemas are generated from the classes of the JSON objects."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec

from monitor import __version__
from monitor.domain import Status
from monitor.views import json_types
from monitor.web import query_params
from monitor.web.api_writes import EmptyObject, Forgotten, NewAck, NewRecheck, NewSilence
from monitor.web.push import MOST_REPORTS, PushedReport, PushResult
from monitor.web.query_params import Parameter
from monitor.web.responses import JSON

Schema = dict[str, Any]

INSTANT: Schema = {"type": "string", "format": "date-time", "description": "RFC 3339 in UTC, ending in Z."}


def ref(name: str) -> Schema:
    """Return a reference to a schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def object_schema(about: str, **members: Schema) -> Schema:
    """Return the schema of an object with these required members. Later versions may add others."""
    return {"type": "object", "description": about, "properties": members, "required": list(members)}


def list_page(name: str, of: str, **more: Schema) -> Schema:
    """Return the schema of a page of a list."""
    cursor = {"anyOf": [{"type": "string"}, {"type": "null"}], "description": "The cursor of the next page; null on the last."}
    rows = {"type": "array", "items": ref(of)}
    return object_schema(f"A page of {name}.", generated_at=INSTANT, **{name: rows}, next=cursor, **more)


def _generated() -> dict[str, Schema]:
    """Return the schemas of the classes by name, without the suffix that keeps them apart from the domain's classes."""
    kinds = (
        json_types.ConnectionJson,
        json_types.SourceJson,
        json_types.ChannelJson,
        json_types.EventJson,
        json_types.AlertJson,
        json_types.ReconnectBatchJson,
        json_types.SilenceJson,
        json_types.RecheckJson,
        json_types.BulkChangeJson,
        Forgotten,
        NewAck,
        NewRecheck,
        NewSilence,
        EmptyObject,
        PushedReport,
        PushResult,
    )
    _, schemas = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    renamed: dict[str, Schema] = json.loads(json.dumps(schemas).replace('Json"', '"'))
    for schema in renamed.values():
        if "enum" in schema:  # an enum's docstring is for readers of the code
            del schema["description"]
            schema["type"] = "string"
    return renamed


COUNT: Schema = {"type": "integer", "minimum": 0}
SCHEMAS: dict[str, Schema] = {
    **_generated(),
    "Problem": object_schema(
        "An error (RFC 9457).", title={"type": "string"}, status={"type": "integer"}, detail={"type": "string"}
    ),
    "Summary": object_schema("The number of selected connections with each status.", **{str(status): COUNT for status in Status}),
    "ConnectionPage": list_page(
        "connections",
        "Connection",
        summary=ref("Summary"),
        stale={**COUNT, "description": "The number of selected connections whose data is older than three poll intervals."},
        sources={"type": "array", "items": ref("Source"), "description": "On the first page; empty on the others."},
    ),
    "SourcePage": list_page("sources", "Source", channels={"type": "array", "items": ref("Channel")}),
    "EventPage": list_page("events", "Event"),
    "AlertPage": list_page("alerts", "Alert"),
    "ForecastPage": list_page("forecast", "ReconnectBatch"),
    "SilenceList": object_schema("Silences.", generated_at=INSTANT, silences={"type": "array", "items": ref("Silence")}),
    "OneConnection": object_schema("A connection after the change.", generated_at=INSTANT, connection=ref("Connection")),
    "RecheckList": object_schema("Rechecks.", generated_at=INSTANT, rechecks={"type": "array", "items": ref("Recheck")}),
    "OneRecheck": object_schema("A recheck.", generated_at=INSTANT, recheck=ref("Recheck")),
    "OneSilence": object_schema("A silence after the change.", generated_at=INSTANT, silence=ref("Silence")),
    "NewSilenceResult": object_schema(
        "A new silence, and the number of connections that it matches now.",
        generated_at=INSTANT,
        silence=ref("Silence"),
        matches=COUNT,
    ),
}


ROOT = "/api/v1"
_ABOUT = """\
The same JSON objects as the command line's `--json`. Lists are paginated: `next` is the cursor of the next page, and rows that
change, appear or disappear meanwhile do not shift other rows. Every response has an ETag that ignores `generated_at` and
`seconds_left`. Errors are problem documents (RFC 9457)."""
_PROBLEMS = {
    400: "A parameter or the body is not valid.",
    401: "The token is missing or wrong.",
    403: "The user is a viewer, or the request comes from a page of another site.",
    404: "Not found.",
    405: "The address does not support this method.",
    408: "The body did not arrive in time.",
    409: "The state of the connection or silence does not allow the change.",
    410: "The session is from version 0.1 and has ended.",
    413: "The body is too large.",
    415: "The content type is not application/json.",
    421: "The monitor is not served under this host name.",
    422: "The values contradict each other or the current time.",
    429: "This client sent too many wrong tokens, or too many rechecks of a source were requested within a minute.",
    431: "The head of the request is too large or has too many headers.",
    503: "The database is not available at the moment.",
}
_ALWAYS = (400, 401, 405, 410, 421, 429, 431, 503)
_LISTS: dict[str, tuple[str, tuple[Parameter, ...], str]] = {
    "connections": ("Connections, in the order in which they first appeared.", query_params.CONNECTIONS, "ConnectionPage"),
    "sources": ("Sources by name, and the health of the channels.", query_params.SOURCES, "SourcePage"),
    "events": ("Events, newest first.", query_params.EVENTS, "EventPage"),
    "alerts": ("Alerts with their deliveries, newest first.", query_params.ALERTS, "AlertPage"),
    "forecast": (
        "Reconnect batches, the most urgent first.",
        query_params.FORECAST,
        "ForecastPage",
    ),
    "silences": ("Active and coming silences, the oldest first.", query_params.SILENCES, "SilenceList"),
}


@cache
def document() -> dict[str, Any]:
    """Return the document without `servers`. It is cached: do not change it."""
    paths = {f"{ROOT}/{name}": {"get": _list(name, *how)} for name, how in _LISTS.items()}
    added = _change("addSilence", "Silence matching connections.", "NewSilence", "NewSilenceResult", 201)
    paths[f"{ROOT}/silences"]["post"] = _with_dry_run(added)
    acknowledged = _change(
        "acknowledge", "Acknowledge open incidents, or remove their acknowledgement.", "NewAck", "BulkChange", 200
    )
    acknowledged["responses"]["200"]["content"][JSON]["schema"] = {"anyOf": [ref("OneConnection"), ref("BulkChange")]}
    paths[f"{ROOT}/acks"] = {"post": acknowledged}
    about = "Retire connections that were removed on purpose."
    paths[f"{ROOT}/forget"] = {"post": _change("forget", about, "Forgotten", "BulkChange", 200)}
    paths[f"{ROOT}/recheck"] = {"post": _recheck()}
    number = {
        "name": "number",
        "in": "path",
        "required": True,
        "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
    }
    paths[f"{ROOT}/silences/{{number}}/remove"] = {
        "post": {**_change("removeSilence", "Remove a silence.", "EmptyObject", "OneSilence", 200), "parameters": [number]}
    }
    one = _operation("getRecheck", "One recheck, with its result once it is finished.", ref("OneRecheck"), ())
    paths[f"{ROOT}/recheck/{{number}}"] = {"get": {**one, "parameters": [number, *one["parameters"]]}}
    paths[f"{ROOT}/push/{{source}}"] = {"post": _push(), "delete": _retire_pushed()}
    paths[f"{ROOT}/stream"] = {"get": _stream()}
    paths[f"{ROOT}/openapi.json"] = {"get": _operation("describe", "This document.", {"type": "object"}, ())}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Token expiry monitor",
            "version": __version__,
            "summary": "Read-only, except for acknowledgements, silences, rechecks, forgotten connections and pushed reports.",
            "description": _ABOUT,
        },
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A user's token, or web.token. Not needed without them.",
                },
                "pushToken": {"type": "http", "scheme": "bearer", "description": "The token of a source with provider `push`."},
            },
        },
    }


def _list(name: str, about: str, parameters: Sequence[Parameter], shape: str) -> dict[str, Any]:
    return _operation(name, about, ref(shape), parameters)


def _operation(name: str, about: str, schema: dict[str, Any], parameters: Sequence[Parameter]) -> dict[str, Any]:
    headers = {"ETag": {"schema": {"type": "string"}}, "Link": {"schema": {"type": "string"}, "description": "The next page."}}
    found = {"description": about, "headers": headers, "content": {JSON: {"schema": schema}}}
    condition = {"name": "If-None-Match", "in": "header", "required": False, "schema": {"type": "string"}}
    return {
        "operationId": name,
        "summary": about,
        "parameters": [*(parameter.document() for parameter in parameters), condition],
        "responses": {
            "200": found,
            "304": {"description": "Nothing has changed since the response with this ETag."},
            **_problems(*_ALWAYS, 404),
        },
    }


def _change(name: str, about: str, body: str, shape: str, status: int) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": about,
        "requestBody": {"required": True, "content": {JSON: {"schema": ref(body)}}},
        "responses": {
            str(status): {"description": about, "content": {JSON: {"schema": ref(shape)}}},
            **_problems(*_ALWAYS, 403, 404, 408, 409, 413, 415, 422),
        },
    }


def _with_dry_run(operation: dict[str, Any]) -> dict[str, Any]:
    """Return an operation that creates something, with the response to its dry run."""
    listed = {"description": "What a dry run would change.", "content": {JSON: {"schema": ref("BulkChange")}}}
    return {**operation, "responses": {"200": listed, **operation["responses"]}}


def _recheck() -> dict[str, Any]:
    """Return the operation that requests rechecks: its results may be there or not."""
    found = _change("recheck", "All connections were checked.", "NewRecheck", "RecheckList", 200)
    found["responses"]["200"]["content"][JSON]["schema"] = {"anyOf": [ref("RecheckList"), ref("BulkChange")]}
    pending = {
        "description": "Requested. Results that are not there yet follow at /recheck/{number}.",
        "content": {JSON: {"schema": ref("RecheckList")}},
    }
    return {**found, "summary": "Check connections now.", "responses": {**found["responses"], "202": pending}}


_PUSH_SOURCE = {"name": "source", "in": "path", "required": True, "schema": {"type": "string"}, "description": "A push source."}
_PUSH_PROBLEMS = (400, 401, 408, 413, 421, 429, 431, 503)


def _push() -> dict[str, Any]:
    several = {"type": "array", "items": ref("PushedReport"), "minItems": 1, "maxItems": MOST_REPORTS}
    body = {"anyOf": [ref("PushedReport"), several]}
    return {
        "operationId": "push",
        "summary": "Report the state of connections. The response is sent once everything is stored; after an error, nothing is.",
        "security": [{"pushToken": []}],
        "parameters": [_PUSH_SOURCE],
        "requestBody": {"required": True, "content": {JSON: {"schema": body}}},
        "responses": {
            "200": {"description": "Stored.", "content": {JSON: {"schema": ref("PushResult")}}},
            **_problems(*_PUSH_PROBLEMS, 405, 409, 415, 422),
        },
    }


def _retire_pushed() -> dict[str, Any]:
    wanted = {"name": "id", "in": "query", "required": True, "schema": {"type": "string", "minLength": 1, "maxLength": 256}}
    return {
        "operationId": "retirePushed",
        "summary": "Retire a pushed connection that no longer exists. Its history stays.",
        "security": [{"pushToken": []}],
        "parameters": [_PUSH_SOURCE, wanted],
        "responses": {"204": {"description": "Retired."}, **_problems(*_PUSH_PROBLEMS, 404, 405)},
    }


def _stream() -> dict[str, Any]:
    about = "Server-sent events: `ready` first, then `change` whenever something that the filters select has changed."
    described = _operation("stream", about, {"type": "string"}, query_params.STREAM)
    content = {"text/event-stream": {"schema": {"type": "string"}}}
    parameters = [each for each in described["parameters"] if each["in"] == "query"]
    responses = {status: each for status, each in described["responses"].items() if status != "304"}
    return {**described, "parameters": parameters, "responses": {**responses, "200": {"description": about, "content": content}}}


def _problems(*statuses: int) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": ref("Problem")}}
    return {str(status): {"description": _PROBLEMS[status], "content": content} for status in sorted(statuses)}
