"""Jinja2 environment of the pages. Every value is escaped; untrusted names are also cleaned and isolated."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse

from monitor import __version__
from monitor.config import Config
from monitor.domain import provider_info, utc_text
from monitor.domain.addresses import connection_address
from monitor.domain.rules.advice import PLATFORM_NAMES
from monitor.domain.text import clean
from monitor.domain.timefmt import Times, span
from monitor.web.auth import STATIC, visit_of
from monitor.web.base_path import base_of, below
from monitor.web.forwarded import proxy_user

if TYPE_CHECKING:
    from starlette.requests import Request

    from monitor.web.query_params import ListQuery

LONGEST_NAME = 120
STREAM = "/api/v1/stream"
REFRESH = 30
"""Seconds between a page's automatic refreshes."""


class HtmlTimes(Times):
    """Writes instants as `time` elements: one form as the text, the other as the tooltip."""

    def when(self, instant: datetime | None, *, absent: str = "never") -> Markup | str:
        """Return the distance, with the date as the tooltip."""
        if instant is None:
            return absent
        near = "just now" if abs(instant - self.now) < timedelta(seconds=2) else self.near(instant)
        return self._tag(instant, near, self.exact(instant))

    def date(self, instant: datetime | None, *, absent: str = "never") -> Markup | str:
        """Return the date, with the distance as the tooltip."""
        return absent if instant is None else self._tag(instant, self.exact(instant), self.near(instant))

    def lasting(self, since: datetime) -> Markup:
        """Return the time since an instant: for 2 days 3 hours."""
        return self._tag(since, f"for {span(self.now - since)}", self.exact(since))

    def brief(self, instant: datetime) -> Markup:
        """Return the day, or the time of day if it is today."""
        then, today = (self.exact(each).split(" ") for each in (instant, self.now))
        text = then[4] if then[1:4] == today[1:4] else " ".join(then[1:3] if then[3] == today[3] else then[1:4])
        return self._tag(instant, text, f"{self.near(instant)}, {self.exact(instant)}")

    def day(self, instant: datetime) -> str:
        """Return only the day: 21 Nov."""
        return " ".join(self.exact(instant).split(" ")[1:3])

    def tick(self, instant: datetime, within: timedelta) -> str:
        """Return the label of an axis: a day, or the time of day if the axis covers less than two days."""
        return self.day(instant) if within >= timedelta(days=2) else self.exact(instant).split(" ")[4]

    def _tag(self, instant: datetime, text: str, title: str) -> Markup:
        return Markup('<time datetime="{}" title="{}">{}</time>').format(utc_text(instant), title, text)


def page(
    request: Request, template: str, config: Config, now: datetime, context: Mapping[str, Any], *, status: int = 200
) -> HTMLResponse:
    """Render a whole page. Call it in a thread: a large page takes a while."""
    query = dict(request.query_params)
    filters = context["query"].feed_filters if "query" in context else ()
    is_readable_again = request.method == "GET"  # the answer to a form has no address of its own
    values = {
        "feed_filters": filters,
        "stream": _stream(context.get("query")) if is_readable_again else None,
        "refresh": REFRESH,
        **context,
        "times": HtmlTimes(config.timezone, now),
        "now": now,
        "visit": visit_of(request),
        "may_log_out": config.web.guarded and proxy_user(request) is None,  # a proxy would log the user in again
        "path": request.url.path,
        "here": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
        "refreshes": query.get("refresh") != "off" and status == 200 and is_readable_again,
        "timezone": config.timezone,
    }
    return HTMLResponse(_template(request, template).render(values), status)


def _stream(query: ListQuery | None) -> str | None:
    """Return the address of the stream of what a page shows; None if its filters name what does not exist."""
    if query is None:
        return STREAM
    return None if query.problems else STREAM + (f"?{urlencode(query.selection)}" if query.selection else "")


def standalone_page(
    request: Request, template: str, context: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None
) -> HTMLResponse:
    """Render a page without monitoring data, for unauthenticated clients and errors."""
    return HTMLResponse(_template(request, template).render(context), status, headers=dict(headers or {}))


def connection_link(public_id: str, **query: str | list[str]) -> str:
    """Return the path of a connection's page, for any ID. In templates it is an address, below the base path."""
    return connection_address(public_id, **query)


def named(text: str | None, limit: int = LONGEST_NAME, otherwise: str = "(no name)") -> Markup:
    """Return an untrusted text on one line, with its text direction isolated."""
    return Markup("<bdi>{}</bdi>").format(clean(text, limit=limit, otherwise=otherwise))


def outside(url: str | None) -> str | None:
    """Return an external link, None unless it is an http or https URL without credentials."""
    try:
        parts = urlsplit((url or "").strip())
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        return None
    return (url or "").strip() if good else None


@cache
def static_files() -> dict[str, tuple[bytes, str]]:
    """Return content and digest of each static file by name."""
    folder = files("monitor.web") / "static"
    contents = {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.is_file()}
    return {name: (body, hashlib.sha256(body).hexdigest()[:16]) for name, body in contents.items()}


def _words(code: str) -> str:
    """Return expiring_soon as "expiring soon"."""
    return code.replace("_", " ")


def _platform(slug: str | None) -> str:
    return PLATFORM_NAMES.get(slug or "", clean(slug, limit=40, otherwise="(none)"))


def _plural(number: int, noun: str, many: str | None = None) -> Markup:
    """Return "3 connections", with the number's digits grouped."""
    return Markup("{} {}").format(f"{number:,}", noun if number == 1 else many or f"{noun}s")


def _percent(value: float) -> str:
    """Return a position in percent of the picture's width."""
    return f"{value:.3f}".rstrip("0").rstrip(".") + "%"


def _template(request: Request, name: str) -> Template:
    return _environment(base_of(request.scope)).get_template(name)


@lru_cache(maxsize=4)
def _environment(base: str) -> Environment:
    """Return the environment for a base path. Globals hold it, because imported macros have no context."""

    def address(path: str) -> str:
        return below(base, path)

    def asset(name: str) -> str:
        return address(f"{STATIC}{name}?v={static_files()[name][1]}")

    def address_of_connection(public_id: str, **query: str | list[str]) -> str:
        return address(connection_link(public_id, **query))

    made = Environment(
        loader=PackageLoader("monitor.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {
        "named": named,
        "clean": clean,
        "words": _words,
        "platform": _platform,
        "provider": lambda name: provider_info(name).label,
        "number": lambda value: f"{value:,}",
        "percent": _percent,
        "span": span,
        "outside": outside,
        "escape": escape,
    }
    made.globals |= {
        "address": address,
        "asset": asset,
        "plural": _plural,
        "connection_link": address_of_connection,
        "version": __version__,
        "utc": UTC,
        "urlencode": urlencode,
    }
    return made
