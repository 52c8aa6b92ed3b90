"""The worker of one channel: claim what is due, say it in as few messages as possible, mark each delivery.

The store holds the truth about what is due, so a worker may die at any instant: what it was sending when it did is sent
again and says that it may be a repeat. Only holds (a service asked for patience) live in memory.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Connection

from monitor.channels import Channel
from monitor.clock import Clock
from monitor.config import ChannelConfig
from monitor.errors import ChannelRejected, ChannelUnreachable, ConfigError, DeliveryError, StoreError
from monitor.notifier.sender import Sender
from monitor.notifier.transactions import Transactions
from monitor.rules.backoff import LONGEST_WAIT, next_attempt
from monitor.rules.wording import Dispatch, Part, compose, compose_test, fit
from monitor.store import backlog, outbox
from monitor.store.outbox import Claimed

log = structlog.get_logger(__name__)

LATE_AFTER = timedelta(minutes=10)
"""A message says that it is late from here on."""

_BREATHER = timedelta(seconds=10)
_EVERYTHING = timedelta(days=3650)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelHealth:
    """How a channel has been doing since this process started."""

    name: str
    problem: str | None = None
    """The last failure, None while it works."""
    since: datetime | None = None
    """When the problem began."""
    rejected: bool = False
    """The service refused for good: a person must act."""
    last_sent_at: datetime | None = None


class Worker:
    """Delivers to one channel. Its methods are called from one event loop."""

    def __init__(
        self, config: ChannelConfig, *, store: Transactions, clock: Clock, owner: str, settings: DeliverySettings
    ) -> None:
        self.name = config.name
        self.health = ChannelHealth(name=config.name)
        self._group_wait = config.group_wait
        self._store, self._clock, self._owner, self._settings = store, clock, owner, settings
        self._sender = Sender(Channel(config.name, config.url))
        self._woken = asyncio.Event()
        self._held_until: datetime | None = None
        self._doubtful: set[int] = set()
        self._stopping = False

    def wake(self) -> None:
        """Something may be due."""
        self._woken.set()

    def stop(self) -> None:
        """Finish what is being sent, and take nothing more."""
        self._stopping = True
        self._woken.set()

    async def run(self) -> None:
        """Delivers until stopped. Never raises: a fault is logged and tried again."""
        while not self._stopping:
            self._woken.clear()
            try:
                if await self.deliver_due() == 0:
                    await self._until_due()
            except StoreError as error:
                log.warning("notifier.store_unavailable", channel=self.name, problem=str(error))
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
        reach = now + (_EVERYTHING if everything else self._group_wait)
        first_due = await self._store.read(lambda conn: outbox.next_delivery_due(conn, channel=self.name))
        if first_due is None or first_due > (reach if everything else now):
            return 0
        claimed = await self._store.write(lambda conn: self._claim(conn, now=now, until=reach))
        if claimed:
            await self._deliver(claimed)
        return len(claimed)

    async def next_try(self) -> datetime | None:
        """The earliest instant at which there is something to try; None when nothing waits. Raises StoreError."""
        due = await self._store.read(lambda conn: outbox.next_delivery_due(conn, channel=self.name))
        return max(due, self._held_until) if due is not None and self._held_until is not None else due

    async def send_test(self) -> str | None:
        """Sends a test message; None when the channel accepted it, else a sentence that says what went wrong."""
        message = compose_test(self.name, timezone=self._settings.timezone, now=self._clock.now())
        within = self._settings.send_timeout.total_seconds()
        try:
            for part in fit(message, await self._sender.limits(within=within)):
                await self._sender.send(part, within=within)
        except (DeliveryError, ConfigError) as error:
            return str(error)
        except TimeoutError:
            return f"It gave no answer within {within:.0f} seconds."
        return None

    # --- one batch

    def _claim(self, conn: Connection, *, now: datetime, until: datetime) -> list[Claimed]:
        backlog.bring_forward(conn, channel=self.name, now=now, until=until)
        settings = self._settings
        return outbox.claim(conn, channel=self.name, owner=self._owner, now=now, lease=settings.lease, limit=settings.batch)

    async def _deliver(self, claimed: Sequence[Claimed]) -> None:
        by_alert = {each.alert.id: each for each in claimed}
        try:
            parts = await self._parts(claimed)
        except (ConfigError, TimeoutError) as error:
            await self._failed(claimed, ChannelRejected(str(error) or "The channel could not be prepared in time."))
            return
        for position, part in enumerate(parts):
            mine = [by_alert[alert_id] for alert_id in part.alert_ids]
            rest = [by_alert[alert_id] for later in parts[position:] for alert_id in later.alert_ids]
            if self._stopping:
                await self._put_back(rest)
                return
            try:
                detail = await self._send(part, mine)
            except DeliveryError as error:
                await self._failed(rest, error)
                return
            await self._sent(mine, detail)

    async def _parts(self, claimed: Sequence[Claimed]) -> tuple[Part, ...]:
        now = self._clock.now()
        dispatches = [
            Dispatch(
                alert=each.alert,
                uncertain=each.uncertain or each.delivery_id in self._doubtful,
                late_by=self._lateness(each, now=now),
            )
            for each in claimed
        ]
        limits = await self._sender.limits(within=self._settings.send_timeout.total_seconds())
        return fit(compose(dispatches, timezone=self._settings.timezone, now=now), limits)

    def _lateness(self, claimed: Claimed, *, now: datetime) -> timedelta | None:
        late = now - (claimed.alert.at + self._group_wait)
        return late if late > LATE_AFTER else None

    async def _send(self, part: Part, claimed: Sequence[Claimed]) -> str:
        within = self._settings.send_timeout
        try:
            return (await self._sender.send(part, within=within.total_seconds())).detail
        except TimeoutError:
            self._doubtful.update(each.delivery_id for each in claimed)
            raise ChannelUnreachable(f"No answer within {within.total_seconds():.0f} seconds; it may have arrived.") from None

    async def _sent(self, claimed: Sequence[Claimed], detail: str) -> None:
        now = self._clock.now()
        if self.health.problem is not None:
            log.info("channel.recovered", channel=self.name, since=self.health.since)
        self.health = ChannelHealth(name=self.name, last_sent_at=now)
        self._held_until = None
        ids = [each.delivery_id for each in claimed]
        marked = await self._store.persist(lambda conn: outbox.mark_sent(conn, ids, self._owner, now, detail=detail))
        self._doubtful.difference_update(ids)
        log.info("delivery.sent", channel=self.name, alerts=len(ids), lost_leases=len(ids) - len(marked))

    async def _failed(self, claimed: Sequence[Claimed], error: DeliveryError) -> None:
        now, rejected = self._clock.now(), not error.transient
        wait = getattr(error, "retry_after", None)
        again: dict[datetime | None, list[Claimed]] = defaultdict(list)
        for each in claimed:
            # Spread by channel, not by alert: what failed together goes out together.
            at = next_attempt(each.attempt, each.created_at, now=now, key=self.name, retry_after=wait, permanent=rejected)
            again[at].append(each)
        self._hold(now, retry_after=wait, rejected=rejected)
        self._note_problem(str(error), now=now, rejected=rejected)

        def mark(conn: Connection) -> None:
            for at, those in again.items():
                ids = [each.delivery_id for each in those]
                outbox.mark_failed(conn, ids, self._owner, now, next_attempt_at=at, detail=str(error))

        await self._store.persist(mark)
        for each in again.get(None, ()):
            self._doubtful.discard(each.delivery_id)
            log.error("delivery.dead", channel=self.name, alert=each.alert.id, problem=str(error))

    async def _put_back(self, claimed: Sequence[Claimed]) -> None:
        now, ids = self._clock.now(), [each.delivery_id for each in claimed]
        why = "Not sent: the monitor was stopping."
        await self._store.persist(lambda conn: outbox.mark_failed(conn, ids, self._owner, now, next_attempt_at=now, detail=why))

    def _hold(self, now: datetime, *, retry_after: float | None, rejected: bool) -> None:
        """Nothing is tried before this, new alerts included: else each of them would knock on a closed door."""
        wait = LONGEST_WAIT if rejected else max(_BREATHER, min(timedelta(seconds=retry_after or 0), LONGEST_WAIT))
        self._held_until = now + wait

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
            await self._either(self._sender.idle())
            return
        due, now = await self.next_try(), self._clock.now()
        longest = self._settings.poll_every.total_seconds()
        # A tick at least: what is due but was not to be had is being sent by somebody else.
        await self._sleep(longest if due is None else min(max((due - now).total_seconds(), 0.02), longest))

    async def _sleep(self, seconds: float) -> None:
        await self._either(asyncio.sleep(seconds))

    async def _either(self, waiting: Any) -> None:
        """Until that is over, or until woken."""
        tasks = [asyncio.ensure_future(waiting), asyncio.ensure_future(self._woken.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
