"""The delivery worker of one channel: claim, send, mark."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import structlog

from monitor.config import ChannelConfig
from monitor.domain import Alert, AlertEvent, Severity
from monitor.domain.clock import Clock
from monitor.domain.errors import ChannelRejected, ChannelUnreachable, ConfigError, DeliveryError, StoreError
from monitor.domain.rules.recurrence import quiet_until
from monitor.domain.rules.retry import GIVE_UP_AFTER, LONGEST_WAIT, next_attempt
from monitor.engine.connection_links import ConnectionLinks
from monitor.engine.recording import Recorded
from monitor.notify import channel_health, escalations
from monitor.notify.apprise import Channel
from monitor.notify.channel_health import ChannelHealth
from monitor.notify.messages import Dispatch, Part, chart
from monitor.notify.messages import build as messages
from monitor.notify.sender import Sender
from monitor.store import Connection, Store, outbox, pending
from monitor.store.channel_states import ChannelState
from monitor.store.outbox import Claimed
from monitor.store.pending import DueDeliveries
from monitor.telemetry.metrics import Metrics
from monitor.telemetry.progress import DELIVERY, Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverySettings:
    """The bounds of delivery."""

    timezone: str = "UTC"
    """For the instants in messages."""
    send_timeout: timedelta = timedelta(seconds=60)
    """The longest wait for one message; past it the outcome is unknown and it is sent again."""
    lease: timedelta = timedelta(minutes=10)
    """How long a claim lasts. Longer than any batch takes, so that nobody else sends it meanwhile."""
    poll_every: timedelta = timedelta(seconds=5)
    """How often the store is asked unprompted, for what other processes put there."""
    batch: int = 5000
    """The most deliveries in one go."""
    knock: int = 20
    """The most in one go while the channel is down: enough to see whether it is back, whatever waits behind."""


log = structlog.get_logger(__name__)
T = TypeVar("T")

LATE_AFTER = timedelta(minutes=10)
"""A message says that it is late from here on."""

_BREATHER = timedelta(seconds=10)
_WRITE_RETRIES = (0.2, 1.0, 3.0, 5.0)  # seconds
_EVERYTHING = timedelta(days=3650)


class Worker:
    """Delivers to one channel. Its methods are called from one event loop."""

    def __init__(
        self,
        config: ChannelConfig,
        *,
        channels: Sequence[ChannelConfig],
        announce: Callable[[Recorded], None],
        store: Store,
        clock: Clock,
        owner: str,
        settings: DeliverySettings,
        metrics: Metrics,
        progress: Progress,
        links: ConnectionLinks,
    ) -> None:
        """`channels` are all of them, told of this one's troubles; `announce` wakes those that were given something to say."""
        self.name = config.name
        self.health = ChannelHealth(name=config.name)
        self.delivered = 0
        self._config = config
        self._channels, self._announce = channels, announce
        self._store, self._clock, self._owner, self._settings = store, clock, owner, settings
        self._metrics, self._progress, self._links = metrics, progress, links
        self._sender = Sender(Channel(config.name, config.url))
        self._woken = asyncio.Event()
        self._held_until: datetime | None = None
        self._down = False
        self._stopping = False
        self._store_is_away = False

    def recall(self, state: ChannelState) -> None:
        """Take up what the store remembers of this channel."""
        self.health = ChannelHealth(
            name=self.name,
            problem=state.problem,
            since=state.failing_since,
            rejected=state.broken,
            last_sent_at=state.last_success_at,
        )

    def wake(self) -> None:
        """Something may be due."""
        self._woken.set()

    def forget_hold(self) -> None:
        """Try again now, whatever was agreed on by a clock that was moved since."""
        self._held_until = None
        self._woken.set()

    def stop(self) -> None:
        """Finish what is being sent, and take nothing more."""
        self._stopping = True
        self._woken.set()

    async def run(self) -> None:
        """Delivers until stopped. Never raises: a fault is logged and tried again."""
        while not self._stopping:
            self._woken.clear()
            self._progress.note(f"{DELIVERY}:{self.name}")
            try:
                tried = await self.deliver_due()
                self._store_is_away = False
                if tried == 0:
                    await self._until_due()
            except StoreError as error:
                (log.debug if self._store_is_away else log.warning)(
                    "notifier.store_unavailable", channel=self.name, problem=str(error)
                )
                self._store_is_away = True
                await self._sleep(self._settings.poll_every.total_seconds())
            except Exception:  # a fault in one channel's message must not silence that channel for good
                log.exception("notifier.fault", channel=self.name)
                await self._sleep(self._settings.poll_every.total_seconds())

    async def deliver_due(self, *, everything: bool = False) -> int:
        """Sends what is due now (`everything`: whatever waits) and returns how many deliveries it tried.

        Raises StoreError.
        """
        now = self._clock.now()
        if self._sender.busy or (self._held_until is not None and now < self._held_until):
            return 0
        reach = now + (_EVERYTHING if everything else self._config.group_wait)
        first_due = await self._store.read(lambda conn: outbox.next_delivery_due(conn, channel=self.name))
        if first_due is None or first_due > (reach if everything else now):
            return 0
        claimed = await self._store.write(lambda conn: self._claim(conn, now=now, until=reach))
        if claimed:
            await self._deliver(claimed)
        return len(claimed)

    async def _persist(self, work: Callable[[Connection], T]) -> T:
        """Write the outcome of a delivery, retrying while the store is unavailable: to lose it would repeat a message.

        Raises StoreError after the last retry.
        """
        for pause in _WRITE_RETRIES:
            try:
                return await self._store.write(work)
            except StoreError as error:
                log.warning("notifier.outcome_not_recorded", problem=str(error))
                await asyncio.sleep(pause)
        return await self._store.write(work)

    async def next_try(self) -> datetime | None:
        """The earliest instant at which there is something to try; None when nothing waits. Raises StoreError."""
        due = await self._store.read(lambda conn: outbox.next_delivery_due(conn, channel=self.name))
        return max(due, self._held_until) if due is not None and self._held_until is not None else due

    async def send_test(self, event: AlertEvent | None = None) -> str | None:
        """Sends a test message, or with `event` a sample of what that looks like.

        None when the channel accepted it, else a sentence that says what went wrong.
        """
        return await self._send_past_the_store(partial(messages.build_test, event))

    async def send_unqueued(self, alert: Alert) -> str | None:
        """Sends this alert although the store knows nothing of it. None, or a sentence, as with send_test()."""
        if self._sender.busy:
            return "It is still busy with another message."
        return await self._send_past_the_store(partial(messages.build, [Dispatch(alert=alert)]))

    async def _send_past_the_store(self, build: Callable[..., tuple[Part, ...]]) -> str | None:
        within = self._settings.send_timeout.total_seconds()
        try:
            profile = await self._sender.profile(within=within)
            now, timezone = self._clock.now(), self._settings.timezone
            for part in build(channel=self._config, profile=profile, timezone=timezone, now=now):
                await self._sender.send(part, within=within)
        except (DeliveryError, ConfigError) as error:
            return str(error)
        except TimeoutError:
            return f"It gave no answer within {within:.0f} seconds."
        return None

    # --- one batch

    def _claim(self, conn: Connection, *, now: datetime, until: datetime) -> list[Claimed]:
        settings, quiet_hours = self._settings, self._config.quiet_hours
        pending.bring_forward(conn, channel=self.name, now=now, until=until)
        if quiet_hours:
            pending.put_off(conn, channel=self.name, now=now, quiet_until=partial(self._quiet_until, now))
        limit = settings.batch
        if self._down:  # what is too old goes along, to be given up when its time has come
            old = outbox.count_older(conn, channel=self.name, than=now - GIVE_UP_AFTER)
            limit = min(limit, settings.knock + old)
        # What is claimed is what was looked at, so as many fewer.
        limit -= escalations.settle(conn, DueDeliveries(channel=self.name, now=now, limit=limit))
        return outbox.claim(conn, channel=self.name, owner=self._owner, now=now, lease=settings.lease, limit=limit)

    async def _deliver(self, claimed: Sequence[Claimed]) -> None:
        left = list(claimed)
        # What some recipients have already goes to the others alone, as messages of its own.
        for reached in dict.fromkeys(each.reached for each in claimed):
            mine = [each for each in left if each.reached == reached]
            try:
                parts = await self._parts(mine)
            except (ConfigError, TimeoutError) as error:
                await self._failed(left, ChannelRejected(str(error) or "The channel could not be prepared in time."))
                return
            except Exception as error:  # nothing was sent: what was claimed must not wait for its lease to run out
                log.exception("notifier.fault", channel=self.name)
                await self._failed(left, ChannelUnreachable(f"The message could not be prepared ({type(error).__name__})."))
                return
            for part in parts:
                said = [each for each in mine if each.alert.id in part.alert_ids]
                if self._stopping:
                    await self._put_back(left)
                    return
                try:
                    detail = await self._send(part, said)
                except DeliveryError as error:
                    if not await self._failed_for_some(said, left, error):
                        return
                else:
                    await self._sent(said, detail)
                left = [each for each in left if each not in said]

    async def _parts(self, claimed: Sequence[Claimed]) -> tuple[Part, ...]:
        now = self._clock.now()
        dispatches = [
            Dispatch(
                alert=each.alert,
                uncertain=each.uncertain,
                late_by=self._lateness(each, now=now),
                page=self._links.find(each.alert.source, each.alert.scope, now=now),
            )
            for each in claimed
        ]
        profile = await self._sender.profile(within=self._settings.send_timeout.total_seconds())
        parts = messages.build(dispatches, channel=self._config, profile=profile, timezone=self._settings.timezone, now=now)
        alerts = [each.alert for each in claimed if each.alert.chart]
        if alerts and profile.files and self._config.attachments:
            parts = await asyncio.to_thread(chart.attach, parts, alerts)
        return parts

    def _quiet_until(self, now: datetime, severity: Severity) -> datetime | None:
        return quiet_until(self._config.quiet_hours, now, severity=severity, timezone=self._settings.timezone)

    def _planned(self, claimed: Claimed) -> datetime:
        """When it was to go out: after its group_wait or its time as an escalation, and not in quiet hours.

        An escalation that waited for the end of an acknowledgement or a silence is counted anew from there.
        """
        wait = (self._config.after or timedelta(0)) if claimed.escalation else timedelta(0)
        at = claimed.alert.at + max(wait, self._config.group_wait)
        if claimed.escalation:
            at = max(at, claimed.created_at)
        return self._quiet_until(at, claimed.alert.severity) or at

    def _lateness(self, claimed: Claimed, *, now: datetime) -> timedelta | None:
        late = now - self._planned(claimed)
        return late if late > LATE_AFTER else None

    async def _send(self, part: Part, claimed: Sequence[Claimed]) -> str:
        within = self._settings.send_timeout
        try:
            return (await self._sender.send(part, within=within.total_seconds(), done=claimed[0].reached)).detail
        except TimeoutError:
            late = f"No answer within {within.total_seconds():.0f} seconds; it may have arrived."
            raise ChannelUnreachable(late, uncertain=True) from None

    async def _sent(self, claimed: Sequence[Claimed], detail: str) -> None:
        now = self._clock.now()
        if self.health.problem is not None:
            log.info("channel.recovered", channel=self.name, since=self.health.since)
        self.health = ChannelHealth(name=self.name, last_sent_at=now)
        self._held_until, self._down = None, False
        ids = [each.delivery_id for each in claimed]

        def mark(conn: Connection) -> tuple[list[int], Recorded]:
            marked = outbox.mark_sent(conn, ids, self._owner, now, detail=detail)
            return marked, channel_health.works(conn, self.name, channels=self._channels, now=now)

        marked, told = await self._persist(mark)
        self._metrics.delivery_done(self.name, "sent", count=len(marked))
        if not self._stopping:  # else it may have left the configuration, and nothing is expected of it any more
            self._progress.note(f"{DELIVERY}:{self.name}")
        self._announce(told)
        self.delivered += len(marked)
        log.info("delivery.sent", channel=self.name, alerts=len(ids), lost_leases=len(ids) - len(marked))

    async def _failed_for_some(self, said: Sequence[Claimed], left: Sequence[Claimed], error: DeliveryError) -> bool:
        """Marks what failed. Returns whether to go on: it failed for some recipients only, and nobody asked for patience."""
        if not error.reached:
            await self._failed(left, error, said=said)
            return False
        await self._failed(said, error, said=said, reached=error.reached)
        if error.retry_after is None:
            return True
        if rest := [each for each in left if each not in said]:
            await self._failed(rest, error)
        return False

    async def _failed(
        self,
        claimed: Sequence[Claimed],
        error: DeliveryError,
        *,
        said: Sequence[Claimed] = (),
        reached: frozenset[str] = frozenset(),
    ) -> None:
        """Marks these as failed; only those that the message `said` can have arrived all the same."""
        now, rejected = self._clock.now(), not error.transient
        wait = error.retry_after
        self._down = error.down
        tried = max(each.attempt for each in claimed)
        again: dict[tuple[datetime | None, bool], list[int]] = defaultdict(list)
        doubtful = {each.delivery_id for each in said} if error.uncertain else set()
        dead: list[Claimed] = []
        for each in claimed:
            # Spread by channel, not by alert: what failed together goes out together.
            since, attempt = max(each.created_at, self._planned(each)), tried if self._down else each.attempt
            at = next_attempt(attempt, since, now=now, key=self.name, retry_after=wait, permanent=rejected, down=self._down)
            again[at, each.delivery_id in doubtful].append(each.delivery_id)
            if at is None:
                dead.append(each)
        if not reached or wait is not None:
            soonest = min((at for at, _ in again if at is not None), default=now)
            self._hold(now, retry_after=wait, rejected=rejected, knock_at=soonest if self._down else now)
        self._note_problem(str(error), now=now, rejected=rejected)

        def mark(conn: Connection) -> Recorded:
            for (at, doubt), ids in again.items():
                outbox.mark_failed(
                    conn, ids, self._owner, now, next_attempt_at=at, detail=str(error), reached=reached, uncertain=doubt
                )
            told = channel_health.fails(conn, self.name, problem=str(error), broken=rejected, channels=self._channels, now=now)
            if dead:
                told.add(channel_health.gave_up(conn, self.name, dead, channels=self._channels, now=now))
            return told

        self._announce(await self._persist(mark))
        self._metrics.delivery_done(self.name, "failed", count=len(claimed) - len(dead))
        self._metrics.delivery_done(self.name, "dead", count=len(dead))
        for each in dead:
            log.error("delivery.dead", channel=self.name, alert=each.alert.id, problem=str(error))

    async def _put_back(self, claimed: Sequence[Claimed]) -> None:
        now, ids = self._clock.now(), [each.delivery_id for each in claimed]
        why = "Not sent: the monitor was stopping."
        await self._persist(lambda conn: outbox.mark_failed(conn, ids, self._owner, now, next_attempt_at=now, detail=why))

    def _hold(self, now: datetime, *, retry_after: float | None, rejected: bool, knock_at: datetime) -> None:
        """Nothing is tried before this, new alerts included: else each of them would knock on a closed door."""
        wait = LONGEST_WAIT if rejected else max(_BREATHER, min(timedelta(seconds=retry_after or 0), LONGEST_WAIT))
        self._held_until = max(now + wait, knock_at)

    def _note_problem(self, problem: str, *, now: datetime, rejected: bool) -> None:
        news = self.health.problem is None or (rejected and not self.health.rejected)
        since = self.health.since if self.health.problem is not None else now
        self.health = ChannelHealth(
            name=self.name, problem=problem, since=since, rejected=rejected, last_sent_at=self.health.last_sent_at
        )
        if news and rejected:
            log.error("channel.rejected", channel=self.name, problem=problem)
        elif news:
            log.warning("channel.failing", channel=self.name, problem=problem)
        else:
            log.debug("channel.still_failing", channel=self.name, problem=problem)

    # --- waiting

    async def _until_due(self) -> None:
        if self._sender.busy:
            # Not for ever: a call that never ends is abandoned one day, and somebody must look.
            await self._either(self._sender.idle(), within=self._settings.poll_every.total_seconds())
            return
        due, now = await self.next_try(), self._clock.now()
        longest = self._settings.poll_every.total_seconds()
        # A tick at least: what is due but was not to be had is being sent by somebody else.
        await self._sleep(longest if due is None else min(max((due - now).total_seconds(), 0.02), longest))

    async def _sleep(self, seconds: float) -> None:
        await self._either(asyncio.sleep(seconds))

    async def _either(self, waiting: Any, *, within: float | None = None) -> None:
        """Until that is over, or until woken, or for so many seconds."""
        tasks = [asyncio.ensure_future(waiting), asyncio.ensure_future(self._woken.wait())]
        try:
            await asyncio.wait(tasks, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
