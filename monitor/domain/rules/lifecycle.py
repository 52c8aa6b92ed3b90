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
    ProbeStatus,
    ReportedStatus,
    Snapshot,
    Status,
    TokenState,
    Verdict,
    VerdictFlag,
    VerdictReason,
)
from monitor.domain.records import replace
from monitor.domain.rules import expiry, permissions, probes, renewals, token
from monitor.domain.rules.expiry import LATER_BY, Context
from monitor.domain.rules.probe_answers import names_lost_token
from monitor.domain.rules.token_evidence import LOST, gather
from monitor.domain.rules.token_rules import Finding
from monitor.domain.rules.verdict import DATE_REACHED, PROBE_DECIDES_WITHIN, Axes, merge, post_names_lost_token


def observe(state: ConnectionState | None, snapshot: Snapshot, context: Context) -> ConnectionState:
    """Return the state after a complete or partial list contains the connection. `context.polled` must be True."""
    before = state.snapshot if state else None
    evidence = gather(snapshot, state.token if state else None, context, before=before)
    token_state = token.next_token_state(evidence, token.judge(evidence))
    probe = _probe_after_list(state, snapshot, token_state, context)
    return _settle(
        state, snapshot=snapshot, token_state=token_state, probe=probe, missing=0, context=context, window=evidence.window
    )


def _probe_after_list(state: ConnectionState | None, snapshot: Snapshot, token_state: TokenState, context: Context) -> ProbeState:
    """Return the probe axis after the list stated something new: a reconnect, another status, or a rejected post."""
    if state is None:
        return _count_rejected_post(ProbeState(), snapshot, token_state, context)
    probe, before = state.probe, state.snapshot
    if _shows_reconnect(state, snapshot, token_state):
        return probes.after_reconnect(probe)
    is_news = snapshot.reported in _NO_STATEMENT and snapshot.reported is not before.reported
    is_news &= token_state.reason not in DATE_REACHED  # a success after the date disproves the date, whatever is reported now
    if is_news or _date_has_passed_since(state, token_state):
        probe = probes.without_success(probe)
    if snapshot.last_error != before.last_error:
        probe = _count_rejected_post(probe, snapshot, token_state, context)
    return probe


def _date_has_passed_since(state: ConnectionState, after: TokenState) -> bool:
    """Return True if the expiry date has passed since this state: an earlier successful probe is no longer evidence."""
    return after.reason in DATE_REACHED and state.token.reason not in DATE_REACHED


_NO_STATEMENT = (ReportedStatus.UNKNOWN, ReportedStatus.UNRECOGNISED)


def _shows_reconnect(state: ConnectionState, snapshot: Snapshot, token_state: TokenState) -> bool:
    """Return True if this list shows that the account was reconnected, so that earlier refusals no longer count.

    That is a connection that is listed again after it was disconnected, a status that was lost and no longer is, or a later date.
    The routine renewal of a token that lives less than 48 hours is no reconnect. Neither is a later date if the platform accepts
    the token and refuses something else: providers renew such a token too. The probe that follows decides.
    """
    if snapshot.external_id != state.snapshot.external_id or state.verdict.reason == VerdictReason.MISSING_FROM_LIST:
        return True
    if token_state.reconnected_at is None or token_state.reconnected_at == state.token.reconnected_at:
        return False
    if state.snapshot.reported in LOST:
        return True
    is_routine = expiry.is_short_lived(snapshot, token_state.dated_since)
    return not is_routine and state.verdict.reason not in _REFUSED_OTHERWISE


_REFUSED_OTHERWISE = (VerdictReason.PROBE_FAILING, VerdictReason.PROBE_AMBIGUOUS)


