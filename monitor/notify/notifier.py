"""The workers of all channels: started, woken, reconfigured and stopped together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import structlog

from monitor.config import ChannelConfig
from monitor.domain import Alert, AlertEvent
from monitor.domain.clock import Clock
from monitor.domain.errors import ConfigError, StoreError
from monitor.domain.process import unique_name
from monitor.domain.records import Record
from monitor.domain.rules import routing
from monitor.engine.connection_links import ConnectionLinks
from monitor.engine.recording import Recorded
from monitor.notify import handover
from monitor.notify.channel_health import ChannelHealth
from monitor.notify.delivery_settings import DeliverySettings, Hold
from monitor.store import Store, channel_states, outbox, pending
from monitor.telemetry.metrics import Metrics
from monitor.telemetry.progress import DELIVERY, Progress

if TYPE_CHECKING:
    from monitor.notify.apprise import Sent
    from monitor.notify.worker import Worker

log = structlog.get_logger(__name__)

_TICK = 0.05  # seconds
_LATE_WORK = 5.0  # seconds: longer than a reload lets work under way finish


class Drained(Record, frozen=True, kw_only=True):
    """The result of draining the outbox."""

    sent: int
    left: int
    """The number of deliveries that are still queued, for any reason."""


class Notifier:
    """Delivers alerts at least once per channel. Channels are independent: a slow or broken one delays no other."""

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
        self._owner = unique_name()
        self._channels = tuple(channels)
        self._workers = self._build(channels)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._cleanup: asyncio.Task[None] | None = None
        self._newly_queued: set[str] = set()
        self._started = False

    async def start(self) -> None:
        """Start the workers. What an earlier process was sending when it died is due immediately and may be a repeat.

        Only for the one process that holds the database. Raises StoreError.
        """
        await self._recover()
        self._started = True
        self._launch()

    async def start_sharing(self) -> None:
        """Prepare for deliver(), which is called by units of a cluster, instead of start(). Raises StoreError."""
        await self._restore_health()

    async def deliver(self, channel: str, hold: Hold, *, is_lost: Callable[[], bool], within: timedelta) -> Hold:
        """Deliver what is due on a channel, at most for about `within`, and return the pause that the next daemon continues with.

        Only for the daemon that has the channel's lease: what others were sending is due immediately and may be a repeat.
        `is_lost` returns True once it has lost the lease; nothing more is sent then. A channel that is not configured any more
        has nothing to deliver. Raises StoreError.
        """
        worker, now = self._workers.get(channel), self._clock.now()
        if worker is None:
            return Hold()
        released = await self._store.write(lambda conn: outbox.release_uncertain(conn, now, channel=channel))
        if released:
            log.warning("notifier.uncertain_deliveries", count=released)
        worker.restore(await self._store.read(lambda conn: channel_states.find_state(conn, channel)))
        worker.resume(hold, is_lost=is_lost)
        end = asyncio.get_running_loop().time() + within.total_seconds()
        while await worker.deliver_due() and not is_lost() and asyncio.get_running_loop().time() < end:
            continue
        self._progress.forget(f"{DELIVERY}:{channel}")  # another daemon may deliver next
        return worker.hold

    async def hand_over_removed(self) -> None:
        """End the deliveries of channels that are no longer configured; what no other channel has goes to others."""
        now, channels = self._clock.now(), self._channels
        removed = await self._store.write(lambda conn: handover.hand_over_removed(conn, channels, now))
        for name, count in removed.ended.items():
            log.warning("notifier.channel_not_configured", channel=name, ended=count, handed_to=sorted(removed.handed_to))
        for name in removed.handed_to:
            self.wake(name)

    def halt(self) -> None:
        """Claim nothing more from now on. stop() must follow."""
        for worker in self._workers.values():
            worker.stop()

    async def stop(self, timeout: timedelta = timedelta(seconds=8)) -> None:
        """Claim nothing more, wait at most `timeout` for what is being sent, and return. Idempotent.

        What has not ended by then stays recorded as being sent, and the next start sends it again.
        """
        self._started = False
        if self._cleanup is not None:
            self._cleanup.cancel()
        tasks, self._tasks = self._tasks, {}
        for name in tasks:
            self._workers[name].stop()
        await _finish([*tasks.values(), *self._retiring], timeout)

    async def reconfigure(self, channels: Sequence[ChannelConfig], *, settings: DeliverySettings) -> None:
        """Replace the channels. Pauses after failures end, and all that is queued is tried immediately.

        Raises StoreError, and then goes on with the old channels.
        """
        now, names = self._clock.now(), [channel.name for channel in channels]
        await self._store.write(lambda conn: [pending.bring_forward(conn, channel=name, now=now, until=now) for name in names])
        for name, task in self._tasks.items():
            # It still finishes and records what it is sending; those rows stay claimed until then.
            self._workers[name].stop()
            self._progress.forget(f"{DELIVERY}:{name}")
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)
        self._settings = settings
        removed = [task for name, task in self._tasks.items() if name not in names]
        self._channels = tuple(channels)
        self._workers, self._tasks = self._build(channels), {}
        if self._started:
            self._launch()
        await self._restore_health()
        await self.hand_over_removed()
        if self._cleanup is not None:
            self._cleanup.cancel()
        self._cleanup = asyncio.create_task(self._clean_up_late_work(removed), name="notifier-cleanup")

    def wake(self, channel: str | None = None) -> None:
        """Check for due deliveries now, on this channel or on all, instead of at the next regular check."""
        for name, worker in self._workers.items():
            if channel in (None, name):
                worker.wake()

    def forget_holds(self) -> None:
        """End all pauses after failures: the wall clock was moved, so their ends are meaningless and everything may be due."""
        for worker in self._workers.values():
            worker.forget_hold()

    def health(self) -> tuple[ChannelHealth, ...]:
        """Return the health of each configured channel."""
        return tuple(worker.health for worker in self._workers.values())

    async def drain(self, timeout: timedelta = timedelta(seconds=30)) -> Drained:
        """Deliver all that is queued for the configured channels now, without group_wait, for at most `timeout`.

        For a process that does not run the workers. A channel that fails is tried again while time is left; what it did
        not accept stays queued. Raises StoreError.
        """
        await self._recover()
        before = sum(worker.delivered for worker in self._workers.values())
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout.total_seconds()
        self._newly_queued.clear()
        await self._drain_all(timeout)
        if self._newly_queued:  # the problem of one channel is an alert for others that had finished
            await self._drain_all(timedelta(seconds=max(end - loop.time(), 0)))
        sent = sum(worker.delivered for worker in self._workers.values()) - before
        return Drained(sent=sent, left=await self._pending_count())

    async def send_test(self, channel: str | None = None, *, event: AlertEvent | None = None) -> dict[str, Sent | str]:
        """Send a test message to this channel, or to all simultaneously. Return what was sent or why it failed, by channel.

        With `event`, send a sample of such an alert, about a clearly marked sample connection. Raises ConfigError for a
        channel that is not configured.
        """
        if channel is not None and channel not in self._workers:
            raise ConfigError(f"There is no channel {channel}. Configured channels: {', '.join(self._workers) or 'none'}.")
        chosen = [name for name in self._workers if channel in (None, name)]
        results = await asyncio.gather(*(self._workers[name].send_test(event) for name in chosen))
        return dict(zip(chosen, results, strict=True))

    async def send_unqueued(self, alert: Alert, *, to: Collection[str] | None = None) -> dict[str, str | None]:
        """Send an alert on every channel that takes it, or on those in `to`, without the store: nothing is kept or retried.

        Only for what the store cannot hold. Returns None or the reason of the failure, by channel.
        """
        usual, fallback = ([each for each in self._channels if each.fallback is last] for last in (False, True))
        names = routing.route(alert, usual) or routing.route(alert, fallback) if to is None else to
        chosen = [name for name in names if name in self._workers]
        return dict(
            zip(chosen, await asyncio.gather(*(self._workers[name].send_unqueued(alert) for name in chosen)), strict=True)
        )

    def _build(self, channels: Sequence[ChannelConfig]) -> dict[str, Worker]:
        if not channels:
            return {}
        from monitor.notify.worker import Worker

        build = partial(
            Worker,
            channels=channels,
            on_recorded=self._wake_for,
            store=self._store,
            clock=self._clock,
            owner=self._owner,
            settings=self._settings,
            metrics=self._metrics,
            progress=self._progress,
            links=self._links,
        )
        return {channel.name: build(channel) for channel in channels}

    def _wake_for(self, recorded: Recorded) -> None:
        self._newly_queued |= recorded.channels
        for name in recorded.channels:
            self.wake(name)
        for alert in recorded.unrouted:
            log.error("alert.unroutable", alert=alert.id, alert_event=alert.event.value, about=alert.subject)

    async def _restore_health(self) -> None:
        states = await self._store.read(channel_states.all_states)
        for name, worker in self._workers.items():
            if name in states:
                worker.restore(states[name])

    def _launch(self) -> None:
        self._tasks = {name: asyncio.create_task(worker.run(), name=f"notifier-{name}") for name, worker in self._workers.items()}

    async def _recover(self) -> None:
        now = self._clock.now()
        released = await self._store.write(lambda conn: outbox.release_uncertain(conn, now))
        if released:
            log.warning("notifier.uncertain_deliveries", count=released)
        await self._restore_health()
        await self.hand_over_removed()

    async def _clean_up_late_work(self, removed: Sequence[asyncio.Task[None]]) -> None:
        """Handle what work under way at the swap, which still knew the old channels, queued or could not send."""
        await asyncio.sleep(_LATE_WORK)
        if removed:
            await asyncio.wait(removed)
        with contextlib.suppress(StoreError):  # the next start or reload does it
            await self.hand_over_removed()

    async def _pending_count(self) -> int:
        counts = await self._store.read(outbox.pending_counts)
        return sum(count for name, count in counts.items() if name in self._workers)

    async def _drain_all(self, timeout: timedelta) -> None:
        tasks = [asyncio.create_task(self._drain_one(worker, timeout)) for worker in self._workers.values()]
        await _finish(tasks, timeout)
        for failed in (task.exception() for task in tasks if not task.cancelled()):
            if failed is not None:
                raise failed

    async def _drain_one(self, worker: Worker, timeout: timedelta) -> None:
        deadline = self._clock.now() + timeout
        await worker.deliver_due(everything=True)
        while (due := await worker.next_attempt_at()) is not None and due < deadline and not worker.health.rejected:
            await asyncio.sleep(max((due - self._clock.now()).total_seconds(), _TICK))
            await worker.deliver_due(everything=True)


async def _finish(tasks: Iterable[asyncio.Task[None]], timeout: timedelta) -> None:
    """Wait for all of them, for at most `timeout`, and cancel the rest."""
    waiting = set(tasks)
    if not waiting:
        return
    _, late = await asyncio.wait(waiting, timeout=timeout.total_seconds())
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
