"""The probe axis: the state that follows from the findings of `probe_answers`, one response after another."""

from __future__ import annotations

from datetime import datetime

from monitor.domain import ProbeAnswer, ProbeFinding, ProbeState, ProbeStatus
from monitor.domain.records import replace
from monitor.domain.rules.probe_answers import classify

_SEVERITY = {ProbeFinding.FAILING: 1, ProbeFinding.PERMISSION: 2, ProbeFinding.EXPIRED: 3, ProbeFinding.REVOKED: 4}


def advance(
    state: ProbeState, answer: ProbeAnswer, *, platform: str, date_trusted: bool, now: datetime, confirm: int
) -> ProbeState:
    """Return the probe axis after one more response. `date_trusted` as in `classify`.

    An ok ends all refusals. Refusals in a row are counted up to `confirm` and keep the worst finding, with its message.
    A response without evidence about the token (transient, no validator, a 404 that the list must confirm, a rejected id)
    clears no refusal.
    """
    finding = classify(answer, platform=platform, date_trusted=date_trusted)
    return _after(state, finding, answer.message, now=now, confirm=confirm)


def is_change(state: ProbeState, finding: ProbeFinding, *, confirm: int) -> bool:
    """Return True if a response with this finding changes more of the probe axis than its time and message.

    Neither time nor message of `state` is read.
    """
    if finding is ProbeFinding.OK:  # nearly all responses, nearly always after another ok
        return state.finding is not ProbeFinding.OK or state.status is not ProbeStatus.OK or state.refusals > 0
    after = _after(state, finding, None, now=state.at, confirm=confirm)
    return (after.status, after.finding, after.refusals) != (state.status, state.finding, state.refusals)


def _after(state: ProbeState, finding: ProbeFinding, message: str | None, *, now: datetime | None, confirm: int) -> ProbeState:
    if finding is ProbeFinding.TRANSIENT:
        return state
    if finding is ProbeFinding.OK:
        return ProbeState(status=ProbeStatus.OK, finding=finding, message=message, at=now, ever_ok=True)
    if finding.is_refusal:
        return _refused(state, finding, message, now=now, confirm=confirm)
    if state.refusals:
        return replace(state, at=now)
    if finding in (ProbeFinding.UNSUPPORTED, ProbeFinding.AMBIGUOUS):
        return ProbeState(status=ProbeStatus.UNSUPPORTED, finding=finding, message=message, at=now, ever_ok=state.ever_ok)
    return replace(state, finding=finding, at=now)


def _refused(state: ProbeState, finding: ProbeFinding, message: str | None, *, now: datetime | None, confirm: int) -> ProbeState:
    """Add one refusal."""
    if state.refusals and state.finding is not None and _SEVERITY.get(state.finding, 0) > _SEVERITY[finding]:
        finding, message = state.finding, state.message
    refusals = min(state.refusals + 1, max(confirm, 1))
    return ProbeState(
        status=ProbeStatus.FAILING, finding=finding, refusals=refusals, message=message, at=now, ever_ok=state.ever_ok
    )


def last_ok_at(state: ProbeState) -> datetime | None:
    """Return the time of the last successful probe; None if there was none."""
    return state.at if state.status is ProbeStatus.OK else None
