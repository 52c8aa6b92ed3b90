"""Forecast: connections that need to be reconnected, grouped into reconnect batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.domain import ConnectionState, ProviderInfo, Status
from monitor.domain.rules import expiry

BATCH_SPAN = timedelta(days=3)
"""Greatest distance between the expiries of one reconnect batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """One connection that must be reconnected by a certain time."""

    connection: str
    """Its public id."""
    source: str
    platform: str
    label: str
    """Its name as reported by the provider: untrusted text."""
    status: Status
    by: datetime
    """When its token expires; if it is broken already, since when."""
    group: str = ""
    """The client, or the value of another label by which batches are grouped; empty: none."""

    @property
    def overdue(self) -> bool:
        """True if it no longer works."""
        return self.status.needs_attention and self.status is not Status.EXPIRING_SOON


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconnectBatch:
    """Connections of one client and platform at one source that can be reconnected in one go."""

    group: str = ""
    """That of the needs."""
    source: str
    platform: str
    needs: tuple[Need, ...]
    """The most urgent first."""

    @property
    def overdue(self) -> bool:
        """True if they no longer work."""
        return self.needs[0].overdue

    @property
    def worst(self) -> Status:
        """The most severe status among them."""
        return max((need.status for need in self.needs), key=lambda status: status.rank)

    @property
    def first(self) -> datetime:
        """When the first of them expires: they should be reconnected before."""
        return min(need.by for need in self.needs)

    @property
    def last(self) -> datetime:
        """When the last of them expires."""
        return max(need.by for need in self.needs)


def need_of(
    state: ConnectionState,
    *,
    connection: str,
    source: str,
    provider: ProviderInfo,
    now: datetime,
    within: timedelta,
    group: str = "",
) -> Need | None:
    """Return the need to reconnect this connection within that time; None if there is none.

    A broken connection needs it now. A date counts if the provider itself warns of it, or if it is trusted: tokens that the
    provider renews all day never need it.
    """
    status, snapshot = state.verdict.status, state.snapshot
    by: datetime | None
    if status.needs_attention and status is not Status.EXPIRING_SOON:
        by = state.verdict.since
    else:
        by = state.token.expires_at or expiry.effective_expiry(snapshot)
        counts = status is Status.EXPIRING_SOON or expiry.is_trusted(snapshot, provider, state.token.dated_since)
        if by is None or not counts or by > now + within:
            return None
    return Need(
        connection=connection,
        source=source,
        platform=snapshot.platform,
        label=snapshot.label,
        status=status,
        by=by,
        group=group,
    )


def reconnect_batches(needs: Iterable[Need]) -> tuple[ReconnectBatch, ...]:
    """Group the needs into reconnect batches, worst first: broken ones by severity, then by the first expiry."""
    groups: dict[tuple[str, str, str, bool], list[Need]] = {}
    for need in needs:
        groups.setdefault((need.group, need.source, need.platform, need.overdue), []).append(need)
    batches = [
        ReconnectBatch(group=group, source=source, platform=platform, needs=part)
        for (group, source, platform, overdue), together in groups.items()
        for part in ((_by_severity(together),) if overdue else _near_each_other(together))
    ]
    return tuple(sorted(batches, key=_urgency))


def _by_severity(needs: Sequence[Need]) -> tuple[Need, ...]:
    return tuple(sorted(needs, key=lambda need: (-need.status.rank, need.by, need.connection)))


def _near_each_other(needs: Sequence[Need]) -> list[tuple[Need, ...]]:
    parts: list[list[Need]] = []
    for need in sorted(needs, key=lambda need: (need.by, need.connection)):
        if parts and need.by - parts[-1][0].by <= BATCH_SPAN:
            parts[-1].append(need)
        else:
            parts.append([need])
    return [tuple(part) for part in parts]


def _urgency(batch: ReconnectBatch) -> tuple[int, datetime, str, str, str]:
    severity = -batch.worst.rank if batch.overdue else 0
    return (severity, batch.first, batch.source, batch.platform, batch.group)
