"""Rechecks as they are shown: with the ids of their connections."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from monitor.config import Config
from monitor.domain import utc_text
from monitor.domain.filters import ConnectionFilter
from monitor.domain.records import replace
from monitor.store import Connection, connection_queries, rechecks
from monitor.store.rechecks import Recheck, RecheckOutcome
from monitor.views import json_types
from monitor.views.label_filter import includes

_UNREAD = "Its source could not be read."


@dataclass(frozen=True, slots=True, kw_only=True)
class RecheckView:
    """A recheck at one instant."""

    recheck: Recheck
    connection: str
    """The connection's public id."""
    label: str
    """The connection's name."""
    now: datetime

    @property
    def is_pending(self) -> bool:
        """True while its result may still arrive."""
        return self.recheck.is_pending(self.now)

    @property
    def outcome(self) -> RecheckOutcome | None:
        """The outcome; None while it is pending."""
        late = None if self.is_pending else RecheckOutcome.EXPIRED
        return self.recheck.outcome or late

    @property
    def message(self) -> str | None:
        """A sentence about the outcome; None while it is pending."""
        late = None if self.is_pending else rechecks.NO_ANSWER
        return self.recheck.message or late

    def json(self) -> json_types.RecheckJson:
        """Return the JSON form of the recheck."""
        recheck = self.recheck
        return json_types.RecheckJson(
            id=recheck.id,
            connection=self.connection,
            requested_at=utc_text(recheck.requested_at),
            requested_by=recheck.requested_by,
            started_at=utc_text(recheck.started_at),
            finished_at=utc_text(recheck.finished_at),
            outcome=self.outcome,
            message=self.message,
            status_before=recheck.status_before,
            status_after=recheck.status_after,
        )


def recheck_views(conn: Connection, found: Iterable[Recheck], *, now: datetime) -> list[RecheckView]:
    """Return the rechecks as they are shown, in the same order."""
    listed = list(found)
    rows = {row.id: row for row in connection_queries.get_connections(conn, {each.connection_id for each in listed})}
    return [
        RecheckView(
            recheck=each,
            connection=rows[each.connection_id].public_id,
            label=rows[each.connection_id].state.snapshot.label,
            now=now,
        )
        for each in listed
    ]


def find_rechecks(conn: Connection, ids: Collection[int], *, now: datetime) -> list[RecheckView]:
    """Return the rechecks with these ids, without those that do not exist."""
    return recheck_views(conn, rechecks.find(conn, ids), now=now)


def selected_rechecks(
    conn: Connection, config: Config, selection: ConnectionFilter, ids: Collection[int], *, now: datetime
) -> list[RecheckView]:
    """Return the rechecks with these ids that are about selected connections, as find_rechecks().

    A bound user does not see why a source could not be read.
    """
    if not selection.bound_to:
        return find_rechecks(conn, ids, now=now)
    found = rechecks.find(conn, ids)
    rows = connection_queries.get_connections(conn, {each.connection_id for each in found})
    selected = {row.id for row in rows if includes(conn, config, selection, row)}
    return recheck_views(conn, [without_source_error(each) for each in found if each.connection_id in selected], now=now)


def without_source_error(recheck: Recheck) -> Recheck:
    """Return the recheck without the reason why its source could not be read."""
    return replace(recheck, message=_UNREAD) if recheck.outcome is RecheckOutcome.UNREAD else recheck
