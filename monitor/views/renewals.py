"""The learned renewals of a token as they are shown: how often, with how much time left, and when the next one is overdue."""

from __future__ import annotations

from datetime import datetime, timedelta

from monitor.domain import ConnectionState, Policy, utc_text
from monitor.domain.records import Record
from monitor.domain.rules import expiry, renewals
from monitor.domain.timefmt import span
from monitor.views import json_types

_NO_TIME = timedelta(0)


class RenewalView(Record, frozen=True, kw_only=True):
    """The renewals of one token, whose provider states when it renewed it."""

    last_at: datetime | None
    """The last renewal; None if the provider states none."""
    every: timedelta | None = None
    """The longest time between recent renewals; None until it is known."""
    left: timedelta | None = None
    """The shortest time that recent renewals left, negative for renewals after the expiry; None until it is known."""
    next_at: datetime | None = None
    """When the next renewal is expected; None if it cannot be predicted."""
    overdue_at: datetime | None = None
    """When the next renewal is overdue; None as for next_at."""

    @property
    def words(self) -> str | None:
        """One sentence about the cadence of renewals; None until it is known."""
        if self.every is None or self.left is None:
            return None
        if self.left <= _NO_TIME:
            return f"Renewed every {span(self.every)}, sometimes only after the expiry: the next renewal cannot be predicted."
        return f"Renewed every {span(self.every)}, with about {span(self.left)} left."

    def json(self) -> json_types.RenewalJson:
        """Return the JSON form of the renewals."""
        return json_types.RenewalJson(
            every=_seconds(self.every),
            left=_seconds(self.left),
            last_at=utc_text(self.last_at),
            overdue_at=utc_text(self.overdue_at),
        )


def _seconds(length: timedelta | None) -> int | None:
    return None if length is None else int(length.total_seconds())


def renewal_view(state: ConnectionState, *, poll_every: timedelta, policy: Policy) -> RenewalView | None:
    """Return what is known of a token's renewals; None if its provider states nothing about them.

    No renewal is predicted if the policy does not use the learned cadence.
    """
    token, refresh, cadence = state.token, state.snapshot.refresh, renewals.cadence_of(state.token)
    if refresh is None:
        return None
    if cadence.renewals < renewals.RENEWALS_NEEDED or cadence.gap is None:
        return RenewalView(last_at=refresh.last_refreshed_at)
    since = renewals.renewed_at(state.snapshot, token.reconnected_at)
    overdue_at = None
    if policy.learn_renewals:
        short_lived = expiry.is_short_lived(state.snapshot, token.dated_since)
        lifetime = expiry.lifetime_of(state.snapshot, token.issued_at)
        near = expiry.near_at(token.expires_at, lifetime, policy, short_lived=short_lived)
        overdue_at = renewals.overdue_at(cadence, since, poll_every, not_before=near)
    return RenewalView(
        last_at=refresh.last_refreshed_at,
        every=cadence.gap,
        left=cadence.left,
        next_at=None if overdue_at is None or since is None else since + cadence.gap,
        overdue_at=overdue_at,
    )
