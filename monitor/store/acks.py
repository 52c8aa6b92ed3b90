"""Acknowledgements of open incidents, as the read side needs them."""

from __future__ import annotations

from sqlalchemy import Connection, select

from monitor.domain import Ack, Status
from monitor.store.schema import incidents


def all_acks(conn: Connection) -> dict[int, Ack]:
    """The acknowledgements of open incidents by the row id of their connection; whether they still stand is for the rules."""
    table = incidents.c
    columns = table.connection_id, table.ack_status, table.ack_stage, table.acked_at, table.ack_until, table.ack_comment
    query = select(*columns).where(
        table.closed_at.is_(None), table.connection_id.is_not(None), table.acked_at.is_not(None), table.ack_status.is_not(None)
    )
    return {
        row.connection_id: Ack(
            status=Status(row.ack_status), stage=row.ack_stage, at=row.acked_at, until=row.ack_until, comment=row.ack_comment
        )
        for row in conn.execute(query)
    }
