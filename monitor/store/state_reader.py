"""Connections' states from raw rows: what SQLAlchemy does value by value is done here once for each kind of column."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection

from monitor.domain import ConnectionState, LastError, ProbeState, Refresh, Snapshot, TokenState, Verdict
from monitor.store.connection_codec import FINDING, PROBE, STATUS, WORD
from monitor.store.sql import chunked, rows_by_key
from monitor.store.types import instant_reader

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
