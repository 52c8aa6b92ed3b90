"""A source that nobody reads is told once, and its end too; on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from monitor.config import Secret, SourceConfig
from monitor.model import Event, Policy, ProviderKind, SourceStatus
from monitor.store import Store, sources
from monitor.unpolled import Unpolled
from tests.delivering import channel
from tests.fakes import ManualClock

MINUTE = timedelta(minutes=1)
AGENCY = SourceConfig(
    name="agency",
    provider=ProviderKind.POSTPOST,
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
        with store.write() as conn:
            sources.sync_sources(conn, [("agency", ProviderKind.POSTPOST, "127.0.0.1")], clock.now())
        self.unpolled = self.restarted()

    def restarted(self) -> Unpolled:
        channels = [channel("json://127.0.0.1:9/")]
        return Unpolled(
            store=self.store,
            clock=self.clock,
            configured={"agency": AGENCY},
            channels=channels,
            monotonic=lambda: self.passed,
        )

    def poll(self, *, ok: bool = True) -> None:
        with self.store.write() as conn:
            row = sources.find_source(conn, "agency")
            assert row is not None
            now = self.clock.now()
            read = now if ok else row.last_success_at
            status = SourceStatus.OK if ok else row.status
            sources.save_source(conn, replace(row, last_poll_at=now, last_success_at=read, status=status))

    async def after(self, minutes: float) -> list[tuple[Event, str]]:
        """What is said when so much time has passed, for the clock and for the process."""
        self.clock.advance(minutes * MINUTE)
        self.passed += minutes * 60
        recorded = await self.unpolled.run_due()
        assert all(alert.source == "agency" for alert in recorded.alerts)
        return [(alert.event, alert.reason) for alert in recorded.alerts]


async def test_a_source_that_is_not_polled_is_told_once_and_its_end_too(store: Store, clock: ManualClock) -> None:
    watch = Watch(store, clock)
    watch.poll()
    assert await watch.after(0) == []
    assert await watch.after(14) == []
    assert await watch.after(2) == [(Event.SOURCE_FAILING, "not_polled")]
    assert await watch.after(60) == []
    watch.poll()
    assert await watch.after(1) == [(Event.SOURCE_RECOVERED, "read_again")]
    assert await watch.after(1) == []


async def test_a_source_that_was_never_read_since_it_was_added_is_told(store: Store, clock: ManualClock) -> None:
    watch = Watch(store, clock)
    for _ in range(4):
        assert await watch.after(5) == []
        watch.poll(ok=False)
    assert await watch.after(2) == [(Event.SOURCE_FAILING, "never_read")]
    watch.poll()
    assert await watch.after(1) == [(Event.SOURCE_RECOVERED, "read_again")]


async def test_a_restart_waits_anew_and_still_ends_what_was_told(store: Store, clock: ManualClock) -> None:
    watch = Watch(store, clock)
    watch.poll()
    await watch.after(0)
    assert await watch.after(16) == [(Event.SOURCE_FAILING, "not_polled")]
    watch.unpolled = watch.restarted()
    watch.poll()
    assert await watch.after(0) == [(Event.SOURCE_RECOVERED, "read_again")]


async def test_a_clock_that_is_moved_makes_no_source_overdue(store: Store, clock: ManualClock) -> None:
    watch = Watch(store, clock)
    watch.poll()
    await watch.after(0)
    clock.advance(timedelta(days=40))
    assert await watch.after(2) == []
