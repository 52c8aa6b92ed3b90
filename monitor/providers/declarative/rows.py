"""Rows of a definition as snapshots. Only mapped values leave this module: rows may hold live tokens."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from monitor.config.definition import Definition, Expires, Template
from monitor.domain import LastError, Refresh, ReportedStatus, Snapshot, Unreadable, VerdictFlag
from monitor.domain.errors import ProviderPayloadInvalid
from monitor.domain.rules import dates
from monitor.domain.rules.expressions import Evaluator, Expression
from monitor.domain.rules.platforms import canonical, is_usable_id
from monitor.domain.text import sanitize, sanitize_or_none, web_address
from monitor.providers import payload

_MOST_SCOPES = 200
_MOST_LABELS = 32
_UNPARSED = frozenset({VerdictFlag.UNPARSED_DATE, VerdictFlag.ANCIENT_DATE})
_STAYS_UNKNOWN = "no rule applies"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The origin of a row."""

    scope: str | None = None
    scope_name: str | None = None
    token: str | None = None
    status: int = 200
    headers: Mapping[str, str] | None = None
    at: datetime
    """The time of the response: the reference of relative durations."""


class RowMapper:
    """Maps rows to snapshots by a definition."""

    def __init__(self, definition: Definition, *, now: datetime) -> None:
        self._definition = definition
        self.evaluator = Evaluator(now)
        """Evaluates expressions at the time of the response."""
        self._no_match = ReportedStatus.UNRECOGNISED if definition.expects_status else _without_rules(definition)

    def listed(self, body: Any) -> list[Any]:
        """Return the elements of the list in a decoded body. Raises ProviderPayloadInvalid without a list, or for an error."""
        reader = self._definition.list
        if payload.contradicts(body):
            raise ProviderPayloadInvalid("The API's response contains a field twice with different values.")
        if reader.ok is not None and not self.is_true(reader.ok, body):
            raise ProviderPayloadInvalid("The API returned an error in place of the list (`ok` is not true of its response).")
        if isinstance(body, Mapping) and not self._definition.checks_tokens:
            # The response about a token may state an error: that is its news, which rules judge.
            payload.refuse_error_object(body)
        found = body if reader.items is None else self.evaluator.value(reader.items, body)
        if isinstance(found, list):
            return found
        if isinstance(found, Mapping) and reader.keyed is not None:
            return [_with(item, {reader.keyed: key}) for key, item in found.items()]
        if isinstance(found, Mapping) and self._definition.checks_tokens:
            return [found]
        where = f" at {reader.items.text!r}" if reader.items is not None else ""
        kind = "an object" if isinstance(found, Mapping) else "no list"
        raise ProviderPayloadInvalid(f"The API's response contains {kind}{where} instead of the list.")

    def rows(self, items: Sequence[Any], origin: Origin) -> list[Any]:
        """Return the rows of a list's elements that count, each with its context.

        What is not an object stays a row, although it cannot be read: without it, the list would seem complete.
        """
        around = _context(origin)
        expand, where = self._definition.list.expand, self._definition.list.where
        found = items if expand is None else [inner for item in items for inner in self._inner(expand, item, around)]
        rows = [_with(row, around) for row in found]
        return rows if where is None else [row for row in rows if not _is_sound(row) or self.evaluator.is_true(where, row)]

    def snapshot(self, row: Any, origin: Origin) -> Snapshot | Unreadable:
        """Return the row as a snapshot, or why it cannot be read. Never raises, whatever the row contains."""
        if not isinstance(row, Mapping):
            return Unreadable(external_id=None, why="The row is not an object.")
        if not _is_sound(row):
            return Unreadable(external_id=None, why="The row contains a field twice with different values.")
        external_id = self._id(row)
        if external_id is None or not is_usable_id(external_id):
            return Unreadable(external_id=sanitize_or_none(external_id), why="bad_id: the id is missing or malformed.")
        reported, detail = self._status(row)
        expires_at, trusted, flags = self._expiry(row, origin)
        if trusted and flags & _UNPARSED:
            return Unreadable(external_id=external_id, why="The expiry date cannot be read as a date.")
        platform = self._platform(row)
        if not platform:
            flags |= {VerdictFlag.PLATFORM_MISSING}
        return Snapshot(
            external_id=external_id,
            scope=origin.scope,
            platform=platform or "unknown",
            reported=reported,
            raw_status=_STAYS_UNKNOWN if reported is ReportedStatus.UNRECOGNISED else None,
            detail=detail,
            trusted=trusted,
            labels=self._labels(row),
            expires_at=expires_at,
            refresh=self._refresh(row),
            account=self._account(row, platform),
            username=self._field("username", row),
            display_name=self._field("name", row),
            profile_url=self._link(row),
            scopes=self._scopes(row),
            last_successful_post_at=dates.parse_instant(self._value("last_post", row))[0],
            last_error=self._last_error(row),
            flags=flags,
        )

    def is_true(self, expression: Expression | None, row: Any) -> bool:
        """Return True if the expression is true of the row, or there is none."""
        return expression is None or self.evaluator.is_true(expression, row)

    def value(self, expression: Expression, row: Any) -> Any:
        """Return the value of an expression for a row."""
        return self.evaluator.value(expression, row)

    def explanation(self, because: Expression | None, row: Any) -> str | None:
        """Return the text that explains a status; None without one."""
        return None if because is None else _as_text(self.evaluator.value(because, row))

    def _inner(self, expand: Expression, row: Any, around: Mapping[str, Any]) -> Iterable[Any]:
        """Return the rows within an element; the unreadable row None if it contains no list of them."""
        found = self.evaluator.value(expand, _with(row, around)) if _is_sound(row) else None
        return [_with(inner, {"parent": row}) for inner in found] if isinstance(found, list) else [None]

    def _status(self, row: Any) -> tuple[ReportedStatus, str | None]:
        for rule in self._definition.rules:
            if self.is_true(rule.when, row):
                return rule.reported, self.explanation(rule.because, row)
        return self._no_match, None

    def _expiry(self, row: Any, origin: Origin) -> tuple[datetime | None, bool | None, frozenset[str]]:
        expires = self._definition.row.expires
        if expires is None:
            return None, None, frozenset()
        value = self.evaluator.value(expires.at, row)
        trusted = self._trusted(expires, row)
        if any(type(value) is type(each) and value == each for each in expires.never):
            return None, trusted, frozenset()
        expires_at, flags = parse_expiry(value, expires.form, at=origin.at)
        return expires_at, trusted, flags

    def _trusted(self, expires: Expires, row: Any) -> bool | None:
        match expires.trusted:
            case Expression() as expression:
                return self.evaluator.is_true(expression, row)
            case frozenset() as platforms:
                return self._platform(row) in platforms
            case stated:
                return stated

    def _platform(self, row: Any) -> str:
        definition = self._definition
        found = self._field("platform", row) or definition.platform or ""
        found = definition.platforms.get(found, found)
        return canonical(sanitize(found))

    def _account(self, row: Any, platform: str) -> str | None:
        account = self._field("account", row)
        return f"{platform}:{account}" if account and platform else None

    def _link(self, row: Any) -> str | None:
        template = self._definition.row.link
        return None if template is None else web_address(_linked(template, row))

    def _labels(self, row: Any) -> dict[str, str] | None:
        found = {name: _as_text(self.evaluator.value(each, row)) for name, each in self._definition.row.labels.items()}
        labels = {name: text for name, text in found.items() if text}
        return dict(list(labels.items())[:_MOST_LABELS]) or None

    def _scopes(self, row: Any) -> tuple[str, ...] | None:
        found = self._value("scopes", row)
        if not isinstance(found, list):
            return None
        return tuple(sanitize(item) for item in found[:_MOST_SCOPES] if isinstance(item, str))

    def _refresh(self, row: Any) -> Refresh | None:
        names = ("refreshed_at", "refresh_failed_at", "refresh_error", "refresh_status")
        if not any(name in self._definition.row.fields for name in names):
            return None
        status = self._value("refresh_status", row)
        refresh = Refresh(
            connected_at=dates.parse_instant(self._value("issued", row))[0],
            last_refreshed_at=dates.parse_instant(self._value("refreshed_at", row))[0],
            last_attempt_at=dates.parse_instant(self._value("refresh_failed_at", row))[0],
            error=self._field("refresh_error", row),
            error_status=status if isinstance(status, int) and not isinstance(status, bool) else None,
        )
        return None if refresh == Refresh(connected_at=refresh.connected_at) else refresh

    def _last_error(self, row: Any) -> LastError | None:
        message = self._field("last_error", row)
        return (
            LastError(message=message, occurred_at=dates.parse_instant(self._value("last_error_at", row))[0]) if message else None
        )

    def _value(self, name: str, row: Any) -> Any:
        expression = self._definition.row.fields.get(name)
        return None if expression is None else self.evaluator.value(expression, row)

    def _field(self, name: str, row: Any) -> str | None:
        return _as_text(self._value(name, row))

    def _id(self, row: Any) -> str | None:
        found = self.evaluator.value(self._definition.row.id, row)
        if isinstance(found, int) and not isinstance(found, bool) and abs(found) < 10**18:
            return str(found)
        return found if isinstance(found, str) else None


