"""The alert about an unavailable database: when, how often, on which channels, and what is stored afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from monitor.config import ChannelConfig
from monitor.daemon.database_outage import DatabaseOutageAlert, patience
from monitor.domain import AlertEvent
from monitor.store import Store, alerts, outbox
from tests.support.delivery import channel, make_notifier
from tests.support.fakes import ManualClock
from tests.support.receivers import Reply, WebhookReceiver

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
PROBLEM = "The database cannot be reached."


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as made:
        yield made


class OutageAlertOnTestClock:
    """The outage alert, on a clock that the test advances."""

    def __init__(self, store: Store, clock: ManualClock, *channels: ChannelConfig) -> None:
        self.passed, self._clock = 0.0, clock
        self.notifier = make_notifier(store, clock, *channels)
        self.outage_alert = DatabaseOutageAlert(store=store, clock=clock, notifier=self.notifier, monotonic=lambda: self.passed)
        self.outage_alert.configure([20 * SECOND], channels)

    async def during_outage(self, span: timedelta) -> None:
        """The store is away for so long."""
        for _ in range(span // SECOND):
            self._pass(SECOND)
            self.outage_alert.store_failed(PROBLEM)
            await self.outage_alert.check()

    async def while_available(self, span: timedelta = 3 * SECOND) -> None:
        """The store works."""
        for _ in range(span // SECOND):
            self._pass(SECOND)
            self.outage_alert.store_available()
            await self.outage_alert.check()

    def _pass(self, span: timedelta) -> None:
        self.passed += span.total_seconds()
        self._clock.advance(span)


def kept(store: Store) -> list[tuple[AlertEvent, str | None]]:
    with store.begin_read() as conn:
        return sorted((row.alert.event, row.note) for row in alerts.list_alerts(conn))


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [([15 * MINUTE], 5 * MINUTE), ([MINUTE, HOUR], 3 * MINUTE), ([SECOND], 5 * SECOND), ([], 5 * MINUTE)],
)
def test_patience_is_three_of_the_shortest_intervals_within_bounds(intervals: list[timedelta], expected: timedelta) -> None:
    assert patience(intervals) == expected


async def test_P18_it_is_notified_once_with_the_reason_and_its_end_goes_out_through_the_store(
    store: Store, clock: ManualClock, receiver: WebhookReceiver
) -> None:
    alerting = OutageAlertOnTestClock(store, clock, channel(receiver.apprise_url()))
    await alerting.during_outage(59 * SECOND)
    assert receiver.received == []
    await alerting.during_outage(10 * MINUTE)
    (blind,) = receiver.received
    assert f"The database has been unavailable for 1 minute. {PROBLEM}" in blind.text
    assert "database" in blind.text
    await alerting.while_available()
    with store.begin_read() as conn:
        assert outbox.pending_counts(conn) == {"ops": 1}
    assert kept(store) == [
        (AlertEvent.MONITOR_PROBLEM, "Sent without the database, on ops."),
        (AlertEvent.MONITOR_RECOVERED, None),
    ]
    await alerting.notifier.drain(5 * SECOND)
    assert "Monitoring continues" in receiver.received[1].text
    await alerting.while_available(MINUTE)
    assert len(receiver.received) == 2


async def test_an_intermittent_database_is_notified_once_an_hour(
    store: Store, clock: ManualClock, receiver: WebhookReceiver
) -> None:
    alerting = OutageAlertOnTestClock(store, clock, channel(receiver.apprise_url()))
    for _ in range(6):
        await alerting.during_outage(2 * MINUTE)
        await alerting.while_available(3 * MINUTE)
    assert len([each for each in receiver.received if "has been unavailable" in each.text]) == 1
    await alerting.while_available(31 * MINUTE)
    await alerting.during_outage(2 * MINUTE)
    assert len([each for each in receiver.received if "has been unavailable" in each.text]) == 2


async def test_a_short_absence_and_a_stopped_process_are_not_notified(
    store: Store, clock: ManualClock, receiver: WebhookReceiver
) -> None:
    alerting = OutageAlertOnTestClock(store, clock, channel(receiver.apprise_url()))
    await alerting.during_outage(30 * SECOND)
    await alerting.while_available()
    alerting.passed += 10 * HOUR.total_seconds()
    await alerting.during_outage(30 * SECOND)
    assert receiver.received == []


async def test_a_failing_channel_is_retried_each_minute_and_gets_no_recovery_of_an_undelivered_alert(
    store: Store, clock: ManualClock, receiver: WebhookReceiver
) -> None:
    with WebhookReceiver() as down:
        down.reply = Reply(status=503)
        alerting = OutageAlertOnTestClock(store, clock, channel(receiver.apprise_url()), channel(down.apprise_url(), "down"))
        await alerting.during_outage(4 * MINUTE + SECOND)
        assert (len(receiver.received), len(down.received)) == (1, 4)
        await alerting.while_available()
    with store.begin_read() as conn:
        assert outbox.pending_counts(conn) == {"ops": 1}


@pytest.mark.parametrize(
    ("of_first", "told"),
    [
        ({}, ["first"]),
        ({"events": frozenset({AlertEvent.EXPIRED})}, ["last"]),
        ({"sources": frozenset({"elsewhere"})}, ["first"]),
    ],
)
async def test_it_goes_where_the_monitors_own_troubles_go(
    store: Store, clock: ManualClock, receiver: WebhookReceiver, of_first: dict[str, Any], told: list[str]
) -> None:
    with WebhookReceiver() as last:
        channels = channel(receiver.apprise_url(), "first", **of_first), channel(last.apprise_url(), "last", fallback=True)
        alerting = OutageAlertOnTestClock(store, clock, *channels)
        await alerting.during_outage(2 * MINUTE)
        assert [name for name, each in (("first", receiver), ("last", last)) if each.received] == told


async def test_losing_the_database_to_another_daemon_is_notified_as_a_handover(
    store: Store, clock: ManualClock, receiver: WebhookReceiver
) -> None:
    alerting = OutageAlertOnTestClock(store, clock, channel(receiver.apprise_url()))
    await alerting.outage_alert.hand_over()
    assert kept(store) == []
    await alerting.during_outage(2 * MINUTE)
    await alerting.outage_alert.hand_over()
    await alerting.notifier.drain(5 * SECOND)
    assert "Another token-monitor daemon is now active" in receiver.received[1].text
