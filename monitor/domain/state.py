"""What the rules made of it: the two axes, the verdict, and the policy they judge by."""

from __future__ import annotations

from datetime import datetime, timedelta

from monitor.domain.enums import EventKind, ProbeFinding, ProbeStatus, Status
from monitor.domain.observations import Snapshot
from monitor.domain.records import Record


class TokenState(Record, frozen=True, kw_only=True):
    """The token axis as the rules last judged it."""

    status: Status
    reason: str
    message: str
    expires_at: datetime | None = None
    """The effective expiry that the verdict rests on (stated, or the end of a coarse span)."""
    crossed_at: datetime | None = None
    """The expiry date whose line was crossed: the verdict ends only when the date moves later than this by over an hour."""
    issued_at: datetime | None = None
    """When we saw the current date first: with expires_at the observed lifetime of a renewed token."""
    refresh_failures: int = 0
    """Polls in a row in which the provider's refresh failed for a passing reason, counted up to 3."""
    flags: frozenset[str] = frozenset()  # side notes of the rule that spoke: conflict, stale_date, low_confidence, ...


class ProbeState(Record, frozen=True, kw_only=True):
    """The probe axis: what the platform itself answers."""

    status: ProbeStatus = ProbeStatus.UNPROBED
    finding: ProbeFinding | None = None  # the last finding that said something (never transient)
    refusals: int = 0  # refusals in a row, counted up to the confirmation threshold
    message: str | None = None
    at: datetime | None = None
    ever_ok: bool = False


class Verdict(Record, frozen=True, kw_only=True):
    """What we hold to be true of a connection, and why."""

    status: Status
    reason: str  # a stable machine word
    message: str  # one sentence for a person
    since: datetime  # the instant of the change; the expiry date itself where a trusted date passed
    flags: frozenset[str] = frozenset()


class ConnectionState(Record, frozen=True, kw_only=True):
    """All that is remembered of one connection: the last snapshot, both axes, and the verdict merged from them."""

    snapshot: Snapshot
    token: TokenState
    probe: ProbeState
    verdict: Verdict
    stage: timedelta | None = None
    """While expiring_soon: the tightest stage whose line has been crossed, None before the first."""
    missing: int = 0  # complete lists in a row without it, counted up to confirm_missing
    next_change_at: datetime | None = None
    """The next instant at which time alone moves the verdict or the stage (trusted dates only)."""
    recheck_at: datetime | None = None  # from this instant on a poll must judge again even where nothing else changed


class Event(Record, frozen=True, kw_only=True):
    """One thing that changed in a connection's history."""

    kind: EventKind
    at: datetime
    old: str | None = None
    new: str | None = None
    reason: str | None = None
    message: str | None = None


class Policy(Record, frozen=True, kw_only=True):
    """The thresholds in force for one connection (source + platform, source, platform, policy; key by key)."""

    expiring_within: timedelta = timedelta(days=7)
    expiring_within_explicit: bool = False
    """Whether a person set it: only then may it overrule a provider's own expiring_soon."""
    stages: tuple[timedelta, ...] = (timedelta(days=7), timedelta(days=3), timedelta(days=1))
    confirm_failures: int = 2
    confirm_missing: int = 2
    remind_every: timedelta | None = timedelta(hours=24)
    flap_changes: int = 4  # more status changes than this within flap_window are damped to one message an hour
    flap_window: timedelta | None = timedelta(hours=6)  # None: nothing is damped
