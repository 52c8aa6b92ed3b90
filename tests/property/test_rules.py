"""What the rules promise for any input: they never raise, never forget, never repeat themselves, and time only adds urgency."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from monitor.domain import (
    ConnectionState,
    LastNotified,
    Policy,
    ProbeAnswer,
    ProbeFinding,
    ProbeState,
    ReportedStatus,
    Snapshot,
    Status,
    provider_info,
)
from monitor.domain.records import replace
from monitor.domain.rules import alerting, expiry, lifecycle, probe_answers, probes, schedule, transitions
from monitor.domain.rules.alerting import AlertReason
from monitor.domain.rules.expiry import Context
from monitor.domain.rules.fingerprint import fingerprint, span_moved
from tests.support import strategies as some
from tests.support.factories import NOW

FEW = settings(max_examples=80, deadline=None)

contexts = st.builds(
    Context,
    now=some.instants,
    provider=some.providers.map(provider_info),
    policy=some.policies,
    polled=st.just(True),
    clock_skew=some.skews,
    probe_every=st.sampled_from([None, timedelta(hours=6)]),
)


@st.composite
def lives(draw: st.DrawFn) -> tuple[ConnectionState, Context]:
    """A connection after up to five steps of any kind at any instants, and the circumstances of the last step."""
    context = draw(contexts)
    state = lifecycle.observe(None, draw(some.snapshots), context)
    for step in draw(st.lists(st.sampled_from(["seen", "missed", "unreadable", "probed", "elapsed"]), max_size=4)):
        context = replace(context, now=draw(some.instants), clock_skew=draw(some.skews))
        if step == "seen":
            state = lifecycle.observe(state, draw(some.snapshots), context)
        elif step == "missed":
            state = lifecycle.miss(state, context)
        elif step == "unreadable":
            state = lifecycle.unreadable(state, context)
        elif step == "probed":
            state = lifecycle.probed(state, draw(some.answers), replace(context, polled=False))
        else:
            state = lifecycle.elapse(state, replace(context, polled=False))
    return state, context


def counting(state: ConnectionState, context: Context) -> bool:
    """A refresh that fails for a passing reason, and a `failing`, are counted by every poll: the same row again is a change."""
    return 0 < state.token.refresh_failures < 3 or 0 < state.token.failing_polls < context.policy.confirm_failures


def idle(context: Context) -> Context:
    """The same circumstances, without a poll."""
    return replace(context, polled=False)


# --- never raises


@FEW
@given(life=lives(), other=lives(), said=st.none() | some.saids, answer=some.answers)
def test_nothing_raises_on_any_input(
    life: tuple[ConnectionState, Context], other: tuple[ConnectionState, Context], said: LastNotified | None, answer: ProbeAnswer
) -> None:
    state, context = life
    now, policy = context.now, context.policy
    after = lifecycle.probed(state, answer, idle(context))
    for before in (None, state, other[0]):
        transitions.detect(before, after, now)
        renewed = transitions.is_renewal(before, after)
        lifecycle.needs_probe(before, after)
        reason = alerting.decide_alert(said, after, policy=policy, now=now, renewed=renewed)
        if reason is not AlertReason.NOTHING:
            alerting.event_of(reason, after.verdict.status)
            alerting.severity_of(reason, after.verdict.status, said)
            alerting.next_notified(reason, said, after, now)
    fingerprint(after.snapshot)
    span_moved(state.snapshot.expires_before, other[0].snapshot.expires_before)


@FEW
@given(
    now=some.instants,
    every=st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(days=400)),
    key=some.texts,
    failures=st.integers(),
    wait=st.none() | st.floats(min_value=1, max_value=3600),
)
def test_due_instants_lie_ahead_whatever_the_clock_shows(
    now: datetime, every: timedelta, key: str, failures: int, wait: float | None
) -> None:
    assume(now < some.LAST_DAY)
    cohort = schedule.cohort_of(None, key)
    assert schedule.next_poll(now, every, key=key, jitter=0.1) > now
    assert schedule.next_cohort_probe(now, every, source=key, cohort=cohort, jitter=0.1) > now
    assert schedule.next_poll_after_failure(now, every, failures=failures, retry_after=wait) > now
    assert all(schedule.next_failing_probe(now, every, confirmed=confirmed) > now for confirmed in (True, False))
    assert schedule.postponed(now, wait or 0.0) > now


@FEW
@given(life=lives())
def test_every_verdict_can_be_written_as_a_sentence_with_a_reason(life: tuple[ConnectionState, Context]) -> None:
    verdict = life[0].verdict
    assert verdict.reason.isidentifier()
    assert verdict.reason == verdict.reason.lower()
    assert verdict.message.endswith(".")


# --- the same input twice changes nothing


@FEW
@given(life=lives(), snapshot=some.snapshots)
def test_the_same_row_twice_changes_nothing(life: tuple[ConnectionState, Context], snapshot: Snapshot) -> None:
    state, context = life
    once = lifecycle.observe(state, snapshot, context)
    for _ in range(max(context.policy.confirm_failures, 3)):
        if not counting(once, context):
            break
        once = lifecycle.observe(once, snapshot, context)
    twice = lifecycle.observe(once, snapshot, context)
    assert twice == once
    assert transitions.detect(once, twice, context.now) == ()


@FEW
@given(life=lives())
def test_a_step_repeated_at_the_same_instant_changes_nothing(life: tuple[ConnectionState, Context]) -> None:
    state, context = life
    elapsed = lifecycle.elapse(state, idle(context))
    assert lifecycle.elapse(elapsed, idle(context)) == elapsed
    unreadable = lifecycle.unreadable(state, context)
    assert lifecycle.unreadable(unreadable, context) == unreadable
    gone = state
    for _ in range(max(context.policy.confirm_missing, 1)):
        gone = lifecycle.miss(gone, context)
    assert gone.verdict.status is Status.DISCONNECTED
    assert lifecycle.miss(gone, context) == gone


@FEW
@given(life=lives(), answer=some.answers)
def test_an_answer_repeated_changes_nothing_once_it_is_confirmed(
    life: tuple[ConnectionState, Context], answer: ProbeAnswer
) -> None:
    state, context = life
    for _ in range(max(context.policy.confirm_failures, 3) + 1):
        state = lifecycle.probed(state, answer, idle(context))
    assert lifecycle.probed(state, answer, idle(context)) == state


@FEW
@given(life=lives(), said=st.none() | some.saids, renewed=st.booleans())
def test_nothing_is_notified_twice_in_a_row_without_a_change(
    life: tuple[ConnectionState, Context], said: LastNotified | None, renewed: bool
) -> None:
    state, context = life
    first = alerting.decide_alert(said, state, policy=context.policy, now=context.now, renewed=renewed)
    if first is AlertReason.NOTHING:
        return
    remembered = None if first.ends_incident else alerting.next_notified(first, said, state, context.now)
    again = alerting.decide_alert(remembered, state, policy=context.policy, now=context.now, renewed=False)
    assert again is AlertReason.NOTHING


# --- time


@FEW
@given(life=lives())
def test_the_next_change_lies_ahead_and_the_chain_of_changes_ends(life: tuple[ConnectionState, Context]) -> None:
    state, context = life
    state = lifecycle.elapse(state, idle(context))
    lines, behind = 0, context.now - context.date_now
    most = (len(context.policy.stages) + 3) * (2 + behind // timedelta(hours=1))
    while (due := state.next_change_at) is not None:
        assert due > context.now
        context = replace(context, now=due)
        state = lifecycle.elapse(state, idle(context))
        lines += 1
        assert lines <= most
    assert lifecycle.elapse(state, replace(idle(context), now=some.LAST_DAY)).next_change_at is None


@FEW
@given(life=lives(), snapshot=some.snapshots, later=st.lists(some.instants, min_size=1, max_size=5).map(sorted))
def test_severity_never_falls_as_time_passes_with_nothing_new(
    life: tuple[ConnectionState, Context], snapshot: Snapshot, later: list[datetime]
) -> None:
    """The same row polled again, or only the clock moving on: never milder, and never from a stage to a wider one."""
    state, context = life
    state = lifecycle.observe(state, snapshot, context)
    for number, now in enumerate(later):
        context = replace(context, now=max(context.now, now))
        after = lifecycle.elapse(state, idle(context)) if number % 2 else lifecycle.observe(state, snapshot, context)
        assert after.verdict.status.severity.rank >= state.verdict.status.severity.rank
        assert _no_wider(state, after)
        state = after


def _no_wider(before: ConnectionState, after: ConnectionState) -> bool:
    if before.verdict.status is not Status.EXPIRING_SOON or after.verdict.status is not Status.EXPIRING_SOON:
        return True
    return before.stage is None or (after.stage is not None and after.stage <= before.stage)


@FEW
@given(snapshot=some.snapshots, context=contexts, now=some.instants, good=some.good_skews, bad=some.bad_skews)
def test_a_clock_that_goes_wrong_takes_nothing_back(
    snapshot: Snapshot, context: Context, now: datetime, good: float | None, bad: float
) -> None:
    state = lifecycle.observe(None, snapshot, replace(context, clock_skew=good))
    later = replace(context, now=max(now, context.now), clock_skew=bad)
    for after in (lifecycle.observe(state, snapshot, later), lifecycle.elapse(state, idle(later))):
        assert after.verdict.status.severity.rank >= state.verdict.status.severity.rank


@FEW
@given(snapshot=some.snapshots, context=contexts, bad=some.bad_skews)
def test_a_second_clock_never_makes_a_verdict_worse(snapshot: Snapshot, context: Context, bad: float) -> None:
    alone = lifecycle.observe(None, snapshot, replace(context, clock_skew=None))
    both = lifecycle.observe(None, snapshot, replace(context, clock_skew=bad))
    assert both.verdict.status.severity.rank <= alone.verdict.status.severity.rank
    assert bad == -301.0 or both.verdict.status is alone.verdict.status


@FEW
@given(snapshot=some.snapshots, context=contexts, now=some.instants)
def test_time_alone_moves_only_what_can_be_trusted(snapshot: Snapshot, context: Context, now: datetime) -> None:
    state = lifecycle.observe(None, snapshot, context)
    after = lifecycle.elapse(state, replace(idle(context), now=now))
    dated = snapshot.expires_at is not None or snapshot.expires_before is not None
    if not dated or snapshot.platform not in ("linkedin", "instagram", "threads", "tiktok"):
        assert after.verdict == state.verdict


@FEW
@given(snapshot=some.snapshots, context=contexts, skew=some.good_skews, answer=some.answers, later=some.instants)
def test_a_due_line_is_never_passed_over(
    snapshot: Snapshot, context: Context, skew: float | None, answer: ProbeAnswer, later: datetime
) -> None:
    """Whatever step comes first after a line: it crosses the line itself, or leaves it due for the clock job and the poll."""
    context = replace(context, clock_skew=skew)
    state = lifecycle.observe(None, snapshot, context)
    context = replace(context, now=max(later, context.now))
    crossed = lifecycle.elapse(state, idle(context))
    gone = lifecycle.miss(state, context)
    steps = [gone, lifecycle.unreadable(state, context), lifecycle.unreadable(gone, context)]
    for after in (*steps, lifecycle.probed(state, answer, idle(context))):
        still_due = after.token == state.token and after.next_change_at == state.next_change_at
        assert after.token == crossed.token or still_due
        if state.recheck_at is not None and state.recheck_at <= context.now:
            assert after.recheck_at is not None
            assert after.recheck_at <= context.now


# --- unknown, transient, presence


@FEW
@given(life=lives(), snapshot=some.snapshots, reported=st.sampled_from([ReportedStatus.UNKNOWN, ReportedStatus.UNRECOGNISED]))
def test_N22_unknown_never_overwrites_knowledge(
    life: tuple[ConnectionState, Context], snapshot: Snapshot, reported: ReportedStatus
) -> None:
    state, context = life
    assume(state.verdict.status not in (Status.UNKNOWN, Status.DISCONNECTED))
    assume(state.missing == 0)
    crossed = state.token.crossed_at  # what rests on a date ends when the date moves
    assume(crossed is None or expiry.effective_expiry(snapshot) in (None, crossed))
    assume(not (state.probe.refusals == 0 and state.token.status is Status.UNKNOWN))  # only a probe vouched for it
    after = lifecycle.observe(state, replace(snapshot, reported=reported), context)
    assume(after.token.reconnected_at == state.token.reconnected_at)  # a reconnect ends what was known of the token before
    assert after.verdict.status is not Status.UNKNOWN
    assert "provider_unknown" in after.verdict.flags


@FEW
@given(life=lives(), said=some.saids, renewed=st.booleans())
def test_unknown_never_resolves_an_incident(life: tuple[ConnectionState, Context], said: LastNotified, renewed: bool) -> None:
    state, context = life
    assume(said.status is not Status.DISCONNECTED)
    unknown = replace(state, verdict=replace(state.verdict, status=Status.UNKNOWN))
    reason = alerting.decide_alert(said, unknown, policy=context.policy, now=context.now, renewed=renewed)
    assert reason is AlertReason.NOTHING


@FEW
@given(life=lives(), answer=some.transient_answers)
def test_a_transient_answer_is_no_evidence(life: tuple[ConnectionState, Context], answer: ProbeAnswer) -> None:
    state, context = life
    after = lifecycle.probed(state, answer, idle(context))
    alone = lifecycle.elapse(state, idle(context)).verdict
    assert (after.verdict.status, after.verdict.reason) == (alone.status, alone.reason)
    assert (after.probe.status, after.probe.finding, after.probe.refusals) == (
        state.probe.status,
        state.probe.finding,
        state.probe.refusals,
    )


@FEW
@given(life=lives(), answer=some.answers)
def test_a_refusal_is_taken_back_only_by_an_ok_or_where_nothing_can_be_tested(
    life: tuple[ConnectionState, Context], answer: ProbeAnswer
) -> None:
    state, context = life
    platform = state.snapshot.platform
    after = probes.advance(state.probe, answer, platform=platform, date_trusted=True, now=context.now, confirm=9)
    finding = probe_answers.classify(answer, platform=platform, date_trusted=True)
    if finding is ProbeFinding.OK:
        assert after.refusals == 0
    elif finding is ProbeFinding.UNSUPPORTED:  # the platform cannot be tested, so an unconfirmed refusal does not count
        assert after.refusals in (0, state.probe.refusals)
    elif state.probe.finding is not ProbeFinding.AMBIGUOUS and finding is not ProbeFinding.AMBIGUOUS:
        assert after.refusals == min(state.probe.refusals + finding.is_refusal, 9)


@FEW
@given(life=lives(), snapshot=some.snapshots)
def test_presence_always_ends_being_missing(life: tuple[ConnectionState, Context], snapshot: Snapshot) -> None:
    state, context = life
    for present in (lifecycle.observe(state, snapshot, context), lifecycle.unreadable(state, context)):
        assert present.missing == 0
        assert present.verdict.reason != "missing_from_list"
    if snapshot.reported is not ReportedStatus.DISCONNECTED:
        assert lifecycle.observe(state, snapshot, context).verdict.status is not Status.DISCONNECTED


# --- all of it together


class Told(RuleBasedStateMachine):
    """One connection and the incident about it, as the recorder keeps them: rows, probes, absences, a clock, restarts."""

    @initialize(provider=some.providers, snapshot=some.snapshots, stages=st.lists(some.near_spans, max_size=3))
    def begin(self, provider: str, snapshot: Snapshot, stages: list[timedelta]) -> None:
        self.provider = provider
        self.policy = Policy(stages=tuple(stages))
        self.now = NOW
        self.snapshot = snapshot
        self.said: LastNotified | None = None
        self.state = lifecycle.observe(None, snapshot, self.context(polled=True))
        self.tell(None)

    def context(self, *, polled: bool) -> Context:
        return Context(now=self.now, provider=provider_info(self.provider), policy=self.policy, polled=polled)

    def wait(self, by: timedelta) -> None:
        self.now = self.now + by if some.LAST_DAY - self.now > by else some.LAST_DAY

    def tell(self, before: ConnectionState | None) -> AlertReason:
        renewed = transitions.is_renewal(before, self.state)
        reason = alerting.decide_alert(self.said, self.state, policy=self.policy, now=self.now, renewed=renewed)
        if reason.ends_incident:
            self.said = None
        elif reason is not AlertReason.NOTHING:
            self.said = alerting.next_notified(reason, self.said, self.state, self.now)
        return reason

    def become(self, after: ConnectionState) -> AlertReason:
        before, self.state = self.state, after
        return self.tell(before)

    @rule(snapshot=some.snapshots)
    def another_row(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.become(lifecycle.observe(self.state, snapshot, self.context(polled=True)))

    @rule(by=some.near_spans.map(abs))
    def time_passes(self, by: timedelta) -> None:
        """With nothing new, nothing gets milder."""
        before = self.state.verdict.status.severity.rank
        self.wait(by)
        reason = self.become(lifecycle.elapse(self.state, self.context(polled=False)))
        assert self.state.verdict.status.severity.rank >= before
        assert not reason.ends_incident
        assert reason is not AlertReason.CHANGED

    @precondition(lambda self: self.state.missing == 0)
    @rule(by=some.near_spans.map(abs))
    def the_same_row_later(self, by: timedelta) -> None:
        before = self.state.verdict.status.severity.rank
        self.wait(by)
        reason = self.become(lifecycle.observe(self.state, self.snapshot, self.context(polled=True)))
        assert self.state.verdict.status.severity.rank >= before
        assert not reason.ends_incident

    @rule()
    def the_clock_job_runs(self) -> None:
        """It wakes at the next line, and there the state changes."""
        if self.state.next_change_at is None:
            return
        self.now = max(self.now, self.state.next_change_at)
        before = self.state
        self.become(lifecycle.elapse(self.state, self.context(polled=False)))
        assert self.state != before

    @rule(answer=some.answers)
    def a_probe_answers(self, answer: ProbeAnswer) -> None:
        self.become(lifecycle.probed(self.state, answer, self.context(polled=False)))

    @rule()
    def a_list_lacks_it(self) -> None:
        self.become(lifecycle.miss(self.state, self.context(polled=True)))

    @rule()
    def a_list_has_it_unreadable(self) -> None:
        self.become(lifecycle.unreadable(self.state, self.context(polled=True)))

    @rule()
    def a_restart(self) -> None:
        """Everything is decided once more from what is remembered: nothing is said again."""
        assert self.tell(self.state) is AlertReason.NOTHING

    @invariant()
    def an_incident_is_open_while_it_needs_a_person(self) -> None:
        status = self.state.verdict.status
        if status.needs_attention:
            assert self.said is not None
            # The platform takes a token that was said to be revoked, and the list still says lost: its next answer settles it.
            lags = self.said.status is Status.REVOKED and "conflict" in self.state.verdict.flags
            assert self.said.status is status or lags
        elif status is Status.VALID:
            assert self.said is None


TestTold = Told.TestCase
TestTold.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)


# --- rechecks


REFUSALS = (ProbeFinding.EXPIRED, ProbeFinding.REVOKED, ProbeFinding.PERMISSION, ProbeFinding.FAILING)


@FEW
@given(
    steps=st.lists(st.tuples(st.sampled_from(REFUSALS), st.integers(min_value=0, max_value=90)), min_size=1, max_size=12),
    confirm=st.integers(min_value=1, max_value=3),
)
def test_refusals_of_rechecks_within_a_minute_count_as_one(steps: list[tuple[ProbeFinding, int]], confirm: int) -> None:
    """Whatever the refusals state and however many there are, two that count are at least a minute apart."""
    state, now, counted = ProbeState(), NOW, list[datetime]()
    for finding, seconds in steps:
        now += timedelta(seconds=seconds)
        if not probes.is_same_refusal(state, finding, now):
            state = probes.refused_by_post(state, finding, "Refused.", now=now, confirm=confirm)
            counted.append(now)
    assert all(later - earlier >= timedelta(minutes=1) for earlier, later in pairwise(counted))
    assert state.refusals <= len(counted)
    if now - NOW < timedelta(minutes=1):
        assert state.refusals == 1
