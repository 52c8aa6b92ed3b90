"""One verdict from three axes: presence in the list, token and probe.

VERDICT_RULES at the end of this module is the specification: the first rule that applies decides, else the token axis.
Python needs the rules to be defined before it. docs/statuses.md is generated from it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from monitor.domain import (
    ProbeFinding,
    ProbeState,
    ProbeStatus,
    ReportedStatus,
    Snapshot,
    Status,
    TokenState,
    Verdict,
    VerdictFlag,
    VerdictReason,
)
from monitor.domain.records import Record
from monitor.domain.rules import probes
from monitor.domain.rules.expiry import Context
from monitor.domain.rules.probe_answers import names_lost_token
from monitor.domain.rules.token_evidence import LOST
from monitor.domain.rules.token_rules import Finding


class Axes(Record, frozen=True, gc=False, kw_only=True):
    """The evidence that a verdict is merged from."""

    snapshot: Snapshot
    token: TokenState
    probe: ProbeState
    missing: int
    lost_permissions: tuple[str, ...]
    context: Context
    previous: Verdict | None = None
    """The verdict before: what was confirmed once stays so, whatever is configured later."""

    @property
    def listed_as_lost(self) -> bool:
        """True if the list itself reports the token as lost."""
        return self.token.status in (Status.EXPIRED, Status.REVOKED)

    @property
    def is_confirmed(self) -> bool:
        """True if the refusals of the probes count, or some of them have decided already."""
        if self.previous is not None and self.previous.status.needs_attention and self.previous.reason in _BY_REFUSAL:
            return True
        return probes.is_confirmed(self.probe, self.context.policy.confirm_failures, self.context.now)

    @property
    def by_probe(self) -> Finding | None:
        """The finding that the probe's refusal leads to, confirmed or not; None without a refusal."""
        if self.probe.refusals == 0 or self.probe.finding not in _BY_PROBE:
            return None
        status, reason, text = _BY_PROBE[self.probe.finding]
        refusal = self.probe.refusal or self.probe.message
        return Finding(status, reason, f"{text} ({refusal})." if refusal else f"{text}.")

    @property
    def probe_succeeded(self) -> bool:
        """True if the newest probe that is evidence succeeded, and is recent enough to prove something."""
        return self.probe.status is ProbeStatus.OK and self.context.is_recent_probe(probes.last_ok_at(self.probe))


_BY_PROBE = {
    ProbeFinding.EXPIRED: (Status.EXPIRED, VerdictReason.PROBE_EXPIRED, "The platform rejects the token: it expired"),
    ProbeFinding.REVOKED: (Status.REVOKED, VerdictReason.PROBE_REVOKED, "The platform rejects the token: access was revoked"),
    ProbeFinding.PERMISSION: (
        Status.FAILING,
        VerdictReason.PROBE_FAILING,
        "The platform rejects the connection: a permission is missing",
    ),
    ProbeFinding.FAILING: (Status.FAILING, VerdictReason.PROBE_FAILING, "The platform rejects the connection"),
    ProbeFinding.AMBIGUOUS: (
        Status.FAILING,
        VerdictReason.PROBE_AMBIGUOUS,
        "The bot's token was accepted before and is now refused: it was revoked, or replaced by a personal session",
    ),
}

_BY_REFUSAL = frozenset(reason for _, reason, _ in _BY_PROBE.values())

_PROBE_FLAGS = {
    ProbeFinding.UNSUPPORTED: VerdictFlag.PROBE_UNSUPPORTED,
    ProbeFinding.AMBIGUOUS: VerdictFlag.MTPROTO_OR_REVOKED_BOT,
    ProbeFinding.BAD_ID: VerdictFlag.PROBE_BAD_ID,
    ProbeFinding.MISSING: VerdictFlag.PROBE_MISSING,
}


