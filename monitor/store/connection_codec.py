"""Conversion between rows of `connections` and `ConnectionState`.

The maps name each column that a state decides, with the field of its record. Columns are written and read by name only, so
that their order in the table does not matter.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from itertools import count
from operator import attrgetter
from typing import Any

import msgspec
from sqlalchemy import Column, Connection, Dialect

from monitor.domain import (
    ConnectionState,
    LastError,
    ProbeFinding,
    ProbeState,
    ProbeStatus,
    Refresh,
    ReportedStatus,
    Snapshot,
    Status,
    TokenState,
    Verdict,
)
from monitor.domain.records import Record, replace
from monitor.domain.rules.schedule import cohort_of
from monitor.store.schema import cohorts, connections
from monitor.store.sql import chunked, rows_by_key
from monitor.store.types import UtcDateTime

# A dict lookup takes a tenth of the time of calling the Enum class, and every row needs four.
STATUS = {each.value: each for each in Status}
_REPORTED = {each.value: each for each in ReportedStatus}
_PROBE_STATUS = {each.value: each for each in ProbeStatus}
_FINDING: dict[str | None, ProbeFinding | None] = {None: None, **{each.value: each for each in ProbeFinding}}


class _Columns:
    """The columns of one record, each with the name of its field."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.names = tuple(fields)
        self._read: Callable[[Any], tuple[Any, ...]] = attrgetter(*fields.values())

    def encode(self, record: object) -> dict[str, Any]:
        """Return the record's values by column."""
        return dict(zip(self.names, self._read(record), strict=True))

    def differing(self, before: object, after: object) -> dict[str, Any]:
        """Return the values of `after` by column, only those that differ from `before`."""
        if before is after or before == after:
            return {}
        old, new = self._read(before), self._read(after)
        return {name: now for name, was, now in zip(self.names, old, new, strict=True) if now is not was and now != was}


_KEY = _Columns({"scope": "scope", "external_id": "external_id"})
_REST = _Columns(
    {
        "missing": "missing",
        "recheck_at": "recheck_at",
        "next_change_at": "next_change_at",
        "stage": "stage",
        "permissions": "permissions",
        "lost_permissions": "lost_permissions",
    }
)
_VERDICT = _Columns({"status": "status", "reason": "reason", "message": "message", "since": "since", "flags": "flags"})
_TOKEN = _Columns(
    {
        "token_status": "status",
        "token_reason": "reason",
        "token_message": "message",
        "token_expires_at": "expires_at",
        "token_crossed_at": "crossed_at",
        "token_issued_at": "issued_at",
        "token_refresh_failures": "refresh_failures",
        "token_failing_polls": "failing_polls",
        "token_dated_since": "dated_since",
        "token_renewal_gap": "renewal_gap",
        "token_renewal_left": "renewal_left",
        "token_renewals": "renewals",
        "token_reconnected_at": "reconnected_at",
        "token_flags": "flags",
    }
)
_PROBE = _Columns(
    {
        "probe_status": "status",
        "probe_finding": "finding",
        "probe_refusals": "refusals",
        "probe_message": "message",
        "probe_at": "at",
        "probe_ever_ok": "ever_ok",
        "probe_refused_since": "refused_since",
        "probe_refusal": "refusal",
        "probe_ok_at": "ok_at",
        "probe_silent_since": "silent_since",
        "probe_reconnected": "reconnected",
    }
)
_SNAPSHOT = _Columns(
    {
        "platform": "platform",
        "word": "reported",
        "raw_word": "raw_status",
        "detail": "detail",
        "trusted": "trusted",
        "row_labels": "labels",
        "expires_at": "expires_at",
        "expires_before": "expires_before",
        "account": "account",
        "username": "username",
        "display_name": "display_name",
        "profile_url": "profile_url",
        "scopes": "scopes",
        "last_successful_post_at": "last_successful_post_at",
        "snapshot_flags": "flags",
    }
)
_REFRESH = _Columns(
    {
        "refresh_connected_at": "connected_at",
        "refresh_last_at": "last_refreshed_at",
        "refresh_attempt_at": "last_attempt_at",
        "refresh_error": "error",
        "refresh_error_status": "error_status",
    }
)
_ERROR = _Columns({"last_error_message": "message", "last_error_at": "occurred_at"})
_ALL = (_KEY, _REST, _VERDICT, _TOKEN, _PROBE, _SNAPSHOT, _REFRESH, _ERROR)


class _NoError(Record, frozen=True):
    """The values of an error's columns where there is none."""

    message: None = None
    occurred_at: None = None


