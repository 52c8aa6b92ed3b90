"""The times of a delivery: when it is planned for, and how late it is. Grouping, escalation delays and quiet hours."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.config import ChannelConfig
from monitor.domain import Severity
from monitor.domain.rules import recurrence
from monitor.store.outbox import Claimed

LATE_AFTER = timedelta(minutes=10)
"""A message that is later than this states by how much."""


@dataclass(frozen=True, slots=True)
class DeliveryTimes:
    """The delivery times of one channel. `timezone` is that of its quiet hours."""

    channel: ChannelConfig
    timezone: str

    def quiet_until(self, at: datetime, severity: Severity) -> datetime | None:
        """Return the end of the quiet hours that hold back an alert of this severity, None outside of them."""
        return recurrence.quiet_until(self.channel.quiet_hours, at, severity=severity, timezone=self.timezone)

    def planned(self, claimed: Claimed) -> datetime:
        """Return when the delivery should go out: after group_wait or the escalation delay, outside of quiet hours.

        For an escalation that waited for the end of an acknowledgement or a silence, the time counts from that end.
        """
        delay = (self.channel.after or timedelta(0)) if claimed.escalation else timedelta(0)
        at = claimed.alert.at + max(delay, self.channel.group_wait)
        if claimed.escalation:
            at = max(at, claimed.created_at)
        return self.quiet_until(at, claimed.alert.severity) or at

    def lateness(self, claimed: Claimed, *, now: datetime) -> timedelta | None:
        """Return how late the delivery is, None where that is not worth a note."""
        late = now - self.planned(claimed)
        return late if late > LATE_AFTER else None
