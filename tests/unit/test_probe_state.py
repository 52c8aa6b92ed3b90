"""The probe axis over time: what is remembered of one response after another."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain import ProbeAnswer, ProbeFinding, ProbeState, ProbeStatus
from monitor.domain.records import replace
from monitor.domain.rules import probe_answers, probes
from tests.support.factories import NOW

OK, EXPIRED, REVOKED, FAILING = ProbeFinding.OK, ProbeFinding.EXPIRED, ProbeFinding.REVOKED, ProbeFinding.FAILING
UNSUPPORTED, AMBIGUOUS, PERMISSION = ProbeFinding.UNSUPPORTED, ProbeFinding.AMBIGUOUS, ProbeFinding.PERMISSION
MISSING, BAD_ID = ProbeFinding.MISSING, ProbeFinding.BAD_ID
MINUTE = timedelta(minutes=1)

# One text of each meaning.
UNCLEAR = "Refused."
NO_RIGHTS = "(#200) Requires pages_manage_posts permission"
TEXTS = [UNCLEAR, NO_RIGHTS, "Access token expired", "The token was revoked", "Rate limit exceeded", "Unknown platform: x"]
TEXTS += ["Invalid bot token", "Invalid bot connection"]


def ok(**over: Any) -> ProbeAnswer:
    return ProbeAnswer(**{"http_status": 200, "status": "ok", **over})


def error(message: str | None, **over: Any) -> ProbeAnswer:
    return ProbeAnswer(**{"http_status": 200, "status": "error", "message": message, **over})


def advance(
    state: ProbeState, *answers: ProbeAnswer | None, platform: str = "facebook", confirm: int = 2, step: timedelta = MINUTE
) -> ProbeState:
    for number, answer in enumerate(answers, start=1):
        now = NOW + number * step
        if answer is None:
            state = probes.unanswered(state, now)
        else:
            state = probes.advance(state, answer, platform=platform, date_trusted=False, now=now, confirm=confirm)
    return state


NEW = ProbeState()
WORKS = advance(NEW, ok())
REFUSED = advance(NEW, error(UNCLEAR))


def test_an_ok_is_remembered() -> None:
    state = advance(NEW, ok(message="@acme"))
    assert state == ProbeState(status=ProbeStatus.OK, finding=OK, message="@acme", at=NOW + MINUTE, ever_ok=True)
    assert probes.last_ok_at(state) == NOW + MINUTE


def test_refusals_are_counted_as_far_as_they_matter() -> None:
    assert [advance(NEW, *[error(UNCLEAR)] * times, confirm=4).refusals for times in range(1, 6)] == [1, 2, 3, 4, 4]
    assert [advance(NEW, *[error(UNCLEAR)] * times, confirm=1).refusals for times in range(1, 5)] == [1, 2, 3, 3]


def test_an_ok_ends_all_refusals() -> None:
    state = advance(NEW, error(UNCLEAR), error(UNCLEAR), ok())
    assert (state.status, state.refusals, state.finding, state.refused_since) == (ProbeStatus.OK, 0, OK, None)


def test_an_ok_between_two_refusals_starts_the_count_again() -> None:
    assert advance(NEW, error(UNCLEAR), ok(), error(UNCLEAR)).refusals == 1


@pytest.mark.parametrize("state", [NEW, WORKS, REFUSED], ids=["unprobed", "ok", "refused"])
@pytest.mark.parametrize("answer", [error("Rate limit exceeded"), error("status code 503"), ProbeAnswer(http_status=200), None])
def test_an_answer_without_evidence_is_noted_once_and_changes_no_finding(state: ProbeState, answer: ProbeAnswer | None) -> None:
    after = advance(state, answer)
    assert (after.status, after.finding, after.refusals) == (state.status, state.finding, state.refusals)
    assert after.silent_since == NOW + MINUTE
    assert probes.last_ok_at(after) == probes.last_ok_at(state)
    assert advance(after, answer, step=5 * MINUTE) is after
    assert advance(after, ok()).silent_since is None


def test_a_transient_answer_between_two_refusals_does_not_break_the_row() -> None:
    assert advance(NEW, error(UNCLEAR), error("Rate limit exceeded"), error(UNCLEAR)).refusals == 2


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (UNCLEAR, "Access token expired", EXPIRED),  # worse: taken
        ("Access token expired", "The token was revoked", REVOKED),
        ("The token was revoked", "Access token expired", REVOKED),  # milder: the worst stays
        ("Access token expired", UNCLEAR, EXPIRED),
        (UNCLEAR, "Refused again.", FAILING),
        # only a token that works is told that a permission is missing
        ("Access token expired", NO_RIGHTS, PERMISSION),
        ("The token was revoked", NO_RIGHTS, PERMISSION),
        (NO_RIGHTS, UNCLEAR, PERMISSION),
        # and one that works no more is not told of permissions
        (NO_RIGHTS, "Access token expired", EXPIRED),
        (NO_RIGHTS, "The token was revoked", REVOKED),
    ],
)
def test_the_weightiest_of_a_row_of_refusals_counts(first: str, second: str, kept: ProbeFinding) -> None:
    assert advance(NEW, error(first), error(second)).finding is kept


def test_the_finding_keeps_its_own_text_and_the_message_is_the_newest() -> None:
    state = advance(NEW, error("The token was revoked"), error(UNCLEAR))
    assert (state.refusal, state.message, state.at) == ("The token was revoked", UNCLEAR, NOW + 2 * MINUTE)


def test_the_worst_is_forgotten_after_an_ok() -> None:
    assert advance(NEW, error("The token was revoked"), ok(), error(UNCLEAR)).finding is FAILING


def test_the_last_ok_is_remembered_whatever_follows() -> None:
    for answer in (error(UNCLEAR), error("x", http_status=404), error("Rate limit exceeded"), None):
        assert probes.last_ok_at(advance(WORKS, answer, answer)) == NOW + MINUTE


# confirm, probes and minutes between them, confirmed
CONFIRMED = [
    ("Access token expired", 2, 1, 1, False),
    ("Access token expired", 2, 2, 1, True),
    ("Access token expired", 1, 1, 1, True),
    ("Access token expired", 0, 1, 1, True),
    (NO_RIGHTS, 2, 1, 1, False),
    (NO_RIGHTS, 2, 2, 1, True),
    (UNCLEAR, 2, 2, 1, False),
    (UNCLEAR, 1, 3, 10, False),  # three, and not for an hour
    (UNCLEAR, 1, 2, 90, False),  # for an hour, and not three
    (UNCLEAR, 2, 3, 30, True),
    (UNCLEAR, 5, 3, 30, True),
]


@pytest.mark.parametrize(("text", "confirm", "times", "minutes", "confirmed"), CONFIRMED)
def test_a_refusal_that_names_its_cause_is_counted_and_an_unclear_one_must_last(
    text: str, confirm: int, times: int, minutes: int, confirmed: bool
) -> None:
    state = advance(NEW, *[error(text)] * times, confirm=confirm, step=minutes * MINUTE)
    assert state.at is not None
    assert probes.is_confirmed(state, confirm, state.at) is confirmed


@pytest.mark.parametrize("text", [UNCLEAR, NO_RIGHTS, "Access token expired", "The token was revoked"])
def test_a_reconnect_ends_the_past(text: str) -> None:
    fresh = probes.after_reconnect(advance(WORKS, error(text), error(text)))
    assert (fresh.status, fresh.refusals, fresh.message, fresh.refusal) == (ProbeStatus.UNPROBED, 0, None, None)
    assert probes.last_ok_at(fresh) == NOW + MINUTE
    again = advance(fresh, error(NO_RIGHTS))
    assert probes.is_confirmed(again, 2, NOW + MINUTE), "a permission that is still missing counts immediately"
    assert not probes.is_confirmed(advance(fresh, error("Access token expired")), 2, NOW + MINUTE)
    assert advance(fresh, ok()).reconnected is False
    assert probes.after_reconnect(WORKS) is WORKS


@pytest.mark.parametrize(
    ("state", "message", "finding"),
    [
        (NEW, "Unknown platform: x", UNSUPPORTED),
        (WORKS, "Unknown platform: x", UNSUPPORTED),
        (NEW, "Invalid bot connection", UNSUPPORTED),
        (WORKS, "Invalid bot connection", UNSUPPORTED),
        (NEW, "Invalid bot token", AMBIGUOUS),
    ],
)
def test_a_platform_without_a_validator_is_unsupported(state: ProbeState, message: str, finding: ProbeFinding) -> None:
    after = advance(state, error(message), platform="telegram")
    assert (after.status, after.finding, after.refusals) == (ProbeStatus.UNSUPPORTED, finding, 0)


def test_a_bot_that_worked_is_refused_until_the_answer_names_a_personal_session() -> None:
    refused = advance(WORKS, *[error("Invalid bot token")] * 3, platform="telegram", step=30 * MINUTE)
    assert (refused.status, refused.finding, refused.refusals) == (ProbeStatus.FAILING, AMBIGUOUS, 3)
    assert probes.is_confirmed(refused, 2, NOW + 90 * MINUTE)
    moved = advance(refused, error("Invalid bot connection"), platform="telegram")
    assert (moved.status, moved.finding, moved.refusals) == (ProbeStatus.UNSUPPORTED, UNSUPPORTED, 0)
    assert advance(moved, error("Invalid bot token"), platform="telegram").status is ProbeStatus.UNSUPPORTED
    revoked = advance(refused, error("Request failed with status code 401"), platform="telegram")
    assert revoked.finding is REVOKED


@pytest.mark.parametrize("http_status", [404, 400])
def test_a_missing_or_refused_id_is_noted_and_keeps_the_axis(http_status: int) -> None:
    after = advance(WORKS, error("x", http_status=http_status))
    assert (after.status, after.ever_ok, after.refusals) == (ProbeStatus.OK, True, 0)
    assert after.finding is (MISSING if http_status == 404 else BAD_ID)
    assert after.silent_since == NOW + MINUTE


@pytest.mark.parametrize(
    "answer",
    [error("x", http_status=404), error("x", http_status=400), error("Unknown platform: x"), error("Invalid bot token")],
    ids=["404", "400", "unknown platform", "ambiguous"],
)
def test_an_answer_without_evidence_about_the_token_withdraws_no_refusal(answer: ProbeAnswer) -> None:
    before = advance(NEW, *[error(UNCLEAR)] * 3, platform="telegram", step=30 * MINUTE)
    after = advance(before, answer, platform="telegram", step=120 * MINUTE)
    assert (after.status, after.finding, after.refusals) == (ProbeStatus.FAILING, FAILING, 3)


def test_a_refusal_of_a_post_ends_where_the_service_cannot_test_the_platform() -> None:
    posted = probes.refused_by_post(NEW, EXPIRED, "Access token expired", now=NOW, confirm=2)
    assert posted.refusals == 1
    after = advance(posted, error("Unknown platform: pinterest"))
    assert (after.status, after.refusals) == (ProbeStatus.UNSUPPORTED, 0)


answers = st.sampled_from([ok(), error("x", http_status=404), error("x", http_status=400), None, *map(error, TEXTS)])


def stored(state: ProbeState) -> ProbeState:
    """The little of a state that a probe carries along."""
    return replace(state, message=None, at=None, refused_since=None, refusal=None, ok_at=None)


@given(st.lists(answers, max_size=6), answers, st.integers(1, 3))
def test_news_is_what_the_next_state_would_show(
    before: list[ProbeAnswer | None], answer: ProbeAnswer | None, confirm: int
) -> None:
    """The quick comparison of a row's summary must never call a response unchanged that the rules would have written."""
    state = advance(NEW, *before, platform="telegram", confirm=confirm)
    after = advance(state, answer, platform="telegram", confirm=confirm, step=10 * MINUTE)
    finding = None if answer is None else probe_answers.classify(answer, platform="telegram", date_trusted=False)
    unchanged = stored(after) == stored(state) and (finding is None or not finding.is_refusal)
    assert unchanged or probes.is_change(stored(state), finding)
    assert not probes.is_change(stored(advance(NEW, ok())), OK)


@given(st.lists(answers, max_size=8))
def test_only_an_ok_ends_refusals_that_name_a_cause(before: list[ProbeAnswer | None]) -> None:
    state = advance(NEW, *before)
    after = advance(state, error("Access token expired"))
    assert after.refusals >= min(state.refusals + 1, 3)
    assert after.finding in (EXPIRED, REVOKED, PERMISSION)
