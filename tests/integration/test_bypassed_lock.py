"""P27: two daemons at work on one database, as if there were no lock between them: still nothing is said twice."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from pathlib import Path

from sqlalchemy import func, select

from monitor.demo.world import World
from monitor.domain.errors import StoreError
from monitor.engine.connection_links import ConnectionLinks
from monitor.engine.poller import Poller
from monitor.engine.recording import Recorded
from monitor.engine.time_changes import TimeChanges
from monitor.store import Store
from monitor.store.schema import alerts, events
from monitor.telemetry.metrics import Metrics
from tests.support.delivery import channel, make_notifier, numbered, queue, states, until
from tests.support.fakes import ManualClock
from tests.support.poll_cycle import running
from tests.support.receivers import WebhookReceiver

DAY = timedelta(days=1)


async def test_P27_two_simultaneous_pollers_notify_each_change_once(
    store: Store, database_url: str, clock: ManualClock, tmp_path: Path
) -> None:
    world = World(clock=clock)
    world.add_source("agency", "postpost")
    names = [
        world.connect("agency", "linkedin", account=f"a{number}", username="N", display_name="N", lifetime=(8 + number) * DAY)
        for number in range(12)
    ]
    async with running(store, clock, world, tmp_path) as cycle:
        with Store(database_url) as other:
            channels, work = cycle.config.channels, cycle.work["agency"]
            pollers = [
                Poller(store=each, clock=clock, channels=channels, metrics=Metrics(), links=ConnectionLinks())
                for each in (store, other)
            ]
            configured = {"agency": work.source}
            keepers = [TimeChanges(store=each, clock=clock, configured=configured, channels=channels) for each in (store, other)]
            said: list[tuple[str | None, str, timedelta | None, int]] = []
            for turn in range(10):
                clock.advance(DAY)
                if turn % 3 == 0:
                    world.expire("agency", names[turn].external_id)
                steps = [each.advance() for each in keepers] + [each.poll(work.source, work.provider) for each in pollers]
                for done in await asyncio.gather(*steps, return_exceptions=True):
                    if isinstance(done, Recorded):
                        said += [(alert.external_id, alert.event, alert.stage, alert.reminder) for alert in done.alerts]
                    else:
                        assert isinstance(done, StoreError), done
    assert len(said) > 12
    assert len(said) == len(set(said))
    with store.begin_read() as conn:
        assert conn.scalar(select(func.count()).select_from(alerts)) == len(said)
        changes = conn.execute(select(events.c.connection_id, events.c.at, events.c.new).where(events.c.kind == "status_changed"))
        rows = changes.all()
        assert len(rows) == len(set(rows))


async def test_P27_two_that_deliver_at_once_send_each_alert_once(store: Store, database_url: str, clock: ManualClock) -> None:
    with WebhookReceiver() as receiver, Store(database_url) as other:
        ops = [channel(receiver.apprise_url())]
        notifiers = [make_notifier(each, clock, *ops) for each in (store, other)]
        for notifier in notifiers:
            await notifier.start()
        try:
            for number in range(1, 31):
                queue(store, numbered(1, first=number, at=clock.now()))
                if number % 3 == 0:
                    for notifier in notifiers:
                        notifier.wake()
                    await asyncio.sleep(0.01)
            await until(lambda: states(store) == {"sent": 30})
        finally:
            for notifier in notifiers:
                await notifier.stop(timedelta(seconds=5))
    text = " ".join(message.text for message in receiver.received)
    # Each alert names its connection once.
    assert [len(re.findall(rf"\bCustomer {number}\b", text)) for number in range(1, 31)] == [1] * 30
    assert "repeat" not in text
