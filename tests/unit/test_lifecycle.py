"""A connection's life over simulated time: a list shows it, a list lacks it, a probe answers, time passes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from monitor.domain import (
    ConnectionState,
    Policy,
    ProbeAnswer,
    ProbeStatus,
    Refresh,
    ReportedStatus,
    Snapshot,
    Status,
    provider_info,
)
from monitor.domain.records import replace
from monitor.domain.rules import lifecycle
from monitor.domain.rules.expiry import Context
from tests.support.factories import NOW, make_snapshot

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)

POSTPOST, PUBLORA, POSTBREEZE, POSTPEER = "postpost", "publora", "postbreeze", "postpeer"
VALID, UNKNOWN, SOON, FAILING = Status.VALID, Status.UNKNOWN, Status.EXPIRING_SOON, Status.FAILING
EXPIRED, REVOKED, DISCONNECTED = Status.EXPIRED, Status.REVOKED, Status.DISCONNECTED

OK = ProbeAnswer(http_status=200, status="ok")
REFUSED = ProbeAnswer(http_status=200, status="error", message="(#200) Requires pages_manage_posts permission")
TRANSIENT = ProbeAnswer(http_status=200, status="error", message="status code 503")
NOT_FOUND = ProbeAnswer(http_status=404)


def row(left: timedelta | None = 60 * DAY, **over: Any) -> Snapshot:
    """A valid LinkedIn row, whose date can be trusted."""
    return make_snapshot(**{"expires_at": None if left is None else NOW + left, **over})


def breeze(left: timedelta, lived: timedelta = 60 * DAY, *, platform: str = "facebook", **refresh: Any) -> Snapshot:
    """A Postbreeze row: ACTIVE, a token that will have lived `lived` at its expiry."""
    started = NOW + left - lived
    values = {"connected_at": started, "last_refreshed_at": started, "last_attempt_at": started, **refresh}
    return row(left, platform=platform, external_id="soc_1", refresh=Refresh(**values))


class Life:
    """One connection and its clock: each step happens at an offset from NOW."""

    def __init__(self, provider: str = POSTPOST, **policy: Any) -> None:
        self.provider = provider
        self.policy = Policy(**policy)
        self.skew: float | None = None
        self.state: ConnectionState | None = None

    def context(self, at: timedelta, *, polled: bool) -> Context:
        return Context(
            now=NOW + at,
            provider=provider_info(self.provider),
            policy=self.policy,
            polled=polled,
            clock_skew=self.skew,
            probe_every=6 * HOUR,
        )

    def listed(self, snapshot: Snapshot, at: timedelta = timedelta(0)) -> ConnectionState:
        self.state = lifecycle.observe(self.state, snapshot, self.context(at, polled=True))
        return self.state

    def missed(self, at: timedelta = timedelta(0)) -> ConnectionState:
        self.state = lifecycle.miss(self.known, self.context(at, polled=True))
        return self.state

    def unreadable(self, at: timedelta = timedelta(0)) -> ConnectionState:
        self.state = lifecycle.unreadable(self.known, self.context(at, polled=True))
        return self.state

    def probed(self, answer: ProbeAnswer, at: timedelta = timedelta(0)) -> ConnectionState:
        self.state = lifecycle.probed(self.known, answer, self.context(at, polled=False))
        return self.state

    def elapsed(self, at: timedelta) -> ConnectionState:
        self.state = lifecycle.elapse(self.known, self.context(at, polled=False))
        return self.state

    @property
    def known(self) -> ConnectionState:
        assert self.state is not None
        return self.state

    @property
    def status(self) -> Status:
        return self.known.verdict.status


def after(state: ConnectionState) -> timedelta | None:
    """The next change by time alone, as an offset from NOW."""
    return None if state.next_change_at is None else state.next_change_at - NOW


# --- first sight


def test_a_healthy_connection_is_valid_from_first_sight() -> None:
    state = Life().listed(row())
    assert (state.verdict.status, state.verdict.since, state.stage, state.missing) == (VALID, NOW, None, 0)
    assert state.probe.status is ProbeStatus.UNPROBED


def test_a_token_that_ran_out_before_first_sight_is_expired_since_its_date() -> None:
    verdict = Life().listed(row(-3 * DAY)).verdict
    assert (verdict.status, verdict.reason, verdict.since) == (EXPIRED, "date_passed", NOW - 3 * DAY)


def test_first_sight_inside_a_stage_takes_only_the_tightest() -> None:
    state = Life().listed(row(2 * DAY))
    assert (state.verdict.status, state.stage) == (SOON, 3 * DAY)
    assert Life().listed(row(12 * HOUR)).stage == DAY


# --- time alone: trusted dates cross their lines


def test_every_line_is_the_next_change_in_turn() -> None:
    """7 days (the window), the stages of 3 and 1 days, the expiry, and then nothing more."""
    life = Life()
    life.listed(row(60 * DAY))
    lines = []
    while (due := after(life.known)) is not None:
        lines.append((due, life.elapsed(due).verdict.status, life.known.stage))
    assert lines == [
        (53 * DAY, SOON, None),
        (57 * DAY, SOON, 3 * DAY),
        (59 * DAY, SOON, DAY),
        (60 * DAY, EXPIRED, None),
    ]


@pytest.mark.parametrize(
    ("line", "status_before", "status_at"),
    [(53 * DAY, VALID, SOON), (60 * DAY, SOON, EXPIRED)],
    ids=["window", "expiry"],
)
def test_a_line_is_crossed_exactly_at_its_instant(line: timedelta, status_before: Status, status_at: Status) -> None:
    life = Life()
    life.listed(row(60 * DAY))
    assert life.elapsed(line - SECOND).verdict.status is status_before
    assert after(life.known) == line
    assert life.elapsed(line).verdict.status is status_at
    assert life.elapsed(line + SECOND).verdict.status is status_at


def test_a_stage_is_crossed_exactly_at_its_instant() -> None:
    life = Life()
    life.listed(row(60 * DAY))
    assert life.elapsed(57 * DAY - SECOND).stage is None
    assert life.elapsed(57 * DAY).stage == 3 * DAY


def test_stages_crossed_between_checks_are_crossed_late_once_and_only_the_tightest() -> None:
    life = Life()
    life.listed(row(60 * DAY))
    late = life.elapsed(59 * DAY + 12 * HOUR)
    assert (late.verdict.status, late.stage, after(late)) == (SOON, DAY, 60 * DAY)
    assert life.elapsed(59 * DAY + 12 * HOUR) == late


def test_N26_a_stage_is_not_taken_back_by_a_date_that_moves_a_little() -> None:
    life = Life()
    life.listed(row(3 * DAY))
    assert life.listed(row(3 * DAY + MINUTE)).stage == 3 * DAY


def test_a_stage_begins_anew_where_the_date_moved_later_by_more_than_an_hour() -> None:
    life = Life()
    life.listed(row(2 * DAY))
    assert life.listed(row(5 * DAY)).stage is None
    assert life.status is SOON


def test_an_untrusted_date_never_moves_anything_by_itself() -> None:
    life = Life()
    state = life.listed(row(60 * DAY, platform="facebook"))
    assert state.next_change_at is None
    assert life.elapsed(61 * DAY) == state


def test_a_token_without_a_date_has_no_next_change() -> None:
    state = Life().listed(row(None))
    assert (state.next_change_at, state.recheck_at) == (None, None)


def test_tiktok_is_trusted_at_publora_only() -> None:
    assert after(Life(PUBLORA).listed(row(60 * DAY, platform="tiktok"))) == 53 * DAY
    assert after(Life(POSTPOST).listed(row(60 * DAY, platform="tiktok"))) is None


def test_a_wider_window_moves_the_lines() -> None:
    life = Life(expiring_within=30 * DAY, stages=(14 * DAY, 30 * DAY, 40 * DAY))
    life.listed(row(60 * DAY))
    assert after(life.known) == 30 * DAY
    assert after(life.elapsed(30 * DAY)) == 46 * DAY


def test_no_stages_leave_the_window_and_the_expiry() -> None:
    life = Life(stages=())
    life.listed(row(60 * DAY))
    assert after(life.elapsed(53 * DAY)) == 60 * DAY


def test_a_date_at_the_end_of_the_calendar_is_no_obstacle() -> None:
    life = Life(expiring_within=timedelta.max, stages=(timedelta.max, -DAY))
    last = datetime.max.replace(tzinfo=NOW.tzinfo)
    assert life.listed(make_snapshot(expires_at=last)).verdict.status is VALID
    assert life.listed(make_snapshot(expires_at=datetime.min.replace(tzinfo=NOW.tzinfo))).verdict.status is EXPIRED


# --- since


def test_stages_leave_since_alone() -> None:
    life = Life()
    life.listed(row(60 * DAY))
    began = life.elapsed(53 * DAY).verdict.since
    assert began == NOW + 53 * DAY
    assert life.elapsed(59 * DAY).verdict.since == began


def test_a_passed_date_is_the_since_however_late_it_is_noticed() -> None:
    life = Life()
    life.listed(row(DAY))
    assert life.elapsed(3 * DAY).verdict.since == NOW + DAY


def test_a_word_without_a_passed_date_is_since_now() -> None:
    life = Life()
    life.listed(row(40 * DAY))
    assert life.listed(row(40 * DAY, reported=ReportedStatus.EXPIRED), HOUR).verdict.since == NOW + HOUR


def test_an_untrusted_past_date_is_not_the_since() -> None:
    verdict = Life().listed(row(-DAY, platform="youtube", reported=ReportedStatus.EXPIRED)).verdict
    assert (verdict.reason, verdict.since) == ("expiry_passed", NOW)


def test_since_stays_while_the_status_stays() -> None:
    life = Life()
    life.listed(row(-HOUR))
    assert life.listed(row(-HOUR, reported=ReportedStatus.EXPIRED), DAY).verdict.since == NOW - HOUR


# --- the poll after a date passed decides


def test_a_later_date_after_the_expiry_recovers() -> None:
    life = Life()
    life.listed(row(DAY))
    life.elapsed(DAY)
    assert life.listed(row(61 * DAY), DAY + HOUR).verdict.status is VALID


def test_a_null_date_after_the_expiry_recovers() -> None:
    life = Life()
    life.listed(row(DAY))
    life.elapsed(DAY)
    assert life.listed(row(None), DAY + HOUR).verdict.status is VALID


def test_the_same_past_date_called_valid_stays_expired_and_is_flagged_once() -> None:
    """The clock job crossed the line; the unchanged row still has to be judged by the next poll, which adds the flag."""
    life = Life()
    life.listed(row(DAY))
    crossed = life.elapsed(DAY)
    assert "conflict" not in crossed.verdict.flags
    assert crossed.recheck_at is not None
    assert crossed.recheck_at <= NOW + DAY
    polled = life.listed(row(DAY), DAY + MINUTE)
    assert (polled.verdict.status, "conflict" in polled.verdict.flags) == (EXPIRED, True)
    assert life.elapsed(2 * DAY) == polled
    assert life.listed(row(DAY), 3 * DAY) == polled


# --- recheck_at: what only a poll may judge


def test_an_untrusted_date_is_judged_again_by_the_first_poll_after_its_lines() -> None:
    life = Life()
    state = life.listed(row(60 * DAY, platform="facebook", reported=ReportedStatus.UNSTATED))
    assert state.recheck_at == NOW + 2 * DAY, "then the date has proved itself"
    assert life.listed(state.snapshot, 2 * DAY).recheck_at == NOW + 53 * DAY
    assert life.listed(state.snapshot, 59 * DAY + HOUR).verdict.status is SOON
    assert life.known.recheck_at == NOW + 60 * DAY
    assert life.listed(state.snapshot, 60 * DAY).verdict.status is EXPIRED
    assert life.known.recheck_at is None


def test_a_probe_does_not_make_a_due_judgement_forgotten() -> None:
    life = Life()
    state = life.listed(row(DAY, platform="facebook", reported=ReportedStatus.UNSTATED))
    life.listed(state.snapshot, 12 * HOUR)
    probed = life.probed(OK, DAY + MINUTE)
    assert probed.recheck_at is not None
    assert probed.recheck_at <= NOW + DAY


def test_a_passing_refresh_failure_is_counted_by_attempts() -> None:
    life = Life(POSTBREEZE)

    def failing(attempt: int) -> Snapshot:
        tried = NOW + attempt * 10 * MINUTE
        return breeze(HOUR, 2 * HOUR, platform="twitter", last_attempt_at=tried, error="Bad gateway", error_status=502)

    for number in range(5):
        assert life.listed(failing(0), number * MINUTE).token.refresh_failures == 1
    states = [life.listed(failing(attempt), attempt * 10 * MINUTE) for attempt in (1, 2, 3)]
    assert [state.verdict.status for state in states] == [VALID, SOON, SOON]


def test_a_provider_that_renews_lazily_is_judged_again_after_its_grace() -> None:
    life = Life(POSTBREEZE)
    state = life.listed(breeze(-MINUTE))
    assert (state.verdict.status, state.recheck_at) == (VALID, NOW - MINUTE + HOUR + SECOND)
    assert life.listed(state.snapshot, HOUR).verdict.status is EXPIRED


def test_a_token_of_hours_is_never_expiring_by_the_clock() -> None:
    life = Life(POSTBREEZE)
    snapshot = breeze(2 * HOUR, 2 * HOUR, platform="twitter")
    statuses = {life.listed(snapshot, hours * HOUR).verdict.status for hours in range(26)}
    assert statuses == {VALID}
    assert life.listed(snapshot, 27 * HOUR).verdict.status is EXPIRED


# --- a line that is due must not be lost to another step


@pytest.mark.parametrize("step", ["missed", "probed", "unreadable"])
def test_a_line_crossed_since_the_last_look_is_crossed_by_whatever_comes_first(step: str) -> None:
    """A daemon that was off for an hour may probe or poll before its clock job: the expiry in between is not lost."""
    life = Life(confirm_missing=9)
    life.listed(row(HOUR))
    if step == "missed":
        life.missed(2 * HOUR)
    elif step == "probed":
        life.probed(REFUSED, 2 * HOUR)
    else:
        life.missed()
        life.unreadable(2 * HOUR)
    assert (life.status, life.known.verdict.since) == (EXPIRED, NOW + HOUR)


def test_a_second_answer_without_evidence_changes_nothing() -> None:
    life = Life()
    life.listed(row())
    life.probed(OK)
    before = life.probed(TRANSIENT, MINUTE)
    assert life.probed(TRANSIENT, 2 * HOUR) == before


# --- presence


def test_a_connection_is_disconnected_after_two_complete_lists_without_it_and_returns() -> None:
    life = Life()
    life.listed(row())
    assert (life.missed(MINUTE).verdict.status, life.known.missing) == (VALID, 1)
    gone = life.missed(2 * MINUTE)
    assert (gone.verdict.status, gone.verdict.reason, gone.missing) == (DISCONNECTED, "missing_from_list", 2)
    assert gone.verdict.since == NOW + 2 * MINUTE
    back = life.listed(row(), 3 * MINUTE)
    assert (back.verdict.status, back.missing, back.verdict.since) == (VALID, 0, NOW + 3 * MINUTE)


def test_one_list_that_shows_it_starts_the_count_again() -> None:
    life = Life()
    life.listed(row())
    for at in range(4):
        life.missed(at * MINUTE)
        life.listed(row(), at * MINUTE + SECOND)
    assert (life.missed(HOUR).verdict.status, life.known.missing) == (VALID, 1)


@pytest.mark.parametrize(("confirm", "lists"), [(1, 1), (0, 1), (-1, 1), (3, 3), (5, 5)])
def test_as_many_lists_as_the_policy_requires(confirm: int, lists: int) -> None:
    life = Life(confirm_missing=confirm)
    life.listed(row())
    statuses = [life.missed(at * MINUTE).verdict.status for at in range(lists)]
    assert statuses == [VALID] * (lists - 1) + [DISCONNECTED]


def test_staying_away_changes_nothing_more() -> None:
    life = Life()
    life.listed(row())
    life.missed(MINUTE)
    gone = life.missed(2 * MINUTE)
    assert life.missed(DAY) == gone


def test_presence_ends_disconnected_where_the_provider_reports_no_health() -> None:
    life = Life(POSTPEER)
    present = make_snapshot(reported=ReportedStatus.NO_HEALTH, expires_at=None, platform="tiktok")
    assert life.listed(present).verdict.status is UNKNOWN
    life.missed(MINUTE)
    assert life.missed(2 * MINUTE).verdict.status is DISCONNECTED
    back = life.listed(present, 3 * MINUTE).verdict
    assert (back.status, back.reason, back.since) == (UNKNOWN, "no_health_reported", NOW + 3 * MINUTE)


def test_presence_ends_a_stated_disconnection_even_without_a_reported_status() -> None:
    life = Life(POSTBREEZE)
    assert life.listed(row(None, reported=ReportedStatus.DISCONNECTED)).verdict.status is DISCONNECTED
    assert life.listed(row(None, reported=ReportedStatus.UNSTATED, refresh=Refresh()), MINUTE).verdict.status is UNKNOWN


def test_a_connection_that_returns_expired_is_expired_since_its_date() -> None:
    life = Life()
    life.listed(row(HOUR))
    life.missed(MINUTE)
    life.missed(2 * MINUTE)
    verdict = life.listed(row(HOUR), DAY).verdict
    assert (verdict.status, verdict.since) == (EXPIRED, NOW + HOUR)


# --- rows that cannot be read


def test_an_unreadable_row_keeps_its_last_verdict_and_is_flagged() -> None:
    life = Life()
    before = life.listed(row(2 * DAY))
    flagged = life.unreadable(MINUTE)
    assert flagged.verdict.flags == before.verdict.flags | {"unreadable"}
    assert replace(flagged, verdict=before.verdict) == before
    assert life.unreadable(2 * MINUTE) == flagged
    assert life.listed(row(2 * DAY), 3 * MINUTE) == before


def test_an_unreadable_row_is_present() -> None:
    life = Life()
    life.listed(row())
    life.missed(MINUTE)
    life.missed(2 * MINUTE)
    state = life.unreadable(3 * MINUTE)
    assert (state.verdict.status, state.missing, state.verdict.flags) == (VALID, 0, frozenset({"unreadable"}))


def test_only_a_list_ends_unreadable() -> None:
    life = Life()
    life.listed(row(8 * DAY))
    life.unreadable(MINUTE)
    assert "unreadable" in life.elapsed(DAY).verdict.flags
    assert "unreadable" in life.probed(OK, DAY).verdict.flags
    assert "unreadable" not in life.missed(2 * DAY).verdict.flags


# --- probes


def test_a_refusal_counts_when_it_is_confirmed_and_ends_with_an_ok() -> None:
    life = Life()
    life.listed(row())
    first = life.probed(REFUSED, MINUTE)
    assert (first.verdict.status, first.verdict.flags) == (VALID, frozenset({"probe_refused"}))
    second = life.probed(REFUSED, 2 * MINUTE)
    assert (second.verdict.status, second.verdict.since, second.verdict.flags) == (FAILING, NOW + 2 * MINUTE, frozenset())
    assert life.probed(REFUSED, HOUR).verdict == second.verdict
    assert life.probed(OK, 2 * HOUR).verdict.status is VALID


def test_a_poll_of_an_unchanged_row_does_not_unsay_a_probe() -> None:
    life = Life()
    life.listed(row())
    life.probed(REFUSED)
    before = life.probed(REFUSED)
    assert life.listed(row(), MINUTE) == before


def test_a_transient_answer_changes_no_verdict() -> None:
    life = Life()
    before = life.listed(row())
    after = life.probed(TRANSIENT, MINUTE)
    assert (after.verdict, after.probe.status) == (before.verdict, before.probe.status)
    assert after.probe.silent_since == NOW + MINUTE


def test_an_old_ok_proves_nothing() -> None:
    life = Life(PUBLORA)
    life.listed(row(None, platform="bluesky", reported=ReportedStatus.UNKNOWN))
    assert life.probed(OK).verdict.status is VALID
    unknown = row(None, platform="bluesky", reported=ReportedStatus.UNKNOWN, username="renamed")
    assert life.listed(unknown, 18 * HOUR).verdict.status is VALID
    assert life.listed(replace(unknown, username="again"), 18 * HOUR + MINUTE).verdict.status is UNKNOWN


def test_a_404_leaves_it_to_the_list() -> None:
    life = Life()
    life.listed(row())
    life.probed(OK)
    state = life.probed(NOT_FOUND, MINUTE)
    assert (state.verdict.status, state.verdict.flags, state.probe.status) == (
        VALID,
        frozenset({"probe_missing"}),
        ProbeStatus.OK,
    )


def test_unknown_with_an_accepted_probe_stays_valid_through_inconclusive_answers() -> None:
    life = Life(PUBLORA)
    assert life.listed(row(None, platform="bluesky", reported=ReportedStatus.UNKNOWN)).verdict.status is UNKNOWN
    for answer in (OK, TRANSIENT, NOT_FOUND, OK, NOT_FOUND):
        assert life.probed(answer).verdict.status is VALID


def test_an_ok_probe_does_not_clear_what_the_list_calls_expired() -> None:
    life = Life()
    life.listed(row(reported=ReportedStatus.EXPIRED))
    state = life.probed(OK)
    assert (state.verdict.status, state.verdict.flags) == (EXPIRED, frozenset({"conflict"}))
    assert life.listed(row(), MINUTE).verdict.flags == set()
    assert life.status is VALID


def test_a_probe_follows_at_once_where_a_refused_token_was_renewed() -> None:
    life = Life()
    life.listed(row(2 * DAY))
    life.probed(REJECTED)
    before = life.probed(REJECTED)
    renewed = life.listed(row(60 * DAY), MINUTE)
    assert lifecycle.needs_probe(before, renewed)
    assert (renewed.verdict.status, renewed.probe.message) == (VALID, None), "a later date ends the past"
    again = life.probed(REFUSED, 2 * MINUTE)
    assert (again.verdict.status, "(#200)" in again.verdict.message) == (FAILING, True), "a permission counts at once"


def test_a_later_date_ends_no_refusal_of_a_token_that_works() -> None:
    life = Life()
    life.listed(row(2 * DAY))
    life.probed(REFUSED)
    before = life.probed(REFUSED)
    renewed = life.listed(row(60 * DAY), MINUTE)
    assert lifecycle.needs_probe(before, renewed)
    assert renewed.verdict.status is FAILING, "services renew such a token too: the probe decides"
    assert life.probed(OK).verdict.status is VALID


def test_a_success_after_the_date_still_disproves_it_where_the_status_becomes_unknown() -> None:
    life = Life()
    life.listed(row(DAY))
    life.probed(OK, 2 * DAY)
    assert life.listed(row(DAY), 2 * DAY).verdict.status is VALID
    assert life.listed(row(DAY, reported=ReportedStatus.UNKNOWN), 2 * DAY + MINUTE).verdict.status is VALID
    assert life.listed(row(DAY), 2 * DAY + 2 * MINUTE).verdict.status is VALID


def test_a_refusal_that_counted_still_counts_where_more_are_required_later() -> None:
    life = Life()
    life.listed(row())
    life.probed(REJECTED)
    assert life.probed(REJECTED).verdict.status is EXPIRED
    life.policy = Policy(confirm_failures=5)
    assert life.listed(row(username="renamed"), MINUTE).verdict.status is EXPIRED
    assert life.probed(OK).verdict.status is VALID
    assert life.probed(REJECTED).verdict.status is VALID


def test_a_connection_that_is_gone_stays_gone_where_more_lists_are_required_later() -> None:
    life = Life()
    life.listed(row())
    life.missed(MINUTE)
    assert life.missed(MINUTE).verdict.status is DISCONNECTED
    life.policy = Policy(confirm_missing=5)
    assert life.missed(MINUTE).verdict.status is DISCONNECTED
    assert life.listed(row(), MINUTE).verdict.status is VALID
    assert life.missed(MINUTE).verdict.status is VALID


def test_a_probe_follows_at_once_where_the_word_of_a_refused_token_changed() -> None:
    life = Life()
    life.listed(row(None, reported=ReportedStatus.EXPIRED))
    before = life.probed(REFUSED)
    assert lifecycle.needs_probe(before, life.listed(row(None), MINUTE))


@pytest.mark.parametrize("answer", [OK, None], ids=["ok", "never probed"])
def test_no_probe_follows_a_renewal_of_a_token_that_was_not_refused(answer: ProbeAnswer | None) -> None:
    life = Life()
    before = life.listed(row(2 * DAY))
    if answer is not None:
        before = life.probed(answer)
    assert not lifecycle.needs_probe(before, life.listed(row(60 * DAY), MINUTE))


def test_no_probe_follows_where_the_refused_token_is_the_same() -> None:
    life = Life()
    life.listed(row())
    before = life.probed(REFUSED)
    assert not lifecycle.needs_probe(before, life.listed(row(username="renamed"), MINUTE))
    assert not lifecycle.needs_probe(None, before)


def dated(platform: str = "linkedin") -> Life:
    """A connection that the platform accepted an hour before its expiry date, at NOW."""
    life = Life()
    life.listed(row(3 * DAY, platform=platform), -3 * DAY)
    life.listed(row(timedelta(0), platform=platform), -3 * DAY)
    life.probed(OK, -HOUR)
    return life


REJECTED = ProbeAnswer(http_status=200, status="error", message="Access token expired")


def test_a_probe_decides_about_a_date_that_has_just_passed() -> None:
    life = dated()
    before, passed = life.known, life.elapsed(timedelta(0))
    assert (passed.verdict.status, passed.next_change_at) == (SOON, NOW + 5 * MINUTE)
    assert lifecycle.needs_probe(before, passed)
    accepted = life.probed(OK, MINUTE)
    assert (accepted.verdict.status, accepted.verdict.reason) == (VALID, "probe_ok")
    assert "conflict" in accepted.verdict.flags
    assert life.elapsed(DAY / 2).verdict.status is VALID


def test_a_token_that_is_rejected_after_its_date_has_expired() -> None:
    life = dated()
    life.elapsed(timedelta(0))
    rejected = life.probed(REJECTED, MINUTE)
    assert (rejected.verdict.status, rejected.verdict.reason, rejected.verdict.since) == (EXPIRED, "date_passed", NOW)


def test_a_date_that_no_probe_answers_about_expires_the_token_after_five_minutes() -> None:
    life = dated()
    life.elapsed(timedelta(0))
    assert life.probed(TRANSIENT, MINUTE).verdict.status is SOON
    expired = life.elapsed(5 * MINUTE)
    assert (expired.verdict.status, expired.verdict.since) == (EXPIRED, NOW)


def test_a_token_that_was_not_probed_lately_expires_at_its_date() -> None:
    life = dated()
    late = Life()
    late.state = replace(life.known, probe=replace(life.known.probe, at=NOW - 19 * HOUR))
    assert late.elapsed(timedelta(0)).verdict.status is EXPIRED


# --- the clocks


@pytest.mark.parametrize("skew", [-300.1, -86400.0])
def test_P23_P24_a_date_has_passed_when_it_has_passed_on_both_clocks(skew: float) -> None:
    life = Life()
    life.skew = skew
    life.listed(row(60 * DAY))
    assert life.elapsed(60 * DAY).verdict.status is SOON
    assert life.known.next_change_at is not None
    assert NOW + 60 * DAY < life.known.next_change_at <= NOW + 60 * DAY + HOUR
    assert life.elapsed(60 * DAY - skew * SECOND).verdict.status is EXPIRED


def test_P23_a_clock_that_was_set_forward_by_forty_days_expires_nothing() -> None:
    life = Life()
    life.listed(row(20 * DAY))
    life.skew = -40 * 86400.0
    assert life.listed(row(20 * DAY), 40 * DAY).verdict.status is VALID
    assert life.elapsed(41 * DAY).verdict.status is VALID


@pytest.mark.parametrize("skew", [86400.0, 300.0, 0.0, None])
def test_P24_a_server_that_is_ahead_does_not_stop_the_clock(skew: float | None) -> None:
    life = Life()
    life.skew = skew
    life.listed(row(60 * DAY))
    assert life.elapsed(60 * DAY).verdict.status is EXPIRED


@pytest.mark.parametrize(("skew", "said"), [(120.0, False), (120.1, True), (-120.1, True), (None, False)])
def test_P24_a_clock_difference_is_shown_from_two_minutes_on(skew: float | None, said: bool) -> None:
    life = Life()
    life.skew = skew
    assert ("clock_suspect" in life.listed(row()).verdict.flags) is said
    assert "clock_suspect" not in life.listed(row(None)).verdict.flags


def test_a_line_that_passed_on_one_clock_is_crossed_by_the_first_poll_with_both() -> None:
    life = Life()
    life.listed(row(60 * DAY))
    life.skew = -4000.0
    moved = life.elapsed(53 * DAY)
    assert moved.next_change_at == NOW + 53 * DAY + HOUR
    life.skew = 0.0
    assert life.listed(row(60 * DAY), 53 * DAY + MINUTE).verdict.status is SOON


def test_a_wrong_clock_writes_nothing_for_an_unchanged_row() -> None:
    life = Life()
    life.skew = -4000.0
    before = life.listed(row())
    assert life.listed(row(), HOUR) == before


def test_losing_trust_in_the_clock_takes_nothing_back() -> None:
    life = Life()
    life.listed(row(2 * DAY))
    assert (life.status, life.known.stage) == (SOON, 3 * DAY)
    life.skew = 4000.0
    state = life.listed(row(2 * DAY), HOUR)
    assert (state.verdict.status, state.stage) == (SOON, 3 * DAY)
    life.skew = None
    life.elapsed(2 * DAY)
    life.skew = 4000.0
    assert life.listed(row(2 * DAY), 3 * DAY).verdict.status is EXPIRED


# --- coarse spans ("82d 4h")


def test_a_coarse_span_that_wobbles_within_its_hour_changes_neither_verdict_nor_date() -> None:
    life = Life()
    span: dict[str, Any] = {"left": None, "platform": "facebook", "reported": ReportedStatus.EXPIRING_SOON}
    state = life.listed(row(**span, expires_before=NOW + 2 * DAY))
    for minutes in (10, 59, 30, 1):
        later = life.listed(row(**span, expires_before=NOW + 2 * DAY + minutes * MINUTE), minutes * MINUTE)
        assert (later.token.expires_at, later.verdict, later.stage) == (NOW + 2 * DAY, state.verdict, state.stage)


def test_a_coarse_span_that_moves_later_by_more_than_an_hour_is_a_new_date() -> None:
    life = Life()
    span: dict[str, Any] = {"left": None, "platform": "facebook"}
    life.listed(row(**span, reported=ReportedStatus.EXPIRING_SOON, expires_before=NOW + 2 * DAY))
    state = life.listed(row(**span, reported=ReportedStatus.VALID, expires_before=NOW + 60 * DAY), MINUTE)
    assert (state.verdict.status, state.token.expires_at) == (VALID, NOW + 60 * DAY)


def test_a_span_moves_a_verdict_by_time_where_dates_are_trusted() -> None:
    life = Life()
    state = life.listed(row(left=None, expires_before=NOW + 8 * DAY))
    assert (state.verdict.status, state.next_change_at) == (VALID, NOW + DAY)
    assert life.elapsed(DAY).verdict.status is SOON
    other = Life()
    assert other.listed(row(left=None, platform="facebook", expires_before=NOW + 8 * DAY)).next_change_at is None
    assert other.elapsed(3 * DAY).verdict.status is VALID


# --- what was corrected late in a token's life is no short token


def test_N26_a_date_corrected_by_two_hours_does_not_end_the_warning() -> None:
    """LinkedIn's tokens live 60 days: five days seen since the correction are not its lifetime."""
    life = Life()
    life.listed(row(5 * DAY))
    assert life.listed(row(5 * DAY + 2 * HOUR), MINUTE).verdict.status is SOON