def parse_expiry(value: Any, form: str, *, at: datetime) -> tuple[datetime | None, frozenset[str]]:
    """Return the expiry that a value states in a form of `Expires`, and flags about how it was read. Never raises."""
    if value is None or value == "":
        return None, frozenset()
    if form in ("seconds_left", "days_left"):
        return _after(value, form, at)
    if form in ("auto", "date"):
        expires_at, flags = dates.parse_expiry(value, now=at)
        return expires_at, flags - {VerdictFlag.NAIVE_DATE} if form == "date" else flags
    try:
        written = datetime.strptime(value, form)  # noqa: DTZ007 - a format without an offset is UTC, see below
    except (TypeError, ValueError):
        return None, frozenset({VerdictFlag.UNPARSED_DATE})
    aware = written if written.tzinfo is not None else written.replace(tzinfo=UTC)
    return dates.parse_expiry(aware.isoformat(), now=at)


def _after(value: Any, form: str, at: datetime) -> tuple[datetime | None, frozenset[str]]:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None, frozenset({VerdictFlag.UNPARSED_DATE})
    try:
        expires_at = at + (timedelta(seconds=value) if form == "seconds_left" else timedelta(days=value))
    except OverflowError:
        return None, frozenset({VerdictFlag.FAR_DATE})
    return dates.parse_expiry(expires_at.isoformat(), now=at)


