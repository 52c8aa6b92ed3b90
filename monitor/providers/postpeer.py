"""PostPeer: pages of integrations by offset, without any health data. PROVIDERS 1.4, 2d (paging)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from monitor.config import SourceConfig
from monitor.domain import PollReport, ProbeAnswer, ReportedStatus, Snapshot, Unreadable, VerdictFlag
from monitor.domain.errors import ProviderError, ProviderPayloadInvalid
from monitor.domain.rules.platforms import canonical, is_usable_id
from monitor.domain.text import sanitize, sanitize_or_none, web_address
from monitor.providers import payload
from monitor.providers.api import Api, ApiResponse, RequestRefused
from monitor.providers.payload import Date
from monitor.providers.scopes import report_of, scope_report

_PAGE = 100
_SPARE_PAGES = 10
_GUARDED = ("id", "platform")


class PostPeerRow(payload.Row, rename="camel", gc=False):
    """One integration as listed."""

    id: str
    platform: str | None = None
    platform_user_id: str | None = None
    username: str | None = None
    display_name: str | None = None
    profile_url: str | None = None
    created_at: Date = None


ROWS = payload.RowReader(
    PostPeerRow, id_field="id", guarded=_GUARDED, deciding=("id",), lenient={"platformUserId": payload.id_text}
)


@dataclass(slots=True, kw_only=True)
class _Walk:
    """The rows collected from the pages so far."""

    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    unreadable: dict[str | int, Unreadable] = field(default_factory=dict)
    total: int | None = None
    problem: str | None = None

    @property
    def rows(self) -> int:
        """Number of rows, each id counted once."""
        return len(self.snapshots) + len(self.unreadable)


class PostPeer:
    """Adapter for one PostPeer source."""

    probes = False

    def __init__(self, source: SourceConfig, *, api: Api) -> None:
        del source  # nothing is configurable: one key reads one project
        self._api = api

    async def poll(self) -> PollReport:
        """Read all integrations of the project. A failure is reported in the result."""
        before = self._api.list_requests
        try:
            walk = await self._walk_pages()
            if walk.problem is not None:
                walk = await self._walk_pages()
            if walk.rows == 0 and walk.problem is None:
                await self._confirm_key()
        except ProviderError as exc:
            return report_of(self._api, (), [exc], requests=self._api.list_requests - before)
        scope = scope_report(None, walk.snapshots.values(), walk.unreadable.values(), problem=walk.problem)
        return report_of(self._api, (scope,), (), requests=self._api.list_requests - before)

    async def poll_scopes(self, scopes: Sequence[str | None]) -> PollReport:
        """Read all integrations: a key has one scope."""
        del scopes
        return await self.poll()

    async def probe(self, external_id: str, *, scope: str | None) -> ProbeAnswer:
        """Raise ProviderPayloadInvalid: there is no test-connection call."""
        raise ProviderPayloadInvalid(f"PostPeer cannot test connections ({external_id}, {scope}).")

    async def _walk_pages(self) -> _Walk:
        """Read all pages, oldest rows first, so that new rows come last. `problem` is set if the result is incomplete."""
        walk = _Walk()
        offset = 0
        max_rows = self._api.limits.rows
        for _ in range(max_rows // _PAGE + _SPARE_PAGES):
            reply = await self._get("/connect/integrations", query={"sort": "asc", "limit": str(_PAGE), "offset": str(offset)})
            rows, total = await payload.off_loop(partial(_decode, reply, max_rows), size=len(reply.body))
            if walk.total not in (None, total):
                walk.problem = "The list changed while it was being read."
            walk.total = total
            before = walk.rows
            _add_page(walk, rows)
            offset += len(rows)
            if walk.rows > max_rows:
                walk.problem = f"The source has more than {max_rows:,} rows; the others were ignored."
                return walk
            if not rows or (total is not None and offset >= total and len(rows) < _PAGE):
                return _check_total(walk)
            if walk.rows == before:
                walk.problem = "The list repeats a page."
                return walk
        walk.problem = "The list has no end."
        return walk

    async def _confirm_key(self) -> None:
        """Raise ProviderPayloadInvalid unless the API confirms the key: an empty list alone is no evidence (PROVIDERS 1.4)."""
        reply = await self._get("/health/auth")
        if payload.read_object(reply.body, content_type=reply.content_type).get("ok") is not True:
            raise ProviderPayloadInvalid("The list is empty, and the API does not confirm that the key is valid.")

    async def _get(self, path: str, *, query: dict[str, str] | None = None) -> ApiResponse:
        try:
            return await self._api.get(path, query=query)
        except RequestRefused as exc:
            raise (exc.unauthorized() or exc) from exc


def _decode(reply: ApiResponse, max_rows: int) -> tuple[list[Snapshot | Unreadable], int | None]:
    listing = payload.read_list(
        reply.body, content_type=reply.content_type, key="integrations", bare=False, guarded=_GUARDED, max_rows=max_rows + 1
    )
    total = listing.fields.get("total")
    if total is not None and (isinstance(total, bool) or not isinstance(total, int) or total < 0):
        raise ProviderPayloadInvalid("The list's total is not a number of rows.")
    return [_read(raw) for raw in listing.rows], total


def _read(raw: Any) -> Snapshot | Unreadable:
    row = ROWS.read(raw)
    return row if isinstance(row, Unreadable) else to_snapshot(row)


def to_snapshot(row: PostPeerRow) -> Snapshot | Unreadable:
    """Return the row as a snapshot. It contains no status and no date."""
    if not is_usable_id(row.id):
        return Unreadable(external_id=sanitize_or_none(row.id), why="bad_id: the id is malformed.")
    platform = canonical(sanitize(row.platform or ""))
    flags = {VerdictFlag.PLATFORM_MISSING: not platform, VerdictFlag.FIELD_IGNORED: row.field_ignored}
    return Snapshot(
        external_id=row.id,
        platform=platform or "unknown",
        reported=ReportedStatus.NO_HEALTH,
        account=f"{platform}:{sanitize(row.platform_user_id)}" if row.platform_user_id and platform else None,
        username=sanitize_or_none(row.username),
        display_name=sanitize_or_none(row.display_name),
        profile_url=web_address(row.profile_url),
        flags=frozenset(flag for flag, applies in flags.items() if applies),
    )


def _add_page(walk: _Walk, rows: list[Snapshot | Unreadable]) -> None:
    """Add a page's rows; a row that was on an earlier page is counted once."""
    for row in rows:
        if isinstance(row, Snapshot):
            walk.snapshots.setdefault(row.external_id, row)
        else:
            walk.unreadable.setdefault(row.external_id or len(walk.unreadable), row)


def _check_total(walk: _Walk) -> _Walk:
    if walk.problem is None and walk.total is not None and walk.rows != walk.total:
        walk.problem = f"The list announced {walk.total} rows but contained {walk.rows}."
    return walk