_NO_REFRESH, _NO_ERROR = Refresh(), _NoError()


def encode_state(state: ConnectionState) -> dict[str, Any]:
    """Return the value of every column that a state decides; the column types convert them."""
    snapshot = state.snapshot
    return {
        **_encode_key(snapshot),
        **_REST.encode(state),
        "lost_permissions": state.lost_permissions or None,
        **_VERDICT.encode(state.verdict),
        **_TOKEN.encode(state.token),
        **_PROBE.encode(state.probe),
        **_SNAPSHOT.encode(snapshot),
        "refresh_reported": snapshot.refresh is not None,
        **_REFRESH.encode(snapshot.refresh or _NO_REFRESH),
        **_ERROR.encode(snapshot.last_error or _NO_ERROR),
    }


def encode_probe(probe: ProbeState) -> dict[str, Any]:
    """Return the value of every column of the probe axis."""
    return _PROBE.encode(probe)


def encode_change(before: ConnectionState, after: ConnectionState) -> dict[str, Any]:
    """Return the columns in which two states of a connection differ: writing only them leaves other indexes alone."""
    changed = _REST.differing(before, after)
    changed |= _VERDICT.differing(before.verdict, after.verdict)
    changed |= _TOKEN.differing(before.token, after.token)
    changed |= _PROBE.differing(before.probe, after.probe)
    old, new = before.snapshot, after.snapshot
    if new == old:
        return changed
    changed |= _SNAPSHOT.differing(old, new)
    if (new.refresh is None) is not (old.refresh is None):
        changed["refresh_reported"] = new.refresh is not None
    changed |= _REFRESH.differing(old.refresh or _NO_REFRESH, new.refresh or _NO_REFRESH)
    changed |= _ERROR.differing(old.last_error or _NO_ERROR, new.last_error or _NO_ERROR)
    if (new.scope, new.external_id) != (old.scope, old.external_id):
        changed |= _encode_key(new)
    return changed


def _encode_key(snapshot: Snapshot) -> dict[str, Any]:
    cohort = cohort_of(snapshot.scope, snapshot.external_id)
    return {"scope": snapshot.scope or "", "external_id": snapshot.external_id, "cohort": cohort}


def decode_state(row: Any) -> ConnectionState:
    """Return the state in a row that has these columns as attributes, with converted values.

    `probed_at` is when the connection's cohort was last probed: a probe that changes nothing is recorded there only.
    """
    token = TokenState(
        status=STATUS[row.token_status],
        reason=row.token_reason,
        message=row.token_message,
        expires_at=row.token_expires_at,
        crossed_at=row.token_crossed_at,
        issued_at=row.token_issued_at,
        refresh_failures=row.token_refresh_failures,
        failing_polls=row.token_failing_polls,
        dated_since=row.token_dated_since,
        renewal_gap=row.token_renewal_gap,
        renewal_left=row.token_renewal_left,
        renewals=row.token_renewals,
        reconnected_at=row.token_reconnected_at,
        flags=row.token_flags,
    )
    at = row.probe_at
    if row.probed_at is not None and row.probe_status == ProbeStatus.OK and row.probe_silent_since is None:
        at = row.probed_at if at is None else max(at, row.probed_at)
    probe = ProbeState(
        status=_PROBE_STATUS[row.probe_status],
        finding=_FINDING[row.probe_finding],
        refusals=row.probe_refusals,
        message=row.probe_message,
        at=at,
        ever_ok=row.probe_ever_ok,
        refused_since=row.probe_refused_since,
        refusal=row.probe_refusal,
        ok_at=row.probe_ok_at,
        silent_since=row.probe_silent_since,
        reconnected=row.probe_reconnected,
    )
    return ConnectionState(
        snapshot=_decode_snapshot(row),
        token=token,
        probe=probe,
        verdict=Verdict(status=STATUS[row.status], reason=row.reason, message=row.message, since=row.since, flags=row.flags),
        stage=row.stage,
        missing=row.missing,
        next_change_at=row.next_change_at,
        recheck_at=row.recheck_at,
        permissions=row.permissions,
        lost_permissions=row.lost_permissions or (),
    )


