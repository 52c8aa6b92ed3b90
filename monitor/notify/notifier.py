"""All channels' workers together: started, woken, reconfigured and stopped as one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import structlog

from monitor.config import ChannelConfig
from monitor.domain import Alert, AlertEvent
from monitor.domain.clock import Clock
from monitor.domain.errors import ConfigError, StoreError
from monitor.domain.rules import routing
from monitor.engine.connection_links import ConnectionLinks
from monitor.engine.recording import Recorded
from monitor.notify import channel_health
from monitor.notify.channel_health import ChannelHealth
from monitor.notify.worker import DeliverySettings, Worker
from monitor.store import Store, channel_states, outbox, pending
from monitor.telemetry.metrics import Metrics
from monitor.telemetry.progress import DELIVERY, Progress

log = structlog.get_logger(__name__)

_TICK = 0.05  # seconds
_AFTERMATH = 5.0  # seconds: longer than a reload lets old work finish


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What became of the deliveries that waited."""

    sent: int
    left: int
    """Still queued, for whatever reason."""


class Notifier:
    """Delivers alerts at least once per channel, each channel on its own: a slow or broken one delays no other."""

    def __init__(
        self,
        *,
        store: Store,
        channels: Sequence[ChannelConfig],
        clock: Clock,
        settings: DeliverySettings,
        metrics: Metrics,
        progress: Progress,
        links: ConnectionLinks,
    ) -> None:
        self._store, self._clock, self._settings = store, clock, settings
        self._metrics, self._progress, self._links = metrics, progress, links
        self._owner = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
        self._channels = tuple(channels)
        self._workers = self._build(channels)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._settling: asyncio.Task[None] | None = None
        self._news: set[str] = set()
        self._started = False

    async def start(self) -> None:
        """Starts the workers. What a former process was sending when it died is due at once and may be a repeat.

        Only for the one process that holds the database. Raises StoreError.
        """
        await self._take_over()
        self._started = True
        self._launch()

    def halt(self) -> None:
        """Claims nothing more, from this very instant. stop() is still to follow."""
        for worker in self._workers.values():
            worker.stop()

    async def stop(self, timeout: timedelta = timedelta(seconds=8)) -> None:
        """Takes nothing more, waits for what is being sent, and returns after `timeout` at the latest. Idempotent.

        What has not ended by then stays recorded as being sent, and is repeated by the next start.
        """
        self._started = False
        if self._settling is not None:
            self._settling.cancel()
        tasks, self._tasks = self._tasks, {}
        for name in tasks:
            self._workers[name].stop()
        await _finish([*tasks.values(), *self._retiring], timeout)

    async def reconfigure(self, channels: Sequence[ChannelConfig], *, settings: DeliverySettings) -> None:
        """Swaps the channels. Holds on broken ones are forgotten, and what waits for them is tried at once.

        Raises StoreError, and then goes on with the old channels.
        """
        now, names = self._clock.now(), [channel.name for channel in channels]
        await self._store.write(lambda conn: [pending.bring_forward(conn, channel=name, now=now, until=now) for name in names])
        for name, task in self._tasks.items():
            # What it is sending it ends and marks on its own; those rows stay claimed meanwhile.
            self._workers[name].stop()
            self._progress.forget(f"{DELIVERY}:{name}")
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)
        self._settings = settings
        left = [task for name, task in self._tasks.items() if name not in names]
        self._channels = tuple(channels)
        self._workers, self._tasks = self._build(channels), {}
        if self._started:
            self._launch()
        await self._recall()
        await self._settle_removed()
        if self._settling is not None:
            self._settling.cancel()
        self._settling = asyncio.create_task(self._settle_aftermath(left), name="notifier-settling")

    def wake(self, channel: str | None = None) -> None:
        """Something was queued (for this channel, or for any): it goes out when it is due, without waiting for a look."""
        for name, worker in self._workers.items():
            if channel in (None, name):
                worker.wake()

    def forget_holds(self) -> None:
        """The wall clock was moved: until when a channel asked for patience is anybody's guess, and everything may be due."""
        for worker in self._workers.values():
            worker.forget_hold()

    def health(self) -> tuple[ChannelHealth, ...]:
        """How each configured channel has been doing."""
        return tuple(worker.health for worker in self._workers.values())

    async def drain(self, timeout: timedelta = timedelta(seconds=30)) -> Drained:
        """Delivers whatever waits for the configured channels now, without any group_wait, for at most `timeout`.

        For a process that does not run the workers. A channel that fails is tried again while time is left; what it did
        not take stays queued. Raises StoreError.
        """
        await self._take_over()
        before = sum(worker.delivered for worker in self._workers.values())
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout.total_seconds()
        self._news.clear()
        await self._empty_all(timeout)
        if self._news:  # one channel's trouble was told to others that had finished
            await self._empty_all(timedelta(seconds=max(end - loop.time(), 0)))
        sent = sum(worker.delivered for worker in self._workers.values()) - before
        return Drained(sent=sent, left=await self._pending())

    async def send_test(self, channel: str | None = None, *, event: AlertEvent | None = None) -> dict[str, str | None]:
        """Sends a test message to this channel, or to all at once: per channel None, or a sentence that says what failed.

        With `event`, what such an event looks like, about a clearly marked sample connection. Raises ConfigError for a
        channel that is not configured.
        """
        if channel is not None and channel not in self._workers:
            raise ConfigError(f"There is no channel {channel}; configured are: {', '.join(self._workers) or 'none'}.")
        chosen = [name for name in self._workers if channel in (None, name)]
        results = await asyncio.gather(*(self._workers[name].send_test(event) for name in chosen))
        return dict(zip(chosen, results, strict=True))

    async def send_unqueued(self, alert: Alert, *, to: Collection[str] | None = None) -> dict[str, str | None]:
        """Sends this on every channel that takes it, or on those in `to`, past the store: nothing is kept, nothing repeated.

        Only for what the store cannot hold. Per channel None, or a sentence that says what failed.
        """
        usual, fallback = ([each for each in self._channels if each.fallback is last] for last in (False, True))
        names = routing.route(alert, usual) or routing.route(alert, fallback) if to is None else to
        chosen = [name for name in names if name in self._workers]
        return dict(
            zip(chosen, await asyncio.gather(*(self._workers[name].send_unqueued(alert) for name in chosen)), strict=True)
        )

    def _build(self, channels: Sequence[ChannelConfig]) -> dict[str, Worker]:
        build = partial(
            Worker,
            channels=channels,
            announce=self._wake_for,
            store=self._store,
            clock=self._clock,
            owner=self._owner,
            settings=self._settings,
            metrics=self._metrics,
            progress=self._progress,
            links=self._links,
        )
        return {channel.name: build(channel) for channel in channels}

    def _wake_for(self, told: Recorded) -> None:
        self._news |= told.channels
        for name in told.channels:
            self.wake(name)
        for alert in told.unrouted:
            log.error("alert.unroutable", alert=alert.id, alert_event=alert.event.value, about=alert.subject)

    async def _recall(self) -> None:
        states = await self._store.read(channel_states.all_states)
        for name, worker in self._workers.items():
            if name in states:
                worker.recall(states[name])

    def _launch(self) -> None:
        self._tasks = {name: asyncio.create_task(worker.run(), name=f"notifier-{name}") for name, worker in self._workers.items()}

    async def _take_over(self) -> None:
        now = self._clock.now()
        released = await self._store.write(lambda conn: outbox.release_uncertain(conn, now))
        if released:
            log.warning("notifier.uncertain_deliveries", count=released)
        await self._recall()
        await self._settle_removed()

    async def _settle_removed(self) -> None:
        """End what waits for channels that are not configured any more; what nobody else has goes to others."""
        now, channels = self._clock.now(), self._channels
        settled = await self._store.write(lambda conn: channel_health.settle(conn, channels, now))
        for name, count in settled.ended.items():
            log.warning("notifier.channel_not_configured", channel=name, ended=count, handed_to=sorted(settled.handed_to))
        for name in settled.handed_to:
            self.wake(name)

    async def _settle_aftermath(self, left: Sequence[asyncio.Task[None]]) -> None:
        """Work under way at the swap still knew the old channels: what it queued, or could not send, is settled as well."""
        await asyncio.sleep(_AFTERMATH)
        if left:
            await asyncio.wait(left)
        with contextlib.suppress(StoreError):  # the next start or reload does it
            await self._settle_removed()

    async def _pending(self) -> int:
        counts = await self._store.read(outbox.pending_counts)
        return sum(count for name, count in counts.items() if name in self._workers)

    async def _empty_all(self, timeout: timedelta) -> None:
        tasks = [asyncio.create_task(self._empty(worker, timeout)) for worker in self._workers.values()]
        await _finish(tasks, timeout)
        for failed in (task.exception() for task in tasks if not task.cancelled()):
            if failed is not None:
                raise failed

    async def _empty(self, worker: Worker, timeout: timedelta) -> None:
        deadline = self._clock.now() + timeout
        await worker.deliver_due(everything=True)
        while (due := await worker.next_try()) is not None and due < deadline and not worker.health.rejected:
            await asyncio.sleep(max((due - self._clock.now()).total_seconds(), _TICK))
            await worker.deliver_due(everything=True)


async def _finish(tasks: Iterable[asyncio.Task[None]], timeout: timedelta) -> None:
    """Waits for all of them, for at most `timeout`, and cancels the rest."""
    waiting = set(tasks)
    if not waiting:
        return
    _, late = await asyncio.wait(waiting, timeout=timeout.total_seconds())
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
