"""One verdict from the axes: presence, token and probe.

Read VERDICT_RULES from top to bottom: the first rule that speaks wins.
"""

from __future__ import annotations

from collections.abc import Callable

from monitor.domain import ProbeFinding, ProbeState, ProbeStatus, Status, TokenState
from monitor.domain.records import Record
from monitor.domain.rules.token import Finding

_BY_PROBE = {
    ProbeFinding.EXPIRED: (Status.EXPIRED, "probe_expired", "The platform refuses the token: it expired"),
    ProbeFinding.REVOKED: (Status.REVOKED, "probe_revoked", "The platform refuses the token: access was revoked"),
    ProbeFinding.FAILING: (Status.FAILING, "probe_failing", "The platform refuses the connection"),
}


class Axes(Record, frozen=True, kw_only=True):
    """What the verdict is merged from."""

    token: TokenState
    probe: ProbeState
    missing: int
    confirm_missing: int
    confirm_failures: int

    @property
    def listed_as_lost(self) -> bool:
        """Whether the list itself says that the token is lost."""
        return self.token.status in (Status.EXPIRED, Status.REVOKED)

    @property
    def by_probe(self) -> Finding | None:
        """What the probe's refusal would make of it, confirmed or not."""
        if self.probe.refusals == 0 or self.probe.finding not in _BY_PROBE:
            return None
        status, reason, text = _BY_PROBE[self.probe.finding]
        return Finding(status, reason, f"{text} ({self.probe.message})." if self.probe.message else f"{text}.")


def missing_from_list(a: Axes) -> Finding | None:
    """Absent from enough complete lists in a row."""
    if a.missing >= max(a.confirm_missing, 1):
        return Finding(Status.DISCONNECTED, "missing_from_list", "No longer listed by the provider.")
    return None


def probe_names_worse(a: Axes) -> Finding | None:
    """The list says lost and the probe agrees, naming something worse: at once."""
    refusal = a.by_probe
    if a.listed_as_lost and refusal is not None and refusal.status.rank > a.token.status.rank:
        return refusal
    return None


def list_says_lost(a: Axes) -> Finding | None:
    """expired, revoked or disconnected by the list; a probe that is ok does not clear it, the next list settles it."""
    if a.listed_as_lost or a.token.status is Status.DISCONNECTED:
        flags = frozenset({"conflict"}) if a.probe.status is ProbeStatus.OK else frozenset()
        return Finding(a.token.status, a.token.reason, a.token.message, flags)
    return None


def probe_refuses(a: Axes) -> Finding | None:
    """Refused often enough in a row to believe it."""
    if a.probe.refusals >= max(a.confirm_failures, 1):
        return a.by_probe
    return None


def probe_vouches(a: Axes) -> Finding | None:
    """The list cannot tell and the platform took the token; what has said nothing since, or is unconfirmed, changes nothing."""
    if a.token.status is Status.UNKNOWN and a.probe.ever_ok:
        return Finding(Status.VALID, "probe_ok", "The platform takes the token.")
    return None


def as_listed(a: Axes) -> Finding:
    """Otherwise the token axis."""
    return Finding(a.token.status, a.token.reason, a.token.message)


VERDICT_RULES: tuple[Callable[[Axes], Finding | None], ...] = (
    missing_from_list,  # absent from confirm_missing complete lists in a row -> disconnected
    probe_names_worse,  # list says expired, probe names revocation -> revoked at once
    list_says_lost,  # the list's expired, revoked, disconnected stand, whatever the probe says
    probe_refuses,  # confirm_failures refusals in a row -> expired, revoked or failing by what was named
    probe_vouches,  # list unknown, probe ok and not refused since -> valid
)

_PROBE_FLAGS = {
    ProbeFinding.UNSUPPORTED: "probe_unsupported",
    ProbeFinding.AMBIGUOUS: "mtproto_or_revoked_bot",
    ProbeFinding.BAD_ID: "probe_bad_id",
    ProbeFinding.MISSING: "probe_missing",
}


def merge(axes: Axes) -> Finding:
    """The first rule that speaks, else the token axis; with the flags that the probe adds."""
    finding = _first(axes)
    extra: set[str] = set()
    if axes.probe.finding in _PROBE_FLAGS:
        extra.add(_PROBE_FLAGS[axes.probe.finding])
    if 0 < axes.probe.refusals < axes.confirm_failures:
        extra.add("probe_refused")
    return Finding(finding.status, finding.reason, finding.message, finding.flags | extra) if extra else finding


def _first(axes: Axes) -> Finding:
    for rule in VERDICT_RULES:
        finding = rule(axes)
        if finding is not None:
            return finding
    return as_listed(axes)
