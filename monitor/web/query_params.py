"""Query parameters of pages and API: definitions, validation, and the filters that they make.

Unknown parameters, sources and platforms are refused: a typo must not return an empty list that looks like good news.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException

from monitor.config import Config
from monitor.domain import AlertEvent, SourceStatus, Status
from monitor.domain.filters import ConnectionFilter
from monitor.domain.records import replace
from monitor.domain.rules.platforms import canonical
from monitor.domain.text import clean
from monitor.store import Connection, connection_queries, sources
from monitor.store.connection_pages import Order
from monitor.views.label_filter import resolve_labels
from monitor.views.pages import PageRequest
from monitor.web.auth import visit_of

if TYPE_CHECKING:
    from starlette.requests import Request


PER_PAGE = (25, 50, 100, 200)
ATTENTION = "attention"
"""The filter value for every status that needs attention."""
STALE = "stale"
"""The filter value for data that is older than three poll intervals; with statuses, only those of these."""

LONGEST_TEXT = 200
_HIGHEST_PAGE = 1_000_000
FILTERS = ("q", "status", "source", "platform", "label")
"""The parameters that select connections."""
_DEFAULTS = {"sort": Order.WORST.value, "per": "50", "page": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """A requested page of the connection list."""

    query: tuple[tuple[str, str], ...]
    """The query parameters, without those that have their default value."""
    filters: ConnectionFilter
    order: Order
    page: int
    per: int
    stale: bool = False
    """True if only stale connections are selected; see for_stale_data()."""
    problems: tuple[str, ...] = ()
    """Sentences about filter values that do not exist: an empty list alone would look like good news."""
    chosen: dict[str, str] = field(default_factory=dict)
    """The values of the filter form."""

    @property
    def offset(self) -> int:
        """The number of rows before this page."""
        return (self.page - 1) * self.per

    @property
    def filtered(self) -> bool:
        """True if a filter is set."""
        return any(key in FILTERS for key, _ in self.query)

    @property
    def selects(self) -> bool:
        """True if the whole page is about a selection: a filter other than by status is set, or the user is bound to labels."""
        return bool(self.filters.bound_to) or any(key in ("q", "source", "platform", "label") for key, _ in self.query)

    @property
    def selection(self) -> tuple[tuple[str, str], ...]:
        """The filters other than by status, as (name, value)."""
        return tuple((key, value) for key, value in self.query if key in ("q", "source", "platform", "label"))

    @property
    def feed_filters(self) -> tuple[tuple[str, str], ...]:
        """The filters that the calendar, the feed and the badge have as well."""
        return tuple((key, value) for key, value in self.query if key in ("source", "platform", "label"))

    @property
    def list_parameters(self) -> dict[str, list[str]]:
        """The filters and the order, even the default one, for the pages of connections in this list."""
        return {**list_parameters(self.query), "sort": [self.order.value]}

    def for_stale_data(self, limits: Mapping[str, datetime]) -> ListQuery:
        """Return the query with its condition on stale data: `limits` are when each source's data becomes stale."""
        return dataclasses.replace(self, filters=replace(self.filters, read_before=limits)) if self.stale else self

    def link(self, **changes: str | int | None) -> str:
        """Return the link with changed parameters; None removes one. It leads to the first page unless `page` is given."""
        kept = [(key, value) for key, value in self.query if key not in changes and key != "page"]
        added = [(key, str(value)) for key, value in changes.items() if value is not None and _DEFAULTS.get(key) != str(value)]
        return f"?{urlencode([*kept, *added])}" if kept or added else "?"


