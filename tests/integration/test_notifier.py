"""The notifier over both databases and real receivers: at least once, each channel on its own, nothing forgotten."""

from __future__ import annotations

import _thread
import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest
from structlog.testing import capture_logs

from monitor.domain import AlertEvent, ConnectionLink, DeliveryState
from monitor.domain.errors import ConfigError
from monitor.engine.connection_links import ConnectionLinks
from monitor.notify import DeliverySettings
from monitor.notify.apprise import Sent
from monitor.store import Store, outbox
from tests.support.delivery import (
    HOUR,
    MINUTE,
    QUICK,
    SECOND,
    channel,
    make_notifier,
    named,
    numbered,
    outcomes,
    queue,
    running,
    states,
    until,
)
from tests.support.factories import NOW, make_alert
from tests.support.fakes import ManualClock
from tests.support.receivers import Reply, WebhookReceiver


@pytest.fixture
def webhook() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture
def other() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


async def test_what_is_due_goes_out_as_one_message_and_is_marked_sent(
    store: Store, clock: ManualClock, webhook: WebhookReceiver
) -> None:
    queue(store, numbered(3))
    async with running(store, clock, channel(webhook.apprise_url())) as notifier:
        await until(lambda: states(store) == {"sent": 3})
        (message,) = webhook.received
        assert message.title == "3 connections need attention: 3 expired at agency (Customer 1, Customer 2, Customer 3)"
        assert named([message]) == ["linkedin-00001", "linkedin-00002", "linkedin-00003"]
        assert notifier.health()[0].last_sent_at == NOW
    assert outcomes(store) == [("sent", "JSON accepted it.")] * 3


async def test_a_wake_delivers_long_before_the_next_poll(store: Store, clock: ManualClock, webhook: WebhookReceiver) -> None:
    settings = DeliverySettings(poll_every=timedelta(minutes=5))
    async with running(store, clock, channel(webhook.apprise_url()), settings=settings) as notifier:
        await asyncio.sleep(0.1)
        queue(store, numbered(1))
        notifier.wake("ops")
        await until(lambda: len(webhook.received) == 1)


async def test_what_another_process_queues_is_found_without_a_wake(
    store: Store, clock: ManualClock, webhook: WebhookReceiver
) -> None:
    async with running(store, clock, channel(webhook.apprise_url())):
        await asyncio.sleep(0.1)
        queue(store, numbered(1))
        await until(lambda: len(webhook.received) == 1)


async def test_group_wait_collects_what_happens_together_into_one_message(
    store: Store, clock: ManualClock, webhook: WebhookReceiver
) -> None:
    wait = 10 * SECOND
    queue(store, numbered(2), wait=wait)
    async with running(store, clock, channel(webhook.apprise_url(), group_wait=wait)) as notifier:
        await asyncio.sleep(0.2)
        assert webhook.received == []
        # Another one 9 seconds later: it has not waited for long itself, yet it belongs to the same message.
        queue(store, numbered(2, first=3, at=clock.advance(9 * SECOND)), wait=wait)
        clock.advance(SECOND)
        notifier.wake()
        await until(lambda: states(store) == {"sent": 4})
    assert len(webhook.received) == 1


async def test_A03_one_broken_channel_delays_no_other_and_is_retried_alone(
    store: Store, clock: ManualClock, webhook: WebhookReceiver, other: WebhookReceiver
) -> None:
    webhook.reply = Reply(status=500)
    queue(store, numbered(2), "broken", "works")
    channels = channel(webhook.apprise_url(), "broken"), channel(other.apprise_url(), "works")
    async with running(store, clock, *channels) as notifier:
        await until(lambda: states(store) == {"pending": 2, "sent": 2})
        broken, works = notifier.health()
        assert broken.problem is not None
        assert "500" in broken.problem
        assert works.problem is None
        webhook.reply = Reply()
        clock.advance(12 * SECOND)
        notifier.wake()
        await until(lambda: states(store) == {"sent": 4})
        assert notifier.health()[0].problem is None
    assert len(other.received) == 1
    assert named(webhook.received) == ["linkedin-00001", "linkedin-00002"] * 2


