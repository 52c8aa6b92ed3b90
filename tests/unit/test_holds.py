"""What keeps something back, and until when; and whom to remind. One row per reason and per boundary instant."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from monitor.domain import Ack, ConnectionState, Policy, ProbeFinding, ProbeState, ProbeStatus, Status
from monitor.domain.rules import alerting, suppression
from monitor.domain.rules.alerting import AlertReason
from monitor.domain.rules.suppression import SuppressionContext
from tests.support.delivery import channel
from tests.support.factories import NOW, make_notified, make_state

SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
SOON, FAILING, EXPIRED, REVOKED, VALID = Status.EXPIRING_SOON, Status.FAILING, Status.EXPIRED, Status.REVOKED, Status.VALID
FIRST, WORSE, STAGE, REMINDER = AlertReason.FIRST, AlertReason.WORSE, AlertReason.STAGE, AlertReason.REMINDER
CHANGED, RECOVERED, RENEWED = AlertReason.CHANGED, AlertReason.RECOVERED, AlertReason.RENEWED
BERLIN = ZoneInfo("Europe/Berlin")


def state(status: Status, stage: timedelta | None = None, finding: ProbeFinding | None = None) -> ConnectionState:
    probe = ProbeState(status=ProbeStatus.FAILING if finding else ProbeStatus.OK, finding=finding)
    return make_state(status=status, stage=stage, probe=probe)


def ack(status: Status = EXPIRED, stage: timedelta | None = None, until: timedelta | None = None) -> Ack:
    return Ack(status=status, stage=stage, at=NOW - HOUR, until=None if until is None else NOW + until)


def flapping(changes: int, ago: timedelta | None) -> dict[str, Any]:
    return {"recent_changes": changes, "last_notified_at": None if ago is None else NOW - ago}


REFUSED = state(FAILING, finding=ProbeFinding.FAILING)

# what is so, why it wants to speak, what is true now, the circumstances, what holds it back and until when (None: nothing)
TABLE: list[tuple[str, AlertReason, ConnectionState, dict[str, Any], tuple[str, datetime | None] | None]] = [
    ("nothing holds it", FIRST, state(EXPIRED), {}, None),
    # --- silences: until their end, which is not part of them; they hold good news as well
    ("a silence", FIRST, state(EXPIRED), {"silenced_until": NOW + HOUR}, ("silenced", NOW + HOUR)),
    ("a second before its end", FIRST, state(EXPIRED), {"silenced_until": NOW + SECOND}, ("silenced", NOW + SECOND)),
    ("exactly at its end", FIRST, state(EXPIRED), {"silenced_until": NOW}, None),
    ("a second after it", FIRST, state(EXPIRED), {"silenced_until": NOW - SECOND}, None),
    ("a recovery in a silence", RECOVERED, state(VALID), {"silenced_until": NOW + HOUR}, ("silenced", NOW + HOUR)),
    # --- acknowledgements: while it is no worse than what was acknowledged, and never a recovery
    ("acknowledged: a reminder", REMINDER, state(EXPIRED), {"ack": ack()}, ("acknowledged", None)),
    ("acknowledged, now milder", CHANGED, state(SOON), {"ack": ack()}, ("acknowledged", None)),
    ("acknowledged, now worse", WORSE, state(REVOKED), {"ack": ack()}, None),
    ("acknowledged, now well", RECOVERED, state(VALID), {"ack": ack()}, None),
    ("acknowledged, now renewed", RENEWED, state(VALID), {"ack": ack()}, None),
    ("before any stage, now one", STAGE, state(SOON, 3 * DAY), {"ack": ack(SOON)}, None),
    ("at a stage, still there", STAGE, state(SOON, 3 * DAY), {"ack": ack(SOON, 3 * DAY)}, ("acknowledged", None)),
    ("at a stage, now a tighter one", STAGE, state(SOON, DAY), {"ack": ack(SOON, 3 * DAY)}, None),
    ("a second before its date", REMINDER, state(EXPIRED), {"ack": ack(until=SECOND)}, ("acknowledged", NOW + SECOND)),
    ("exactly at its date", REMINDER, state(EXPIRED), {"ack": ack(until=0 * SECOND)}, None),
    ("a second after its date", REMINDER, state(EXPIRED), {"ack": ack(until=-SECOND)}, None),
    # --- a platform's outage: what it explains, and nothing else
    ("refused in an outage", FIRST, REFUSED, {"outage": True}, ("outage", None)),
    ("refused without an outage", FIRST, REFUSED, {}, None),
    ("expired in an outage", FIRST, state(EXPIRED), {"outage": True}, None),
    ("revoked by the platform's word", FIRST, state(REVOKED, finding=ProbeFinding.REVOKED), {"outage": True}, None),
    # --- flapping: more than four changes in six hours speak once an hour
    ("four changes", FIRST, state(EXPIRED), flapping(4, ago=SECOND), None),
    ("five changes, never notified", FIRST, state(EXPIRED), flapping(5, ago=None), None),
    ("five changes", FIRST, state(EXPIRED), flapping(5, ago=SECOND), ("flapping", NOW + HOUR - SECOND)),
    ("a second too early", FIRST, state(EXPIRED), flapping(5, ago=HOUR - SECOND), ("flapping", NOW + SECOND)),
    ("exactly an hour later", FIRST, state(EXPIRED), flapping(5, ago=HOUR), None),
    ("a second later", FIRST, state(EXPIRED), flapping(5, ago=HOUR + SECOND), None),
    ("a recovery while flapping", RECOVERED, state(VALID), flapping(5, ago=SECOND), ("flapping", NOW + HOUR - SECOND)),
    ("a stage is no flapping", STAGE, state(SOON, DAY), flapping(9, ago=SECOND), None),
    # --- several at once: the silence first, since it has an end of its own
    ("silenced too", REMINDER, state(EXPIRED), {"ack": ack(), "silenced_until": NOW + HOUR}, ("silenced", NOW + HOUR)),
    ("acknowledged in an outage", REMINDER, REFUSED, {"ack": ack(FAILING), "outage": True}, ("acknowledged", None)),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "after", "around", "held"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_the_table(
    reason: AlertReason, after: ConnectionState, around: dict[str, Any], held: tuple[str, datetime | None] | None
) -> None:
    hold = suppression.find_suppression(reason, after, SuppressionContext(now=NOW, policy=Policy(), **around))
    assert (None if hold is None else (hold.reason, hold.until)) == held


def test_damping_can_be_off_and_follows_the_policy() -> None:
    changing: dict[str, Any] = flapping(99, ago=SECOND)
    off, strict = Policy(flap_window=None), Policy(flap_changes=1)
    assert suppression.find_suppression(FIRST, state(EXPIRED), SuppressionContext(now=NOW, policy=off, **changing)) is None
    assert (
        suppression.find_suppression(FIRST, state(EXPIRED), SuppressionContext(now=NOW, policy=strict, **flapping(1, ago=SECOND)))
        is None
    )
    assert (
        suppression.find_suppression(FIRST, state(EXPIRED), SuppressionContext(now=NOW, policy=strict, **flapping(2, ago=SECOND)))
        is not None
    )


@pytest.mark.parametrize(
    ("acked", "now", "covered"),
    [
        ((EXPIRED, None), (EXPIRED, None), None),
        ((EXPIRED, None), (SOON, 7 * DAY), (SOON, 7 * DAY)),
        ((EXPIRED, None), (FAILING, None), (FAILING, None)),
        ((FAILING, None), (SOON, None), (SOON, None)),
        ((SOON, DAY), (SOON, DAY), None),
        ((SOON, DAY), (SOON, 3 * DAY), (SOON, 3 * DAY)),  # its date moved later
        ((SOON, DAY), (SOON, None), (SOON, None)),
        ((SOON, None), (SOON, None), None),
    ],
)
def test_an_acknowledgement_covers_no_more_than_what_it_got_better_to(
    acked: tuple[Status, timedelta | None], now: tuple[Status, timedelta | None], covered: tuple[Status, timedelta | None] | None
) -> None:
    before = ack(acked[0], acked[1], until=DAY)
    lowered = suppression.lower_ack(before, state(*now))
    if covered is None:
        assert lowered is None
        return
    assert lowered is not None
    assert (lowered.status, lowered.stage) == covered
    assert (lowered.at, lowered.until) == (before.at, before.until)
    assert not suppression.ack_covers(lowered, state(*acked), NOW), "what it was before is worse again"


def test_the_notified_status_counts_as_at_most_what_the_acknowledgement_covered_in_the_end() -> None:
    said = make_notified(status=EXPIRED)
    assert suppression.cap_at_ack(said, ack(SOON, 3 * DAY)) == make_notified(status=SOON, stage=3 * DAY)
    assert suppression.cap_at_ack(said, ack(EXPIRED)) == said
    assert suppression.cap_at_ack(said, ack(REVOKED)) == said


def test_an_acknowledgement_of_nothing_covers_nothing() -> None:
    assert not suppression.ack_covers(None, state(EXPIRED), NOW)


# --- whom to remind

OPS, NIGHT = channel("json://127.0.0.1/", "ops", remind_every="inherit"), channel("json://127.0.0.1/", "night", remind_every=None)
EAGER = channel("json://127.0.0.1/", "eager", remind_every=2 * HOUR)

# what is so, when each channel was told last, who is due, when the next one is
REMINDERS: list[tuple[str, dict[str, timedelta], set[str], datetime | None]] = [
    ("nobody was ever told", {}, set(), None),
    ("told just now", {"ops": 0 * SECOND, "eager": 0 * SECOND, "night": 0 * SECOND}, set(), NOW + 2 * HOUR),
    ("a second too early", {"ops": DAY - SECOND}, set(), NOW + SECOND),
    ("exactly after a day", {"ops": DAY}, {"ops"}, NOW + DAY),
    ("a second later", {"ops": DAY + SECOND}, {"ops"}, NOW + DAY),
    ("each at its own pace", {"ops": 2 * HOUR, "eager": 2 * HOUR}, {"eager"}, NOW + 2 * HOUR),
    ("one that never reminds", {"night": 30 * DAY}, set(), None),
    ("after a long time off: one", {"ops": 30 * DAY}, {"ops"}, NOW + DAY),
    ("a clock that went back", {"ops": -DAY}, set(), NOW + 2 * DAY),
]


@pytest.mark.parametrize(("ago", "due", "coming"), [row[1:] for row in REMINDERS], ids=[row[0] for row in REMINDERS])
def test_whom_to_remind(ago: dict[str, timedelta], due: set[str], coming: datetime | None) -> None:
    heard = {name: NOW - since for name, since in ago.items()}
    assert alerting.due_channels(heard, [OPS, NIGHT, EAGER], Policy(), NOW) == (frozenset(due), coming)


@pytest.mark.parametrize(
    ("told", "due"),
    [
        # A day is 24 hours of time: by the wall clock an hour later after the spring night, an hour earlier after the autumn one.
        (datetime(2026, 3, 28, 12, tzinfo=BERLIN), datetime(2026, 3, 29, 13, tzinfo=BERLIN)),
        (datetime(2026, 10, 24, 12, tzinfo=BERLIN), datetime(2026, 10, 25, 11, tzinfo=BERLIN)),
        # Told in the hour that comes twice, in its first and in its second turn.
        (datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN), datetime(2026, 10, 26, 1, 30, tzinfo=BERLIN)),
        (datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=BERLIN), datetime(2026, 10, 26, 2, 30, tzinfo=BERLIN)),
    ],
)
def test_P25_on_nights_when_clocks_change_a_reminder_is_neither_early_nor_late(told: datetime, due: datetime) -> None:
    told, due = (each.astimezone(ZoneInfo("UTC")) for each in (told, due))
    for seconds, expected in ((-1, set()), (0, {"ops"}), (1, {"ops"})):
        assert alerting.due_channels({"ops": told}, [OPS], Policy(), due + seconds * SECOND)[0] == expected
