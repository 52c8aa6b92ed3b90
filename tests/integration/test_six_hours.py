"""One channel answers 500 for six hours while another works."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from monitor.notifier import DeliverySettings
from monitor.store import Store
from monitor.store.outbox import deliveries_of_many
from tests.delivering import MINUTE, SECOND, channel, named, numbered, queue, running, states, until
from tests.fakes import ManualClock
from tests.receivers import Reply, WebhookReceiver

SMALL = DeliverySettings(send_timeout=5 * SECOND, poll_every=timedelta(milliseconds=50), batch=8)


@pytest.fixture
def receivers() -> Iterator[tuple[WebhookReceiver, WebhookReceiver]]:
    with WebhookReceiver() as one, WebhookReceiver() as two:
        yield one, two


async def test_A01_the_working_channel_is_never_late_and_the_other_gets_everything_in_order_marked_late_and_nothing_twice(
    store: Store, clock: ManualClock, receivers: tuple[WebhookReceiver, WebhookReceiver]
) -> None:
    """36 alerts at irregular moments over six simulated hours; batches of eight show the order after the recovery."""
    failing, working = receivers
    failing.reply = Reply(status=500)
    dice = random.Random(6)
    channels = channel(failing.apprise_url(), "failing"), channel(working.apprise_url(), "working")
    said_at: dict[str, datetime] = {}
    async with running(store, clock, *channels, settings=SMALL) as notifier:
        for number in range(1, 37):
            clock.advance(timedelta(seconds=dice.randrange(60, 1140)))
            (alert,) = numbered(1, first=number, at=clock.now())
            said_at[alert.id] = alert.at
            queue(store, [alert], "failing", "working")
            notifier.wake()
            await until(lambda number=number: states(store, "working") == {"sent": number})  # type: ignore[misc]  # bound at once
            await until(lambda number=number: states(store, "failing") == {"pending": number})  # type: ignore[misc]  # bound at once
        clock.advance(timedelta(hours=6) - (clock.now() - min(said_at.values())))
        failing.reply = Reply()
        tried = len(failing.received)
        clock.advance(61 * MINUTE)
        notifier.wake()
        await until(lambda: states(store, "failing") == {"sent": 36})
    delivered = failing.received[tried:]
    everyone = [f"linkedin-{number:05}" for number in range(1, 37)]
    assert named(working.received) == everyone
    assert sorted(named(delivered)) == everyone, "everything, nothing twice"
    batches = [sorted(named([message])) for message in delivered]
    assert [name for batch in batches for name in batch] == everyone, "no later message overtakes an earlier one"
    assert len(delivered) == 5
    assert sum(message.text.count("Late by") for message in delivered) == 36
    assert "Late by" not in "".join(message.text for message in working.received)
    with store.read() as conn:
        rows = [row for rows in deliveries_of_many(conn, said_at).values() for row in rows]
    late = [row.sent_at - said_at[row.alert_id] for row in rows if row.channel == "working" and row.sent_at]
    assert max(late) <= SECOND
    assert Counter(row.attempts[-1].outcome for row in rows) == {"sent": 72}
    assert all(len(row.attempts) == 1 for row in rows if row.channel == "working")
