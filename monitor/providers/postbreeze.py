"""Postbreeze: a bare array of channels, for all workspaces or one at a time, with token refresh data. PROVIDERS 1.3, 2b."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec

from monitor.config import SourceConfig
from monitor.domain import PollReport, ProbeAnswer, Refresh, ReportedStatus, ScopeReport, Snapshot, Unreadable, VerdictFlag
from monitor.domain.errors import ProviderError, ProviderPayloadInvalid, ProviderScopeRefused
from monitor.domain.rules import dates
from monitor.domain.rules.platforms import canonical, is_usable_id
from monitor.domain.text import sanitize, sanitize_or_none
from monitor.providers import payload
from monitor.providers.api import Api, RequestRefused
from monitor.providers.payload import Date
from monitor.providers.scopes import ScopeWalk, failed_scope, report_of, scope_report
from monitor.providers.status_words import reported_status

_GUARDED = ("id", "status", "workspaceId", "tokenExpiresAt")
_MAX_SCOPES = 200
_NAIVE = frozenset({VerdictFlag.NAIVE_DATE})
"""Without a time zone, a refresh date shifts the derived lifetime."""
_NO_DATE = frozenset({VerdictFlag.UNPARSED_DATE, VerdictFlag.ANCIENT_DATE})
_DIGITS = re.compile(r"\d{3}", re.ASCII)


class PostbreezeRow(payload.Row, rename="camel", gc=False):
    """One channel as listed. The documented example has no platform and status, so both may be missing."""

    id: str
    workspace_id: str | None = None
    platform: str | None = None
    external_id: str | None = None
    handle: str | None = None
    display_name: str | None = None
    status: str | None = None
    scopes: list[str] | None = None
    connected_at: Date = None
    last_refreshed_at: Date = None
    token_expires_at: Date = None
    last_refresh_attempt_at: Date = None
    last_refresh_error: str | None = None
    last_refresh_error_status: int | None = None


def _http_status(value: object) -> int | None:
    """Return an HTTP status that is written as text."""
    return int(value) if isinstance(value, str) and _DIGITS.fullmatch(value.strip()) else None


ROWS = payload.RowReader(
    PostbreezeRow,
    id_field="id",
    guarded=_GUARDED,
    lenient={
        "externalId": payload.id_text,
        "scopes": payload.split_words,
        "tokenExpiresAt": payload.unreadable_date,
        "lastRefreshedAt": payload.unreadable_date,
        "lastRefreshAttemptAt": payload.unreadable_date,
        "lastRefreshError": payload.any_error_text,
        "lastRefreshErrorStatus": _http_status,
    },
)


class _WorkspaceField(msgspec.Struct, rename="camel"):
    """The workspace of an otherwise unreadable row."""

    workspace_id: str | None = None


_WORKSPACES = payload.RowReader(_WorkspaceField, id_field="id", guarded=("workspaceId",))


class WorkspaceRow(msgspec.Struct):
    """One workspace. Its fields are not documented, so an unreadable name leaves it nameless."""

    id: str
    name: Any = None


_NAMED = payload.RowReader(WorkspaceRow, id_field="id", guarded=("id",))
_NAMES_FOR = 3600.0
"""Seconds after which the names of the workspaces are read again; a new workspace is looked up immediately."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """One response's rows; unreadable ones with their workspace, or None if it is unknown."""

    snapshots: list[Snapshot]
    unreadable: list[tuple[str | None, Unreadable]]
    problem: str | None


