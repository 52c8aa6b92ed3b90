"""Messages within the limits of the service itself: a stand-in for ntfy refuses what ntfy refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from sqlalchemy import select

from monitor.store import Store
from monitor.store.schema import deliveries
from tests.support.delivery import SECOND, channel, numbered, outcomes, queue, running, states, until
from tests.support.factories import make_alert
from tests.support.fakes import ManualClock
from tests.support.ntfy import NtfyReceiver
from tests.support.receivers import MailReceiver, Reply, WebhookReceiver


@pytest.fixture
def ntfy() -> Iterator[NtfyReceiver]:
    with NtfyReceiver() as receiver:
        yield receiver


@pytest.mark.parametrize(
    ("name", "count"),
    [("Kunde {:03} Bäckerei Müller & Söhne GmbH", 60), ("株式会社 東京デザイン研究所 {:03}", 40), ("👨‍👩‍👧 {:03} Café ☕", 60)],
    ids=["umlauts", "Japanese", "emoji"],
)
async def test_A09_A18_ntfy_takes_every_name_in_every_script(
    name: str, count: int, store: Store, clock: ManualClock, ntfy: NtfyReceiver
) -> None:
    made = [
        make_alert(id=f"alert-{number:05}", external_id=f"linkedin-{number:05}", label=name.format(number))
        for number in range(count)
    ]
    queue(store, made)
    async with running(store, clock, channel(ntfy.apprise_url("/alerts", schema="ntfy"), attachments=False)):
        await until(lambda: states(store) == {"sent": count})
    assert ntfy.refused == []
    assert all(f"linkedin-{number:05}" in ntfy.texts for number in range(count))
    assert len(ntfy.accepted) <= 3


async def test_A09_A18_a_server_that_refuses_files_gets_every_name_in_texts(
    store: Store, clock: ManualClock, ntfy: NtfyReceiver
) -> None:
    """ntfy's server takes files only where that is configured."""
    queue(store, numbered(80))
    async with running(store, clock, channel(ntfy.apprise_url("/alerts", schema="ntfy"))) as notifier:
        for _ in range(6):
            notifier.wake()
            await until(lambda: "sending" not in states(store))
            await asyncio.sleep(0.2)
            clock.advance(31 * SECOND)
        await until(lambda: states(store) == {"sent": 80})
    assert len(ntfy.refused) == 2
    assert all(f"linkedin-{number:05}" in ntfy.texts for number in range(1, 81))
    assert len(ntfy.accepted) <= 3


def sizes(store: Store) -> list[int]:
    with store.begin_read() as conn:
        return list(conn.scalars(select(deliveries.c.size_refusals).order_by(deliveries.c.id)))


async def failing_until(store: Store, clock: ManualClock, ntfy: NtfyReceiver, count: int) -> None:
    """Retry until the stand-in has refused this number of requests."""
    url = ntfy.apprise_url("/alerts", schema="ntfy")
    async with running(store, clock, channel(url)) as notifier:
        while len(ntfy.refused) < count:
            tried = len(ntfy.refused)
            notifier.wake()
            await until(lambda tried=tried: len(ntfy.refused) > tried or "sent" in states(store))  # type: ignore[misc]  # bound at once
            await until(lambda: "sending" not in states(store))
            clock.advance(12 * SECOND)


async def test_A09_A18_a_message_that_is_refused_twice_is_cut_smaller_and_every_alert_is_delivered(
    store: Store, clock: ManualClock
) -> None:
    """A server whose limit is lower than ntfy's default accepts the message in half of its size."""
    queue(store, numbered(30))
    with NtfyReceiver(limit=1500) as ntfy:
        url = ntfy.apprise_url("/alerts", schema="ntfy")
        async with running(store, clock, channel(url)) as notifier:
            for _ in range(8):
                notifier.wake()
                await until(lambda: not states(store).keys() & {"sending"})
                clock.advance(12 * SECOND)
                if states(store) == {"sent": 30}:
                    break
                await asyncio.sleep(0.1)
        assert states(store) == {"sent": 30}
        assert len(ntfy.refused) == len(set(ntfy.refused)) * 2, "each message is tried twice, and never again"
        assert all(f"linkedin-{number:05}" in ntfy.texts for number in range(1, 31)) or "more:" in ntfy.texts
        assert ("sent", "Shortened, because a longer message was refused: ntfy accepted it.") in outcomes(store)