def _count_rejected_post(probe: ProbeState, snapshot: Snapshot, token_state: TokenState, context: Context) -> ProbeState:
    """Count a post that the platform rejected because of the token as one refusal. A probe follows immediately."""
    error = snapshot.last_error
    if context.probe_every is None or probe.status is ProbeStatus.UNSUPPORTED:
        return probe
    if error is None or not post_names_lost_token(snapshot, token_state, ever_posted=False):
        return probe
    finding = names_lost_token(error.message, platform=snapshot.platform)
    last_ok = probes.last_ok_at(probe)
    if finding is None or (last_ok is not None and error.occurred_at is not None and last_ok >= error.occurred_at):
        return probe
    confirm = context.policy.confirm_failures
    return probes.refused_by_post(probe, finding, error.message, now=context.now, confirm=confirm)


def miss(state: ConnectionState, context: Context, *, confirmed: bool = False) -> ConnectionState:
    """Return the state after a complete list of its scope lacks the connection.

    `confirmed` if enough further lists have lacked it already.
    """
    enough = max(context.policy.confirm_missing, 1)
    missing = enough if confirmed else min(state.missing + 1, enough)
    return _rejudge(state, context, missing=missing)


def unreadable(state: ConnectionState, context: Context) -> ConnectionState:
    """Return the state after a list contains the connection in an unreadable row: it is present, and its verdict stays."""
    present = _rejudge(state, context, missing=0) if state.missing else state
    verdict = replace(present.verdict, flags=present.verdict.flags | {VerdictFlag.UNREADABLE})
    return replace(present, verdict=verdict)


def probed(state: ConnectionState, answer: ProbeAnswer | None, context: Context) -> ConnectionState:
    """Return the state after a probe was answered, or (None) was not although others were."""
    platform, confirm = state.snapshot.platform, context.policy.confirm_failures
    if answer is None:
        return _with_probe(state, probes.unanswered(state.probe, context.now), context)
    trusted = expiry.is_defined_as_trusted(state.snapshot, context.provider)
    after = probes.advance(state.probe, answer, platform=platform, date_trusted=trusted, now=context.now, confirm=confirm)
    if after.status is ProbeStatus.OK:
        state = _with_permissions(state, answer.permissions)
    return _with_probe(state, after, context)


def _with_probe(state: ConnectionState, probe: ProbeState, context: Context) -> ConnectionState:
    return _keep_unreadable(state, _rejudge(state, context, probe=probe, missing=state.missing))


def _with_permissions(state: ConnectionState, granted: tuple[str, ...] | None) -> ConnectionState:
    """Return the state after a good answer granted these permissions."""
    missing = permissions.lost(state.snapshot.platform, state.permissions, granted)
    known = permissions.kept(state.permissions, granted, missing)
    if not granted or (known == state.permissions and missing == state.lost_permissions):
        return state
    return replace(state, permissions=known, lost_permissions=missing)


def elapse(state: ConnectionState, context: Context) -> ConnectionState:
    """Return the state after time passed: only trusted dates may reach a threshold. What a poll must judge stays due."""
    if not expiry.is_trusted(state.snapshot, context.provider, state.token.dated_since):
        return replace(state, next_change_at=None)
    evidence = gather(state.snapshot, state.token, context, before=state.snapshot)
    token_state = token.next_token_state(evidence, token.judge(evidence))
    passed = _date_has_passed_since(state, token_state)
    after = _settle(
        state,
        snapshot=state.snapshot,
        token_state=token_state,
        probe=probes.without_success(state.probe) if passed else state.probe,
        missing=state.missing,
        context=context,
        window=evidence.window,
    )
    return _keep_unreadable(state, after)


def _rejudge(state: ConnectionState, context: Context, *, missing: int, probe: ProbeState | None = None) -> ConnectionState:
    """Return the state of the same row with another probe or presence, after the changes that time alone has caused."""
    unpolled = replace(context, polled=False)
    moved = elapse(state, unpolled)
    return _settle(
        moved,
        snapshot=moved.snapshot,
        token_state=moved.token,
        probe=moved.probe if probe is None else probe,
        missing=missing,
        context=unpolled,
    )


