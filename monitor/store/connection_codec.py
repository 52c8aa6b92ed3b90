"""Conversion between connection rows and `ConnectionState`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection

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
from monitor.domain.records import Record
from monitor.domain.rules.schedule import cohort_of
from monitor.store.sql import chunked, rows_by_key
from monitor.store.types import instant_reader

# A dict lookup costs a tenth of calling the Enum class, and every row needs four.
STATUS = {each.value: each for each in Status}
WORD = {each.value: each for each in ReportedStatus}
PROBE = {each.value: each for each in ProbeStatus}
FINDING: dict[str | None, ProbeFinding | None] = {None: None, **{each.value: each for each in ProbeFinding}}


class _Columns:
    """The columns that one record decides: each by its field."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.names = tuple(fields)
        self._read: Callable[[Any], tuple[Any, ...]] = attrgetter(*fields.values())

    def encode(self, record: object) -> dict[str, Any]:
        """All of them. The column types do the rest."""
        return dict(zip(self.names, self._read(record), strict=True))

    def differing(self, before: object, after: object) -> dict[str, Any]:
        """Those in which two records differ, as the second says."""
        if before is after or before == after:
            return {}
        old, new = self._read(before), self._read(after)
        return {name: now for name, was, now in zip(self.names, old, new, strict=True) if now is not was and now != was}