async def test_A09_a_server_that_takes_only_a_short_message_gets_the_counts(store: Store, clock: ManualClock) -> None:
    queue(store, numbered(30))
    with NtfyReceiver(limit=800) as ntfy:
        url = ntfy.apprise_url("/alerts", schema="ntfy")
        async with running(store, clock, channel(url)) as notifier:
            for _ in range(10):
                notifier.wake()
                await asyncio.sleep(0.2)
                await until(lambda: not states(store).keys() & {"sending"})
                clock.advance(12 * SECOND)
        assert states(store) == {"sent": 30}
        assert "Total: 30 on LinkedIn." in ntfy.accepted[-1]["message"]
        assert "more: token-monitor status" in ntfy.accepted[-1]["message"]
        assert all(ntfy.refused.count(each) <= 2 for each in ntfy.refused)


async def test_A09_A18_the_refusals_are_remembered_over_a_restart_and_the_short_form_is_retried_at_growing_intervals(
    store: Store, clock: ManualClock
) -> None:
    queue(store, numbered(30))
    with NtfyReceiver(limit=10) as ntfy:
        await failing_until(store, clock, ntfy, 1)
        assert sizes(store) == [1] * 30
        for refused in (2, 3, 4):
            await failing_until(store, clock, ntfy, refused)
        assert set(sizes(store)) <= {3, 4, 5}
        last = len(ntfy.refused)
        async with running(store, clock, channel(ntfy.apprise_url("/alerts", schema="ntfy"))) as notifier:
            for _ in range(4):
                notifier.wake()
                await asyncio.sleep(0.1)
                clock.advance(10 * SECOND)
        assert len(ntfy.refused) - last <= 2, "the ordinary waits grow"
        assert len(ntfy.refused[0]) > 2 * len(ntfy.refused[-1])


@pytest.mark.parametrize(
    ("reply", "shortened"),
    [
        (Reply(status=400), True),
        (Reply(status=413), True),
        (Reply(status=422), True),
        (Reply(status=500, body=b'{"code":500,"message":"push failed: APNS push failed: PayloadTooLarge"}'), True),
        (Reply(status=500, body=b"oops"), False),
        (Reply(status=401, body=b"the message is too long"), False),
        (Reply(status=404, body=b"too large"), False),
        (Reply(status=429, body=b"limit exceeded"), False),
    ],
)
async def test_only_a_refusal_that_the_size_may_explain_shortens_a_message(
    reply: Reply, shortened: bool, store: Store, clock: ManualClock
) -> None:
    queue(store, numbered(3))
    with WebhookReceiver() as webhook:
        webhook.reply = reply
        async with running(store, clock, channel(webhook.apprise_url())):
            await until(lambda: len(webhook.received) == 1 and states(store) == {"pending": 3})
    assert sizes(store) == [int(shortened)] * 3


async def test_new_alerts_are_not_shortened_because_older_ones_are(store: Store, clock: ManualClock) -> None:
    queue(store, numbered(30))
    with WebhookReceiver() as webhook:
        webhook.script(Reply(status=413), Reply(status=413))
        async with running(store, clock, channel(webhook.apprise_url(), attachments=False)) as notifier:
            await until(lambda: sizes(store) == [1] * 30 and states(store) == {"pending": 30})
            clock.advance(12 * SECOND)
            notifier.wake()
            await until(lambda: sizes(store) == [2] * 30 and states(store) == {"pending": 30})
            queue(store, numbered(5, first=50))
            clock.advance(12 * SECOND)
            notifier.wake()
            await until(lambda: states(store) == {"sent": 35})
        old, *shorter, new = webhook.received[1:]
        assert all(len(each.text) <= len(old.text) / 2 for each in shorter)
        assert "linkedin-00054" in new.text
        assert "linkedin-00001" not in new.text


async def through(store: Store, clock: ManualClock, url: str) -> None:
    """Deliver everything, with retries."""
    async with running(store, clock, channel(url)) as notifier:
        for _ in range(12):
            notifier.wake()
            await asyncio.sleep(0.2)
            await until(lambda: "sending" not in states(store))
            if states(store).keys() == {"sent"}:
                return
            clock.advance(12 * SECOND)


async def test_A09_a_server_that_takes_no_files_gets_the_list_without_one(store: Store, clock: ManualClock) -> None:
    queue(store, numbered(200))
    with NtfyReceiver() as ntfy:
        await through(store, clock, ntfy.apprise_url("/alerts", schema="ntfy"))
        assert states(store) == {"sent": 200}
        assert len(ntfy.refused) == 2
        assert "more: token-monitor status" in ntfy.accepted[-1]["message"]


async def test_A09_a_mail_server_with_a_size_limit_gets_a_smaller_mail(store: Store, clock: ManualClock) -> None:
    queue(store, numbered(300))
    with MailReceiver(size_limit=90_000) as mail:
        await through(store, clock, mail.apprise_url())
        assert states(store) == {"sent": 300}
        assert [detail for _, detail in outcomes(store) if detail and "552" in detail]
        assert not any(list(message.iter_attachments()) for message in mail.messages)
