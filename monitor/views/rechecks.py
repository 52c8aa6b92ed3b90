"""Rechecks as they are shown: with the ids of their connections."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from monitor.domain import utc_text
from monitor.store import Connection, connection_queries, rechecks
from monitor.store.rechecks import Recheck, RecheckOutcome
from monitor.views import json_types


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
