"""The probe axis: the state that follows from the findings of `probe_answers`, one response after another."""

from __future__ import annotations

from datetime import datetime, timedelta

from monitor.domain import ProbeAnswer, ProbeFinding, ProbeState, ProbeStatus
from monitor.domain.records import replace
from monitor.domain.rules.probe_answers import classify

UNCLEAR_PROBES = 3
"""Number of consecutive refusals that count if they name neither expiry nor revocation nor a permission."""

UNCLEAR_FOR = timedelta(hours=1)
"""The time that such refusals must last."""

UNCLEAR = frozenset({ProbeFinding.FAILING, ProbeFinding.AMBIGUOUS})
"""Findings of refusals that must last."""

_NAMED = frozenset({ProbeFinding.EXPIRED, ProbeFinding.REVOKED, ProbeFinding.PERMISSION})

_OUTWEIGHED_BY = {
    ProbeFinding.AMBIGUOUS: _NAMED,
    ProbeFinding.FAILING: _NAMED,
    ProbeFinding.EXPIRED: frozenset({ProbeFinding.REVOKED}),
}
"""Of refusals in a row, the newest counts, unless an earlier one outweighs it. One that names a permission proves that the token
works, so it ends an expiry or a revocation, and one of these ends it in turn."""


def advance(
    state: ProbeState, answer: ProbeAnswer, *, platform: str, date_trusted: bool, now: datetime, confirm: int
) -> ProbeState:
    """Return the probe axis after one more response.

    An ok ends all refusals. Refusals in a row are counted as far as they matter, and the weightiest finding counts. A response
    without evidence about the token (transient, no validator, a 404 that the list must confirm, a rejected id) clears no refusal.
    """
    return _after(state, classify(answer, platform=platform, date_trusted=date_trusted), answer.message, now=now, confirm=confirm)


def unanswered(state: ProbeState, now: datetime) -> ProbeState:
    """Return the probe axis after a probe that the API did not answer, while it answered others."""
    return _silent(state, None, "The API did not answer.", now)


def refused_by_post(state: ProbeState, finding: ProbeFinding, message: str, *, now: datetime, confirm: int) -> ProbeState:
    """Return the probe axis after the platform refused a post, which counts as one refusal of a probe."""
    return _refused(state, finding, message, now=now, confirm=confirm)


def after_reconnect(state: ProbeState) -> ProbeState:
    """Return the probe axis after a reconnect: earlier refusals and texts are discarded."""
    if state.refusals == 0 and state.silent_since is None:
        return state
    return ProbeState(ever_ok=state.ever_ok, ok_at=last_ok_at(state), reconnected=True)


def without_success(state: ProbeState) -> ProbeState:
    """Return the probe axis after the list stated something new: an earlier success is no evidence about that."""
    if state.status is not ProbeStatus.OK:
        return state
    return ProbeState(ever_ok=state.ever_ok, ok_at=last_ok_at(state))


def last_ok_at(state: ProbeState) -> datetime | None:
    """Return the time of the last successful probe; None if there was none."""
    return state.at if state.status is ProbeStatus.OK and state.silent_since is None else state.ok_at


def is_confirmed(state: ProbeState, confirm: int, now: datetime) -> bool:
    """Return True if the refusals count.

    Those that name expiry, revocation or a permission count after `confirm` in a row, and a missing permission immediately if
    nothing succeeded since a reconnect. Others must last.
    """
    if state.finding in UNCLEAR:
        since = state.refused_since or state.at
        return state.refusals >= UNCLEAR_PROBES and since is not None and now - since >= UNCLEAR_FOR
    if state.finding is ProbeFinding.PERMISSION and state.reconnected and state.refusals:
        return True
    return state.refusals >= max(confirm, 1)


SAME_REFUSAL_WITHIN = timedelta(minutes=1)
"""Refusals that rechecks see within this time of another one count as that one."""


def is_same_refusal(state: ProbeState, finding: ProbeFinding | None, now: datetime) -> bool:
    """Return True if a recheck was refused within a minute of an earlier refusal: this is no further confirmation."""
    refused = finding is not None and (finding.is_refusal or finding is ProbeFinding.AMBIGUOUS)
    return refused and state.refusals > 0 and state.at is not None and now - state.at < SAME_REFUSAL_WITHIN


def is_change(state: ProbeState, finding: ProbeFinding | None) -> bool:
    """Return True if a response with this finding (None: no answer) changes what is stored of the connection.

    Neither time nor message of `state` is read. An ok after an ok changes nothing, and neither does one more response without
    evidence after another.
    """
    if finding is ProbeFinding.OK:  # nearly all responses, nearly always after another ok
        return state.finding is not ProbeFinding.OK or state.status is not ProbeStatus.OK or state.silent_since is not None
    if finding is None or finding in _NO_EVIDENCE:
        known = finding if finding in _NOTED and not state.refusals else state.finding
        return state.silent_since is None or known is not state.finding
    return finding.is_refusal or state.ever_ok or state.finding is not finding or state.silent_since is not None


_NOTED = frozenset({ProbeFinding.MISSING, ProbeFinding.BAD_ID})
_NO_EVIDENCE = frozenset({ProbeFinding.TRANSIENT}) | _NOTED


def is_evidence(finding: ProbeFinding | None) -> bool:
    """Return True if a response with this finding (None: no answer) proves anything about the token or the platform."""
    return finding is not None and finding not in _NO_EVIDENCE


def _after(state: ProbeState, finding: ProbeFinding, message: str | None, *, now: datetime, confirm: int) -> ProbeState:
    if finding in _NO_EVIDENCE:
        return _silent(state, finding, message, now)
    if finding is ProbeFinding.OK:
        return ProbeState(status=ProbeStatus.OK, finding=finding, message=message, at=now, ever_ok=True)
    if finding.is_refusal or (finding is ProbeFinding.AMBIGUOUS and state.ever_ok):
        return _refused(state, finding, message, now=now, confirm=confirm)
    if state.finding is not ProbeFinding.AMBIGUOUS and is_confirmed(state, confirm, now):
        return replace(state, at=now, message=message)
    if finding is state.finding and state.silent_since is None:
        return replace(state, at=now, message=message)
    return ProbeState(
        status=ProbeStatus.UNSUPPORTED,
        finding=finding,
        message=message,
        at=now,
        ever_ok=state.ever_ok and finding is not ProbeFinding.UNSUPPORTED,
        ok_at=last_ok_at(state),
    )


def _silent(state: ProbeState, finding: ProbeFinding | None, message: str | None, now: datetime) -> ProbeState:
    """Record the first of consecutive responses without evidence."""
    if finding in _NOTED and not state.refusals and state.finding is not finding:
        state = replace(state, finding=finding, ok_at=last_ok_at(state))
    if state.silent_since is not None:
        return state
    return replace(state, silent_since=now, at=now, message=message, ok_at=last_ok_at(state))


def _refused(state: ProbeState, finding: ProbeFinding, message: str | None, *, now: datetime, confirm: int) -> ProbeState:
    """Add one refusal."""
    refusal = message
    if state.refusals and state.finding is not None and state.finding in _OUTWEIGHED_BY.get(finding, ()):
        finding, refusal = state.finding, state.refusal
    return ProbeState(
        status=ProbeStatus.FAILING,
        finding=finding,
        refusals=min(state.refusals + 1, max(confirm, UNCLEAR_PROBES)),
        message=message,
        at=now,
        ever_ok=state.ever_ok,
        refused_since=now if state.refusals == 0 else state.refused_since or state.at,
        refusal=refusal,
        ok_at=last_ok_at(state),
        reconnected=state.reconnected,
    )