def merge(axes: Axes) -> Finding:
    """Return the finding of the first rule that applies, else the token axis; with the flags that the probe adds."""
    finding = _first(axes)
    extra: set[str] = set()
    if axes.probe.finding in _PROBE_FLAGS:
        extra.add(_PROBE_FLAGS[axes.probe.finding])
    if axes.probe.refusals > 0 and not axes.is_confirmed:
        extra.add(VerdictFlag.PROBE_REFUSED)
    return Finding(finding.status, finding.reason, finding.message, finding.flags | extra) if extra else finding


def _first(axes: Axes) -> Finding:
    for rule in VERDICT_RULES:
        finding = rule(axes)
        if finding is not None:
            return finding
    return as_listed(axes)


def absence_is_confirmed(a: Axes) -> Finding | None:
    """Report disconnected after the connection was absent from enough complete lists in a row."""
    was_confirmed = a.previous is not None and a.previous.reason == VerdictReason.MISSING_FROM_LIST and a.missing > 0
    if was_confirmed or a.missing >= max(a.context.policy.confirm_missing, 1):
        return Finding(Status.DISCONNECTED, VerdictReason.MISSING_FROM_LIST, "No longer listed by the provider.")
    return None


def probe_names_worse_than_list(a: Axes) -> Finding | None:
    """Believe a probe without confirmation if the list reports the token as lost and the probe names something worse."""
    refusal = a.by_probe
    if a.listed_as_lost and refusal is not None and refusal.status.rank > a.token.status.rank:
        return refusal
    return None


def probe_disproves_date(a: Axes) -> Finding | None:
    """Believe a probe that succeeded after the expiry date rather than the date, unless the list itself reports expired."""
    if a.token.reason not in _BY_DATE or a.snapshot.reported is ReportedStatus.EXPIRED:
        return None
    expires_at, at = a.token.expires_at, probes.last_ok_at(a.probe)
    if not a.probe_succeeded or expires_at is None or at is None:
        return None
    # Until the date has passed on both clocks, only a probe that is newer on both disproves it; then one by this machine's.
    if (at if a.token.status is Status.EXPIRED else a.context.by_slower_clock(at)) < expires_at:
        return None
    text = "The stated expiry date has passed, but the platform still accepts the token."
    return Finding(Status.VALID, VerdictReason.PROBE_OK, text, frozenset({VerdictFlag.CONFLICT}))


_BY_DATE = frozenset({VerdictReason.DATE_PASSED, VerdictReason.DATE_PAST, VerdictReason.EXPIRES_WITHIN})


def probe_decides_about_date(a: Axes) -> Finding | None:
    """Wait up to 5 minutes for the probe that follows an expiry date, if the platform accepted the token shortly before it."""
    expires_at = a.token.expires_at
    if a.token.reason not in DATE_REACHED or expires_at is None or a.snapshot.reported in LOST:
        return None
    undecided = a.probe.status is ProbeStatus.UNPROBED and a.context.is_recent_probe(a.probe.ok_at)
    if not undecided or a.context.date_now - expires_at >= PROBE_DECIDES_WITHIN:
        return None
    text = "The token has reached its expiry date; a probe is checking if the platform still accepts it."
    return Finding(Status.EXPIRING_SOON, VerdictReason.EXPIRES_WITHIN, text)


DATE_REACHED = frozenset({VerdictReason.DATE_PASSED, VerdictReason.DATE_PAST})
"""Reasons of a token that expired by its date alone."""

PROBE_DECIDES_WITHIN = timedelta(minutes=5)
"""A token whose date has passed counts as expired after this time, if no probe is answered by then."""


def list_reports_lost(a: Axes) -> Finding | None:
    """Believe a list that reports a token as lost. A successful probe does not clear it; the next list decides."""
    if a.listed_as_lost or a.token.status is Status.DISCONNECTED:
        conflict = a.probe.status is ProbeStatus.OK
        flags: frozenset[str] = frozenset({VerdictFlag.CONFLICT}) if conflict else frozenset()
        return Finding(a.token.status, a.token.reason, a.token.message, flags)
    return None


