"""A connection's life, as four pure steps: a list shows it, a list lacks it, a probe answers, time passes.

Each step takes the state before and gives the state after. Equal states mean that nothing is to be written or said.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from monitor.domain import (
    ConnectionState,
    ProbeAnswer,
    ProbeFinding,
    ProbeState,
    Snapshot,
    Status,
    TokenState,
    Verdict,
    VerdictFlag,
    VerdictReason,
)
from monitor.domain.records import replace
from monitor.domain.rules import expiry, probes, token
from monitor.domain.rules.expiry import LATER_BY, Context
from monitor.domain.rules.token_evidence import REFRESH_FAILURES_BEFORE_WARNING, Finding, gather
from monitor.domain.rules.verdict import Axes, merge


def observe(state: ConnectionState | None, snapshot: Snapshot, context: Context) -> ConnectionState:
    """A complete or partial list shows the connection. `context.polled` must be True."""
    evidence = gather(snapshot, state.token if state else None, context)
    finding = token.judge(evidence)
    return _settle(
        state,
        snapshot=snapshot,
        token_state=token.next_token_state(evidence, finding),
        probe=state.probe if state else ProbeState(),
        missing=0,
        context=context,
    )


def miss(state: ConnectionState, context: Context, *, confirmed: bool = False) -> ConnectionState:
    """A complete list of its scope lacks the connection; `confirmed` where enough further lists have said so already."""
    enough = max(context.policy.confirm_missing, 1)
    missing = enough if confirmed else min(state.missing + 1, enough)
    return _rejudge(state, context, probe=state.probe, missing=missing)


def unreadable(state: ConnectionState, context: Context) -> ConnectionState:
    """A list shows the connection in a row that cannot be read: it is present, and its last verdict stands."""
    present = _rejudge(state, context, probe=state.probe, missing=0) if state.missing else state
    verdict = replace(present.verdict, flags=present.verdict.flags | {VerdictFlag.UNREADABLE})
    return replace(present, verdict=verdict)


def probed(state: ConnectionState, answer: ProbeAnswer, context: Context) -> ConnectionState:
    """A probe answered. An answer that says nothing gives back the same state."""
    confirm = context.policy.confirm_failures
    after = probes.advance(state.probe, answer, platform=state.snapshot.platform, now=context.now, confirm=confirm)
    if is_same_but_for_time(state.probe, after):
        return state
    return _keep_unreadable(state, _rejudge(state, context, probe=after, missing=state.missing))


def elapse(state: ConnectionState, context: Context) -> ConnectionState:
    """Only time passed: trusted dates may cross their lines, nothing else moves. What a poll has to judge stays due."""
    if not expiry.is_trusted(state.snapshot, context.provider) or not context.clock_trusted:
        trusted = expiry.is_trusted(state.snapshot, context.provider)
        return replace(state, next_change_at=_next_line(state.snapshot, state.token, context) if trusted else None)
    evidence = gather(state.snapshot, state.token, context)
    finding = token.judge(evidence)
    after = _settle(
        state,
        snapshot=state.snapshot,
        token_state=token.next_token_state(evidence, finding),
        probe=state.probe,
        missing=state.missing,
        context=context,
    )
    return _keep_unreadable(state, after)


def is_same_but_for_time(before: ProbeState, after: ProbeState) -> bool:
    """Whether a probe changed nothing worth writing: unchanged probes are recorded per cohort, not per connection."""
    return replace(after, at=before.at, message=before.message) == before


def _rejudge(state: ConnectionState, context: Context, *, probe: ProbeState, missing: int) -> ConnectionState:
    """The same row with another probe or presence. A line that the clock job has not reached yet must not be passed over."""
    aside = replace(context, polled=False)
    moved = elapse(state, aside)
    return _settle(
        moved,
        snapshot=moved.snapshot,
        token_state=moved.token,
        probe=probe,
        missing=missing,
        context=aside,
    )


def _keep_unreadable(before: ConnectionState, after: ConnectionState) -> ConnectionState:
    """Only a list can tell that the row is readable again."""
    kept = before.verdict.flags & {VerdictFlag.UNREADABLE}
    return replace(after, verdict=replace(after.verdict, flags=after.verdict.flags | kept)) if kept else after


def _axes(token_state: TokenState, probe: ProbeState, missing: int, context: Context) -> Axes:
    return Axes(
        token=token_state,
        probe=probe,
        missing=missing,
        confirm_missing=context.policy.confirm_missing,
        confirm_failures=context.policy.confirm_failures,
    )


def _settle(
    state: ConnectionState | None,
    *,
    snapshot: Snapshot,
    token_state: TokenState,
    probe: ProbeState,
    missing: int,
    context: Context,
) -> ConnectionState:
    """Merge the axes and work out what follows: since when, which stage, and when to look again."""
    merged = merge(_axes(token_state, probe, missing, context))
    flags = merged.flags | token_state.flags | snapshot.flags
    if context.clock_suspect and token_state.expires_at is not None:
        flags |= {VerdictFlag.CLOCK_SUSPECT}
    previous = state.verdict if state else None
    verdict = Verdict(
        status=merged.status,
        reason=merged.reason,
        message=merged.message,
        since=_since(previous, merged, snapshot, context),
        flags=frozenset(flags),
    )
    line = _next_line(snapshot, token_state, context)
    return ConnectionState(
        snapshot=snapshot,
        token=token_state,
        probe=probe,
        verdict=verdict,
        stage=_stage(state, verdict.status, snapshot, token_state, context),
        missing=missing,
        next_change_at=line if expiry.is_trusted(snapshot, context.provider) else None,
        recheck_at=_recheck(state, token_state, context, line=line),
    )


def _since(previous: Verdict | None, merged: Finding, snapshot: Snapshot, context: Context) -> datetime:
    """The instant of the change; the date itself where a trusted date passed."""
    if previous is not None and previous.status is merged.status:
        return previous.since
    date_counts = merged.reason in (VerdictReason.DATE_PASSED, VerdictReason.EXPIRY_PASSED) and expiry.is_trusted(
        snapshot, context.provider
    )
    if date_counts and snapshot.expires_at is not None and snapshot.expires_at <= context.now:
        return snapshot.expires_at
    return context.now


def _stage(
    state: ConnectionState | None, status: Status, snapshot: Snapshot, token_state: TokenState, context: Context
) -> timedelta | None:
    """The tightest stage crossed; a stage once crossed is not taken back while the status lasts."""
    if status is not Status.EXPIRING_SOON or token_state.expires_at is None:
        return None
    before = state.stage if state is not None and state.verdict.status is Status.EXPIRING_SOON else None
    if state is not None and expiry.moved_later(state.token.expires_at, token_state.expires_at, LATER_BY):
        before = None
    if not context.clock_trusted:
        return before
    window = expiry.window_for(snapshot, token_state.issued_at, context)
    now_in = expiry.tightest_stage(token_state.expires_at - context.now, expiry.stages_within(context.policy, window))
    return min((stage for stage in (before, now_in) if stage is not None), default=None)


def _lines(snapshot: Snapshot, token_state: TokenState, context: Context) -> tuple[datetime, ...]:
    """Every instant at which this token's date crosses something."""
    expires_at = token_state.expires_at
    if expires_at is None:
        return ()
    window = expiry.window_for(snapshot, token_state.issued_at, context)
    lines = expiry.lines_of(expires_at, window, expiry.stages_within(context.policy, window))
    if snapshot.refresh is None:
        return lines
    lifetime = expiry.lifetime_of(snapshot, token_state.issued_at)
    over = expiry.after(expires_at, expiry.grace_of(snapshot, lifetime) + timedelta(seconds=1))
    return lines if over is None else (*lines, over)