async def test_A06_a_slow_channel_delays_no_other(
    store: Store, clock: ManualClock, webhook: WebhookReceiver, other: WebhookReceiver
) -> None:
    release = threading.Event()
    webhook.reply = Reply(until=release)
    queue(store, numbered(1), "slow", "quick")
    async with running(store, clock, channel(webhook.apprise_url(), "slow"), channel(other.apprise_url(), "quick")):
        await until(lambda: len(webhook.received) == len(other.received) == 1)
        await until(lambda: states(store) == {"sending": 1, "sent": 1})
        release.set()
        await until(lambda: states(store) == {"sent": 2})


async def test_A01_after_six_hours_of_errors_everything_arrives_once_in_order_marked_late(
    store: Store, clock: ManualClock, webhook: WebhookReceiver
) -> None:
    webhook.reply = Reply(status=503)
    queue(store, numbered(3))
    async with running(store, clock, channel(webhook.apprise_url())) as notifier:
        for hour in range(6):
            tried = len(webhook.received)
            notifier.wake()
            await until(lambda tried=tried: len(webhook.received) > tried)  # type: ignore[misc]  # bound at once
            await until(lambda hour=hour: states(store) == {"pending": 3 + hour})  # type: ignore[misc]  # bound at once
            clock.advance(HOUR)
            queue(store, numbered(1, first=100 + hour, at=clock.now()))
        webhook.reply = Reply()
        before = len(webhook.received)
        notifier.wake()
        await until(lambda: states(store) == {"sent": 9})
    delivered = webhook.received[before:]
    assert len(delivered) == 1
    assert sorted(named(delivered)) == [f"linkedin-{number:05}" for number in (1, 2, 3, *range(100, 106))]
    assert "Late by 6 hours" in delivered[0].text
    assert "Late by 5 hours" in delivered[0].text
    assert delivered[0].text.count("Late by") == 8  # the newest is in time
    assert "may be a repeat" not in delivered[0].text


async def test_A02_after_three_days_a_delivery_is_dead_and_logged_as_an_error(
    store: Store, clock: ManualClock, webhook: WebhookReceiver
) -> None:
    webhook.reply = Reply(status=500)
    queue(store, numbered(1))
    clock.advance(timedelta(hours=73))
    with capture_logs() as logs:
        async with running(store, clock, channel(webhook.apprise_url())):
            await until(lambda: states(store) == {"dead": 1})
    assert [entry["alert"] for entry in logs if entry["event"] == "delivery.dead"] == ["alert-00001"]


async def test_A04_a_rejected_channel_keeps_its_deliveries_and_is_tried_hourly_and_on_reload(
    store: Store, clock: ManualClock, webhook: WebhookReceiver
) -> None:
    webhook.reply = Reply(status=410)
    queue(store, numbered(1))
    with capture_logs() as logs:
        async with running(store, clock, channel(webhook.apprise_url())) as notifier:
            await until(lambda: notifier.health()[0].rejected)
            # New alerts do not retry a channel during its pause.
            queue(store, numbered(1, first=2))
            clock.advance(50 * MINUTE)
            notifier.wake()
            await asyncio.sleep(0.2)
            assert len(webhook.received) == 1
            clock.advance(11 * MINUTE)
            notifier.wake()
            await until(lambda: len(webhook.received) == 2)
            await until(lambda: states(store) == {"pending": 2})
            webhook.reply = Reply()
            await notifier.reconfigure([channel(webhook.apprise_url())], settings=QUICK)
            await until(lambda: states(store) == {"sent": 2})
    assert len([entry for entry in logs if entry["log_level"] == "error"]) == 1