def read_query(
    conn: Connection, request: Request, config: Config, *, sources: Collection[str], platforms: Collection[str]
) -> ListQuery:
    """Read the query of a request, within the selection of its user. `sources` and `platforms` are the existing ones."""
    problems: list[str] = []
    params, selection = request.query_params, visit_of(request).selection
    text = clean(params.get("q", ""), limit=LONGEST_TEXT)
    names = _one_of(params.getlist("source"), sources, "source", problems)
    slugs = _one_of((canonical(each.strip().lower()) for each in params.getlist("platform")), platforms, "platform", problems)
    statuses = _one_of(params.getlist("status"), [*Status, ATTENTION, STALE], "status", problems)
    wanted = None if statuses is None else _expand(statuses)
    labels = [each for each in params.getlist("label") if each]
    pairs = {key: value for key, _, value in (each.partition("=") for each in labels)}
    filters = resolve_labels(conn, replace(selection, sources=names, platforms=slugs, labels=pairs, text=text), config)
    if pairs and filters.stored_labels is not None and filters.stored_labels.sources.isdisjoint(sources):
        problems.append(f"No connection has the label {clean(', '.join(labels))}.")
    order = next((each for each in Order if each == params.get("sort")), Order.WORST)
    per = _number(params.get("per"), 50, PER_PAGE[-1])
    page = _number(params.get("page"), 1, _HIGHEST_PAGE)
    query = [
        ("q", text),
        *_pairs("status", statuses),
        *_pairs("source", names),
        *_pairs("platform", slugs),
        *_pairs("label", labels),
    ]
    query += [("sort", order.value), ("per", str(per)), ("page", str(page))]
    return ListQuery(
        query=tuple((key, value) for key, value in query if value and _DEFAULTS.get(key) != value),
        filters=replace(filters, statuses=None if statuses == [STALE] else wanted),
        stale=STALE in (statuses or ()),
        order=order,
        page=page,
        per=per if per in PER_PAGE else 50,
        problems=tuple(problems),
        chosen={
            "q": text,
            "status": (statuses or [""])[0],
            "source": (names or [""])[0],
            "platform": (slugs or [""])[0],
            "label": (labels or [""])[0],
        },
    )