_REST = _Columns({"missing": "missing", "recheck_at": "recheck_at", "next_change_at": "next_change_at", "stage": "stage"})
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
    }
)
_SNAPSHOT = _Columns(
    {
        "platform": "platform",
        "word": "word",
        "raw_word": "raw_word",
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


class _NoError(Record, frozen=True):
    """What the columns of an error hold where there is none."""

    message: None = None
    occurred_at: None = None


_NO_REFRESH, _NO_ERROR = Refresh(), _NoError()


def encode_state(state: ConnectionState) -> dict[str, Any]:
    """Every column that a state decides. The column types do the rest."""
    snapshot = state.snapshot
    return {
        **_encode_key(snapshot),
        **_REST.encode(state),
        **_VERDICT.encode(state.verdict),
        **_TOKEN.encode(state.token),
        **_PROBE.encode(state.probe),
        **_SNAPSHOT.encode(snapshot),
        "refresh_reported": snapshot.refresh is not None,
        **_REFRESH.encode(snapshot.refresh or _NO_REFRESH),
        **_ERROR.encode(snapshot.last_error or _NO_ERROR),
    }


def encode_change(before: ConnectionState, after: ConnectionState) -> dict[str, Any]:
    """The columns in which two states of a connection differ: an index over the others is then left alone."""
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
    """The state in a row that has every column of the table."""
    token = TokenState(
        status=STATUS[row.token_status],
        reason=row.token_reason,
        message=row.token_message,
        expires_at=row.token_expires_at,
        crossed_at=row.token_crossed_at,
        issued_at=row.token_issued_at,
        refresh_failures=row.token_refresh_failures,
        flags=row.token_flags,
    )
    probe = ProbeState(
        status=PROBE[row.probe_status],
        finding=FINDING[row.probe_finding],
        refusals=row.probe_refusals,
        message=row.probe_message,
        at=row.probe_at,
        ever_ok=row.probe_ever_ok,
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
        word=WORD[row.word],
        raw_word=row.raw_word,
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


_COLUMNS = (
    "id, external_id, scope, platform, word, raw_word, expires_at, expires_before, refresh_reported, refresh_connected_at,"
    " refresh_last_at, refresh_attempt_at, refresh_error, refresh_error_status, account, username, display_name, profile_url,"
    " scopes, last_successful_post_at, last_error_message, last_error_at, snapshot_flags, token_status, token_reason,"
    " token_message, token_expires_at, token_crossed_at, token_issued_at, token_refresh_failures, token_flags, probe_status,"
    " probe_finding, probe_refusals, probe_message, probe_at, probe_ever_ok, status, reason, message, since, flags, stage,"
    " missing, next_change_at, recheck_at"
)
_BY_ID = f"SELECT {_COLUMNS} FROM connections WHERE retired_at IS NULL AND id IN ({{0}})"  # noqa: S608 - our own names
_NO_FLAGS: frozenset[str] = frozenset()


def load(conn: Connection, ids: Iterable[int]) -> dict[int, ConnectionState]:
    """The whole state of these connections by id; those that do not exist or are retired are left out."""
    decode = _Decoder(conn).state
    return dict(decode(row) for chunk in chunked(ids) for row in rows_by_key(conn, _BY_ID, chunk))


class _Decoder:
    """Makes states of raw rows of one kind of database."""

    def __init__(self, conn: Connection) -> None:
        instant = instant_reader(conn.dialect)
        self._at: Callable[[Any], Any] = lambda value: None if value is None else instant(value)

    def state(self, row: tuple[Any, ...]) -> tuple[int, ConnectionState]:
        """The row's id and what it holds; the row has _COLUMNS."""
        status, reason, message, since, flags, stage, missing, next_change_at, recheck_at = row[37:]
        at = self._at
        state = ConnectionState(
            snapshot=self._snapshot(row[1:23]),
            token=self._token(row[23:31]),
            probe=self._probe(row[31:37]),
            verdict=Verdict(status=STATUS[status], reason=reason, message=message, since=at(since), flags=_flags(flags)),
            stage=None if stage is None else timedelta(seconds=stage),
            missing=missing,
            next_change_at=next_change_at and at(next_change_at),
            recheck_at=recheck_at and at(recheck_at),
        )
        return row[0], state

    def _snapshot(self, values: tuple[Any, ...]) -> Snapshot:
        # fmt: off
        (external_id, scope, platform, word, raw_word, expires_at, expires_before,
         reported, connected_at, refreshed_at, attempt_at, refresh_error, refresh_status,
         account, username, display_name, profile_url, scopes, posted_at, error, error_at, flags) = values
        # fmt: on
        at = self._at
        refresh = None
        if reported:
            refresh = Refresh(
                connected_at=at(connected_at),
                last_refreshed_at=at(refreshed_at),
                last_attempt_at=at(attempt_at),
                error=refresh_error,
                error_status=refresh_status,
            )
        return Snapshot(
            external_id=external_id,
            scope=scope or None,
            platform=platform,
            word=WORD[word],
            raw_word=raw_word,
            expires_at=expires_at and at(expires_at),
            expires_before=expires_before and at(expires_before),
            refresh=refresh,
            account=account,
            username=username,
            display_name=display_name,
            profile_url=profile_url,
            scopes=None if scopes is None else tuple(json.loads(scopes)),
            last_successful_post_at=posted_at and at(posted_at),
            last_error=None if error is None else LastError(message=error, occurred_at=at(error_at)),
            flags=_flags(flags),
        )

    def _token(self, values: tuple[Any, ...]) -> TokenState:
        status, reason, message, expires_at, crossed_at, issued_at, refresh_failures, flags = values
        at = self._at
        return TokenState(
            status=STATUS[status],
            reason=reason,
            message=message,
            expires_at=expires_at and at(expires_at),
            crossed_at=crossed_at and at(crossed_at),
            issued_at=issued_at and at(issued_at),
            refresh_failures=refresh_failures,
            flags=_flags(flags),
        )

    def _probe(self, values: tuple[Any, ...]) -> ProbeState:
        status, finding, refusals, message, probed_at, ever_ok = values
        return ProbeState(
            status=PROBE[status],
            finding=FINDING[finding],
            refusals=refusals,
            message=message,
            at=probed_at and self._at(probed_at),
            ever_ok=bool(ever_ok),
        )


def _flags(value: str | None) -> frozenset[str]:
    return _NO_FLAGS if value is None or value == "[]" else frozenset(json.loads(value))