async def test_A05_retry_after_holds_the_whole_channel(store: Store, clock: ManualClock, webhook: WebhookReceiver) -> None:
    webhook.script(Reply(status=429, headers={"Retry-After": "300"}))
    queue(store, numbered(1))
    async with running(store, clock, channel(webhook.apprise_url())) as notifier:
        await until(lambda: notifier.health()[0].problem is not None and states(store) == {"pending": 1})
        queue(store, numbered(1, first=2, at=clock.now()))
        clock.advance(299 * SECOND)
        notifier.wake()
        await asyncio.sleep(0.2)
        assert len(webhook.received) == 1
        clock.advance(SECOND)
        notifier.wake()
        await until(lambda: states(store) == {"sent": 2})
    assert len(webhook.received) == 2


async def test_A08_an_accepted_message_whose_answer_is_lost_is_sent_again_with_the_same_id(
    store: Store, clock: ManualClock, webhook: WebhookReceiver
) -> None:
    webhook.script(Reply(reset=True))
    queue(store, numbered(1))
    async with running(store, clock, channel(webhook.apprise_url())) as notifier:
        await until(lambda: notifier.health()[0].problem is not None and states(store) == {"pending": 1})
        clock.advance(12 * SECOND)
        notifier.wake()
        await until(lambda: states(store) == {"sent": 1})
    assert all("Alert: alert-00001" in request.text for request in webhook.received)
    assert ["may be a repeat" in request.text for request in webhook.received] == [False, True]


@pytest.mark.parametrize("status", [400, 429, 500, 503])
async def test_what_was_refused_for_certain_is_no_repeat(
    store: Store, clock: ManualClock, webhook: WebhookReceiver, status: int
) -> None:
    webhook.script(Reply(status=status))
    queue(store, numbered(1))
    async with running(store, clock, channel(webhook.apprise_url())) as notifier:
        await until(lambda: notifier.health()[0].problem is not None and states(store) == {"pending": 1})
        clock.advance(2 * MINUTE)
        notifier.wake()
        await until(lambda: states(store) == {"sent": 1})
    assert ["may be a repeat" in request.text for request in webhook.received] == [False, False]


@pytest.mark.parametrize("restarted", [False, True])
async def test_the_doubt_of_a_timeout_outlives_a_reload_and_a_restart(
    store: Store, clock: ManualClock, webhook: WebhookReceiver, restarted: bool
) -> None:
    release = threading.Event()
    webhook.script(Reply(until=release))
    queue(store, numbered(1))
    settings = DeliverySettings(send_timeout=timedelta(seconds=2), poll_every=timedelta(milliseconds=50))
    ops = channel(webhook.apprise_url())
    async with running(store, clock, ops, settings=settings) as notifier:
        await until(lambda: notifier.health()[0].problem is not None and states(store) == {"pending": 1})
        if not restarted:
            await notifier.reconfigure([ops], settings=settings)
            release.set()
            await until(lambda: states(store) == {"sent": 1})
    release.set()
    clock.advance(MINUTE)
    async with running(store, clock, ops, settings=settings):
        await until(lambda: states(store) == {"sent": 1})
    assert ["may be a repeat" in request.text for request in webhook.received] == [False, True]


async def test_what_was_not_under_way_when_another_message_was_cut_off_is_no_repeat(
    store: Store, clock: ManualClock, webhook: WebhookReceiver
) -> None:
    """Alerts that are too long for one message; only the first message was sent, and it was cut off."""
    webhook.script(Reply(reset=True))
    queue(store, numbered(400))
    async with running(store, clock, channel(webhook.apprise_url(), attachments=False)) as notifier:
        await until(lambda: notifier.health()[0].problem is not None and states(store) == {"pending": 400})
    with store.begin_read() as conn:
        doubtful = [row for each in numbered(400) for row in outbox.deliveries_of(conn, each.id) if row.uncertain]
    assert sorted(f"linkedin-{row.alert_id[-5:]}" for row in doubtful) == sorted(named(webhook.received))


