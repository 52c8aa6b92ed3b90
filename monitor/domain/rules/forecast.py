"""What will need a person, and when: every connection whose token runs out or has run out, grouped into sittings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.domain import ConnectionState, ProviderInfo, Status
from monitor.domain.rules import expiry

BATCH_SPAN = timedelta(days=3)
"""What one person can reconnect in one go lies at most this far apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """One connection that needs a person by an instant."""

    connection: str
    """Its public id."""
    source: str
    platform: str
    label: str
    """Its name as the provider tells it: a stranger's text."""
    status: Status
    by: datetime
    """When its token runs out; for what is broken already, since when it is."""

    @property
    def overdue(self) -> bool:
        """Whether it does not work any more."""
        return self.status.needs_attention and self.status is not Status.EXPIRING_SOON


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconnectBatch:
    """Connections of one platform at one source that one person can see to in one go."""

    source: str
    platform: str
    needs: tuple[Need, ...]
    """The most urgent first."""

    @property
    def overdue(self) -> bool:
        """Whether these do not work any more."""
        return self.needs[0].overdue

    @property
    def worst(self) -> Status:
        """The most severe status among them."""
        return max((need.status for need in self.needs), key=lambda status: status.rank)

    @property
    def first(self) -> datetime:
        """When the first of them runs out: the sitting is to be held before."""
        return min(need.by for need in self.needs)

    @property
    def last(self) -> datetime:
        """When the last of them runs out."""
        return max(need.by for need in self.needs)


def need_of(
    state: ConnectionState, *, connection: str, source: str, provider: ProviderInfo, now: datetime, within: timedelta
) -> Need | None:
    """Why this connection needs a person within that time, None where it does not.

    What does not work needs one now. A date counts where the provider itself warns of it, or where it can be trusted: tokens
    that the provider renews all day need nobody.
    """
    status, snapshot = state.verdict.status, state.snapshot
    by: datetime | None
    if status.needs_attention and status is not Status.EXPIRING_SOON:
        by = state.verdict.since
    else:
        by = state.token.expires_at or expiry.effective_expiry(snapshot)
        counts = status is Status.EXPIRING_SOON or expiry.is_trusted(snapshot, provider)
        if by is None or not counts or by > now + within:
            return None
    return Need(connection=connection, source=source, platform=snapshot.platform, label=snapshot.label, status=status, by=by)


def reconnect_batches(needs: Iterable[Need]) -> tuple[ReconnectBatch, ...]:
    """The needs in sittings, worst first: what is broken by severity, then what runs out first."""
    groups: dict[tuple[str, str, bool], list[Need]] = {}
    for need in needs:
        groups.setdefault((need.source, need.platform, need.overdue), []).append(need)
    sittings = [
        ReconnectBatch(source=source, platform=platform, needs=part)
        for (source, platform, overdue), group in groups.items()
        for part in ((_by_severity(group),) if overdue else _near_each_other(group))
    ]
    return tuple(sorted(sittings, key=_urgency))


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


def _urgency(sitting: ReconnectBatch) -> tuple[int, datetime, str, str]:
    severity = -sitting.worst.rank if sitting.overdue else 0
    return (severity, sitting.first, sitting.source, sitting.platform)
