"""Answers that say no: a page for people, one JSON object for programs."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response

from monitor.telemetry.logs import redact

if TYPE_CHECKING:
    from starlette.requests import Request


def problem(request: Request, status: int, text: str, *, headers: Mapping[str, str] | None = None) -> Response:
    """What is wrong, in one sentence, in the form that was asked for (RFC 9457 for programs)."""
    said = redact(text)
    if "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/api/"):
        from monitor.web.rendering import bare

        return bare("problem.html", {"title": HTTPStatus(status).phrase, "text": said}, status=status, headers=headers)
    body = {"title": HTTPStatus(status).phrase, "status": status, "detail": said}
    return JSONResponse(body, status, headers=dict(headers or {}), media_type="application/problem+json")