async def test_A06_A08_a_message_without_a_response_in_time_is_sent_again_as_a_possible_repeat(
    store: Store, clock: ManualClock, webhook: WebhookReceiver
) -> None:
    release = threading.Event()
    webhook.script(Reply(until=release))
    queue(store, numbered(1))
    settings = DeliverySettings(send_timeout=timedelta(seconds=2), poll_every=timedelta(milliseconds=50))
    async with running(store, clock, channel(webhook.apprise_url()), settings=settings) as notifier:
        await until(lambda: notifier.health()[0].problem is not None and states(store) == {"pending": 1})
        clock.advance(12 * SECOND)
        notifier.wake()
        await asyncio.sleep(0.2)
        assert len(webhook.received) == 1, "a channel that is still busy gets nothing more"
        release.set()
        await until(lambda: states(store) == {"sent": 1})
    assert "may be a repeat" not in webhook.received[0].text
    assert "may be a repeat" in webhook.received[1].text


async def test_P05_a_stop_in_the_middle_of_a_delivery_lets_it_end(
    store: Store, clock: ManualClock, webhook: WebhookReceiver
) -> None:
    release = threading.Event()
    webhook.reply = Reply(until=release)
    queue(store, numbered(1))
    notifier = make_notifier(store, clock, channel(webhook.apprise_url()))
    await notifier.start()
    await until(lambda: len(webhook.received) == 1)
    stopping = asyncio.create_task(notifier.stop(timedelta(seconds=5)))
    await asyncio.sleep(0.05)
    release.set()
    await stopping
    assert states(store) == {"sent": 1}
    await notifier.stop()


async def test_P01_what_was_in_flight_at_the_end_is_sent_again_once_as_a_possible_repeat(
    store: Store, clock: ManualClock, webhook: WebhookReceiver
) -> None:
    release = threading.Event()
    webhook.script(Reply(until=release))
    queue(store, numbered(2))
    first = make_notifier(store, clock, channel(webhook.apprise_url()))
    await first.start()
    await until(lambda: len(webhook.received) == 1)
    began = time.monotonic()
    await first.stop(timedelta(milliseconds=200))
    assert time.monotonic() - began < 5
    assert states(store) == {"sending": 2}
    queue(store, numbered(1, first=3))
    async with running(store, clock, channel(webhook.apprise_url())):
        await until(lambda: states(store) == {"sent": 3})
    release.set()
    assert len(webhook.received) == 2
    again = webhook.received[1].text
    assert again.count("may be a repeat") == 2
    assert outcomes(store)[0][0] == "unknown"


async def test_ten_restarts_repeat_nothing(store: Store, clock: ManualClock, webhook: WebhookReceiver) -> None:
    for number in range(1, 11):
        queue(store, numbered(1, first=number))
        async with running(store, clock, channel(webhook.apprise_url())):
            await until(lambda number=number: states(store) == {"sent": number})  # type: ignore[misc]  # bound at once
    assert named(webhook.received) == [f"linkedin-{number:05}" for number in range(1, 11)]


async def test_A09_a_thousand_at_once_are_few_messages_with_everybody_named_once(
    store: Store, clock: ManualClock, webhook: WebhookReceiver
) -> None:
    queue(store, numbered(1000))
    async with running(store, clock, channel(webhook.apprise_url(), attachments=False)):
        await until(lambda: states(store) == {"sent": 1000}, within=30)
    assert len(webhook.received) < 10
    assert sorted(named(webhook.received)) == [f"linkedin-{number:05}" for number in range(1, 1001)]
    assert webhook.received[0].title.endswith(f"(1/{len(webhook.received)})")