def _next_line(snapshot: Snapshot, token_state: TokenState, context: Context) -> datetime | None:
    """The next line ahead, whether or not the date may move a verdict by itself."""
    return next((line for line in _lines(snapshot, token_state, context) if line > context.now), None)


def _recheck(
    state: ConnectionState | None, token_state: TokenState, context: Context, *, line: datetime | None
) -> datetime | None:
    """From when on a poll must judge again although the row did not change. What is due stays so until a poll has judged.

    "At every poll" is an instant that has passed; the same one as before, so that judging again writes nothing.
    """
    due = state.recheck_at if state is not None and state.recheck_at is not None and state.recheck_at <= context.now else None
    counting = 0 < token_state.refresh_failures < REFRESH_FAILURES_BEFORE_WARNING
    if counting or (not context.clock_trusted and token_state.expires_at is not None):
        return due or context.now
    if due is not None and not context.polled:
        return due
    return line


def needs_probe(before: ConnectionState | None, after: ConnectionState) -> bool:
    """Whether a probe should follow at once: a token that was refused has changed, so the refusal may be history."""
    if before is None or after.probe.refusals == 0:
        return False
    renewed = before.token.expires_at != after.token.expires_at or before.snapshot.reported is not after.snapshot.reported
    return renewed and after.probe.finding is not ProbeFinding.OK
