"""What the store remembers of channels, and what happens to deliveries before they are claimed."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select

from monitor.domain import DeliveryState, Severity
from monitor.store import Store, alerts, channel_states, outbox, pending
from monitor.store.channel_states import ChannelState
from monitor.store.schema import deliveries
from tests.support.delivery import HOUR, MINUTE, numbered, queue, states
from tests.support.factories import NOW


def test_an_unknown_channel_has_an_empty_state(store: Store) -> None:
    with store.begin_read() as conn:
        assert channel_states.find_state(conn, "ops") == ChannelState(name="ops")
        assert channel_states.all_states(conn) == {}


def test_a_failure_keeps_its_beginning_and_broken_stays_until_it_works(store: Store) -> None:
    with store.begin_write() as conn:
        assert channel_states.record_failure(conn, "ops", NOW, problem="gone", broken=True) == ChannelState(name="ops")
        channel_states.record_failure(conn, "ops", NOW + HOUR, problem="slow", broken=False)
        state = channel_states.find_state(conn, "ops")
        assert (state.problem, state.failing_since, state.broken) == ("slow", NOW, True)
        assert channel_states.record_success(conn, "ops", NOW + 2 * HOUR) == state
    with store.begin_read() as conn:
        assert channel_states.all_states(conn) == {"ops": ChannelState(name="ops", last_success_at=NOW + 2 * HOUR)}


def test_plans_stand_beside_health(store: Store) -> None:
    with store.begin_write() as conn:
        channel_states.plan_drill(conn, "ops", NOW + HOUR)
        channel_states.plan_report(conn, "mail", NOW + MINUTE)
        channel_states.record_success(conn, "ops", NOW)
        state = channel_states.find_state(conn, "ops")
        assert (state.next_drill_at, state.last_success_at) == (NOW + HOUR, NOW)
        assert channel_states.find_state(conn, "mail").next_report_at == NOW + MINUTE
        channel_states.plan_drill(conn, "ops", None)
        assert channel_states.find_state(conn, "ops") == ChannelState(name="ops", last_success_at=NOW)


def test_bringing_forward_leaves_escalations_that_were_never_tried(store: Store) -> None:
    queue(store, numbered(1), wait=MINUTE)
    queue(store, numbered(1, first=2), wait=MINUTE, escalation=True)
    with store.begin_write() as conn:
        assert pending.bring_forward(conn, channel="ops", now=NOW, until=NOW + HOUR) == 1


def test_putting_off_moves_only_what_is_due_and_of_that_severity(store: Store) -> None:
    queue(store, numbered(2, severity=Severity.WARNING))
    queue(store, numbered(1, first=3))
    queue(store, numbered(1, first=4, severity=Severity.WARNING), wait=MINUTE)
    end = NOW + 8 * HOUR
    with store.begin_write() as conn:
        ends = pending.postpone_quiet(
            conn, channel="ops", now=NOW, quiet_until=lambda severity: None if severity is Severity.CRITICAL else end
        )
        assert ends == {Severity.INFO: end, Severity.WARNING: end}
        found = conn.scalars(select(deliveries.c.next_attempt_at).order_by(deliveries.c.id)).all()
    assert found == [end, end, NOW, NOW + MINUTE]


def test_a_fallback_owes_what_is_dead_everywhere_and_never_twice(store: Store) -> None:
    queue(store, numbered(3), "ops", "mail")
    with store.begin_write() as conn:
        lost = {"state": DeliveryState.DEAD, "next_attempt_at": None}
        conn.execute(deliveries.update().where(deliveries.c.channel == "ops").values(lost))
        conn.execute(deliveries.update().where(deliveries.c.alert_id == "alert-00001").values(lost))
        ids = ["alert-00001", "alert-00002", "alert-00003"]
        owed = pending.fallback_deliveries(conn, alert_ids=ids, to=["last"], now=NOW)
        assert owed == [("alert-00001", "last", NOW)]
        outbox.add_deliveries(conn, owed, NOW)
        assert pending.fallback_deliveries(conn, alert_ids=ids, to=["last", "ops"], now=NOW) == []


def test_recipients_that_have_a_delivery_are_remembered_once_each(store: Store) -> None:
    queue(store, numbered(1))
    lease = timedelta(minutes=10)
    reached: list[frozenset[str]] = []
    with store.begin_write() as conn:
        for number, keys in enumerate(([], ["a"], ["a", "b"], ["b"])):
            now = NOW + number * HOUR
            (claimed,) = outbox.claim(conn, channel="ops", owner="me", now=now, lease=lease, limit=10)
            reached.append(claimed.reached)
            outbox.mark_failed(
                conn, [claimed.delivery_id], "me", now, next_attempt_at=now + HOUR, detail="one refused", reached=keys
            )
        (claimed,) = outbox.claim(conn, channel="ops", owner="me", now=NOW + 4 * HOUR, lease=lease, limit=10)
        reached.append(claimed.reached)
        (row,) = outbox.deliveries_of(conn, "alert-00001")
    assert reached == [frozenset(), frozenset(), frozenset("a"), frozenset("ab"), frozenset("ab")]
    assert [(each.number, each.detail) for each in row.attempts if each.outcome == outbox.REACHED] == [(2, "a"), (3, "b")]


def test_the_picture_of_an_alert_survives_the_store(store: Store) -> None:
    (alert,) = numbered(1, chart="<svg/>", message="one\ntwo")
    queue(store, [alert])
    with store.begin_read() as conn:
        found = alerts.find_alert(conn, alert.id)
    assert found is not None
    assert found.alert == alert
    assert states(store) == {"pending": 1}