async def test_parts_before_a_failing_one_are_not_repeated(store: Store, clock: ManualClock, webhook: WebhookReceiver) -> None:
    webhook.script(Reply(), Reply(status=500))
    queue(store, numbered(700))
    async with running(store, clock, channel(webhook.apprise_url(), attachments=False)) as notifier:
        await until(lambda: len(webhook.received) == 2 and "sending" not in states(store))
        clock.advance(12 * SECOND)
        notifier.wake()
        await until(lambda: states(store) == {"sent": 700}, within=30)
    first, _, *again = webhook.received
    assert not set(named([first])) & set(named(again))
    assert set(named([first])) | set(named(again)) == {f"linkedin-{number:05}" for number in range(1, 701)}


async def test_what_waits_for_a_channel_that_is_no_longer_configured_ends_with_a_reason(
    store: Store, clock: ManualClock, webhook: WebhookReceiver
) -> None:
    queue(store, numbered(2), "gone", "ops")
    with capture_logs() as logs:
        async with running(store, clock, channel(webhook.apprise_url())) as notifier:
            await until(lambda: len(webhook.received) == 1)
            await notifier.reconfigure([channel(webhook.apprise_url())], settings=QUICK)
    assert states(store) == {"sent": 2, "skipped": 2}
    assert len(webhook.received) == 1, "what another channel has is not said there twice"
    warned = [entry for entry in logs if entry["event"] == "notifier.channel_not_configured"]
    assert [(entry["channel"], entry["ended"], entry["handed_to"]) for entry in warned] == [("gone", 2, [])]
    with store.begin_read() as conn:
        row = next(each for each in outbox.deliveries_of(conn, "alert-00001") if each.channel == "gone")
    assert (row.state, row.last_error) == ("skipped", "Not sent: the channel gone is no longer configured.")


async def test_a_renamed_channel_loses_no_alert(store: Store, clock: ManualClock, webhook: WebhookReceiver) -> None:
    """What only the old name would have got goes to the channels that take it now; an end without its problem does not."""
    queue(store, [*numbered(1), *numbered(1, first=2, event=AlertEvent.RECOVERED, incident="another")], "old")
    queue(store, numbered(1, first=3, source="elsewhere"), "old")
    with WebhookReceiver() as narrow:
        new = channel(webhook.apprise_url(), "new"), channel(narrow.apprise_url(), "narrow", sources=frozenset({"elsewhere"}))
        async with running(store, clock, *new):
            await until(lambda: states(store) == {"sent": 3, "skipped": 3})
        assert sorted(named(webhook.received)) == ["linkedin-00001", "linkedin-00003"]
        assert named(narrow.received) == ["linkedin-00003"]


async def test_an_unusable_url_is_a_rejection_and_loses_nothing(store: Store, clock: ManualClock) -> None:
    queue(store, numbered(1))
    async with running(store, clock, channel("nosuch://SECRETPATH")) as notifier:
        await until(lambda: notifier.health()[0].rejected)
        assert "SECRETPATH" not in str(notifier.health())
    assert states(store) == {"pending": 1}
    assert "SECRETPATH" not in str(outcomes(store))


async def test_drain_ignores_group_wait_and_leaves_what_fails(
    store: Store, clock: ManualClock, webhook: WebhookReceiver, other: WebhookReceiver
) -> None:
    other.reply = Reply(status=404)
    queue(store, numbered(2), "ops", "broken", wait=10 * MINUTE)
    channels = [channel(webhook.apprise_url()), channel(other.apprise_url(), "broken")]
    notifier = make_notifier(store, clock, *channels)
    drained = await notifier.drain(timedelta(seconds=5))
    assert (drained.sent, drained.left) == (3, 2), "the two, and that the other channel is broken"
    assert states(store) == {"pending": 2, "sent": 3}


