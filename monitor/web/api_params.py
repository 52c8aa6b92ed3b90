"""The parameters of an API call: which there are, what they may hold, and what is wrong with those that were given.

An unknown name, source or platform is refused: a slip of the pen must not look like "all is well".
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from monitor.config import Config
from monitor.domain import AlertEvent, SourceStatus, Status
from monitor.domain.rules.platforms import canonical
from monitor.store import Connection, connection_queries, sources
from monitor.views.filters import Selection
from monitor.views.pages import Query

if TYPE_CHECKING:
    from starlette.datastructures import QueryParams

LARGEST_PAGE = 1000
PAGE = 100
"""Rows of a page where nothing else is asked for."""
MOST_VALUES = 100
"""Values of one filter."""
_PLAIN = r"[^\x00-\x1f\x7f]"
"""A character that is no control character."""


class Refusal(Exception):
    """The call cannot be answered as it is."""

    def __init__(self, status: int, text: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status, self.text, self.headers = status, text, dict(headers or {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One query parameter, as the OpenAPI document describes it and as it is read."""

    name: str
    about: str
    schema: Mapping[str, Any]
    many: bool = False
    """May be given several times."""

    def document(self) -> dict[str, Any]:
        """The parameter object of the OpenAPI document."""
        schema: dict[str, Any] = dict(self.schema)
        if self.many:
            schema = {"type": "array", "items": schema, "maxItems": MOST_VALUES}
        return {"name": self.name, "in": "query", "required": False, "description": self.about, "schema": schema}

    def read(self, values: list[str]) -> list[str]:
        """The values, each as the schema says. Raises Refusal."""
        if len(values) > (MOST_VALUES if self.many else 1):
            often = f"at most {MOST_VALUES} times" if self.many else "once"
            raise Refusal(400, f"{self.name} may be given {often}.")
        for value in values:
            problem = _problem(self.schema, value)
            if problem is not None:
                raise Refusal(400, f"{self.name} {problem}.")
        return values


def _problem(schema: Mapping[str, Any], value: str) -> str | None:
    if schema["type"] == "integer":
        number = int(value) if re.fullmatch(r"[0-9]{1,6}", value) else None
        low, high = schema["minimum"], schema["maximum"]
        return None if number is not None and low <= number <= high else f"is a whole number from {low} to {high}"
    words = schema.get("enum")
    if words is not None:
        near = difflib.get_close_matches(value, words, n=1)
        did_you = f"; did you mean {near[0]}?" if near else ""
        return None if value in words else f"is one of {', '.join(words)}{did_you}"
    if not schema["minLength"] <= len(value) <= schema["maxLength"]:
        return f"has {schema['minLength']} to {schema['maxLength']} characters"
    return None if re.search(schema["pattern"], value) else f"does not look like that (it fits {schema['pattern']})"


def _text(pattern: str, longest: int) -> dict[str, Any]:
    return {"type": "string", "pattern": pattern, "minLength": 1, "maxLength": longest}


def _status(words: Iterable[StrEnum]) -> Parameter:
    about = "Only with this status. Several may be given."
    return Parameter(name="status", about=about, schema={"type": "string", "enum": [str(word) for word in words]}, many=True)


def _cursor(pattern: str) -> Parameter:
    about = "Where the list goes on: the `next` of the page before. Take it as it is."
    return Parameter(name="cursor", about=about, schema=_text(pattern, 500))


SOURCE = Parameter(
    name="source", about="Only of this source. Several may be given.", schema=_text(r"^[a-z0-9_-]+$", 100), many=True
)
PLATFORM = Parameter(
    name="platform", about="Only on this platform. Several may be given.", schema=_text(f"^{_PLAIN}+$", 100), many=True
)
LABEL = Parameter(
    name="label",
    about="Only of sources with this label, as key=value. Several must all match.",
    schema=_text(f"^[^=\\x00-\\x1f\\x7f]+={_PLAIN}*$", 300),
    many=True,
)
TEXT = Parameter(
    name="q",
    about="Part of a connection's id, display name or user name; for sources, of the name. Case does not matter.",
    schema=_text(f"^{_PLAIN}+$", 200),
)
CONNECTION = Parameter(name="connection", about="Only this connection, by its whole id.", schema=_text(f"^{_PLAIN}+$", 700))
LIMIT = Parameter(
    name="limit",
    about="The most rows of a page.",
    schema={"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE, "default": PAGE},
)
DAYS = Parameter(
    name="days", about="How far to look ahead.", schema={"type": "integer", "minimum": 1, "maximum": 3650, "default": 30}
)
EVERYTHING = Parameter(
    name="all", about="Also those that are over or were removed.", schema={"type": "string", "enum": ["true", "false"]}
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
    """The parameters of one call, each as it may be."""

    values: Mapping[str, list[str]]

    @classmethod
    def read(cls, query: QueryParams, parameters: Iterable[Parameter], *, ignored: Collection[str] = ()) -> ApiParams:
        """Raises Refusal for a name that is none of these, and for a value that does not fit."""
        known = {parameter.name: parameter for parameter in parameters}
        given: dict[str, list[str]] = {}
        for name, value in query.multi_items():
            if name in ignored:
                continue
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                did_you = f" Did you mean {near[0]}?" if near else ""
                raise Refusal(400, f"There is no parameter of that name here; there are: {', '.join(known)}.{did_you}")
            given.setdefault(name, []).append(value)
        return cls({name: known[name].read(values) for name, values in given.items()})

    def one(self, name: str) -> str | None:
        """A parameter's value, None where it is not given."""
        return next(iter(self.values.get(name, ())), None)

    def number(self, parameter: Parameter) -> int:
        """A number, or its default."""
        given = self.one(parameter.name)
        return int(parameter.schema["default"] if given is None else given)

    def selection(self, conn: Connection, config: Config) -> Selection:
        """The filters. Raises Refusal (404) for a source, a platform or a label that nothing has."""
        chosen = Selection(
            sources=self._set(SOURCE.name, str),
            platforms=self._set(PLATFORM.name, canonical),
            statuses=self._set("status", str),
            labels=dict(pair.split("=", 1) for pair in self.values.get(LABEL.name, ())),
        )
        names = {source.name for source in config.sources}
        _require("source", chosen.sources, lambda: names | {row.name for row in sources.all_sources(conn)})
        _require("platform", chosen.platforms, lambda: frozenset(connection_queries.platforms(conn)))
        if chosen.labels and not any(chosen.labels.items() <= source.labels.items() for source in config.sources):
            raise Refusal(404, "No source has these labels.")
        return chosen

    def _set(self, name: str, reading: Any) -> frozenset[str] | None:
        values = self.values.get(name)
        return frozenset(reading(value) for value in values) if values else None

    def query(self, conn: Connection, config: Config) -> Query:
        """Everything but what a single list has of its own. Raises Refusal."""
        return Query(
            selection=self.selection(conn, config),
            text=self.one(TEXT.name),
            connection=self.one(CONNECTION.name),
            cursor=self.one("cursor"),
            limit=self.number(LIMIT),
        )


def _require(what: str, wanted: frozenset[str] | None, known: Any) -> None:
    if wanted is None:
        return
    names = known()
    for name in sorted(wanted - names):
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        did_you = f" Did you mean {near[0]}?" if near else ""
        raise Refusal(404, f"There is no {what} of that name.{did_you}")