def _without_rules(definition: Definition) -> ReportedStatus:
    """Return the status of a row that no rule describes: it states a date, or nothing about its health."""
    dated = definition.row.expires is not None or bool(definition.rules)
    return ReportedStatus.UNSTATED if dated else ReportedStatus.NO_HEALTH


def _context(origin: Origin) -> dict[str, Any]:
    headers = {name.lower(): value for name, value in (origin.headers or {}).items()}
    return {
        "_http": {"status": origin.status, "headers": headers},
        "_scope": {"id": origin.scope, "name": origin.scope_name},
        "_token": {"id": origin.token},
    }


def _is_sound(row: Any) -> bool:
    """Return True if a row is an object that contains no field twice with different values."""
    return isinstance(row, Mapping) and not payload.contradicts(row)


def _with(row: Any, more: Mapping[str, Any]) -> Any:
    """Return the row with further fields; one that is not an object stays as it is, and is unreadable later."""
    if not isinstance(row, Mapping):
        return row
    return payload.extended(row, more)


def _as_text(value: Any) -> str | None:
    if isinstance(value, str):
        return sanitize_or_none(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 10**18:
        return str(value)
    return None


def _linked(template: Template, row: Any) -> str | None:
    parts = []
    for part in template.parts:
        if isinstance(part, str):
            parts.append(part)
            continue
        found: Any = row
        for name in part:
            found = found.get(name) if isinstance(found, Mapping) else None
        text = _as_text(found)
        if text is None:
            return None
        parts.append(quote(text, safe=""))
    return "".join(parts)
