"""Pages from templates. Whatever a template shows is escaped; what strangers named is cleaned and set apart as well."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse

from monitor import __version__
from monitor.config import Config
from monitor.domain import provider_info, utc_text
from monitor.domain.rules.advice import PLATFORM_NAMES
from monitor.domain.text import clean
from monitor.domain.timefmt import moment, relative, span, zone
from monitor.web.auth import STATIC, visit_of

if TYPE_CHECKING:
    from starlette.requests import Request

LONGEST_NAME = 120
REFRESH = 30
"""Seconds between a page's own refreshes."""


class Times:
    """Writes instants in the configured time zone, as seen from one now."""

    def __init__(self, timezone: str, now: datetime) -> None:
        self.now = now
        self.zone: ZoneInfo | None = zone(timezone)

    def exact(self, instant: datetime) -> str:
        """The date with its zone."""
        return moment(instant, self.zone)

    def when(self, instant: datetime | None, *, absent: str = "never") -> Markup | str:
        """How far away it is, with the date behind it."""
        if instant is None:
            return absent
        near = "just now" if abs(instant - self.now) < timedelta(seconds=2) else relative(instant, self.now)
        return self._tag(instant, near, self.exact(instant))

    def date(self, instant: datetime | None, *, absent: str = "never") -> Markup | str:
        """The date, with how far away it is behind it."""
        return absent if instant is None else self._tag(instant, self.exact(instant), relative(instant, self.now))

    def lasting(self, since: datetime) -> Markup:
        """For how long something has been so."""
        return self._tag(since, f"for {span(self.now - since)}", self.exact(since))

    def day(self, instant: datetime) -> str:
        """Only the day: 21 Nov."""
        return " ".join(moment(instant, self.zone).split(" ")[1:3])

    def tick(self, instant: datetime, within: timedelta) -> str:
        """The mark of an axis: a day, or in a short picture the time of day."""
        if within >= timedelta(days=2):
            return self.day(instant)
        return moment(instant, self.zone).split(" ")[4]

    def _tag(self, instant: datetime, text: str, title: str) -> Markup:
        return Markup('<time datetime="{}" title="{}">{}</time>').format(utc_text(instant), title, text)


def page(
    request: Request, template: str, config: Config, now: datetime, context: Mapping[str, Any], *, status: int = 200
) -> HTMLResponse:
    """A whole page. Call it in a reader thread: large ones take a while."""
    query = dict(request.query_params)
    values = {
        **context,
        "times": Times(config.timezone, now),
        "now": now,
        "visit": visit_of(request),
        "guarded": config.web.token is not None,
        "path": request.url.path,
        "here": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
        "refreshes": query.get("refresh") != "off" and status == 200,
        "refresh": REFRESH,
        "timezone": config.timezone,
    }
    return HTMLResponse(_environment().get_template(template).render(values), status)


def bare(
    template: str, context: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None
) -> HTMLResponse:
    """A page that tells nothing of the monitor: for strangers, and where something went wrong."""
    return HTMLResponse(_environment().get_template(template).render(context), status, headers=dict(headers or {}))


def connection_link(public_id: str, **query: str) -> str:
    """The address of a connection's page, whatever its id is made of."""
    asked = f"?{urlencode(query)}" if query else ""
    if any(part in ("", ".", "..") for part in public_id.split("/")):
        # Browsers would resolve these parts away.
        return f"/connections/?{urlencode({'id': public_id, **query})}"
    return f"/connections/{quote(public_id, safe='/')}{asked}"


def named(text: str | None, limit: int = LONGEST_NAME, otherwise: str = "(no name)") -> Markup:
    """A stranger's text on one line, whose direction stays its own."""
    return Markup("<bdi>{}</bdi>").format(clean(text, limit=limit, otherwise=otherwise))


def outside(url: str | None) -> str | None:
    """A link that leads out of here, None unless it is a plain web address."""
    try:
        parts = urlsplit((url or "").strip())
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        return None
    return (url or "").strip() if good else None


@cache
def static_files() -> dict[str, tuple[bytes, str]]:
    """What the pages load: content and a mark that changes with it, by name."""
    folder = files("monitor.web") / "static"
    contents = {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.is_file()}
    return {name: (body, hashlib.sha256(body).hexdigest()[:16]) for name, body in contents.items()}


def _asset(name: str) -> str:
    return f"{STATIC}{name}?v={static_files()[name][1]}"


def _words(word: str) -> str:
    """expiring_soon as people write it."""
    return word.replace("_", " ")


def _platform(slug: str | None) -> str:
    return PLATFORM_NAMES.get(slug or "", clean(slug, limit=40, otherwise="(none)"))


def _plural(number: int, word: str, many: str | None = None) -> Markup:
    """3 connections, with the number grouped."""
    return Markup("{} {}").format(f"{number:,}", word if number == 1 else many or f"{word}s")


def _percent(value: float) -> str:
    """A place in a picture that is as wide as its place."""
    return f"{value:.3f}".rstrip("0").rstrip(".") + "%"


def _length(value: timedelta) -> str:
    return span(value)


@cache
def _environment() -> Environment:
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
        "span": _length,
        "outside": outside,
        "escape": escape,
    }
    made.globals |= {
        "asset": _asset,
        "plural": _plural,
        "connection_link": connection_link,
        "version": __version__,
        "utc": UTC,
        "urlencode": urlencode,
    }
    return made