def _keep_unreadable(before: ConnectionState, after: ConnectionState) -> ConnectionState:
    """Keep the flag for an unreadable row: only a list can clear it."""
    kept = before.verdict.flags & {VerdictFlag.UNREADABLE}
    return replace(after, verdict=replace(after.verdict, flags=after.verdict.flags | kept)) if kept else after


def _settle(
    state: ConnectionState | None,
    *,
    snapshot: Snapshot,
    token_state: TokenState,
    probe: ProbeState,
    missing: int,
    context: Context,
    window: timedelta | None = None,
) -> ConnectionState:
    """Merge the axes and derive the rest: since when, which stage, and when to judge again.

    `window` is the one that the evidence was judged by; None: it is derived from the state.
    """
    if window is None:
        window = expiry.window_for(snapshot, token_state, context)
    known, lost = (state.permissions, state.lost_permissions) if state else (None, ())
    if context.polled and snapshot.scopes:
        lost = permissions.lost(snapshot.platform, known, snapshot.scopes)
        known = permissions.kept(known, snapshot.scopes, lost)
    merged = merge(
        Axes(
            snapshot=snapshot,
            token=token_state,
            probe=probe,
            missing=missing,
            lost_permissions=lost,
            context=context,
            previous=state.verdict if state else None,
        )
    )
    flags = merged.flags | token_state.flags | snapshot.flags
    if context.clock_suspect and token_state.expires_at is not None:
        flags |= {VerdictFlag.CLOCK_SUSPECT}
    previous = state.verdict if state else None
    verdict = Verdict(
        status=merged.status,
        reason=merged.reason,
        message=merged.message,
        since=_since(previous, merged, snapshot, token_state, context),
        flags=frozenset(flags),
    )
    trusted = expiry.is_trusted(snapshot, context.provider, token_state.dated_since)
    threshold = _next_threshold(snapshot, token_state, context, window=window, trusted=trusted)
    if merged.status is Status.EXPIRING_SOON and token_state.reason in DATE_REACHED and token_state.expires_at:
        waited = context.date_now - token_state.expires_at
        threshold = expiry.after(context.now, PROBE_DECIDES_WITHIN - waited)
    return ConnectionState(
        snapshot=snapshot,
        token=token_state,
        probe=probe,
        verdict=verdict,
        stage=_stage(state, verdict.status, token_state, context, window=window),
        missing=missing,
        next_change_at=threshold if trusted else None,
        recheck_at=_recheck(state, context, threshold=_earlier(threshold, _other_threshold(token_state, probe, merged, context))),
        permissions=known,
        lost_permissions=lost,
    )


def _since(previous: Verdict | None, merged: Finding, snapshot: Snapshot, token_state: TokenState, context: Context) -> datetime:
    """Return when the status changed; the expiry date itself if a trusted date passed."""
    if previous is not None and previous.status is merged.status:
        return previous.since
    by_date = merged.reason in (VerdictReason.DATE_PASSED, VerdictReason.EXPIRY_PASSED)
    expires_at = snapshot.expires_at or token_state.expires_at
    counts = by_date and expiry.is_trusted(snapshot, context.provider, token_state.dated_since)
    return expires_at if counts and expires_at is not None and expires_at <= context.now else context.now


def _stage(
    state: ConnectionState | None, status: Status, token_state: TokenState, context: Context, *, window: timedelta
) -> timedelta | None:
    """Return the tightest stage reached; a stage is not taken back while the status lasts."""
    if status is not Status.EXPIRING_SOON or token_state.expires_at is None:
        return None
    before = state.stage if state is not None and state.verdict.status is Status.EXPIRING_SOON else None
    if state is not None and expiry.moved_later(state.token.expires_at, token_state.expires_at, LATER_BY):
        before = None
    now_in = expiry.tightest_stage(token_state.expires_at - context.date_now, expiry.stages_within(context.policy, window))
    return min((stage for stage in (before, now_in) if stage is not None), default=None)


