"""The life of a connection in pure steps: listed, missing, listed unreadably, probed, time passed.

Each step returns the new state. An equal state means that nothing is to be stored or notified.
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
from monitor.domain.rules.token_rules import REFRESH_FAILURES_BEFORE_WARNING, Finding, gather
from monitor.domain.rules.verdict import Axes, merge


def observe(state: ConnectionState | None, snapshot: Snapshot, context: Context) -> ConnectionState:
    """Return the state after a complete or partial list contains the connection. `context.polled` must be True."""
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
    """Return the state after a complete list of its scope lacks the connection.

    `confirmed` if enough further lists have lacked it already.
    """
    enough = max(context.policy.confirm_missing, 1)
    missing = enough if confirmed else min(state.missing + 1, enough)
    return _rejudge(state, context, probe=state.probe, missing=missing)


def unreadable(state: ConnectionState, context: Context) -> ConnectionState:
    """Return the state after a list contains the connection in an unreadable row: it is present, and its verdict stays."""
    present = _rejudge(state, context, probe=state.probe, missing=0) if state.missing else state
    verdict = replace(present.verdict, flags=present.verdict.flags | {VerdictFlag.UNREADABLE})
    return replace(present, verdict=verdict)


def probed(state: ConnectionState, answer: ProbeAnswer, context: Context) -> ConnectionState:
    """Return the state after a probe was answered: the same state if the answer is no evidence."""
    confirm = context.policy.confirm_failures
    platform = state.snapshot.platform
    trusted = platform in context.provider.trusted_platforms
    after = probes.advance(state.probe, answer, platform=platform, date_trusted=trusted, now=context.now, confirm=confirm)
    if is_same_but_for_time(state.probe, after):
        return state
    return _keep_unreadable(state, _rejudge(state, context, probe=after, missing=state.missing))


def elapse(state: ConnectionState, context: Context) -> ConnectionState:
    """Return the state after time passed: only trusted dates may reach a threshold. What a poll must judge stays due."""
    if not expiry.is_trusted(state.snapshot, context.provider) or not context.clock_trusted:
        trusted = expiry.is_trusted(state.snapshot, context.provider)
        return replace(state, next_change_at=_next_threshold(state.snapshot, state.token, context) if trusted else None)
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
    """Return True if a probe changed nothing to store: unchanged probes are recorded per cohort, not per connection."""
    return replace(after, at=before.at, message=before.message) == before


def _rejudge(state: ConnectionState, context: Context, *, probe: ProbeState, missing: int) -> ConnectionState:
    """Return the state of the same row with another probe or presence, after the changes that time alone has caused."""
    unpolled = replace(context, polled=False)
    moved = elapse(state, unpolled)
    return _settle(
        moved,
        snapshot=moved.snapshot,
        token_state=moved.token,
        probe=probe,
        missing=missing,
        context=unpolled,
    )


def _keep_unreadable(before: ConnectionState, after: ConnectionState) -> ConnectionState:
    """Keep the flag for an unreadable row: only a list can clear it."""
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
    """Merge the axes and derive the rest: since when, which stage, and when to judge again."""
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
    threshold = _next_threshold(snapshot, token_state, context)
    return ConnectionState(
        snapshot=snapshot,
        token=token_state,
        probe=probe,
        verdict=verdict,
        stage=_stage(state, verdict.status, snapshot, token_state, context),
        missing=missing,
        next_change_at=threshold if expiry.is_trusted(snapshot, context.provider) else None,
        recheck_at=_recheck(state, token_state, context, threshold=threshold),
    )


def _since(previous: Verdict | None, merged: Finding, snapshot: Snapshot, context: Context) -> datetime:
    """Return when the status changed; the expiry date itself if a trusted date passed."""
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
    """Return the tightest stage reached; a stage is not taken back while the status lasts."""
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


def _thresholds(snapshot: Snapshot, token_state: TokenState, context: Context) -> tuple[datetime, ...]:
    """Return every time at which this token's date reaches a threshold."""
    expires_at = token_state.expires_at
    if expires_at is None:
        return ()
    window = expiry.window_for(snapshot, token_state.issued_at, context)
    thresholds = expiry.thresholds_of(expires_at, window, expiry.stages_within(context.policy, window))
    if snapshot.refresh is None:
        return thresholds
    lifetime = expiry.lifetime_of(snapshot, token_state.issued_at)
    over = expiry.after(expires_at, expiry.grace_of(snapshot, lifetime) + timedelta(seconds=1))
    return thresholds if over is None else (*thresholds, over)


def _next_threshold(snapshot: Snapshot, token_state: TokenState, context: Context) -> datetime | None:
    """Return the next threshold, whether or not the date alone may move a verdict."""
    return next((each for each in _thresholds(snapshot, token_state, context) if each > context.now), None)


def _recheck(
    state: ConnectionState | None, token_state: TokenState, context: Context, *, threshold: datetime | None
) -> datetime | None:
    """Return from when on a poll must judge an unchanged row again. What is due stays due until a poll has judged it.

    "At every poll" is a time in the past; the same one as before, so that judging again stores nothing.
    """
    due = state.recheck_at if state is not None and state.recheck_at is not None and state.recheck_at <= context.now else None
    counting = 0 < token_state.refresh_failures < REFRESH_FAILURES_BEFORE_WARNING
    if counting or (not context.clock_trusted and token_state.expires_at is not None):
        return due or context.now
    if due is not None and not context.polled:
        return due
    return threshold


def needs_probe(before: ConnectionState | None, after: ConnectionState) -> bool:
    """Return True if a probe should follow immediately: a refused token has changed, so the refusal may be outdated."""
    if before is None or after.probe.refusals == 0:
        return False
    renewed = before.token.expires_at != after.token.expires_at or before.snapshot.reported is not after.snapshot.reported
    return renewed and after.probe.finding is not ProbeFinding.OK
