"""Shares as they are shown: in lists, and as pages for people outside the team, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from monitor.config import Config
from monitor.domain import Severity, Status, utc_text
from monitor.domain.filters import ConnectionFilter
from monitor.store import Connection, connection_queries, sources
from monitor.store.shares import Share
from monitor.views import json_types
from monitor.views.connections import ConnectionView, Reader
from monitor.views.label_filter import resolve_labels
from monitor.views.status import worst_first

MOST = 1_000
"""Accounts on one page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareView:
    """A share at one instant."""

    share: Share
    now: datetime

    @property
    def state(self) -> str:
        """The state: open, expired or revoked."""
        if self.share.revoked_at is not None:
            return "revoked"
        return "open" if self.share.is_open(self.now) else "expired"

    def json(self) -> json_types.ShareJson:
        """Return the JSON form of the share."""
        share = self.share
        return json_types.ShareJson(
            id=share.id,
            state=self.state,
            labels=dict(share.labels),
            created_at=utc_text(share.created_at),
            created_by=share.created_by,
            until=utc_text(share.until),
            revoked_at=utc_text(share.revoked_at),
            revoked_by=share.revoked_by,
            last_read_at=utc_text(share.last_read_at),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedAccount:
    """One account in plain words, without an id, a source or an error."""

    platform: str
    name: str
    """Untrusted text; empty if the service reports no name."""
    state: str
    """works, soon, broken or unknown."""
    at: datetime | None
    """When it expires, or since when it has been broken."""
    stale: bool
    seen_at: datetime | None
    """When its source last reported it; None if it never did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedPage:
    """The accounts of a share, the worst first."""

    accounts: list[SharedAccount]
    total: int
    broken: int
    soon: int
    stale: int


def shared_page(conn: Connection, config: Config, labels: Mapping[str, str], *, now: datetime) -> SharedPage:
    """Return the accounts with exactly these labels, as the configuration sets them."""
    # Without labels nothing may be shown, rather than everything.
    chosen = resolve_labels(conn, ConnectionFilter(bound_to=labels, sources=None if labels else ()), config)
    reader = Reader(config, {row.name: row for row in sources.all_sources(conn)}, now=now)
    rows = connection_queries.list_connections(conn, chosen, worst_first=False)
    views = sorted(map(reader.view, rows), key=worst_first)
    return SharedPage(
        accounts=[_account(view) for view in views[:MOST]],
        total=len(views),
        broken=sum(view.status.severity is Severity.CRITICAL for view in views),
        soon=sum(view.status is Status.EXPIRING_SOON for view in views),
        stale=sum(view.stale for view in views),
    )


def _account(view: ConnectionView) -> SharedAccount:
    state, at = "unknown", None
    if view.status.severity is Severity.CRITICAL:
        state, at = "broken", view.row.state.verdict.since
    elif view.status is Status.EXPIRING_SOON:
        state, at = "soon", view.expires_at
    elif view.status is Status.VALID:
        state = "works"
    return SharedAccount(
        platform=view.snapshot.platform,
        name=view.snapshot.display_name or view.snapshot.username or "",
        state=state,
        at=at,
        stale=view.stale,
        seen_at=view.row.last_seen_at,
    )
