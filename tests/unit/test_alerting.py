"""Should we say something, and why? One row per reason and per boundary instant."""

from __future__ import annotations

from datetime import timedelta

import pytest

from monitor.domain import AlertEvent, ConnectionState, LastNotified, Policy, Severity, SourceStatus, Status
from monitor.domain.rules import alerting
from monitor.domain.rules.alerting import AlertReason
from tests.support.factories import NOW, make_notified, make_state

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)

VALID, UNKNOWN, SOON, FAILING = Status.VALID, Status.UNKNOWN, Status.EXPIRING_SOON, Status.FAILING
EXPIRED, REVOKED, DISCONNECTED = Status.EXPIRED, Status.REVOKED, Status.DISCONNECTED

NOTHING, FIRST, WORSE, CHANGED = AlertReason.NOTHING, AlertReason.FIRST, AlertReason.WORSE, AlertReason.CHANGED
STAGE, REMINDER = AlertReason.STAGE, AlertReason.REMINDER
RECOVERED, RENEWED, RECONNECTED = AlertReason.RECOVERED, AlertReason.RENEWED, AlertReason.RECONNECTED


def said(status: Status, stage: timedelta | None = None, ago: timedelta = timedelta(0), reminders: int = 0) -> LastNotified:
    return make_notified(status=status, stage=stage, at=NOW - ago, reminders=reminders)


def true_now(status: Status, stage: timedelta | None = None) -> ConnectionState:
    return make_state(status=status, stage=stage)


def decide(
    before: LastNotified | None,
    state: ConnectionState,
    *,
    remind_every: timedelta | None = DAY,
    renewed: bool = False,
    reconnected: bool = False,
) -> AlertReason:
    policy = Policy(remind_every=remind_every)
    return alerting.decide_alert(before, state, policy=policy, now=NOW, renewed=renewed, reconnected=reconnected)


# what the open incident said (None: no incident), what is true now, whether the date moved later, the reason
TABLE = [
    # --- no incident: the first notice of what needs a person, and silence about what does not
    ("first sight of a healthy one", None, true_now(VALID), False, NOTHING),
    ("first sight of an unknown one", None, true_now(UNKNOWN), False, NOTHING),
    ("a renewal without an incident", None, true_now(VALID), True, NOTHING),
    *[(f"first notice of {s}", None, true_now(s), False, FIRST) for s in Status if s.needs_attention],
    ("first notice inside a stage: one, not two", None, true_now(SOON, 3 * DAY), False, FIRST),
    ("first notice although the date moved later", None, true_now(SOON), True, FIRST),
    # --- expiring_soon: only a tighter stage is said, once
    ("still expiring soon", said(SOON), true_now(SOON), False, NOTHING),
    ("the first stage", said(SOON), true_now(SOON, 3 * DAY), False, STAGE),
    ("the same stage", said(SOON, 3 * DAY), true_now(SOON, 3 * DAY), False, NOTHING),
    ("a tighter stage", said(SOON, 3 * DAY), true_now(SOON, DAY), False, STAGE),
    ("two stages at once", said(SOON), true_now(SOON, DAY), False, STAGE),
    ("a wider stage after a wobble", said(SOON, DAY), true_now(SOON, 3 * DAY), False, NOTHING),
    ("no stage after a partial renewal", said(SOON, DAY), true_now(SOON), True, NOTHING),
    ("expiring soon for weeks: no reminders", said(SOON, ago=30 * DAY), true_now(SOON), False, NOTHING),
    # --- worse and milder
    ("it ran out", said(SOON, DAY), true_now(EXPIRED), False, WORSE),
    ("the probe is refused", said(SOON), true_now(FAILING), False, WORSE),
    ("refused, and now expired", said(FAILING), true_now(EXPIRED), False, WORSE),
    ("expired, and now revoked", said(EXPIRED), true_now(REVOKED), False, WORSE),
    ("revoked, and now gone", said(REVOKED), true_now(DISCONNECTED), False, WORSE),
    ("listed again, still expired", said(DISCONNECTED), true_now(EXPIRED), False, CHANGED),
    ("renewed, but only for days", said(EXPIRED), true_now(SOON), True, CHANGED),
    ("the probe works again, the date is near", said(FAILING), true_now(SOON, 3 * DAY), False, CHANGED),
    # --- good again
    ("valid after failing", said(FAILING), true_now(VALID), False, RECOVERED),
    ("valid after expiring soon, same date", said(SOON), true_now(VALID), False, RECOVERED),
    ("renewed in time", said(SOON), true_now(VALID), True, RENEWED),
    ("renewed after it ran out", said(EXPIRED), true_now(VALID), True, RENEWED),
    ("the date was not the trouble", said(FAILING), true_now(VALID), True, RECOVERED),
    ("authorized anew after a revocation", said(REVOKED), true_now(VALID), True, RECOVERED),
    ("listed again with a later date", said(DISCONNECTED), true_now(VALID), True, RECOVERED),
    # --- unknown resolves nothing, save that presence ends disconnected
    ("unknown after expired", said(EXPIRED), true_now(UNKNOWN), False, NOTHING),
    ("unknown after expiring soon", said(SOON), true_now(UNKNOWN), True, NOTHING),
    ("unknown after failing, a day later", said(FAILING, ago=2 * DAY), true_now(UNKNOWN), False, NOTHING),
    ("listed again where no health is reported", said(DISCONNECTED), true_now(UNKNOWN), False, RECOVERED),
    # --- reminders: from exactly remind_every on
    ("a second too early", said(EXPIRED, ago=DAY - SECOND), true_now(EXPIRED), False, NOTHING),
    ("exactly after a day", said(EXPIRED, ago=DAY), true_now(EXPIRED), False, REMINDER),
    ("a second later", said(EXPIRED, ago=DAY + SECOND), true_now(EXPIRED), False, REMINDER),
    ("after a long time off: one", said(EXPIRED, ago=30 * DAY), true_now(EXPIRED), False, REMINDER),
    *[(f"{s} is reminded of", said(s, ago=DAY), true_now(s), False, REMINDER) for s in (FAILING, REVOKED, DISCONNECTED)],
    ("worse is said as such, not as a reminder", said(EXPIRED, ago=DAY), true_now(REVOKED), False, WORSE),
    ("a clock that went back", said(EXPIRED, ago=-30 * DAY), true_now(EXPIRED), False, NOTHING),
]


