"""The delivery worker of one channel: claim, send, mark.

Related: `delivery_times` (grouping, quiet hours, lateness), `retries` (what follows a failure), `escalations` (what is cancelled
or postponed before it is claimed) and `channel_health` (alerts about the channel, handing deliveries over to other channels).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import structlog

from monitor.config import ChannelConfig
from monitor.domain import Alert, AlertEvent, threads
from monitor.domain.clock import Clock
from monitor.domain.errors import ChannelRejected, ChannelUnreachable, ConfigError, DeliveryError, StoreError
from monitor.domain.rules import routing
from monitor.domain.rules.retry import GIVE_UP_AFTER
from monitor.domain.threads import NoThread
from monitor.engine.connection_links import ConnectionLinks
from monitor.engine.recording import Recorded
from monitor.notify import channel_health, escalations
from monitor.notify.annotations import annotated
from monitor.notify.apprise import Channel, Sent
from monitor.notify.channel_health import ChannelHealth
from monitor.notify.delivery_settings import DeliverySettings, Hold
from monitor.notify.delivery_times import DeliveryTimes
from monitor.notify.links import MessageLinks
from monitor.notify.mail_origin import MailOrigin
from monitor.notify.messages import Dispatch, Part, chart
from monitor.notify.messages import build as messages
from monitor.notify.messages.shortening import form_after
from monitor.notify.retries import hold_until, plan_retries
from monitor.notify.sender import Sender
from monitor.store import Connection, Store, outbox, pending, web_sessions
from monitor.store.channel_states import ChannelState
from monitor.store.outbox import Claimed
from monitor.store.pending import DueDeliveries
from monitor.telemetry.metrics import Metrics
from monitor.telemetry.progress import DELIVERY, Progress

log = structlog.get_logger(__name__)
T = TypeVar("T")

_WRITE_RETRIES = (0.2, 1.0, 3.0, 5.0)  # seconds
_ANY_TIME = timedelta(days=3650)


class Worker:
    """Delivers to one channel. Its methods are called from one event loop."""

    def __init__(
        self,
        config: ChannelConfig,
        *,
        channels: Sequence[ChannelConfig],
        on_recorded: Callable[[Recorded], None],
        store: Store,
        clock: Clock,
        owner: str,
        settings: DeliverySettings,
        metrics: Metrics,
        progress: Progress,
        links: ConnectionLinks,
    ) -> None:
        """`channels` are all of them: they are notified of problems with this one, and `on_recorded` wakes those concerned."""
        self.name = config.name
        self.health = ChannelHealth(name=config.name)
        self.delivered = 0
        self._config = config
        self._channels, self._on_recorded = channels, on_recorded
        self._store, self._clock, self._owner, self._settings = store, clock, owner, settings
        self._metrics, self._progress, self._links = metrics, progress, links
        self._times = DeliveryTimes(config, settings.timezone)
        self._sender = Sender(Channel.of(config))
        self._page_links: MessageLinks | None = None
        self._mail_origin = MailOrigin(channel=config.name, config_file=settings.config_file, public_url=settings.public_url)
        self._woken = asyncio.Event()
        self._hold_until: datetime | None = None
        self._down = False
        self._stopping = False
        self._is_lost: Callable[[], bool] = lambda: False
        self._store_unavailable = False

    def restore(self, state: ChannelState) -> None:
        """Continue with the health that the store remembers of this channel."""
        self.health = ChannelHealth(
            name=self.name,
            problem=state.problem,
            since=state.failing_since,
            rejected=state.broken,
            last_sent_at=state.last_success_at,
        )

    @property
    def hold(self) -> Hold:
        """The pause in force."""
        return Hold(until=self._hold_until, down=self._down)

    def resume(self, hold: Hold, *, is_lost: Callable[[], bool]) -> None:
        """Continue with the pause that another daemon left. `is_lost` returns True once another one delivers to the channel."""
        self._hold_until, self._down, self._is_lost = hold.until, hold.down, is_lost

    def wake(self) -> None:
        """Check for due deliveries now."""
        self._woken.set()

    def forget_hold(self) -> None:
        """Try again now: a clock that was moved makes the end of the pause meaningless."""
        self._hold_until = None
        self._woken.set()

    def stop(self) -> None:
        """Finish the message that is being sent, and claim nothing more."""
        self._stopping = True
        self._woken.set()

    async def run(self) -> None:
        """Deliver until stopped. Never raises: an error is logged and the work is tried again."""
        while not self._stopping:
            self._woken.clear()
            self._progress.note(f"{DELIVERY}:{self.name}")
            try:
                tried = await self.deliver_due()
                self._store_unavailable = False
                if tried == 0:
                    await self._wait_until_due()
            except StoreError as error:
                (log.debug if self._store_unavailable else log.warning)(
                    "notifier.store_unavailable", channel=self.name, problem=str(error)
                )
                self._store_unavailable = True
                await self._sleep(self._settings.poll_every.total_seconds())
            except Exception:  # a defect in one message must not stop the channel for good
                log.exception("notifier.fault", channel=self.name)
                await self._sleep(self._settings.poll_every.total_seconds())

    async def deliver_due(self, *, everything: bool = False) -> int:
        """Send what is due now (`everything`: all that is queued) and return the number of deliveries that were tried.

        Raises StoreError.
        """
        now = self._clock.now()
        if self._sender.busy or (self._hold_until is not None and now < self._hold_until):
            return 0
        until = now + (_ANY_TIME if everything else self._config.group_wait)
        first_due = await self._store.read(lambda conn: outbox.next_delivery_due(conn, channel=self.name))
        if first_due is None or first_due > (until if everything else now):
            return 0
        claimed = await self._store.write(lambda conn: self._claim(conn, now=now, until=until))
        if claimed:
            await self._deliver(claimed)
        return len(claimed)

    async def next_attempt_at(self) -> datetime | None:
        """Return the earliest time at which there is something to send; None when nothing is queued. Raises StoreError."""
        due = await self._store.read(lambda conn: outbox.next_delivery_due(conn, channel=self.name))
        return max(due, self._hold_until) if due is not None and self._hold_until is not None else due

    # --- messages that are not in the outbox

    async def send_test(self, event: AlertEvent | None = None) -> Sent | str:
        """Send a test message, or with `event` a sample of that kind of alert.

        Returns a sentence with the reason if the channel did not accept it.
        """
        return await self._send_directly(partial(messages.build_test, event))

    async def send_unqueued(self, alert: Alert) -> str | None:
        """Send an alert that is not in the store. Returns None or a sentence, as send_test() does."""
        if self._sender.busy:
            return "It is still busy with another message."
        result = await self._send_directly(partial(messages.build, [Dispatch(alert=alert)]))
        return result if isinstance(result, str) else None

    async def _send_directly(self, build: Callable[..., tuple[Part, ...]]) -> Sent | str:
        within = self._settings.send_timeout.total_seconds()
        try:
            profile = await self._sender.profile(within=within)
            now, timezone = self._clock.now(), self._settings.timezone
            parts = build(channel=self._config, profile=profile, timezone=timezone, now=now)
            return [await self._sender.send(self._mail_origin.applied(part), within=within) for part in parts][-1]
        except (DeliveryError, ConfigError) as error:
            return str(error)
        except TimeoutError:
            return f"It did not respond within {within:.0f} seconds."

    # --- one batch

    def _claim(self, conn: Connection, *, now: datetime, until: datetime) -> list[Claimed]:
        settings = self._settings
        if settings.public_url is not None and self._page_links is None:
            self._page_links = MessageLinks(public_url=settings.public_url, key=web_sessions.signing_key(conn))
        pending.bring_forward(conn, channel=self.name, now=now, until=until)
        if self._config.quiet_hours:
            pending.postpone_quiet(conn, channel=self.name, now=now, quiet_until=partial(self._times.quiet_until, now))
        limit = settings.batch
        if self._down:  # deliveries that are too old are claimed as well, so that they are given up in time
            old = outbox.count_older(conn, channel=self.name, than=now - GIVE_UP_AFTER)
            limit = min(limit, settings.retry_batch + old)
        # Only deliveries that were checked may be claimed, so the limit shrinks by what the check removed.
        limit -= escalations.settle(conn, DueDeliveries(channel=self.name, now=now, limit=limit))
        return outbox.claim(conn, channel=self.name, owner=self._owner, now=now, lease=settings.lease, limit=limit)

    async def _deliver(self, claimed: Sequence[Claimed]) -> None:
        remaining = list(claimed)
        # Deliveries that some recipients already have, and shortened ones, are sent in separate messages.
        for kind in dict.fromkeys(map(_kind_of, claimed)):
            group = [each for each in remaining if _kind_of(each) == kind]
            try:
                parts = await self._build_parts(group)
            except (ConfigError, TimeoutError) as error:
                await self._record_failure(remaining, ChannelRejected(str(error) or "The channel could not be prepared in time."))
                return
            except Exception as error:  # nothing was sent: what was claimed must not wait for its lease to run out
                log.exception("notifier.fault", channel=self.name)
                problem = f"The message could not be prepared ({type(error).__name__})."
                await self._record_failure(remaining, ChannelUnreachable(problem))
                return
            for part in parts:
                in_message = [each for each in group if each.alert.id in part.alert_ids]
                if self._stopping or self._is_lost():
                    await self._release(remaining)
                    return
                try:
                    detail = await self._send(part, in_message)
                except DeliveryError as error:
                    if not await self._record_send_failure(in_message, remaining, error):
                        return
                else:
                    await self._record_sent(in_message, detail)
                remaining = [each for each in remaining if each not in in_message]

    async def _build_parts(self, claimed: Sequence[Claimed]) -> tuple[Part, ...]:
        now = self._clock.now()
        dispatches = [self._dispatch(each, now=now) for each in claimed]
        profile = await self._sender.profile(within=self._settings.send_timeout.total_seconds())
        form = form_after(claimed[0].size_refusals)
        parts = messages.build(
            dispatches,
            channel=self._config,
            profile=profile,
            timezone=self._settings.timezone,
            now=now,
            form=form,
            page_of=self._page_links.about if self._page_links else None,
        )
        with_chart = [each.alert for each in claimed if each.alert.chart]
        if with_chart and profile.files and self._config.attachments and not form:
            parts = await threads.run(partial(chart.attach, parts, with_chart), name="chart")
        alerts = {each.alert.id: each.alert for each in claimed}
        return tuple(
            annotated(part, [alerts[key] for key in part.alert_ids], channel=self._config, links=self._page_links, now=now)
            for part in map(self._mail_origin.applied, parts)
        )

    def _dispatch(self, claimed: Claimed, *, now: datetime) -> Dispatch:
        alert, links = claimed.alert, self._page_links
        return Dispatch(
            alert=routing.as_seen_by(self._config, alert),
            uncertain=claimed.uncertain,
            late_by=self._times.lateness(claimed, now=now),
            page=self._links.find(alert.source, alert.scope, now=now),
            status_page=links.about([alert]) if links else None,
            acknowledge=links.acknowledge(alert, channel=self.name, now=now) if links and self._config.actions else None,
        )

    async def _send(self, part: Part, claimed: Sequence[Claimed]) -> str:
        within = self._settings.send_timeout
        try:
            sent = await self._sender.send(part, within=within.total_seconds(), done=claimed[0].reached)
            return _note_of(claimed) + sent.detail
        except TimeoutError:
            problem = f"No response within {within.total_seconds():.0f} seconds; the message may have arrived."
            raise ChannelUnreachable(problem, uncertain=True) from None
        except DeliveryError:
            raise
        except Exception as error:  # what was claimed must not wait for its lease to run out
            log.exception("notifier.fault", channel=self.name)
            problem = f"The message could not be sent ({type(error).__name__})."
            raise ChannelUnreachable(problem, uncertain=not isinstance(error, NoThread)) from error

    # --- outcomes

    async def _record_sent(self, claimed: Sequence[Claimed], detail: str) -> None:
        now = self._clock.now()
        if self.health.problem is not None:
            log.info("channel.recovered", channel=self.name, since=self.health.since)
        self.health = ChannelHealth(name=self.name, last_sent_at=now)
        self._hold_until, self._down = None, False
        ids = [each.delivery_id for each in claimed]

        def write(conn: Connection) -> tuple[list[int], Recorded]:
            marked = outbox.mark_sent(conn, ids, self._owner, now, detail=detail)
            return marked, channel_health.record_success(conn, self.name, channels=self._channels, now=now)

        marked, recorded = await self._persist(write)
        self._metrics.delivery_done(self.name, "sent", count=len(marked))
        if not self._stopping:  # else the channel may have left the configuration, and no progress is expected of it
            self._progress.note(f"{DELIVERY}:{self.name}")
        self._on_recorded(recorded)
        self.delivered += len(marked)
        log.info("delivery.sent", channel=self.name, alerts=len(ids), lost_leases=len(ids) - len(marked))

    async def _record_send_failure(
        self, in_message: Sequence[Claimed], remaining: Sequence[Claimed], error: DeliveryError
    ) -> bool:
        """Record the failure of one message. Return True if the other messages are to be sent.

        They may succeed if only some recipients failed, or only this message may be too large, and none asked for a pause.
        """
        if not (error.reached or error.maybe_too_large):
            await self._record_failure(remaining, error, in_message=in_message)
            return False
        await self._record_failure(in_message, error, in_message=in_message, reached=error.reached)
        if error.retry_after is None:
            return True
        if rest := [each for each in remaining if each not in in_message]:
            await self._record_failure(rest, error)
        return False

    async def _record_failure(
        self,
        claimed: Sequence[Claimed],
        error: DeliveryError,
        *,
        in_message: Sequence[Claimed] = (),
        reached: frozenset[str] = frozenset(),
    ) -> None:
        """Record these deliveries as failed; only those of the message itself (`in_message`) may nevertheless have arrived."""
        now, rejected = self._clock.now(), not error.transient
        plan = plan_retries(claimed, error, channel=self.name, planned=self._times.planned, in_message=in_message, now=now)
        self._down = error.down
        if not reached or error.retry_after is not None:
            self._hold_until = hold_until(error, plan, now=now)
        self._update_health(str(error), now=now, rejected=rejected)
        detail = _note_of(in_message) + str(error)

        def write(conn: Connection) -> Recorded:
            for (at, uncertain), ids in plan.delivery_ids.items():
                outbox.mark_failed(
                    conn,
                    ids,
                    self._owner,
                    now,
                    next_attempt_at=at,
                    detail=detail,
                    reached=reached,
                    uncertain=uncertain,
                    maybe_too_large=error.maybe_too_large and bool(in_message),
                )
            recorded = channel_health.record_failure(
                conn, self.name, problem=str(error), rejected=rejected, channels=self._channels, now=now
            )
            if plan.dead:
                recorded.add(channel_health.record_dead(conn, self.name, plan.dead, channels=self._channels, now=now))
            return recorded

        self._on_recorded(await self._persist(write))
        self._metrics.delivery_done(self.name, "failed", count=len(claimed) - len(plan.dead))
        self._metrics.delivery_done(self.name, "dead", count=len(plan.dead))
        for each in plan.dead:
            log.error("delivery.dead", channel=self.name, alert=each.alert.id, problem=str(error))

    async def _release(self, claimed: Sequence[Claimed]) -> None:
        now, ids = self._clock.now(), [each.delivery_id for each in claimed]
        why = "Not sent: the monitor was stopping."
        await self._persist(lambda conn: outbox.mark_failed(conn, ids, self._owner, now, next_attempt_at=now, detail=why))

    async def _persist(self, work: Callable[[Connection], T]) -> T:
        """Write an outcome, retrying while the store is unavailable: a lost outcome would repeat a message.

        Raises StoreError after the last retry.
        """
        for pause in _WRITE_RETRIES:
            try:
                return await self._store.write(work)
            except StoreError as error:
                log.warning("notifier.outcome_not_recorded", problem=str(error))
                await asyncio.sleep(pause)
        return await self._store.write(work)

    def _update_health(self, problem: str, *, now: datetime, rejected: bool) -> None:
        is_new = self.health.problem is None or (rejected and not self.health.rejected)
        since = self.health.since if self.health.problem is not None else now
        self.health = ChannelHealth(
            name=self.name, problem=problem, since=since, rejected=rejected, last_sent_at=self.health.last_sent_at
        )
        if is_new and rejected:
            log.error("channel.rejected", channel=self.name, problem=problem)
        elif is_new:
            log.warning("channel.failing", channel=self.name, problem=problem)
        else:
            log.debug("channel.still_failing", channel=self.name, problem=problem)

    # --- waiting

    async def _wait_until_due(self) -> None:
        longest = self._settings.poll_every.total_seconds()
        if self._sender.busy:
            # Bounded: a call that never ends is abandoned in time, which only another check of `busy` does.
            await self._wait_for(self._sender.idle(), within=longest)
            return
        due, now = await self.next_attempt_at(), self._clock.now()
        # At least one tick: what is due but was not claimed is being sent by another process.
        await self._sleep(longest if due is None else min(max((due - now).total_seconds(), 0.02), longest))

    async def _sleep(self, seconds: float) -> None:
        await self._wait_for(asyncio.sleep(seconds))

    async def _wait_for(self, waiting: Awaitable[Any], *, within: float | None = None) -> None:
        """Wait until that is over, until woken, or for `within` seconds."""
        tasks = [asyncio.ensure_future(waiting), asyncio.ensure_future(self._woken.wait())]
        try:
            await asyncio.wait(tasks, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()


def _kind_of(claimed: Claimed) -> tuple[frozenset[str], int]:
    """Return what the deliveries of one message have in common: the recipients that have it already, and its form."""
    return claimed.reached, form_after(claimed.size_refusals)


def _note_of(in_message: Sequence[Claimed]) -> str:
    """Return the note about a shortened message, the beginning of a sentence for its attempts; empty for a whole one."""
    shortened = in_message and form_after(in_message[0].size_refusals)
    return "Shortened, because a longer message was refused: " if shortened else ""
