"""The OpenAPI 3.1 document of /api/v1, put together from the parameters and shapes that the API itself uses."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from monitor import __version__
from monitor.web import api_params
from monitor.web.api_params import Parameter
from monitor.web.responses import JSON
from monitor.web.schemas import SCHEMAS, ref

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