def _thresholds(
    snapshot: Snapshot, token_state: TokenState, context: Context, *, window: timedelta, trusted: bool
) -> tuple[datetime, ...]:
    """Return every time at which this token's date reaches a threshold."""
    expires_at = token_state.expires_at
    if expires_at is None:
        return ()
    thresholds = expiry.thresholds_of(expires_at, window, expiry.stages_within(context.policy, window))
    if snapshot.refresh is None:
        since = token_state.dated_since
        proven = None if since is None else expiry.after(since, expiry.SHORT_LIFETIME)
        return thresholds if trusted or proven is None or proven >= expires_at else (*thresholds, proven)
    lifetime = expiry.lifetime_of(snapshot, token_state.issued_at)
    cadence = renewals.cadence_of(token_state)
    last = renewals.renewed_at(snapshot, token_state.reconnected_at)
    short_lived = expiry.is_short_lived(snapshot, token_state.dated_since)
    near = expiry.near_at(expires_at, lifetime, context.policy, short_lived=short_lived)
    others = (
        expiry.after(expires_at, expiry.grace_of(snapshot, lifetime, token_state.dated_since) + timedelta(seconds=1)),
        renewals.overdue_at(cadence, last, context.poll_every, not_before=near),
        renewals.expired_at(cadence, expires_at, context.poll_every),
    )
    return (*thresholds, *(each for each in others if each is not None))


def _next_threshold(
    snapshot: Snapshot, token_state: TokenState, context: Context, *, window: timedelta, trusted: bool
) -> datetime | None:
    """Return when to judge again: at the next threshold, whether or not the date alone may move a verdict.

    A threshold that has passed on this machine's clock, but not on the server's, is judged again within the hour.
    """
    times = _thresholds(snapshot, token_state, context, window=window, trusted=trusted)
    ahead = [each for each in times if each > context.now]
    behind = context.now - context.date_now
    if behind:
        passed = [expiry.after(each, behind) for each in times if context.date_now < each <= context.now]
        again = expiry.after(context.now, _AGAIN_WITHIN)
        ahead += [each if again is None else min(each, again) for each in passed if each is not None]
    return min(ahead, default=None)


_AGAIN_WITHIN = timedelta(hours=1)


def _recheck(state: ConnectionState | None, context: Context, *, threshold: datetime | None) -> datetime | None:
    """Return from when on a poll must judge an unchanged row again. What is due stays due until a poll has judged it."""
    due = state.recheck_at if state is not None and state.recheck_at is not None and state.recheck_at <= context.now else None
    return due if due is not None and not context.polled else threshold


def _other_threshold(token_state: TokenState, probe: ProbeState, merged: Finding, context: Context) -> datetime | None:
    """Return when something else than a date must be judged again: now, for a `failing` that the next poll must confirm.

    Otherwise when the success that decided becomes too old; the time of a repeated success is stored only with the cohort.
    """
    if 0 < token_state.failing_polls < context.policy.confirm_failures:
        return context.now
    at = probes.last_ok_at(probe)
    if context.probe_every is None or at is None or merged.reason != VerdictReason.PROBE_OK:
        return None
    return expiry.after(at, expiry.RECENT_PROBES * context.probe_every + timedelta(seconds=1))


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((each for each in (one, other) if each is not None), default=None)


def needs_probe(before: ConnectionState | None, after: ConnectionState) -> bool:
    """Return True if a probe should follow immediately: what the last one found may be outdated."""
    if before is None:
        return False
    if after.probe is not before.probe and after.probe.status in (ProbeStatus.UNPROBED, ProbeStatus.FAILING):
        return after.probe != before.probe
    if after.probe.refusals == 0:
        return False
    renewed = before.token.expires_at != after.token.expires_at or before.snapshot.reported is not after.snapshot.reported
    return renewed and after.probe.finding is not ProbeFinding.OK