@pytest.mark.parametrize(("before", "state", "renewed", "reason"), [case[1:] for case in TABLE], ids=[case[0] for case in TABLE])
def test_the_table(before: LastNotified | None, state: ConnectionState, renewed: bool, reason: AlertReason) -> None:
    assert decide(before, state, renewed=renewed) is reason


def test_every_reason_is_in_the_table() -> None:
    assert {case[4] for case in TABLE} | {RECONNECTED} == set(AlertReason)


@pytest.mark.parametrize("status", [status for status in Status if status.needs_attention])
@pytest.mark.parametrize("now", [VALID, UNKNOWN])
def test_a_reconnect_under_a_new_id_ends_every_incident(status: Status, now: Status) -> None:
    for renewed in (False, True):
        assert decide(said(status), true_now(now), renewed=renewed, reconnected=True) is RECONNECTED
    assert decide(None, true_now(now), reconnected=True) is NOTHING


def test_a_reconnect_does_not_hide_what_still_needs_attention() -> None:
    assert decide(said(DISCONNECTED), true_now(EXPIRED), reconnected=True) is CHANGED


@pytest.mark.parametrize("every", [None, timedelta(0), -DAY])
def test_reminders_can_be_off(every: timedelta | None) -> None:
    assert decide(said(EXPIRED, ago=400 * DAY), true_now(EXPIRED), remind_every=every) is NOTHING


@pytest.mark.parametrize("every", [SECOND, 7 * DAY])
def test_reminders_follow_the_policy(every: timedelta) -> None:
    assert decide(said(EXPIRED, ago=every), true_now(EXPIRED), remind_every=every) is REMINDER
    assert decide(said(EXPIRED, ago=every - timedelta(microseconds=1)), true_now(EXPIRED), remind_every=every) is NOTHING


# --- what the incident remembers


@pytest.mark.parametrize(
    ("before", "state", "renewed", "reason"),
    [case[1:] for case in TABLE if case[4] is not NOTHING and not case[4].ends_incident],
    ids=[case[0] for case in TABLE if case[4] is not NOTHING and not case[4].ends_incident],
)
def test_a_notified_state_is_not_notified_again(
    before: LastNotified | None, state: ConnectionState, renewed: bool, reason: AlertReason
) -> None:
    remembered = alerting.next_notified(reason, before, state, NOW)
    assert (remembered.status, remembered.stage, remembered.at) == (state.verdict.status, state.stage, NOW)
    assert decide(remembered, state, renewed=renewed) is NOTHING


def test_reminders_are_counted_until_something_else_is_notified() -> None:
    state = true_now(EXPIRED)
    first = alerting.next_notified(FIRST, None, state, NOW)
    second = alerting.next_notified(REMINDER, first, state, NOW)
    third = alerting.next_notified(REMINDER, second, state, NOW)
    worse = alerting.next_notified(WORSE, third, true_now(REVOKED), NOW)
    assert [entry.reminders for entry in (first, second, third, worse)] == [0, 1, 2, 0]


# --- event and severity


@pytest.mark.parametrize(
    ("reason", "status", "event"),
    [
        *[(FIRST, s, AlertEvent(s.value)) for s in Status if s.needs_attention],
        (STAGE, SOON, AlertEvent.EXPIRING_SOON),
        (REMINDER, REVOKED, AlertEvent.REVOKED),
        (RECOVERED, VALID, AlertEvent.RECOVERED),
        (RENEWED, VALID, AlertEvent.RECOVERED),
        (RECOVERED, UNKNOWN, AlertEvent.RECOVERED),
    ],
)
def test_the_event_is_the_status_or_recovered(reason: AlertReason, status: Status, event: AlertEvent) -> None:
    assert alerting.event_of(reason, status) is event


