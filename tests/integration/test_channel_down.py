"""One channel is down for hours or days while another works: everything arrives when it is back, immediately and once."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from monitor.notify import DeliverySettings, Notifier
from monitor.store import Store
from monitor.store.outbox import DeliveryRow, deliveries_of_many
from monitor.telemetry.progress import Progress
from tests.support.delivery import HOUR, SECOND, channel, named, numbered, queue, running, states, until
from tests.support.fakes import ManualClock
from tests.support.receivers import Received, Reply, WebhookReceiver

SMALL = DeliverySettings(send_timeout=5 * SECOND, poll_every=timedelta(milliseconds=50), batch=8)
"""Batches that are small enough to show the order of the messages."""
SOON = timedelta(seconds=60)


class Rounds(Progress):
    """Counts how often each worker has gone round."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def note(self, kind: str) -> None:
        super().note(kind)
        self.counts[kind] += 1

    async def one(self, notifier: Notifier, name: str) -> None:
        """Until the worker has looked, and tried what it found due, with the clock as it stands now."""
        kind = f"delivery:{name}"
        reached = self.counts[kind] + 2
        notifier.wake()
        await until(lambda: self.counts[kind] >= reached)


@dataclass
class Service:
    """A webhook that can go down, by its answers or for good, and come back at the same address."""

    stack: ExitStack
    status: int | None
    """What it answers while it is down; None: nothing, its port is closed."""
    receivers: list[WebhookReceiver] = field(default_factory=list)

    def start(self) -> None:
        port = self.receivers[0].port if self.receivers else 0
        self.receivers.append(self.stack.enter_context(WebhookReceiver(port=port)))

    @property
    def url(self) -> str:
        return self.receivers[0].apprise_url()

    def go_down(self) -> None:
        if self.status is None:
            self.stack.close()
        else:
            self.receivers[-1].reply = Reply(status=self.status)

    def come_back(self) -> None:
        if self.status is None:
            self.start()
        else:
            self.receivers[-1].reply = Reply()

    def received(self) -> list[Received]:
        return [each for receiver in self.receivers for each in receiver.received]


@pytest.fixture
def working() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture
def service() -> Iterator[Callable[[int | None], Service]]:
    with ExitStack() as stack:

        def make(status: int | None) -> Service:
            made = Service(stack=stack, status=status)
            made.start()
            return made

        yield make


@dataclass(frozen=True, kw_only=True)
class Outage:
    """How long the service is down, and what happens meanwhile."""

    length: timedelta
    status: int | None
    alerts: int
    restarts: int = 0


OUTAGES = {
    "6h-500": Outage(length=6 * HOUR, status=500, alerts=36),
    "72h-503": Outage(length=72 * HOUR, status=503, alerts=120, restarts=3),
    "72h-refused": Outage(length=72 * HOUR, status=None, alerts=120, restarts=3),
}