def list_parameters(query: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the parameters that define a list of connections, without the page."""
    found: dict[str, list[str]] = {}
    for key, value in query:
        if key in (*FILTERS, "sort"):
            found.setdefault(key, []).append(value)
    return found


def _one_of(given: Iterable[str], known: Collection[Any], noun: str, problems: list[str]) -> list[str] | None:
    """Return the requested values, None if there are none. Unknown values stay, so that nothing matches."""
    requested = list(dict.fromkeys(each.strip() for each in given if each.strip()))
    problems += [f"Unknown {noun} {clean(each)}: no connection matches." for each in requested if each not in known]
    return requested or None


def _expand(values: Iterable[str]) -> list[Status]:
    """Return the statuses of the filter's values, the worst first; `attention` stands for several."""
    found = {
        status for status in Status for value in values if value == status or (value == ATTENTION and status.needs_attention)
    }
    return sorted(found, key=lambda status: -status.rank)


def _pairs(key: str, values: Iterable[str] | None) -> list[tuple[str, str]]:
    return [(key, value) for value in values or ()]


def _number(text: str | None, otherwise: int, highest: int) -> int:
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > 9:
        return otherwise
    return min(max(int(text), 1), highest)


LARGEST_PAGE = 1000
PAGE = 100
"""Rows of a page by default."""
MOST_VALUES = 100
"""Values of one filter."""
_PLAIN = r"[^\x00-\x1f\x7f]"
"""Any character except control characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One query parameter: its description in the OpenAPI document, and its validation."""

    name: str
    about: str
    schema: Mapping[str, Any]
    many: bool = False
    """True if it may be repeated."""

    def document(self) -> dict[str, Any]:
        """Return the parameter object of the OpenAPI document."""
        schema: dict[str, Any] = dict(self.schema)
        if self.many:
            schema = {"type": "array", "items": schema, "maxItems": MOST_VALUES}
        return {"name": self.name, "in": "query", "required": False, "description": self.about, "schema": schema}

    def read(self, values: list[str]) -> list[str]:
        """Return the values if each fits the schema. Raise HTTPException otherwise."""
        if len(values) > (MOST_VALUES if self.many else 1):
            often = f"at most {MOST_VALUES} times" if self.many else "once"
            raise HTTPException(400, f"{self.name} may be given {often}.")
        for value in values:
            problem = _problem(self.schema, value)
            if problem is not None:
                raise HTTPException(400, f"{self.name} {problem}.")
        return values


def _problem(schema: Mapping[str, Any], value: str) -> str | None:
    if schema["type"] == "integer":
        number = int(value) if re.fullmatch(r"[0-9]{1,6}", value) else None
        low, high = schema["minimum"], schema["maximum"]
        return None if number is not None and low <= number <= high else f"must be a whole number from {low} to {high}"
    allowed = schema.get("enum")
    if allowed is not None:
        near = difflib.get_close_matches(value, allowed, n=1)
        did_you = f"; did you mean {near[0]}?" if near else ""
        return None if value in allowed else f"must be one of {', '.join(allowed)}{did_you}"
    if not schema["minLength"] <= len(value) <= schema["maxLength"]:
        return f"must have {schema['minLength']} to {schema['maxLength']} characters"
    return None if re.fullmatch(schema["pattern"], value) else f"must match {schema['pattern']}"


def _text(pattern: str, longest: int) -> dict[str, Any]:
    return {"type": "string", "pattern": pattern, "minLength": 1, "maxLength": longest}


def _status(statuses: Iterable[StrEnum]) -> Parameter:
    about = "Only rows with this status. May be repeated: any of them matches."
    return Parameter(
        name="status", about=about, schema={"type": "string", "enum": [str(status) for status in statuses]}, many=True
    )


def _cursor(pattern: str) -> Parameter:
    about = "The `next` of the previous page, unchanged."
    return Parameter(name="cursor", about=about, schema=_text(pattern, 3000))


SOURCE = Parameter(
    name="source", about="Only this source. May be repeated: any of them matches.", schema=_text(r"^[a-z0-9_-]+$", 100), many=True
)
PLATFORM = Parameter(
    name="platform",
    about="Only this platform. May be repeated: any of them matches.",
    schema=_text(f"^{_PLAIN}+$", 100),
    many=True,
)
LABEL = Parameter(
    name="label",
    about="Only connections with this label, as key=value; the value may be a pattern. May be repeated: all of them must match.",
    schema=_text(f"^[^=\\x00-\\x1f\\x7f]+={_PLAIN}*$", 300),
    many=True,
)
TEXT = Parameter(
    name="q",
    about="Part of a connection's ID, display name or user name; of a source's name for sources. Case-insensitive.",
    schema=_text(f"^{_PLAIN}+$", 200),
)
CONNECTION = Parameter(name="connection", about="Only the connection with exactly this ID.", schema=_text(f"^{_PLAIN}+$", 700))
LIMIT = Parameter(
    name="limit",
    about="The maximum number of rows in a page.",
    schema={"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE, "default": PAGE},
)
DAYS = Parameter(
    name="days",
    about="The number of days to look ahead.",
    schema={"type": "integer", "minimum": 1, "maximum": 3650, "default": 30},
)
EVERYTHING = Parameter(
    name="all", about="Include silences that have ended or were removed.", schema={"type": "string", "enum": ["true", "false"]}
)
_FILTERS = (SOURCE, PLATFORM, LABEL, TEXT)
_NUMBER = r"^[0-9]{1,15}$"

CONNECTIONS = (*_FILTERS, _status(Status), CONNECTION, LIMIT, _cursor(_NUMBER))
SOURCES = (*_FILTERS, _status(SourceStatus), LIMIT, _cursor(r"^[a-z0-9_-]+$"))
EVENTS = (*_FILTERS, _status(Status), CONNECTION, LIMIT, _cursor(_NUMBER))
ALERTS = (
    *_FILTERS,
    _status(dict.fromkeys([*Status, *AlertEvent])),
    CONNECTION,
    LIMIT,
    _cursor(r"^[0-9]{1,17}\.[A-Za-z0-9_-]{1,100}$"),
)
FORECAST = (
    *_FILTERS,
    _status(Status),
    CONNECTION,
    DAYS,
    LIMIT,
    _cursor(r"^[0-9]\.[0-9]{1,17}\.[a-z0-9_-]{1,100}\.[!-~]{1,2500}$"),
)
SILENCES = (EVERYTHING,)
STREAM = _FILTERS


@dataclass(frozen=True, slots=True)
class ApiParams:
    """The validated parameters of one request."""

    values: Mapping[str, list[str]]
    selection: ConnectionFilter
    """The connections that the user of the request may see."""

    @classmethod
    def read(cls, request: Request, parameters: Iterable[Parameter], *, ignored: Collection[str] = ()) -> ApiParams:
        """Read the query of a request. Raise HTTPException for an unknown parameter or an invalid value."""
        known = {parameter.name: parameter for parameter in parameters}
        given: dict[str, list[str]] = {}
        for name, value in request.query_params.multi_items():
            if name in ignored:
                continue
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                did_you = f" Did you mean {near[0]}?" if near else ""
                raise HTTPException(400, f"Unknown query parameter.{did_you} Allowed: {', '.join(known) or 'none'}.")
            given.setdefault(name, []).append(value)
        return cls({name: known[name].read(values) for name, values in given.items()}, visit_of(request).selection)

    def one(self, name: str) -> str | None:
        """Return a parameter's value, None if it is not given."""
        return next(iter(self.values.get(name, ())), None)

    def number(self, parameter: Parameter) -> int:
        """Return a number, or the parameter's default."""
        given = self.one(parameter.name)
        return int(parameter.schema["default"] if given is None else given)

    def filters(self, conn: Connection, config: Config) -> ConnectionFilter:
        """Return the filters. Raise HTTPException (404) for an unknown source or platform, and labels that no connection has."""
        chosen = replace(
            self.selection,
            sources=self._set(SOURCE.name, str),
            platforms=self._set(PLATFORM.name, canonical),
            statuses=self._set("status", str),
            labels=dict(pair.split("=", 1) for pair in self.values.get(LABEL.name, ())),
            text=self.one(TEXT.name),
            connection=self.one(CONNECTION.name),
        )
        _require("source", chosen.sources, lambda: source_names(conn, config, self.selection))
        _require("platform", chosen.platforms, lambda: platform_names(conn, config, self.selection))
        resolved = resolve_labels(conn, chosen, config)
        if chosen.labels and resolved.stored_labels is not None and not resolved.stored_labels.sources:
            raise HTTPException(404, "No connection has these labels.")
        return resolved

    def _set(self, name: str, reading: Any) -> frozenset[str] | None:
        values = self.values.get(name)
        return frozenset(reading(value) for value in values) if values else None

    def page(self, conn: Connection, config: Config) -> PageRequest:
        """Return the parameters that all lists share. Raise HTTPException as filters() does."""
        return PageRequest(
            filters=self.filters(conn, config),
            cursor=self.one("cursor"),
            limit=self.number(LIMIT),
        )


def source_names(conn: Connection, config: Config, selection: ConnectionFilter) -> set[str]:
    """Return the sources of a selection: all that are configured or stored, or those of the connections of a bound user."""
    stored = resolve_labels(conn, selection, config).stored_labels
    if stored is not None:
        return set(stored.sources)
    return {source.name for source in config.sources} | sources.names(conn)


def platform_names(conn: Connection, config: Config, selection: ConnectionFilter) -> set[str]:
    """Return the platforms of the connections of a selection."""
    if not selection.bound_to:
        return connection_queries.platforms(conn)
    return {each.platform for each in connection_queries.count_groups(conn, resolve_labels(conn, selection, config))}


def _require(what: str, wanted: Collection[str] | None, known: Any) -> None:
    if wanted is None:
        return
    names = known()
    for name in sorted(set(wanted) - names):
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        did_you = f" Did you mean {near[0]}?" if near else ""
        raise HTTPException(404, f"There is no {what} with this name.{did_you}")
