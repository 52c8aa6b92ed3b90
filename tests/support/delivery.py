"""What tests of delivery share: channels, queued alerts, a running notifier, and what became of the deliveries."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import select

from monitor.config import ChannelConfig, Secret
from monitor.domain import Alert, Severity
from monitor.domain.clock import Clock
from monitor.engine.connection_links import ConnectionLinks
from monitor.notify import DeliverySettings, Notifier
from monitor.store import Store, alerts, outbox
from monitor.store.schema import attempts, deliveries
from monitor.telemetry.metrics import Metrics
from monitor.telemetry.progress import Progress
from tests.support.factories import make_alert
from tests.support.fakes import ManualClock
from tests.support.receivers import Received

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
QUICK = DeliverySettings(send_timeout=5 * SECOND, poll_every=timedelta(milliseconds=50))


def channel(url: str, name: str = "ops", *, group_wait: timedelta = timedelta(0), **over: Any) -> ChannelConfig:
    """A channel that takes everything at once; `over` names what is different."""
    values: dict[str, Any] = {
        "events": None,
        "severity": Severity.INFO,
        "sources": None,
        "platforms": None,
        "labels": {},
        "group_wait": group_wait,
    }
    return ChannelConfig(name=name, url=Secret(url), **{**values, **over})


def numbered(count: int, *, first: int = 1, **over: Any) -> list[Alert]:
    """Alerts about as many connections, distinguished by their numbers."""
    return [
        make_alert(id=f"alert-{number:05}", external_id=f"linkedin-{number:05}", label=f"Customer {number}", **over)
        for number in range(first, first + count)
    ]


def queue(store: Store, made: Sequence[Alert], *channels: str, wait: timedelta = timedelta(0), escalation: bool = False) -> None:
    """What the recorder does: alerts and deliveries in one transaction."""
    with store.begin_write() as conn:
        alerts.add_alerts(conn, [(alert, None, None) for alert in made])
        rows = [(alert.id, name, alert.at + wait) for alert in made for name in channels or ("ops",)]
        outbox.add_deliveries(conn, rows, made[0].at, escalation=escalation)


def states(store: Store, channel: str | None = None) -> dict[str, int]:
    """How many deliveries (of this channel) are in each state."""
    query = select(deliveries.c.state)
    with store.begin_read() as conn:
        found = list(conn.scalars(query if channel is None else query.where(deliveries.c.channel == channel)))
    return {state: found.count(state) for state in sorted(set(found))}


def outcomes(store: Store) -> list[tuple[str | None, str | None]]:
    """Every attempt's outcome and detail, in order."""
    with store.begin_read() as conn:
        return [(row.outcome, row.detail) for row in conn.execute(select(attempts).order_by(attempts.c.id))]


async def until(condition: Callable[[], bool], *, within: float = 30) -> None:
    """Polls for something that happens in another thread or task."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


def make_notifier(
    store: Store,
    clock: Clock,
    *channels: ChannelConfig,
    settings: DeliverySettings = QUICK,
    progress: Progress | None = None,
    links: ConnectionLinks | None = None,
) -> Notifier:
    """A notifier with these channels, not started."""
    return Notifier(
        store=store,
        channels=channels,
        clock=clock,
        settings=settings,
        metrics=Metrics(),
        progress=progress or Progress(),
        links=links or ConnectionLinks(),
    )


@asynccontextmanager
async def running(
    store: Store,
    clock: ManualClock,
    *channels: ChannelConfig,
    settings: DeliverySettings = QUICK,
    progress: Progress | None = None,
) -> AsyncIterator[Notifier]:
    """A notifier with these channels, stopped at the end."""
    notifier = make_notifier(store, clock, *channels, settings=settings, progress=progress)
    await notifier.start()
    try:
        yield notifier
    finally:
        await notifier.stop(timedelta(seconds=5))


def named(received: Sequence[Received]) -> list[str]:
    """The connections that each of these messages names, in order. A message may name one more than once: its commands do."""
    return [each for request in received for each in dict.fromkeys(re.findall(r"linkedin-\d{5}", request.text))]