async def test_drain_is_bounded(store: Store, clock: ManualClock, webhook: WebhookReceiver) -> None:
    release = threading.Event()
    webhook.reply = Reply(until=release)
    queue(store, numbered(1))
    notifier = make_notifier(store, clock, channel(webhook.apprise_url()))
    began = time.monotonic()
    drained = await notifier.drain(timedelta(milliseconds=300))
    assert time.monotonic() - began < 4
    assert (drained.sent, drained.left) == (0, 1)
    release.set()


async def test_a_delivery_through_a_service_without_answers_is_sent_but_not_confirmed(store: Store, clock: ManualClock) -> None:
    queue(store, numbered(1))
    notifier = make_notifier(store, clock, channel("rsyslog://127.0.0.1:9"))
    await notifier.drain(10 * SECOND)
    assert outcomes(store) == [("sent", "Sent, not confirmed by Remote Syslog.")]


async def test_a_test_message_goes_the_real_way_and_names_what_failed(
    store: Store, clock: ManualClock, webhook: WebhookReceiver, other: WebhookReceiver
) -> None:
    other.reply = Reply(status=403)
    channels = [channel(webhook.apprise_url()), channel(other.apprise_url(), "broken")]
    notifier = make_notifier(store, clock, *channels)
    results = await notifier.send_test()
    assert isinstance(results["ops"], Sent)
    assert (results["ops"].host, results["ops"].confirmed) == ("127.0.0.1", True)
    assert isinstance(results["broken"], str)
    assert "403" in results["broken"]
    assert webhook.received[0].title == "[TEST] Test message for channel ops"
    assert await notifier.send_test("ops") == {"ops": results["ops"]}
    with pytest.raises(ConfigError, match=r"There is no channel nope\. Configured channels: ops, broken"):
        await notifier.send_test("nope")
    assert states(store) == {}


