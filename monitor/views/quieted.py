"""What keeps alerts about a connection back at one instant: its acknowledgement, and the silences that match it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from monitor.domain import Ack
from monitor.domain.rules import silences, suppression
from monitor.domain.rules.silences import Silence
from monitor.store import acks
from monitor.store import silences as stored_silences
from monitor.store.connections import ConnectionRow


@dataclass(frozen=True, slots=True)
class Quieted:
    """What people have asked to keep quiet about."""

    now: datetime
    acks: Mapping[int, Ack] = field(default_factory=dict)
    """By the connection's row id."""
    silences: Sequence[Silence] = ()
    """Those that are in force now."""

    @classmethod
    def read(cls, conn: Connection, now: datetime) -> Quieted:
        """As the store has it."""
        current = stored_silences.all_current(conn, now)
        return cls(now, acks.all_acks(conn), [each for each in current if silences.active_until(each, now) is not None])

    def acked(self, row: ConnectionRow) -> bool:
        """Whether an acknowledgement of it still stands."""
        return row.id in self.acks and suppression.ack_covers(self.acks[row.id], row.state, self.now)

    def silenced_until(self, row: ConnectionRow, labels: Mapping[str, str]) -> datetime | None:
        """The end of the silences that match it, None where there is none."""
        if not self.silences:
            return None
        return silences.silenced_until(
            self.silences,
            source=row.source,
            platform=row.state.snapshot.platform,
            connection=row.public_id,
            external_id=row.state.snapshot.external_id,
            labels=labels,
            now=self.now,
        )
