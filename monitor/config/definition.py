"""A compiled definition: how the connections of a service are read, with every expression and template checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from monitor.domain import ProbeFinding, ReportedStatus
from monitor.domain.rules.expressions import Expression

AuthKind = Literal["header", "basic", "oauth", "none"]
PagingKind = Literal["none", "offset", "page", "cursor", "link"]


@dataclass(frozen=True, slots=True)
class Template:
    """A text with placeholders such as {scope.id}."""

    parts: tuple[str | tuple[str, ...], ...]
    """Literal texts, and the paths of placeholders."""

    @property
    def text(self) -> str | None:
        """The text, if it has no placeholder."""
        return "".join(part for part in self.parts if isinstance(part, str)) if not self.placeholders else None

    @property
    def placeholders(self) -> tuple[tuple[str, ...], ...]:
        """The paths of the placeholders."""
        return tuple(part for part in self.parts if not isinstance(part, str))

    @property
    def has_secret(self) -> bool:
        """True if a secret is inserted."""
        return any(path[0] == "secret" for path in self.placeholders)


_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_-]+)*)\}")


def parse_template(text: str, *, roots: Mapping[str, int]) -> Template:
    """Return a text as a template. `roots` are the first names of placeholders, each with the number of names that follow.

    Braces that contain anything else are literal text, as in a GraphQL query; -1 allows any number of names, and the root
    "" any first name.
    """
    parts: list[str | tuple[str, ...]] = []
    end = 0
    for match in _PLACEHOLDER.finditer(text):
        path = tuple(match[1].split("."))
        takes = roots.get(path[0], roots.get(""))
        if takes is None or (takes >= 0 and len(path) != takes + 1):
            continue
        parts += [text[end : match.start()], path]
        end = match.end()
    parts.append(text[end:])
    return Template(tuple(part for part in parts if part))


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """The authentication of requests."""

    kind: AuthKind = "header"
    header: str = "Authorization"
    prefix: str = "Bearer "
    user: str = ""
    token_url: str = ""
    client_id: str = ""
    scope: str = ""
    audience: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestTemplate:
    """A request to the service."""

    method: Literal["GET", "POST"]
    path: Template
    headers: Mapping[str, Template] = field(default_factory=dict)
    query: Mapping[str, Template] = field(default_factory=dict)
    form: Mapping[str, Template] | None = None
    json: Any = None
    """A value in which every text is a Template; None for no JSON body."""
    answers: frozenset[int] = frozenset({200, 201})
    """HTTP statuses whose body is judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paging:
    """The division of a long list into pages."""

    kind: PagingKind = "none"
    param: str = ""
    first: int = 1
    size_param: str = ""
    size: int | None = None
    total: Expression | None = None
    more: Expression | None = None
    next: Expression | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListMap:
    """The request that lists connections, and where its response contains them."""

    request: RequestTemplate | None
    """None: the claims of each token are its row."""
    ok: Expression | None = None
    items: Expression | None = None
    keyed: str | None = None
    expand: Expression | None = None
    where: Expression | None = None
    paging: Paging = Paging()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeMap:
    """The scopes for which the list is requested, once for each."""

    values: tuple[str, ...] = ()
    request: RequestTemplate | None = None
    """The request that lists them; None: `values` are all."""
    items: Expression | None = None
    id: Expression | None = None
    name: Expression | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expires:
    """The expiry date of a row."""

    at: Expression
    form: str = "auto"
    """auto, date, seconds_left, days_left, or a format of strptime."""
    trusted: bool | frozenset[str] | Expression | None = None
    """The condition under which a passed date expires the connection: always, platforms, or an expression; None: by evidence."""
    never: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RowMap:
    """Which field of a row is what."""

    id: Expression
    fields: Mapping[str, Expression] = field(default_factory=dict)
    """By name: platform, username, name, account, scopes, issued, refreshed_at, refresh_failed_at, refresh_error,
    refresh_status, last_post, last_error, last_error_at."""
    link: Template | None = None
    labels: Mapping[str, Expression] = field(default_factory=dict)
    expires: Expires | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRule:
    """A rule for the status of a row."""

    when: Expression | None
    """None: always."""
    reported: ReportedStatus
    because: Expression | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TestRule:
    """A rule for the result of a test."""

    when: Expression | None
    finding: ProbeFinding
    because: Expression | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """The request that tests one connection."""

    request: RequestTemplate
    rules: tuple[TestRule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """The verification of deliveries of the service, and the deliveries that count."""

    scheme: str
    header: str
    prefix: str = ""
    timestamp: str = ""
    on: tuple[Expression, ...] = ()
    """Conditions on the body, of which any must be true; empty: every delivery counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """The instructions for reading the connections of a service. Holds no secret."""

    auth: Auth
    list: ListMap
    row: RowMap
    rules: tuple[StatusRule, ...] = ()
    each: ScopeMap | None = None
    test: Test | None = None
    hook: Hook | None = None
    platform: str | None = None
    platforms: Mapping[str, str] = field(default_factory=dict)
    checks_tokens: bool = False
    """True if it reads one row for each of the source's tokens."""

    @property
    def expects_status(self) -> bool:
        """True if a row that works is recognised by a rule, so that one without a matching rule has an unknown status."""
        return any(rule.reported in (ReportedStatus.VALID, ReportedStatus.NON_EXPIRING) for rule in self.rules)

    @property
    def expressions(self) -> tuple[Expression, ...]:
        """Every expression that is evaluated for a row."""
        row, reader = self.row, self.list
        expires = () if row.expires is None else (row.expires.at, row.expires.trusted)
        found = [
            row.id,
            *row.fields.values(),
            *row.labels.values(),
            *expires,
            reader.items,
            reader.expand,
            reader.where,
            reader.ok,
        ]
        found += [each for rule in self.rules for each in (rule.when, rule.because)]
        return tuple(each for each in found if isinstance(each, Expression))

    @property
    def depends_on_time_or_headers(self) -> bool:
        """True if a row may be judged differently although the body of the response is the same."""
        timed = self.row.expires is not None and self.row.expires.form in ("seconds_left", "days_left")
        return timed or any("now(" in each.text or "_http" in each.text for each in self.expressions)