async def test_P18_a_store_that_is_away_for_a_while_stops_no_worker(
    store: Store, clock: ManualClock, webhook: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(store, clock, channel(webhook.apprise_url())) as notifier:
        await asyncio.sleep(0.1)
        if store.path is not None:
            hidden = store.path.with_suffix(".away")
            store.path.rename(hidden)
            await asyncio.sleep(0.3)
            hidden.rename(store.path)
        queue(store, numbered(1))
        notifier.wake()
        await until(lambda: states(store) == {"sent": 1})


class FaultyClock(ManualClock):
    """A clock that fails so many times: where it is read, that is as good as any defect of ours."""

    faults = 0

    def now(self) -> datetime:
        if self.faults:
            self.faults -= 1
            raise ArithmeticError("a defect")
        return super().now()


class FaultyLinks(ConnectionLinks):
    """Pages whose first question fails: a defect of ours in the middle of preparing a message."""

    asked = 0

    def find(self, source: str, scope: str | None, *, now: datetime) -> ConnectionLink | None:
        self.asked += 1
        if self.asked == 1:
            raise ArithmeticError("a defect")
        return super().find(source, scope, now=now)


async def test_A03_a_defect_of_ours_in_a_channels_work_does_not_silence_it(store: Store, webhook: WebhookReceiver) -> None:
    clock = FaultyClock(NOW)
    async with running(store, clock, channel(webhook.apprise_url())):
        clock.faults = 1
        await until(lambda: clock.faults == 0)
        queue(store, numbered(1))
        await until(lambda: states(store) == {"sent": 1})


async def test_A03_a_message_that_cannot_be_prepared_is_tried_again_like_any_other(
    store: Store, clock: ManualClock, webhook: WebhookReceiver
) -> None:
    """Nothing was sent, so it does not wait for the end of its lease, and is not marked as a possible repeat."""
    ops = [channel(webhook.apprise_url())]
    notifier = make_notifier(store, clock, *ops, links=FaultyLinks())
    await notifier.start()
    try:
        queue(store, numbered(1))
        notifier.wake()
        await until(lambda: outcomes(store) == [("failed", "The message could not be prepared (ArithmeticError).")])
        assert states(store) == {"pending": 1}
        clock.advance(MINUTE)
        notifier.wake()
        await until(lambda: states(store) == {"sent": 1})
    finally:
        await notifier.stop(5 * SECOND)
    assert "may be a repeat" not in webhook.received[0].text


async def test_A12_a_problem_that_ends_before_its_alert_was_sent_is_one_message_with_its_recovery(
    store: Store, clock: ManualClock, webhook: WebhookReceiver
) -> None:
    problem = make_alert(id="problem", opened_at=NOW)
    queue(store, [problem], wait=10 * MINUTE)
    ended = clock.advance(5 * MINUTE)
    recovery = make_alert(
        id="recovery", event=AlertEvent.RECOVERED, reason="recovered", status="valid", previous="expired", opened_at=NOW, at=ended
    )
    queue(store, [recovery], wait=10 * MINUTE)
    clock.advance(10 * MINUTE)
    async with running(store, clock, channel(webhook.apprise_url(), group_wait=10 * MINUTE)):
        await until(lambda: states(store) == {"sent": 2})
    (message,) = webhook.received
    assert message.title == "[RECOVERED] Acme Ltd (linkedin) at agency, was expired for 5 minutes"
    assert "Alerts: problem, recovery" in message.text


async def test_A14_a_recovery_in_flight_when_the_process_dies_is_sent_again(
    store: Store, clock: ManualClock, webhook: WebhookReceiver
) -> None:
    queue(store, [make_alert(event=AlertEvent.RECOVERED, reason="recovered", status="valid", previous="expired")])
    with store.begin_write() as conn:  # as far as a process comes that is killed while it sends
        outbox.claim(conn, channel="ops", owner="the one that died", now=clock.now(), lease=HOUR, limit=10)
    assert states(store) == {"sending": 1}
    async with running(store, clock, channel(webhook.apprise_url())):
        await until(lambda: states(store) == {"sent": 1})
    (message,) = webhook.received
    assert message.title.startswith("[RECOVERED]")
    assert "may be a repeat" in message.text


@pytest.mark.parametrize("call", ["profile", "message", "message-lost"])
async def test_P04_a_send_without_memory_for_its_thread_is_tried_again(
    store: Store, clock: ManualClock, webhook: WebhookReceiver, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """The thread is not started, or it is and finds no memory for its first call."""
    start, failed = _thread.start_new_thread, threading.Event()
    started = list[str]()

    def without_memory(function: Callable[[], None], arguments: tuple[()]) -> int:
        if function.__self__.name == "channel-ops" and not failed.is_set():  # type: ignore[attr-defined]  # a bound method
            started.append("")
            if len(started) == (1 if call == "profile" else 2):
                failed.set()
                if call == "message-lost":
                    return 0
                raise RuntimeError("can't start new thread")
        return start(function, arguments)

    monkeypatch.setattr(_thread, "start_new_thread", without_memory)
    queue(store, numbered(1))
    async with running(store, clock, channel(webhook.apprise_url())) as notifier:
        await until(failed.is_set)
        await until(lambda: states(store) == {"pending": 1})
        clock.advance(MINUTE)
        notifier.wake()
        await until(lambda: states(store) == {"sent": 1})
    [message] = webhook.received
    assert "may be a repeat" not in message.text


async def test_a_recovery_is_delivered_like_a_problem(store: Store, clock: ManualClock, webhook: WebhookReceiver) -> None:
    recovery = make_alert(
        event=AlertEvent.RECOVERED, reason="recovered", status="valid", opened_at=NOW - 4 * HOUR, previous="expired"
    )
    queue(store, [recovery])
    async with running(store, clock, channel(webhook.apprise_url())):
        await until(lambda: states(store) == {DeliveryState.SENT: 1})
    assert webhook.received[0].json["type"] == "success"
    assert "Acme Ltd on LinkedIn works again after 4 hours." in webhook.received[0].text
    assert "Status: recovered, previously expired" in webhook.received[0].text