@pytest.mark.parametrize(
    ("reason", "status", "before", "severity"),
    [
        (FIRST, SOON, None, Severity.WARNING),
        (STAGE, SOON, said(SOON), Severity.WARNING),
        (FIRST, FAILING, None, Severity.CRITICAL),
        (WORSE, EXPIRED, said(SOON), Severity.CRITICAL),
        (CHANGED, SOON, said(EXPIRED), Severity.WARNING),
        (RECOVERED, VALID, said(EXPIRED), Severity.CRITICAL),  # a recovery is as loud as what it ends
        (RENEWED, VALID, said(SOON), Severity.WARNING),
        (RECOVERED, UNKNOWN, said(DISCONNECTED), Severity.CRITICAL),
    ],
)
def test_the_severity_is_the_statuss_or_that_of_what_ends(
    reason: AlertReason, status: Status, before: LastNotified | None, severity: Severity
) -> None:
    assert alerting.severity_of(reason, status, before) is severity


def test_only_good_news_ends_an_incident() -> None:
    assert {reason for reason in AlertReason if reason.ends_incident} == {RECOVERED, RENEWED, RECONNECTED}


# --- sources

PENDING, OK = SourceStatus.PENDING, SourceStatus.OK
BROKEN, REJECTED = SourceStatus.FAILING, SourceStatus.UNAUTHORIZED

# outcome, failures in a row with this one, status before, status after
SOURCES = [
    # --- a good poll ends everything
    *[(f"a good poll after {s}", "ok", 0, s, OK) for s in SourceStatus],
    # --- a rejected key is known at once, from whatever came before
    *[(f"rejected after {s}", "unauthorized", 1, s, REJECTED) for s in SourceStatus],
    # --- a failed poll waits for its confirmation
    ("first failure after ok", "failed", 1, OK, OK),
    ("second failure after ok", "failed", 2, OK, BROKEN),
    ("third failure after ok", "failed", 3, OK, BROKEN),
    ("first poll ever fails", "failed", 1, PENDING, PENDING),
    ("second poll ever fails", "failed", 2, PENDING, BROKEN),
    # --- once broken, only a good poll mends it
    ("failing goes on", "failed", 9, BROKEN, BROKEN),
    ("failing with a fresh count", "failed", 1, BROKEN, BROKEN),
    ("rejected, now merely unreachable", "failed", 2, REJECTED, REJECTED),
]


@pytest.mark.parametrize(
    ("outcome", "failures", "before", "status"), [case[1:] for case in SOURCES], ids=[case[0] for case in SOURCES]
)
def test_a_sources_status_after_a_poll(outcome: str, failures: int, before: SourceStatus, status: SourceStatus) -> None:
    judged = alerting.judge_source(
        outcome_ok=outcome == "ok", unauthorized=outcome == "unauthorized", failures=failures, confirm=2, before=before
    )
    assert judged is status


@pytest.mark.parametrize("confirm", [1, 0, -1])
def test_a_source_whose_failures_need_no_confirmation(confirm: int) -> None:
    judged = alerting.judge_source(outcome_ok=False, unauthorized=False, failures=1, confirm=confirm, before=OK)
    assert judged is BROKEN


# status before, status now, reason
SOURCE_ALERTS = [
    (PENDING, PENDING, NOTHING),
    (PENDING, OK, NOTHING),  # a healthy first poll is silent
    (PENDING, BROKEN, FIRST),
    (PENDING, REJECTED, FIRST),
    (OK, OK, NOTHING),
    (OK, BROKEN, FIRST),
    (OK, REJECTED, FIRST),
    (BROKEN, BROKEN, NOTHING),
    (BROKEN, REJECTED, WORSE),
    (BROKEN, OK, RECOVERED),
    (REJECTED, REJECTED, NOTHING),
    (REJECTED, BROKEN, CHANGED),
    (REJECTED, OK, RECOVERED),
]


@pytest.mark.parametrize(("before", "after", "reason"), SOURCE_ALERTS)
def test_alert_events_of_a_source(before: SourceStatus, after: SourceStatus, reason: AlertReason) -> None:
    assert alerting.decide_source_alert(before, after) is reason


def test_N09_N10_an_outage_is_notified_once_and_ended_once() -> None:
    """Failing polls, a rejected key in between, then good polls: one first word, one worse, one recovery."""
    outcomes = ["ok", *["failed"] * 5, *["unauthorized"] * 3, *["failed"] * 3, *["ok"] * 3]
    status, failures, heard = PENDING, 0, []
    for outcome in outcomes:
        failures = 0 if outcome == "ok" else failures + 1
        judged = alerting.judge_source(
            outcome_ok=outcome == "ok", unauthorized=outcome == "unauthorized", failures=failures, confirm=2, before=status
        )
        heard.append(alerting.decide_source_alert(status, judged))
        status = judged
    assert [reason for reason in heard if reason is not NOTHING] == [FIRST, WORSE, RECOVERED]
