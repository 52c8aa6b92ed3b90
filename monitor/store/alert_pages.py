"""Alerts a page at a time, filtered by the database; and which of them did not arrive."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, exists, func, select

from monitor.domain import DeliveryState
from monitor.store.alert_codec import decode_alert
from monitor.store.alerts import AlertRow
from monitor.store.schema import alerts, deliveries

_c = alerts.c


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedAlerts:
    """Filters, ANDed; None: no such filter."""

    sources: Collection[str] | None = None
    platforms: Collection[str] | None = None
    events: Collection[str] | None = None
    states: Collection[DeliveryState] | None = None
    """Those with a delivery in one of these states."""


def list_page(conn: Connection, wanted: WantedAlerts, *, limit: int, offset: int = 0) -> list[AlertRow]:
    """One page of alerts, newest first."""
    query = select(_c.payload, _c.connection_id, _c.note).where(*_where(wanted)).order_by(_c.at.desc(), _c.id.desc())
    return [
        AlertRow(alert=decode_alert(row.payload), connection_id=row.connection_id, note=row.note)
        for row in conn.execute(query.limit(limit).offset(offset))
    ]


def count_matching(conn: Connection, wanted: WantedAlerts) -> int:
    """How many alerts pass the filters."""
    return conn.scalar(select(func.count()).select_from(alerts).where(*_where(wanted))) or 0


def known_platforms(conn: Connection) -> list[str]:
    """The platforms of which alerts are stored."""
    return sorted(each for each in conn.scalars(select(_c.platform).distinct()) if each)


def _where(wanted: WantedAlerts) -> Iterator[ColumnElement[bool]]:
    for column, chosen in ((_c.source, wanted.sources), (_c.platform, wanted.platforms), (_c.event, wanted.events)):
        if chosen is not None:
            yield column.in_(list(chosen))
    if wanted.states is not None:
        states = [state.value for state in wanted.states]
        yield exists().where(deliveries.c.alert_id == _c.id, deliveries.c.state.in_(states))
