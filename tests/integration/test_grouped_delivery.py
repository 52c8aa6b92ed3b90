"""What a channel receives of several alerts: grouped by its label, with links to the page and to the connections."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from monitor.domain import Alert
from monitor.store import Store
from tests.support.delivery import QUICK, channel, queue, running, states, until
from tests.support.factories import make_alert
from tests.support.fakes import ManualClock
from tests.support.receivers import Received, WebhookReceiver

PUBLIC = replace(QUICK, public_url="https://tokens.example/monitor")


@pytest.fixture
def webhook() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


def alerts(count: int) -> list[Alert]:
    """Return alerts about connections of two clients, all of one team."""
    return [
        make_alert(
            id=f"alert-{number:05}",
            incident=f"incident-{number:05}",
            external_id=f"linkedin-{number:05}",
            connection=f"agency/linkedin-{number:05}",
            label=f"Account {number}",
            labels={"client": f"Client {number % 2}", "team": "red"},
        )
        for number in range(count)
    ]


async def delivered(store: Store, clock: ManualClock, webhook: WebhookReceiver, count: int, **over: object) -> Received:
    """Return the only message with these alerts."""
    settings = over.pop("settings", QUICK)
    queue(store, alerts(count))
    async with running(store, clock, channel(webhook.apprise_url(), **over), settings=settings):  # type: ignore[arg-type]
        await until(lambda: states(store) == {"sent": count})
    (message,) = webhook.received
    return message


async def test_a_channel_is_sent_one_message_grouped_by_client(
    store: Store, clock: ManualClock, webhook: WebhookReceiver
) -> None:
    message = await delivered(store, clock, webhook, 4, settings=PUBLIC)
    assert message.title == "4 connections need attention: 4 expired at agency (Account 0, Account 2 and 2 more)"
    first, second, end = message.text.split("\n\n")
    assert first.splitlines() == ["Client 0", *(f"- Account {number} \u00b7 LinkedIn \u00b7 expired" for number in (0, 2))]
    assert second.splitlines()[0] == "Client 1"
    assert "https://tokens.example/monitor/?status=expired&source=agency&platform=linkedin" in end
    assert "/ack/" not in message.text


async def test_the_label_that_groups_messages_is_the_channels(store: Store, clock: ManualClock, webhook: WebhookReceiver) -> None:
    message = await delivered(store, clock, webhook, 4, group_by="team")
    assert message.title.startswith("4 connections of red need attention: 4 expired (")
    assert "Client" not in message.text


async def test_a_hundred_alerts_are_one_message_with_a_link(store: Store, clock: ManualClock, webhook: WebhookReceiver) -> None:
    message = await delivered(store, clock, webhook, 100, settings=PUBLIC)
    assert "and 80 more (80 on LinkedIn): https://tokens.example/monitor/?status=expired" in message.text
    assert message.json["attachments"] == []
    assert len(message.text.encode()) < 4_096
