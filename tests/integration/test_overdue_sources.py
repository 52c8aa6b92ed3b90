"""The alert for overdue sources: sent once, recovered once; on both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest

from monitor.config import Secret, SourceConfig
from monitor.daemon.overdue_sources import OverdueSources
from monitor.domain import AlertEvent, Policy, SourceStatus
from monitor.domain.records import replace
from monitor.store import Store, sources
from tests.support.delivery import channel
from tests.support.fakes import ManualClock
from tests.support.incidents import all_open

MINUTE = timedelta(minutes=1)
AGENCY = SourceConfig(
    name="agency",
    provider="postpost",
    api_key=Secret("key"),
    base_url="http://127.0.0.1",
    users="none",
    workspaces=None,
    probe=True,
    labels={},
    poll_every=5 * MINUTE,
    probe_every=None,
    jitter=0.1,
    requests_per_minute=60,
    proxy=None,
    ca_file=None,
    policy=Policy(),
)


class Watch:
    """One source in a store, and time that passes for the process."""

    def __init__(self, store: Store, clock: ManualClock) -> None:
        self.store, self.clock, self.passed = store, clock, 0.0
        with store.begin_write() as conn:
            sources.sync_sources(conn, [("agency", "postpost", "127.0.0.1")], clock.now())
        self.unpolled = self.restarted()

    def restarted(self) -> OverdueSources:
        channels = [channel("json://127.0.0.1:9/")]
        return OverdueSources(
            store=self.store,
            clock=self.clock,
            configured={"agency": AGENCY},
            channels=channels,
            monotonic=lambda: self.passed,
        )

    def poll(self, *, ok: bool = True, status: SourceStatus | None = None, wait: timedelta = 5 * MINUTE) -> None:
        with self.store.begin_write() as conn:
            row = sources.find_source(conn, "agency")
            assert row is not None
            now = self.clock.now()
            read = now if ok else row.last_success_at
            status = status or (SourceStatus.OK if ok else row.status)
            after = replace(row, last_poll_at=now, last_success_at=read, status=status, next_poll_at=now + wait)
            sources.save_source(conn, after)

    async def after(self, minutes: float) -> list[tuple[AlertEvent, str]]:
        """What is said when so much time has passed, for the clock and for the process."""
        self.clock.advance(minutes * MINUTE)
        self.passed += minutes * 60
        recorded = await self.unpolled.run_due()
        assert all(alert.source == "agency" for alert in recorded.alerts)
        return [(alert.event, alert.reason) for alert in recorded.alerts]


async def test_a_source_that_is_not_polled_is_notified_once_and_its_end_too(store: Store, clock: ManualClock) -> None:
    watch = Watch(store, clock)
    watch.poll()
    assert await watch.after(0) == []
    assert await watch.after(14) == []
    assert await watch.after(2) == [(AlertEvent.SOURCE_FAILING, "not_polled")]
    assert await watch.after(60) == []
    watch.poll()
    assert await watch.after(1) == [(AlertEvent.SOURCE_RECOVERED, "read_again")]
    assert await watch.after(1) == []


async def test_a_source_never_read_since_it_was_added_is_notified(store: Store, clock: ManualClock) -> None:
    watch = Watch(store, clock)
    for _ in range(4):
        assert await watch.after(5) == []
        watch.poll(ok=False)
    assert await watch.after(2) == [(AlertEvent.SOURCE_FAILING, "never_read")]
    watch.poll()
    assert await watch.after(1) == [(AlertEvent.SOURCE_RECOVERED, "read_again")]


async def test_a_restart_waits_anew_and_still_ends_the_notified_incident(store: Store, clock: ManualClock) -> None:
    watch = Watch(store, clock)
    watch.poll()
    await watch.after(0)
    assert await watch.after(16) == [(AlertEvent.SOURCE_FAILING, "not_polled")]
    watch.unpolled = watch.restarted()
    watch.poll()
    assert await watch.after(0) == [(AlertEvent.SOURCE_RECOVERED, "read_again")]


async def test_a_clock_that_is_moved_makes_no_source_overdue(store: Store, clock: ManualClock) -> None:
    watch = Watch(store, clock)
    watch.poll()
    await watch.after(0)
    clock.advance(timedelta(days=40))
    assert await watch.after(2) == []


async def test_a_restart_while_it_lasts_notifies_neither_its_end_nor_its_start(store: Store, clock: ManualClock) -> None:
    watch = Watch(store, clock)
    watch.poll()
    await watch.after(0)
    assert await watch.after(16) == [(AlertEvent.SOURCE_FAILING, "not_polled")]
    watch.unpolled = watch.restarted()
    for _ in range(6):
        assert await watch.after(5) == []
    watch.poll()
    assert await watch.after(1) == [(AlertEvent.SOURCE_RECOVERED, "read_again")]
    assert await watch.after(16) == [(AlertEvent.SOURCE_FAILING, "not_polled")], "what was read before does not end it"
    assert await watch.after(1) == []


async def test_a_poll_that_failed_is_no_reading_again(store: Store, clock: ManualClock) -> None:
    watch = Watch(store, clock)
    watch.poll()
    await watch.after(0)
    await watch.after(16)
    watch.poll(ok=False)
    assert await watch.after(1) == []
    watch.poll()
    assert await watch.after(1) == [(AlertEvent.SOURCE_RECOVERED, "read_again")]


@pytest.mark.parametrize("status", [SourceStatus.FAILING, SourceStatus.UNAUTHORIZED])
async def test_an_unreadable_source_ends_the_incident_without_an_alert(
    store: Store, clock: ManualClock, status: SourceStatus
) -> None:
    watch = Watch(store, clock)
    watch.poll()
    await watch.after(0)
    assert await watch.after(16) == [(AlertEvent.SOURCE_FAILING, "not_polled")]
    watch.poll(ok=False, status=status)
    assert await watch.after(1) == []
    with store.begin_read() as conn:
        assert all_open(conn) == []


async def test_a_source_that_asked_for_patience_is_not_overdue_while_it_waits(store: Store, clock: ManualClock) -> None:
    watch = Watch(store, clock)
    watch.poll(ok=False, wait=60 * MINUTE)
    for _ in range(61):
        assert await watch.after(1) == []
    assert await watch.after(8) == [], "one interval after it was due"
    assert await watch.after(2) == [(AlertEvent.SOURCE_FAILING, "not_polled")], "two intervals after it was due, as always"


async def test_a_date_far_ahead_excuses_for_an_hour_and_no_longer(store: Store, clock: ManualClock) -> None:
    watch = Watch(store, clock)
    watch.poll(wait=timedelta(days=400))
    await watch.after(0)
    assert await watch.after(69) == []
    assert await watch.after(2) == [(AlertEvent.SOURCE_FAILING, "not_polled")]