class Postbreeze:
    """Adapter for one Postbreeze source."""

    probes = False

    def __init__(self, source: SourceConfig, *, api: Api) -> None:
        self._workspaces = source.workspaces
        self._api = api
        self._walk: ScopeWalk[_Rows] = ScopeWalk()
        self._looked_up: set[str] = set()
        """Workspaces whose names were requested."""
        self._names_until = 0.0

    async def poll(self) -> PollReport:
        """Read all channels that the key can reach, or those of the configured workspaces. A failure is part of the report."""
        report = await self._poll_lists()
        read = {scope.scope for scope in report.scopes if scope.scope is not None and scope.complete}
        return replace(report, scope_names=await self._workspace_names(read)) if read else report

    async def _workspace_names(self, read: set[str]) -> dict[str, str] | None:
        """Return the names of the workspaces by their ids; None if they were not read: they are still known, or it failed."""
        now = asyncio.get_running_loop().time()
        if read <= self._looked_up and now < self._names_until:
            return None
        self._looked_up |= read
        self._names_until = now + _NAMES_FOR
        try:
            reply = await self._api.get("/workspaces")
            listing = payload.read_list(
                reply.body, content_type=reply.content_type, key="workspaces", bare=True, guarded=("id",), max_rows=_MAX_SCOPES
            )
        except (ProviderError, RequestRefused):
            return None
        rows = [row for row in map(_NAMED.read, listing.rows) if not isinstance(row, Unreadable)]
        return {row.id: name for row in rows if isinstance(row.name, str) and (name := sanitize_or_none(row.name))}

    async def _poll_lists(self) -> PollReport:
        before = self._api.list_requests
        if self._workspaces is not None:
            return await self._poll_named(list(self._workspaces), before, self._walk)
        try:
            found = await self._read(None)
        except ProviderError as exc:
            return report_of(self._api, (), [exc], requests=self._api.list_requests - before)
        scopes = _by_workspace(found)
        covers_all = found.problem is None and all(scope_id is not None for scope_id, _ in found.unreadable)
        return report_of(self._api, scopes, (), requests=self._api.list_requests - before, covers_all=covers_all)

    async def poll_scopes(self, scopes: Sequence[str | None]) -> PollReport:
        """Read the channels of these workspaces only."""
        named = [scope for scope in scopes if scope is not None]
        return await self._poll_named(named, self._api.list_requests, ScopeWalk())

    async def probe(self, external_id: str, *, scope: str | None) -> ProbeAnswer:
        """Raise ProviderPayloadInvalid: there is no test-connection call."""
        raise ProviderPayloadInvalid(f"Postbreeze cannot test connections ({external_id}, {scope}).")

    async def _poll_named(self, workspaces: Sequence[str], before: int, walk: ScopeWalk[_Rows]) -> PollReport:
        results = await walk.read_all(workspaces, self._read)
        errors = [result for result in results.values() if isinstance(result, ProviderError)]
        scopes = [
            failed_scope(name, result) if isinstance(result, ProviderError) else _of_workspace(name, result)
            for name, result in results.items()
        ]
        return report_of(self._api, scopes, errors, requests=self._api.list_requests - before)

    async def _read(self, workspace: str | None) -> _Rows:
        query = None if workspace is None else {"workspaceId": workspace}
        try:
            reply = await self._api.get("/social-accounts", query=query)
        except RequestRefused as exc:
            if workspace is not None and exc.status == 404 and exc.from_api:
                raise ProviderScopeRefused(f"The key has no workspace {sanitize(workspace)!r} (HTTP 404: {exc.detail}).") from exc
            raise (exc.unauthorized() or exc) from exc

        def decode() -> _Rows:
            return _decode(reply.body, reply.content_type, workspace=workspace, at=reply.at, max_rows=self._api.limits.rows)

        return await payload.off_loop(decode, size=len(reply.body))


def _decode(body: bytes, content_type: str | None, *, workspace: str | None, at: datetime, max_rows: int) -> _Rows:
    listing = payload.read_list(body, content_type=content_type, key=None, bare=True, guarded=_GUARDED, max_rows=max_rows)
    snapshots: list[Snapshot] = []
    unreadable: list[tuple[str | None, Unreadable]] = []
    for raw in listing.rows:
        row = ROWS.read(raw)
        read = row if isinstance(row, Unreadable) else to_snapshot(row, workspace=workspace, at=at)
        if isinstance(read, Snapshot):
            snapshots.append(read)
            continue
        scope_id = _WORKSPACES.read(raw)
        unreadable.append((workspace if isinstance(scope_id, Unreadable) else scope_id.workspace_id or workspace, read))
    problem = f"The list has more than {max_rows:,} rows; the others were ignored." if listing.cut else None
    return _Rows(snapshots=snapshots, unreadable=unreadable, problem=problem)