def _decode_snapshot(row: Any) -> Snapshot:
    refresh = error = None
    if row.refresh_reported:
        refresh = Refresh(
            connected_at=row.refresh_connected_at,
            last_refreshed_at=row.refresh_last_at,
            last_attempt_at=row.refresh_attempt_at,
            error=row.refresh_error,
            error_status=row.refresh_error_status,
        )
    if row.last_error_message is not None:
        error = LastError(message=row.last_error_message, occurred_at=row.last_error_at)
    return Snapshot(
        external_id=row.external_id,
        scope=row.scope or None,
        platform=row.platform,
        reported=_REPORTED[row.word],
        raw_status=row.raw_word,
        detail=row.detail,
        trusted=row.trusted,
        labels=row.row_labels,
        expires_at=row.expires_at,
        expires_before=row.expires_before,
        refresh=refresh,
        account=row.account,
        username=row.username,
        display_name=row.display_name,
        profile_url=row.profile_url,
        scopes=row.scopes,
        last_successful_post_at=row.last_successful_post_at,
        last_error=error,
        flags=row.snapshot_flags,
    )


NAMING = ("external_id", "account", "username", "display_name", "profile_url")
"""The columns, and fields of a snapshot, that name a connection and its account. Their raw values need no conversion."""

_OWN = ("id", *NAMING)
_DECIDED = {"id", "refresh_reported"}.union(*(columns.names for columns in _ALL))
_DESCRIBED = tuple(column.name for column in connections.c if column.name in _DECIDED and column.name not in _OWN)
_Row: Any = namedtuple("_Row", (*_OWN, *_DESCRIBED, "probed_at"))  # type: ignore[misc]  # noqa: PYI024 - its fields are the maps'
_PROBED_AT = "(SELECT probed_at FROM cohorts WHERE cohorts.source = connections.source AND cohorts.cohort = connections.cohort)"
# One JSON text for all columns but the names: the driver makes one object in place of sixty, and equal texts are equal rows.
_TEXT = f"{', '.join(_DESCRIBED)}, {_PROBED_AT}"
_JSON = {"sqlite": f"json_array({_TEXT})", "postgresql": f"json_build_array({_TEXT})::text"}
_BY_ID = f"SELECT {', '.join(_OWN)}, {{text}} FROM connections WHERE retired_at IS NULL AND id IN ({{{{0}}}})"  # noqa: S608 - names of the schema


def load(conn: Connection, ids: Iterable[int]) -> dict[int, ConnectionState]:
    """Return the state of these connections by id, without those that do not exist or are retired."""
    return {key: stored.state for key, stored in load_grouped(conn, ids).items()}


class StoredState(Record, frozen=True, gc=False):
    """The stored state of a connection."""

    names: tuple[str | None, ...]
    """The values of NAMING."""
    like: ConnectionState
    """The state of one of its group, from which it differs in nothing but the names."""
    group: int
    """The same number for connections that were loaded together and differ only in their names."""

    @property
    def state(self) -> ConnectionState:
        """The whole state."""
        external_id, account, username, display_name, profile_url = self.names
        snapshot = replace(
            self.like.snapshot,
            external_id=external_id,
            account=account,
            username=username,
            display_name=display_name,
            profile_url=profile_url,
        )
        return replace(self.like, snapshot=snapshot)


_groups = count()


def load_grouped(conn: Connection, ids: Iterable[int]) -> dict[int, StoredState]:
    """Return the state of these connections by id, without those that do not exist or are retired.

    It reads raw rows, and decodes rows that differ only in names once.
    """
    query = _BY_ID.format(text=_JSON[conn.dialect.name])
    convert = _converter(conn.dialect)
    found: dict[int, StoredState] = {}
    known: dict[str, tuple[ConnectionState, int]] = {}
    for chunk in chunked(ids):
        for key, *names, text in rows_by_key(conn, query, chunk):
            like = known.get(text)
            if like is None:
                like = known[text] = decode_state(convert((key, *names), text)), next(_groups)
            found[key] = StoredState(tuple(names), *like)
    return found


def _converter(dialect: Dialect) -> Callable[[tuple[Any, ...], str], Any]:
    """Return a function that converts a raw row, the names and the text of the others, as the column types do."""
    columns = (*(connections.c[name] for name in _DESCRIBED), cohorts.c.probed_at)
    processors = [(place, _json_reader(column, dialect)) for place, column in enumerate(columns)]
    needed = [(place, convert) for place, convert in processors if convert is not None]

    def converted(own: tuple[Any, ...], text: str) -> Any:
        values = msgspec.json.decode(text)
        for place, convert in needed:
            if (value := values[place]) is not None:
                values[place] = convert(value)
        return _Row(*own, *values)

    return converted


def _json_reader(column: Column[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    if isinstance(column.type, UtcDateTime):
        return _instant  # JSON has no type for instants: they are texts on both databases
    return column.type.dialect_impl(dialect).result_processor(dialect, None)


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
