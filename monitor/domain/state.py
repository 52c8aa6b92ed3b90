"""The conclusions of the rules: the two axes, the verdict, and the policy that applies."""

from __future__ import annotations

from datetime import datetime, timedelta

from monitor.domain.enums import EventKind, ProbeFinding, ProbeStatus, Status
from monitor.domain.observations import Snapshot
from monitor.domain.records import Record


class TokenState(Record, frozen=True, gc=False, kw_only=True):
    """The token axis according to the last judgement."""

    status: Status
    reason: str
    message: str
    expires_at: datetime | None = None
    """The effective expiry behind the verdict (stated, or the end of a coarse span)."""
    crossed_at: datetime | None = None
    """The expiry date whose threshold was crossed: the verdict ends only when the date moves later by more than an hour."""
    issued_at: datetime | None = None
    """When the current date was first seen: with expires_at the observed lifetime of a renewed token."""
    refresh_failures: int = 0
    """Consecutive attempts to renew the token that failed for a temporary reason, counted up to 3."""
    failing_polls: int = 0
    """Consecutive polls that reported `failing`, counted up to the confirmation threshold."""
    dated_since: datetime | None = None
    """When the current date was first stated; None without a date. A date that moves is a new one."""
    renewal_gap: timedelta | None = None
    """The longest time between recent renewals; older ones count less and less. None until one was observed."""
    renewal_left: timedelta | None = None
    """The shortest time that recent renewals left until the expiry, negative for renewals after it; older ones count less."""
    renewals: int = 0
    """The number of observed renewals, counted up to 2."""
    reconnected_at: datetime | None = None
    """When the list last showed a reconnect. Older evidence does not count."""
    flags: frozenset[str] = frozenset()  # VerdictFlags of the rule that decided


class ProbeState(Record, frozen=True, gc=False, kw_only=True):
    """The probe axis: the answers of the platform itself."""

    status: ProbeStatus = ProbeStatus.UNPROBED
    finding: ProbeFinding | None = None  # the last finding that was evidence (never transient)
    refusals: int = 0  # refusals in a row, counted up to the confirmation threshold
    message: str | None = None
    """The text of the newest answer."""
    at: datetime | None = None
    """The time of the newest answer. Of consecutive answers without evidence, the first."""
    ever_ok: bool = False
    refused_since: datetime | None = None
    """The time of the first of the refusals in a row; None without a refusal."""
    refusal: str | None = None
    """The text of the refusal that `finding` states, which may be older than the newest answer."""
    ok_at: datetime | None = None
    """The time of the last successful probe; None while `at` is that time, or if there was none."""
    silent_since: datetime | None = None
    """The time of the first probe in a row that gave no evidence; None if the last one did."""
    reconnected: bool = False
    """True from a reconnect until the next success: a missing permission then counts immediately."""


class Verdict(Record, frozen=True, gc=False, kw_only=True):
    """The conclusion about a connection, and its reason."""

    status: Status
    reason: str  # a VerdictReason
    message: str  # one sentence to show
    since: datetime  # when the status changed; the expiry date itself if a trusted date passed
    flags: frozenset[str] = frozenset()


class ConnectionState(Record, frozen=True, gc=False, kw_only=True):
    """The stored state of one connection: the last snapshot, both axes, and the verdict merged from them."""

    snapshot: Snapshot
    token: TokenState
    probe: ProbeState
    verdict: Verdict
    stage: timedelta | None = None
    """While expiring_soon: the tightest stage that has been reached, None before the first."""
    missing: int = 0  # complete lists in a row without it, counted up to confirm_missing
    next_change_at: datetime | None = None
    """The next time at which the verdict or the stage changes by time alone (trusted dates only)."""
    recheck_at: datetime | None = None  # from then on a poll must judge again even if nothing else changed
    permissions: tuple[str, ...] | None = None
    """The permissions of the last good answer, with those that were lost since; None if they are not reported."""
    lost_permissions: tuple[str, ...] = ()
    """Those of them that publishing needs and the newest answer lacks."""


class Event(Record, frozen=True, gc=False, kw_only=True):
    """One entry of a connection's history."""

    kind: EventKind
    at: datetime
    old: str | None = None
    new: str | None = None
    reason: str | None = None
    message: str | None = None
    author: str | None = None
    """The user who made the change, such as "anna" or "command line (ann)"; None if the monitor recorded it."""


class Policy(Record, frozen=True, kw_only=True):
    """The thresholds in force for one connection (source + platform, source, platform, policy; key by key)."""

    expiring_within: timedelta = timedelta(days=7)
    expiring_within_explicit: bool = False
    """True if it is configured: only then may it overrule a provider's own expiring_soon."""
    stages: tuple[timedelta, ...] = (timedelta(days=7), timedelta(days=3), timedelta(days=1))
    confirm_failures: int = 2
    confirm_missing: int = 2
    remind_every: timedelta | None = timedelta(hours=24)
    flap_changes: int = 4  # more status changes than this within flap_window are damped to one message an hour
    flap_window: timedelta | None = timedelta(hours=6)  # None: nothing is damped
    learn_renewals: bool = True
    """True if the learned cadence of renewals delays warnings of a near expiry, and causes one when renewals stop."""
