"""One verdict from three axes: presence in the list, token and probe.

VERDICT_RULES at the end of this module is the specification: the first rule that applies decides, else the token axis.
Python needs the rules to be defined before it. docs/statuses.md is generated from it.
"""

from __future__ import annotations

from collections.abc import Callable

from monitor.domain import ProbeFinding, ProbeState, ProbeStatus, Status, TokenState, VerdictFlag, VerdictReason
from monitor.domain.records import Record
from monitor.domain.rules.token_rules import Finding


class Axes(Record, frozen=True, kw_only=True):
    """The evidence that a verdict is merged from."""

    token: TokenState
    probe: ProbeState
    missing: int
    confirm_missing: int
    confirm_failures: int

    @property
    def listed_as_lost(self) -> bool:
        """True if the list itself reports the token as lost."""
        return self.token.status in (Status.EXPIRED, Status.REVOKED)

    @property
    def by_probe(self) -> Finding | None:
        """The finding that the probe's refusal leads to, confirmed or not; None without a refusal."""
        if self.probe.refusals == 0 or self.probe.finding not in _BY_PROBE:
            return None
        status, reason, text = _BY_PROBE[self.probe.finding]
        return Finding(status, reason, f"{text} ({self.probe.message})." if self.probe.message else f"{text}.")


_BY_PROBE = {
    ProbeFinding.EXPIRED: (Status.EXPIRED, VerdictReason.PROBE_EXPIRED, "The platform rejects the token: it expired"),
    ProbeFinding.REVOKED: (Status.REVOKED, VerdictReason.PROBE_REVOKED, "The platform rejects the token: access was revoked"),
    ProbeFinding.PERMISSION: (
        Status.FAILING,
        VerdictReason.PROBE_FAILING,
        "The platform rejects the connection: a permission is missing",
    ),
    ProbeFinding.FAILING: (Status.FAILING, VerdictReason.PROBE_FAILING, "The platform rejects the connection"),
}

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
    if 0 < axes.probe.refusals < axes.confirm_failures:
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
    if a.missing >= max(a.confirm_missing, 1):
        return Finding(Status.DISCONNECTED, VerdictReason.MISSING_FROM_LIST, "No longer listed by the provider.")
    return None


def probe_names_worse_than_list(a: Axes) -> Finding | None:
    """Believe a probe without confirmation if the list reports the token as lost and the probe names something worse."""
    refusal = a.by_probe
    if a.listed_as_lost and refusal is not None and refusal.status.rank > a.token.status.rank:
        return refusal
    return None


def list_says_lost(a: Axes) -> Finding | None:
    """Believe a list that reports a token as lost. A successful probe does not clear it; the next list decides."""
    if a.listed_as_lost or a.token.status is Status.DISCONNECTED:
        conflict = a.probe.status is ProbeStatus.OK
        flags: frozenset[str] = frozenset({VerdictFlag.CONFLICT}) if conflict else frozenset()
        return Finding(a.token.status, a.token.reason, a.token.message, flags)
    return None


def refusal_is_confirmed(a: Axes) -> Finding | None:
    """Believe a probe that was refused often enough in a row."""
    if a.probe.refusals >= max(a.confirm_failures, 1):
        return a.by_probe
    return None


def probe_was_accepted(a: Axes) -> Finding | None:
    """Report valid if the list gives no status and the platform accepted the token. Answers without evidence change nothing."""
    if a.token.status is Status.UNKNOWN and a.probe.ever_ok:
        return Finding(Status.VALID, VerdictReason.PROBE_OK, "The platform accepts the token.")
    return None


def as_listed(a: Axes) -> Finding:
    """Use the status of the token otherwise."""
    return Finding(a.token.status, a.token.reason, a.token.message)


VERDICT_RULES: tuple[Callable[[Axes], Finding | None], ...] = (
    absence_is_confirmed,  # absent from confirm_missing complete lists in a row -> disconnected
    probe_names_worse_than_list,  # list reports expired, probe names revocation -> revoked immediately
    list_says_lost,  # list reports expired, revoked or disconnected -> that status, whatever the probe finds
    refusal_is_confirmed,  # confirm_failures refusals in a row -> expired, revoked or failing, as the probe named it
    probe_was_accepted,  # list unknown, probe succeeded and was not refused since -> valid
)