def test_a_renewal_ends_the_warning() -> None:
    life = Life()
    life.listed(row(2 * DAY))
    state = life.listed(row(60 * DAY), MINUTE)
    assert (state.verdict.status, state.stage, state.token.issued_at) == (VALID, None, NOW + MINUTE)
    assert after(state) == 53 * DAY


# --- the same input twice


@pytest.mark.parametrize("left", [60 * DAY, 7 * DAY, 2 * DAY, timedelta(0), -DAY, None])
@pytest.mark.parametrize("word", list(ReportedStatus))
def test_the_same_row_twice_gives_an_equal_state(left: timedelta | None, word: ReportedStatus) -> None:
    life = Life()
    once = life.listed(row(left, reported=word))
    if word is ReportedStatus.FAILING:  # the second poll confirms the first
        assert once.recheck_at == NOW
        once = life.listed(row(left, reported=word))
    assert life.listed(row(left, reported=word)) == once
    moved = life.elapsed(timedelta(0))
    assert moved.verdict.status is once.verdict.status
    assert life.elapsed(timedelta(0)) == moved


def test_a_kept_warning_beside_a_stale_date_settles_at_once() -> None:
    """The date proves nothing there, so it must not be taken for the one whose line was crossed."""
    life = Life()
    life.listed(row(None, platform="tiktok", reported=ReportedStatus.EXPIRING_SOON))
    once = life.listed(row(-HOUR, platform="tiktok", reported=ReportedStatus.UNSTATED), MINUTE)
    assert (once.verdict.status, "provider_unknown" in once.verdict.flags) == (SOON, True)
    assert life.listed(once.snapshot, MINUTE) == once


def test_an_overdue_renewal_settles_at_once() -> None:
    life = Life(POSTBREEZE)
    once = life.listed(breeze(-2 * HOUR))
    assert (once.verdict.status, once.verdict.reason) == (EXPIRED, "refresh_overdue")
    assert life.listed(once.snapshot) == once


# --- dates that contradict each other


def test_a_short_token_with_nonsense_refresh_dates_does_not_get_months_of_grace() -> None:
    """TikTok's 180 days are its refresh token's; the access token that is listed here lives for hours."""
    life = Life(POSTBREEZE)
    assert life.listed(breeze(-5 * DAY, -DAY, platform="tiktok")).verdict.status is EXPIRED
