"""When a delivery goes out: escalations that wait for an answer, and quiet hours that let the night pass."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from monitor.domain import Ack, Alert, LastNotified, QuietHours, Severity, Status
from monitor.store import Store, alerts, incidents, outbox
from tests.support.delivery import (
    HOUR,
    MINUTE,
    SECOND,
    channel,
    make_notifier,
    named,
    numbered,
    queue,
    running,
    states,
    until,
)
from tests.support.factories import NOW, make_alert
from tests.support.fakes import ManualClock
from tests.support.incidents import open_incident
from tests.support.receivers import Reply, WebhookReceiver

AFTER = 2 * HOUR
NIGHT = QuietHours(from_time=time(22), to_time=time(7), except_severity=Severity.CRITICAL)


@pytest.fixture
def webhook() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


def escalate(store: Store, **over: Any) -> str:
    """An open incident with an escalation due after two hours; the incident's id."""
    said = LastNotified(status=Status.EXPIRED, at=NOW)
    with store.begin_write() as conn:
        incident = open_incident(conn, source="", connection_id=None, last_notified=said, now=NOW, subject="one")
        alert = make_alert(incident=incident, **over)
        alerts.add_alerts(conn, [(alert, None, None)])
        outbox.add_deliveries(conn, [(alert.id, "boss", NOW + AFTER)], NOW, escalation=True)
    return incident


def boss(webhook: WebhookReceiver) -> Any:
    return channel(webhook.apprise_url(), "boss", after=AFTER)


async def test_an_escalation_goes_out_when_its_time_comes_and_is_not_late(
    store: Store, clock: ManualClock, webhook: WebhookReceiver
) -> None:
    escalate(store)
    async with running(store, clock, boss(webhook)) as notifier:
        clock.advance(AFTER - SECOND)
        notifier.wake()
        await notifier.drain(SECOND)
        assert webhook.received == []
        clock.advance(SECOND)
        notifier.wake()
        await until(lambda: states(store) == {"sent": 1})
    assert "Late" not in webhook.received[0].text


@pytest.mark.parametrize(
    ("ack", "state"),
    [
        (Ack(status=Status.EXPIRED, at=NOW + HOUR), "skipped"),
        (Ack(status=Status.EXPIRED, at=NOW + HOUR, until=NOW + AFTER + SECOND), "skipped"),
        (Ack(status=Status.EXPIRED, at=NOW + HOUR, until=NOW + AFTER), "sent"),  # it ended by its date, just now
        (Ack(status=Status.EXPIRED, at=NOW - HOUR), "sent"),  # given before this was said: something got worse since
    ],
)
async def test_an_acknowledged_escalation_is_skipped(
    store: Store, clock: ManualClock, webhook: WebhookReceiver, ack: Ack, state: str
) -> None:
    incident = escalate(store)
    with store.begin_write() as conn:
        incidents.acknowledge(conn, incident, ack)
    clock.advance(AFTER)
    async with running(store, clock, boss(webhook)):
        await until(lambda: states(store) == {state: 1})
    assert len(webhook.received) == (state == "sent")
    with store.begin_read() as conn:
        (row,) = outbox.deliveries_of(conn, "alert-1")
    assert state == "sent" or "acknowledged" in (row.last_error or "")


async def test_an_escalation_of_what_is_over_is_skipped(store: Store, clock: ManualClock, webhook: WebhookReceiver) -> None:
    incident = escalate(store)
    with store.begin_write() as conn:
        incidents.close(conn, incident, NOW + HOUR)
    clock.advance(AFTER)
    async with running(store, clock, boss(webhook)):
        await until(lambda: states(store) == {"skipped": 1})
    assert webhook.received == []


async def test_one_cycle_by_hand_sends_no_escalation_before_its_time(
    store: Store, clock: ManualClock, webhook: WebhookReceiver
) -> None:
    escalate(store)
    queue(store, numbered(1), "boss", wait=10 * SECOND)
    notifier = make_notifier(store, clock, boss(webhook))
    drained = await notifier.drain(2 * SECOND)
    assert (drained.sent, drained.left) == (1, 1)
    assert named(webhook.received) == ["linkedin-00001"]