def to_snapshot(row: PostbreezeRow, *, workspace: str | None, at: datetime) -> Snapshot | Unreadable:
    """Return the row as a snapshot. `workspace` is the requested one, used if the row has none."""
    scope = row.workspace_id or workspace
    if not is_usable_id(row.id) or (scope is not None and not is_usable_id(scope)):
        return Unreadable(external_id=sanitize_or_none(row.id), why="bad_id: the id is malformed.")
    if scope is None:
        # Without its workspace it would be recorded as another connection than the one known by this id.
        return Unreadable(external_id=row.id, why="The row has no workspace.")
    expires_at, flags = dates.parse_expiry(row.token_expires_at, now=at)
    refresh, of_refresh = _refresh(row)
    reported = reported_status(row.status)
    if reported is ReportedStatus.VALID and (flags or of_refresh) and (problem := _undecided(refresh, flags, of_refresh)):
        return Unreadable(external_id=row.id, why=problem)
    if of_refresh:
        flags |= of_refresh & _NAIVE
    platform = sanitize(row.platform).lower() if row.platform else ""
    if not platform:
        flags |= {VerdictFlag.PLATFORM_MISSING}
    if row.field_ignored:
        flags |= {VerdictFlag.FIELD_IGNORED}
    return Snapshot(
        external_id=row.id,
        scope=scope,
        platform=canonical(platform) if platform else "unknown",
        reported=reported,
        raw_status=sanitize_or_none(row.status),
        expires_at=expires_at,
        refresh=refresh,
        account=f"{platform}:{sanitize(row.external_id)}" if row.external_id and platform else None,
        username=sanitize_or_none(row.handle),
        display_name=sanitize_or_none(row.display_name),
        scopes=None if row.scopes is None else tuple(sanitize(text) for text in row.scopes[:_MAX_SCOPES]),
        flags=flags,
    )


def _refresh(row: PostbreezeRow) -> tuple[Refresh, frozenset[str]]:
    """Return the refresh data and the flags of its dates."""
    connected_at, of_connected = dates.parse_instant(row.connected_at)
    last_refreshed_at, of_refreshed = dates.parse_instant(row.last_refreshed_at)
    last_attempt_at, of_attempt = dates.parse_instant(row.last_refresh_attempt_at)
    refresh = Refresh(
        connected_at=connected_at,
        last_refreshed_at=last_refreshed_at,
        last_attempt_at=last_attempt_at,
        error=sanitize_or_none(row.last_refresh_error),
        error_status=row.last_refresh_error_status,
    )
    return refresh, of_refreshed | of_attempt | (of_connected & _NAIVE)


def _undecided(refresh: Refresh, of_expiry: frozenset[str], of_refresh: frozenset[str]) -> str:
    """Return why a row that is stated as active cannot be judged; "" if it can."""
    if of_expiry & _NO_DATE:
        # Without its date an active token would look like one that does not expire.
        return "The row's tokenExpiresAt is not a date."
    if of_refresh & _NO_DATE and (refresh.error or refresh.error_status is not None):
        return "The row's lastRefreshedAt or lastRefreshAttemptAt is not a date: its refresh error may be outdated."
    return ""


def _by_workspace(found: _Rows) -> list[ScopeReport]:
    """Return one report for each listed workspace. A row without a workspace makes all of them incomplete."""
    scope_ids = dict.fromkeys([row.scope for row in found.snapshots] + [scope_id for scope_id, _ in found.unreadable])
    lost = any(scope_id is None for scope_id, _ in found.unreadable)
    problem = found.problem or ("A row has no workspace." if lost else None)
    return [
        scope_report(
            scope_id,
            rows,
            [row for where, row in found.unreadable if where == scope_id],
            problem=problem,
        )
        for scope_id, rows in _grouped(found.snapshots, list(scope_ids)).items()
    ]


def _grouped(snapshots: Sequence[Snapshot], scope_ids: Sequence[str | None]) -> dict[str | None, list[Snapshot]]:
    groups: dict[str | None, list[Snapshot]] = {scope_id: [] for scope_id in scope_ids}
    for row in snapshots:
        groups[row.scope].append(row)
    return groups


def _of_workspace(workspace: str | None, found: _Rows) -> ScopeReport:
    """Return the report of a requested workspace. Rows of others, sent by a server that ignores the filter, are dropped."""
    return scope_report(
        workspace,
        [row for row in found.snapshots if row.scope == workspace],
        [row for scope_id, row in found.unreadable if scope_id == workspace],
        problem=found.problem,
    )
