"""Query parameters of the API: definitions, validation and the filters that they make.

Unknown parameters, sources and platforms are refused: a typo must not return an empty list that looks like good news.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException

from monitor.config import Config
from monitor.domain import AlertEvent, SourceStatus, Status
from monitor.domain.filters import ConnectionFilter
from monitor.domain.rules.platforms import canonical
from monitor.store import Connection, connection_queries, sources
from monitor.views.pages import PageRequest

if TYPE_CHECKING:
    from starlette.datastructures import QueryParams

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
    return Parameter(name="cursor", about=about, schema=_text(pattern, 500))


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
    about="Only sources with this label, as key=value. May be repeated: all of them must match.",
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
    _cursor(r"^[0-9]\.[0-9]{1,17}\.[a-z0-9_-]{1,100}\.[!-~]{1,300}$"),
)
SILENCES = (EVERYTHING,)


@dataclass(frozen=True, slots=True)
class ApiParams:
    """The validated parameters of one request."""

    values: Mapping[str, list[str]]

    @classmethod
    def read(cls, query: QueryParams, parameters: Iterable[Parameter], *, ignored: Collection[str] = ()) -> ApiParams:
        """Read the query. Raise HTTPException for an unknown parameter or an invalid value."""
        known = {parameter.name: parameter for parameter in parameters}
        given: dict[str, list[str]] = {}
        for name, value in query.multi_items():
            if name in ignored:
                continue
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                did_you = f" Did you mean {near[0]}?" if near else ""
                raise HTTPException(400, f"Unknown query parameter.{did_you} Allowed: {', '.join(known) or 'none'}.")
            given.setdefault(name, []).append(value)
        return cls({name: known[name].read(values) for name, values in given.items()})

    def one(self, name: str) -> str | None:
        """Return a parameter's value, None if it is not given."""
        return next(iter(self.values.get(name, ())), None)

    def number(self, parameter: Parameter) -> int:
        """Return a number, or the parameter's default."""
        given = self.one(parameter.name)
        return int(parameter.schema["default"] if given is None else given)

    def filters(self, conn: Connection, config: Config) -> ConnectionFilter:
        """Return the filters. Raise HTTPException (404) for an unknown source or platform, and labels that no source has."""
        chosen = ConnectionFilter(
            sources=self._set(SOURCE.name, str),
            platforms=self._set(PLATFORM.name, canonical),
            statuses=self._set("status", str),
            labels=dict(pair.split("=", 1) for pair in self.values.get(LABEL.name, ())),
            text=self.one(TEXT.name),
            connection=self.one(CONNECTION.name),
        )
        names = {source.name for source in config.sources}
        _require("source", chosen.sources, lambda: names | {row.name for row in sources.all_sources(conn)})
        _require("platform", chosen.platforms, lambda: frozenset(connection_queries.platforms(conn)))
        if chosen.labels and not any(chosen.labels.items() <= source.labels.items() for source in config.sources):
            raise HTTPException(404, "No source has these labels.")
        return chosen

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


def _require(what: str, wanted: Collection[str] | None, known: Any) -> None:
    if wanted is None:
        return
    names = known()
    for name in sorted(set(wanted) - names):
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        did_you = f" Did you mean {near[0]}?" if near else ""
        raise HTTPException(404, f"There is no {what} with this name.{did_you}")