def night_alerts(at: datetime) -> list[Alert]:
    warning, critical = numbered(1, at=at, severity=Severity.WARNING), numbered(1, first=2, at=at)
    return [*warning, *critical]


@pytest.mark.parametrize(
    ("timezone", "falls", "ends"),
    [
        ("UTC", datetime(2026, 3, 10, 23, 30, tzinfo=UTC), datetime(2026, 3, 11, 7, tzinfo=UTC)),
        ("Europe/Berlin", datetime(2026, 3, 28, 23, 30, tzinfo=UTC), datetime(2026, 3, 29, 5, tzinfo=UTC)),  # clocks go forward
        ("Europe/Berlin", datetime(2026, 10, 24, 23, 30, tzinfo=UTC), datetime(2026, 10, 25, 6, tzinfo=UTC)),  # and back
    ],
)
async def test_in_quiet_hours_only_what_is_severe_enough_goes_out_and_the_rest_at_their_end_and_not_late(
    store: Store, clock: ManualClock, webhook: WebhookReceiver, *, timezone: str, falls: datetime, ends: datetime
) -> None:
    clock.set(falls)
    queue(store, night_alerts(falls))
    quiet = channel(
        webhook.apprise_url(),
        quiet_hours=(
            QuietHours(from_time=NIGHT.from_time, to_time=NIGHT.to_time, except_severity=Severity.CRITICAL, timezone=timezone),
        ),
    )
    async with running(store, clock, quiet) as notifier:
        await until(lambda: states(store) == {"pending": 1, "sent": 1})
        assert named(webhook.received) == ["linkedin-00002"]
        clock.set(ends - SECOND)
        notifier.wake()
        await notifier.drain(SECOND)
        assert len(webhook.received) == 1
        clock.set(ends)
        notifier.wake()
        await until(lambda: states(store) == {"sent": 2})
    assert named(webhook.received) == ["linkedin-00002", "linkedin-00001"]
    assert "Late" not in webhook.received[1].text


async def test_what_failed_before_the_night_waits_for_the_morning_and_is_late(
    store: Store, clock: ManualClock, webhook: WebhookReceiver
) -> None:
    evening = datetime(2026, 3, 10, 21, 50, tzinfo=UTC)
    clock.set(evening)
    webhook.script(Reply(status=500))
    queue(store, numbered(1, at=evening, severity=Severity.WARNING))
    async with running(store, clock, channel(webhook.apprise_url(), quiet_hours=(NIGHT,))) as notifier:
        await until(lambda: states(store) == {"pending": 1} and len(webhook.received) == 1)
        clock.advance(20 * MINUTE)
        queue(store, numbered(1, first=2, at=clock.now()))
        notifier.wake()
        await until(lambda: states(store) == {"pending": 1, "sent": 1})
        clock.set(datetime(2026, 3, 11, 7, tzinfo=UTC))
        notifier.wake()
        await until(lambda: states(store) == {"sent": 2})
    assert named(webhook.received[1:]) == ["linkedin-00002", "linkedin-00001"]
    assert "Late by 9 hours 10 minutes" in webhook.received[-1].text


async def test_a_night_does_not_eat_up_the_three_days_of_tries(
    store: Store, clock: ManualClock, webhook: WebhookReceiver
) -> None:
    weekend = QuietHours(from_time=time(0), to_time=time(0), days=frozenset({4, 5, 6}))
    friday = datetime(2026, 3, 13, 1, tzinfo=UTC)
    clock.set(friday)
    webhook.reply = Reply(status=500)
    queue(store, numbered(1, at=friday))
    async with running(store, clock, channel(webhook.apprise_url(), quiet_hours=(weekend,))) as notifier:
        clock.advance(timedelta(days=3))
        notifier.wake()
        await until(lambda: len(webhook.received) == 1)
        await until(lambda: states(store) == {"pending": 1})