def refusal_is_confirmed(a: Axes) -> Finding | None:
    """Believe refusals that count: often enough in a row, or for long enough."""
    return a.by_probe if a.is_confirmed else None


def permission_was_lost(a: Axes) -> Finding | None:
    """Report failing immediately when the token has lost a permission that publishing needs."""
    if not a.lost_permissions:
        return None
    several = "s" if len(a.lost_permissions) > 1 else ""
    text = f"The connection lost the permission{several} {', '.join(a.lost_permissions)}, which publishing needs."
    return Finding(Status.FAILING, VerdictReason.PERMISSIONS_LOST, text)


def post_was_rejected(a: Axes) -> Finding | None:
    """Report failing without probes if the newest post was rejected and the platform named the token as the cause."""
    is_probed = a.context.probe_every is not None and a.probe.status is not ProbeStatus.UNSUPPORTED
    if is_probed or not post_names_lost_token(a.snapshot, a.token):
        return None
    error = a.snapshot.last_error
    text = f"The platform rejected the last post ({error.message if error else ''})."
    return Finding(Status.FAILING, VerdictReason.POST_REJECTED, text)


def post_names_lost_token(snapshot: Snapshot, token: TokenState, *, ever_posted: bool = True) -> bool:
    """Return True if the last posting error names a lost token, and is newer than the last post and the last reconnect.

    With `ever_posted`, only if a post succeeded before: otherwise the error may be older than the connection.
    """
    error, posted = snapshot.last_error, snapshot.last_successful_post_at
    if error is None or error.occurred_at is None:
        return False
    if ever_posted if posted is None else error.occurred_at <= posted:
        return False
    if token.reconnected_at is not None and error.occurred_at <= token.reconnected_at:
        return False
    return names_lost_token(error.message, platform=snapshot.platform) is not None


def probe_was_accepted(a: Axes) -> Finding | None:
    """Report valid if the list gives no status and the platform accepted the token. Answers without evidence change nothing."""
    if a.token.status is Status.UNKNOWN and a.probe_succeeded:
        return Finding(Status.VALID, VerdictReason.PROBE_OK, "The platform accepts the token.")
    return None


def probe_is_ambiguous(a: Axes) -> Finding | None:
    """Report unknown if the list states nothing about the token and the probe's answer also fits a revoked bot."""
    undated = a.token.reason in (VerdictReason.NON_EXPIRING, VerdictReason.NO_EXPIRY_DATE)
    if a.probe.finding is not ProbeFinding.AMBIGUOUS or not undated or a.snapshot.reported is ReportedStatus.VALID:
        return None
    text = "The bot's token is not accepted: it was revoked, or this is a personal session, which works normally."
    return Finding(Status.UNKNOWN, VerdictReason.PROBE_AMBIGUOUS, text)


def as_listed(a: Axes) -> Finding:
    """Use the status of the token otherwise."""
    return Finding(a.token.status, a.token.reason, a.token.message)


VERDICT_RULES: tuple[Callable[[Axes], Finding | None], ...] = (
    absence_is_confirmed,  # absent from confirm_missing complete lists in a row -> disconnected
    probe_names_worse_than_list,  # list reports expired, probe names revocation -> revoked immediately
    probe_disproves_date,  # expired by its date alone, probe succeeded after it -> valid
    probe_decides_about_date,  # a date passed less than 5 minutes ago, probes succeeded until then -> expiring_soon
    list_reports_lost,  # list reports expired, revoked or disconnected -> that status, whatever the probe finds
    refusal_is_confirmed,  # confirm_failures refusals in a row, unclear ones 3 in 1 h -> expired, revoked or failing
    permission_was_lost,  # a permission that publishing needs is gone -> failing
    post_was_rejected,  # no probes, last post rejected and the token named -> failing
    probe_was_accepted,  # list unknown, a recent probe succeeded and was not refused since -> valid
    probe_is_ambiguous,  # Telegram "Invalid bot token", list states nothing -> unknown
)
