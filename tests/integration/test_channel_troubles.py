"""A channel's problem and the others: they are notified once, get what it could not deliver, and are notified of the end."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from monitor.domain import Alert, AlertEvent
from monitor.engine.recording.queueing import OutgoingAlert
from monitor.engine.recording.queueing import queue as record
from monitor.store import Store, alerts, channel_states, outbox
from tests.support.delivery import HOUR, MINUTE, QUICK, SECOND, channel, named, numbered, queue, running, states, until
from tests.support.factories import NOW
from tests.support.fakes import ManualClock
from tests.support.incidents import all_open
from tests.support.receivers import Reply, WebhookReceiver

DAY = timedelta(days=1)


@pytest.fixture
def webhook() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture
def other() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


def about_the_monitor(store: Store) -> list[Alert]:
    with store.begin_read() as conn:
        found = alerts.list_alerts(conn, event=[AlertEvent.MONITOR_PROBLEM, AlertEvent.MONITOR_RECOVERED])
    return [row.alert for row in reversed(found)]


async def test_A04_the_others_are_notified_once_of_a_broken_channel_and_once_when_it_works(
    store: Store, clock: ManualClock, webhook: WebhookReceiver, other: WebhookReceiver
) -> None:
    webhook.reply = Reply(status=410)
    queue(store, numbered(1), "broken")
    channels = channel(webhook.apprise_url(), "broken"), channel(other.apprise_url(), "works")
    async with running(store, clock, *channels) as notifier:
        await until(lambda: len(other.received) == 1)
        assert "channel broken" in other.received[0].text
        assert "410" in other.received[0].text
        for _ in range(3):
            tried = len(webhook.received)
            clock.advance(61 * MINUTE)
            notifier.wake()
            await until(lambda tried=tried: len(webhook.received) > tried and states(store, "broken") == {"pending": 1})  # type: ignore[misc]  # bound at once
    # After a restart no channel is notified again, and what waits is still there.
    async with running(store, clock, *channels) as notifier:
        assert notifier.health()[0].rejected
        clock.advance(61 * MINUTE)
        webhook.reply = Reply()
        notifier.wake()
        await until(lambda: states(store, "broken") == {"sent": 1})
        await until(lambda: len(other.received) == 2)
        assert not notifier.health()[0].rejected
    assert "again" in other.received[1].text
    assert [alert.event for alert in about_the_monitor(store)] == [AlertEvent.MONITOR_PROBLEM, AlertEvent.MONITOR_RECOVERED]
    assert states(store, "works") == {"sent": 2}


async def test_a_broken_channel_that_leaves_the_configuration_takes_its_trouble_along(
    store: Store, clock: ManualClock, webhook: WebhookReceiver, other: WebhookReceiver
) -> None:
    webhook.reply = Reply(status=410)
    queue(store, numbered(1), "broken", "works")
    broken, works = channel(webhook.apprise_url(), "broken"), channel(other.apprise_url(), "works")
    async with running(store, clock, broken, works) as notifier:
        await until(lambda: states(store) == {"pending": 1, "sent": 2})
        await notifier.reconfigure([works], settings=QUICK)
        assert states(store) == {"sent": 2, "skipped": 1}
        with store.begin_read() as conn:
            assert all_open(conn, source="") == []
            assert channel_states.find_state(conn, "broken").problem is None
        # Back under the same name it is a new channel without a known problem.
        webhook.reply = Reply()
        await notifier.reconfigure([broken, works], settings=QUICK)
        assert [each.rejected for each in notifier.health()] == [False, False]
    assert len(about_the_monitor(store)) == 1, "nobody needs to be told that it works again"


async def test_a_temporary_channel_failure_is_stored_but_not_notified(
    store: Store, clock: ManualClock, webhook: WebhookReceiver, other: WebhookReceiver
) -> None:
    webhook.reply = Reply(status=500)
    queue(store, numbered(1), "shaky")
    channels = channel(webhook.apprise_url(), "shaky"), channel(other.apprise_url(), "works")
    async with running(store, clock, *channels):
        await until(lambda: states(store, "shaky") == {"pending": 1} and len(webhook.received) == 1)
    with store.begin_read() as conn:
        state = channel_states.find_state(conn, "shaky")
    assert state.failing_since == NOW
    assert not state.broken
    clock.advance(HOUR)
    async with running(store, clock, *channels) as notifier:
        await until(lambda: len(webhook.received) == 2 and states(store, "shaky") == {"pending": 1})
        assert notifier.health()[0].since == NOW, "since when it fails survives a restart"
        webhook.reply = Reply()
        clock.advance(12 * MINUTE)
        notifier.wake()
        await until(lambda: states(store, "shaky") == {"sent": 1})
    with store.begin_read() as conn:
        state = channel_states.find_state(conn, "shaky")
    assert (state.problem, state.failing_since, state.last_success_at) == (None, None, clock.now())
    assert about_the_monitor(store) == []
    assert other.received == []


async def test_A02_dead_deliveries_go_to_the_fallback_and_are_notified_once_a_day(
    store: Store, clock: ManualClock, webhook: WebhookReceiver, other: WebhookReceiver
) -> None:
    webhook.reply = Reply(status=500)
    channels = channel(webhook.apprise_url(), "dying"), channel(other.apprise_url(), "last", fallback=True)
    queue(store, numbered(3), "dying")
    clock.advance(73 * HOUR)
    async with running(store, clock, *channels) as notifier:
        await until(lambda: states(store, "dying") == {"dead": 3})
        await until(lambda: states(store, "last") == {"sent": 4})
        assert sorted(set(named(other.received))) == ["linkedin-00001", "linkedin-00002", "linkedin-00003"]
        text = "".join(message.text for message in other.received)
        assert "Late by 3 days" in text
        assert "3 alerts" in text
        assert "channel dying" in text or "deliveries:dying" in text or "The channel dying" in text
        # More of them on the same day go to the fallback, and no channel is notified again of dead deliveries.
        queue(store, numbered(2, first=10, at=clock.now() - 73 * HOUR), "dying")
        clock.advance(MINUTE)
        notifier.wake()
        await until(lambda: states(store, "dying") == {"dead": 5})
        await until(lambda: states(store, "last") == {"sent": 6})
        assert len(about_the_monitor(store)) == 1
        clock.advance(DAY)
        queue(store, numbered(1, first=20, at=clock.now() - 73 * HOUR), "dying")
        notifier.wake()
        await until(lambda: states(store, "last") == {"sent": 8})
        assert [alert.reason for alert in about_the_monitor(store)] == ["delivery_dead", "delivery_dead"]
        webhook.reply = Reply()
        clock.advance(2 * HOUR)
        queue(store, numbered(1, first=30, at=clock.now()), "dying")
        notifier.wake()
        await until(lambda: states(store, "last") == {"sent": 9})
    assert about_the_monitor(store)[-1].event is AlertEvent.MONITOR_RECOVERED


async def test_a_fallback_gets_no_dead_delivery_of_what_another_channel_has(
    store: Store, clock: ManualClock, webhook: WebhookReceiver, other: WebhookReceiver
) -> None:
    webhook.reply = Reply(status=500)
    with WebhookReceiver() as last:
        channels = [
            channel(webhook.apprise_url(), "dying"),
            channel(other.apprise_url(), "works"),
            channel(last.apprise_url(), "last", fallback=True),
        ]
        queue(store, numbered(1), "dying", "works")
        clock.advance(73 * HOUR)
        async with running(store, clock, *channels):
            await until(lambda: states(store, "dying") == {"dead": 1})
            await until(lambda: states(store, "works") == {"sent": 2})
        assert last.received == []


async def test_a_retry_by_hand_rearms_the_dead_on_every_channel_the_fallback_included(
    store: Store, clock: ManualClock, webhook: WebhookReceiver, other: WebhookReceiver
) -> None:
    webhook.reply = other.reply = Reply(status=500)
    channels = channel(webhook.apprise_url(), "ops"), channel(other.apprise_url(), "last", fallback=True)
    queue(store, numbered(1), "ops")
    clock.advance(73 * HOUR)
    async with running(store, clock, *channels):
        await until(lambda: states(store, "ops") == {"dead": 1} and len(other.received) > 0)
    clock.advance(74 * HOUR)
    async with running(store, clock, *channels):
        await until(lambda: states(store, "last").get("dead") == 2)
    webhook.reply = other.reply = Reply()
    with store.begin_write() as conn:
        assert outbox.retry(conn, "alert-00001", clock.now()) == 2
    async with running(store, clock, *channels) as notifier:
        clock.advance(MINUTE)
        notifier.wake()
        await until(lambda: "linkedin-00001" in named(other.received[-1:]) and states(store, "last").get("sent", 0) >= 1)
        await until(lambda: states(store, "ops").get("sent", 0) >= 1 and "dead" not in states(store, "ops"))
    assert "linkedin-00001" in named(webhook.received)
    assert "linkedin-00001" in named(other.received)


async def test_a_trouble_that_no_other_channel_takes_is_an_error_that_people_see(
    store: Store, clock: ManualClock, webhook: WebhookReceiver, other: WebhookReceiver
) -> None:
    webhook.reply = Reply(status=500)
    queue(store, numbered(1))
    clock.advance(73 * HOUR)
    channels = channel(webhook.apprise_url()), channel(other.apprise_url(), "narrow", events=frozenset({AlertEvent.EXPIRED}))
    with capture_logs() as logs:
        async with running(store, clock, *channels):
            await until(lambda: states(store) == {"dead": 1})
            await until(lambda: len(about_the_monitor(store)) == 1)
    errors = {entry["event"] for entry in logs if entry["log_level"] == "error"}
    assert errors == {"delivery.dead", "alert.unroutable"}


async def test_what_no_route_takes_goes_to_the_fallback(
    store: Store, clock: ManualClock, webhook: WebhookReceiver, other: WebhookReceiver
) -> None:
    channels = [
        channel(webhook.apprise_url(), "narrow", sources=frozenset({"elsewhere"})),
        channel(other.apprise_url(), "last", fallback=True),
    ]
    with store.begin_write() as conn:
        record(conn, [OutgoingAlert(alert=alert) for alert in numbered(1)], channels=channels, now=clock.now())
    async with running(store, clock, *channels):
        await until(lambda: states(store) == {"sent": 1})
    assert named(other.received) == ["linkedin-00001"]
    assert webhook.received == []


async def test_A05_a_wait_that_one_service_asks_for_delays_no_other_and_no_recovery_is_announced_after_it(
    store: Store, clock: ManualClock, webhook: WebhookReceiver, other: WebhookReceiver
) -> None:
    webhook.script(Reply(status=429, headers={"Retry-After": "120"}))
    queue(store, numbered(1), "limited", "works")
    channels = channel(webhook.apprise_url(), "limited"), channel(other.apprise_url(), "works")
    async with running(store, clock, *channels) as notifier:
        await until(lambda: states(store, "works") == {"sent": 1} and states(store, "limited") == {"pending": 1})
        for number in range(2, 6):
            queue(store, numbered(1, first=number, at=clock.advance(20 * SECOND)), "limited", "works")
            notifier.wake()
            await until(lambda number=number: states(store, "works") == {"sent": number})  # type: ignore[misc]  # bound at once
        assert len(webhook.received) == 1
        clock.advance(60 * SECOND)
        notifier.wake()
        await until(lambda: states(store, "limited") == {"sent": 5})
    assert len(webhook.received) == 2
    assert about_the_monitor(store) == []