@pytest.mark.parametrize("outage", OUTAGES.values(), ids=OUTAGES)
async def test_A01_after_an_outage_everything_is_delivered_within_a_minute_in_order_and_once_and_no_other_channel_was_late(
    outage: Outage,
    store: Store,
    clock: ManualClock,
    working: WebhookReceiver,
    service: Callable[[int | None], Service],
) -> None:
    """Alerts at irregular moments from the first one of the outage on, through restarts; then two hours without any."""
    failing = service(outage.status)
    channels = channel(failing.url, "failing"), channel(working.apprise_url(), "working")
    began, count, dice = clock.now(), outage.alerts, random.Random(6)
    moments = [began, *sorted(began + (outage.length - 2 * HOUR) * dice.random() for _ in range(count - 1))]
    said_at: dict[str, datetime] = {}
    failing.go_down()
    for lot in _in_lots(moments, outage.restarts + 1):
        async with running(store, clock, *channels, settings=SMALL) as notifier:
            for moment in lot:
                clock.set(moment)
                number = len(said_at) + 1
                (alert,) = numbered(1, first=number, at=moment)
                said_at[alert.id] = moment
                queue(store, [alert], "failing", "working")
                notifier.wake()
                await until(lambda number=number: states(store, "working") == {"sent": number})  # type: ignore[misc]  # bound at once
                await until(lambda number=number: states(store, "failing") == {"pending": number})  # type: ignore[misc]  # bound at once
    rounds = Rounds()
    async with running(store, clock, *channels, settings=SMALL, progress=rounds) as notifier:
        while clock.now() < began + outage.length:
            clock.set(min(clock.now() + HOUR / 4, began + outage.length))
            await rounds.one(notifier, "failing")  # the last of these tries is the worst moment to come back right after
        tried = len(failing.received())
        back = clock.now()
        failing.come_back()
        while "sent" not in states(store, "failing") and clock.now() < back + SOON:
            clock.advance(5 * SECOND)
            await rounds.one(notifier, "failing")
        await until(lambda: states(store, "failing") == {"sent": count})  # everything else follows at the very same moment
    delivered = failing.received()[tried:]
    everyone = [f"linkedin-{number:05}" for number in range(1, count + 1)]
    assert named(working.received) == everyone
    assert sorted(named(delivered)) == everyone, "everything, nothing twice"
    batches = [sorted(named([message])) for message in delivered]
    assert [name for batch in batches for name in batch] == everyone, "no later message overtakes an earlier one"
    assert len(delivered) == -(-count // SMALL.batch)
    late = sum(back - at > 10 * timedelta(minutes=1) for at in said_at.values())
    assert late <= sum(message.text.count("Late by") for message in delivered) <= late + 1
    assert "Late by" not in "".join(message.text for message in working.received)
    rows = _rows(store, said_at)
    assert max(row.sent_at - said_at[row.alert_id] for row in rows if row.channel == "working" and row.sent_at) <= SECOND
    arrived = [row.sent_at for row in rows if row.channel == "failing" and row.sent_at]
    assert len(arrived) == count
    assert max(arrived) - back <= SOON
    assert Counter(row.attempts[-1].outcome for row in rows) == {"sent": 2 * count}
    assert all(len(row.attempts) == 1 for row in rows if row.channel == "working")


async def test_A01_a_channel_that_is_down_is_asked_every_minute_by_a_small_message_however_much_waits(
    store: Store, clock: ManualClock, service: Callable[[int | None], Service]
) -> None:
    """The backlog is tried by its oldest few, so days of trying cost next to nothing."""
    failing, knock, rounds = service(503), 5, Rounds()
    settings = DeliverySettings(send_timeout=5 * SECOND, poll_every=timedelta(milliseconds=10), retry_batch=knock)
    failing.go_down()
    queue(store, numbered(50))
    async with running(store, clock, channel(failing.url, attachments=False), settings=settings, progress=rounds) as notifier:
        await rounds.one(notifier, "ops")
        for _ in range(120):
            clock.advance(10 * SECOND)
            await rounds.one(notifier, "ops")
        tried = failing.received()
        assert 20 <= len(tried) <= 30, "twenty minutes of trying"
        oldest = {f"linkedin-{number:05}" for number in range(1, knock + 1)}
        assert all(set(named([each])) == oldest for each in tried[1:])
        rows = {row.alert_id: row for row in _rows(store, [f"alert-{number:05}" for number in range(1, 51)])}
        assert len(rows["alert-00001"].attempts) == len(tried)
        assert len(rows["alert-00050"].attempts) == 1
        failing.come_back()
        clock.advance(SOON)
        await until(lambda: states(store) == {"sent": 50})
    assert sorted(named(failing.received()[len(tried) :])) == [f"linkedin-{number:05}" for number in range(1, 51)]


async def test_A02_what_grows_too_old_while_the_channel_is_down_is_given_up_in_time_however_much_waits(
    store: Store, clock: ManualClock, service: Callable[[int | None], Service]
) -> None:
    failing, rounds = service(503), Rounds()
    failing.go_down()
    settings = DeliverySettings(send_timeout=5 * SECOND, poll_every=timedelta(milliseconds=50), retry_batch=3)
    queue(store, numbered(40))
    queue(store, numbered(10, first=100, at=clock.now() + HOUR))
    async with running(store, clock, channel(failing.url), settings=settings, progress=rounds) as notifier:
        for span in (HOUR, 70 * HOUR, 59 * timedelta(minutes=1)):
            clock.advance(span)
            await rounds.one(notifier, "ops")
        assert states(store) == {"pending": 50}
        for _ in range(2):
            clock.advance(SOON)
            await rounds.one(notifier, "ops")
        clock.advance(SOON)
        await until(lambda: states(store) == {"dead": 40, "pending": 10})


def _in_lots(moments: list[datetime], lots: int) -> list[list[datetime]]:
    size = -(-len(moments) // lots)
    return [moments[start : start + size] for start in range(0, len(moments), size)]


def _rows(store: Store, ids: Iterable[str]) -> list[DeliveryRow]:
    with store.begin_read() as conn:
        return [row for rows in deliveries_of_many(conn, ids).values() for row in rows]
