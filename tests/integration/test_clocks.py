"""The wall clock is set wrong and right again: no alert is early, nothing waits for weeks, nothing is deleted as old."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import event, func, select, update

from benchmarks.soak import Plan, Soak
from monitor.demo.world import World
from monitor.domain import DeliveryState, QuietHours, Severity
from monitor.domain.rules.recurrence import quiet_until
from monitor.store import Store, maintenance, outbox
from monitor.store.schema import connections, deliveries, incidents, polls
from monitor.views.sources import source_views
from tests.support.delivery import channel, numbered, queue, states, until
from tests.support.delivery import running as delivering
from tests.support.fakes import ManualClock
from tests.support.poll_cycle import build_scheduler, running
from tests.support.receivers import Reply, WebhookReceiver

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FORTY = 40 * DAY


def one_world(clock: ManualClock, *, lifetime: timedelta) -> World:
    world = World(clock=clock)
    world.add_source("agency", "postpost")
    world.connect("agency", "linkedin", account="li", username="N", display_name="N", lifetime=lifetime)
    return world


@pytest.mark.parametrize("by", [HOUR, -HOUR, FORTY, -FORTY], ids=["+1h", "-1h", "+40d", "-40d"])
async def test_P22_P23_a_clock_that_is_wrong_for_a_while_raises_nothing_and_misses_nothing(
    store: Store, clock: ManualClock, tmp_path: Path, by: timedelta
) -> None:
    """The API's clock stays right; the token runs out in truth ten days later, and that is said once, then."""
    truth = ManualClock(clock.now())
    async with running(store, clock, one_world(truth, lifetime=10 * DAY), tmp_path) as cycle:
        await cycle.poll()
        clock.advance(by)
        for _ in range(3):
            truth.advance(HOUR)
            await cycle.poll(after=HOUR)
            await cycle.pass_time(timedelta(0))
        assert cycle.notified() == [("monitor_problem", "clock_skew", "")], "it lasts: three polls over two hours"
        clock.advance(-by)
        with store.begin_write() as conn:
            maintenance.after_jump(conn, clock.now(), by=-by)
        await cycle.poll()
        assert cycle.notified()[1:] == [("monitor_recovered", "clock_skew", "")]
        cycle.alerts.clear()
        for days in (3, 4, 2, 1):
            truth.advance(days * DAY)
            await cycle.pass_time(days * DAY)
            await cycle.poll()
        told = [(event, reason) for event, reason, _ in cycle.notified()]
    assert told == [("expiring_soon", "first"), ("expiring_soon", "stage"), ("expiring_soon", "stage"), ("expired", "worse")]


async def test_P24_the_clock_difference_is_shown_with_the_source(store: Store, clock: ManualClock, tmp_path: Path) -> None:
    truth = ManualClock(clock.now() - 7 * timedelta(minutes=1))
    async with running(store, clock, one_world(truth, lifetime=50 * DAY), tmp_path) as cycle:
        await cycle.poll()
        with store.begin_read() as conn:
            (view,) = source_views(conn, cycle.config, now=clock.now())
    assert view.json().clock_skew_seconds == pytest.approx(-420, abs=1)
    (problem,) = view.problems()
    assert problem.startswith(
        "Its clock is 7 minutes behind this machine's, so dates count when they have passed on both clocks: "
    )
    assert problem.endswith(": synchronize this machine's clock with NTP.")


async def test_P22_a_retry_that_was_planned_by_a_clock_forty_days_ahead_does_not_wait_for_forty_days(
    store: Store, clock: ManualClock
) -> None:
    with WebhookReceiver() as receiver:
        receiver.reply = Reply(status=503)
        async with delivering(store, clock, channel(receiver.apprise_url())) as notifier:
            clock.advance(FORTY)
            queue(store, numbered(1, at=clock.now()))
            notifier.wake()
            await until(lambda: states(store) == {"pending": 1} and len(receiver.received) == 1)
            receiver.reply = Reply()
            clock.advance(-FORTY)
            with store.begin_write() as conn:
                maintenance.after_jump(conn, clock.now(), by=-FORTY)
            notifier.forget_holds()
            await until(lambda: states(store) == {"sent": 1})


async def test_P23_a_delivery_is_not_given_up_as_old_because_the_clock_went_ahead(store: Store, clock: ManualClock) -> None:
    with WebhookReceiver() as receiver:
        receiver.reply = Reply(status=503)
        async with delivering(store, clock, channel(receiver.apprise_url())) as notifier:
            queue(store, numbered(1, at=clock.now()))
            notifier.wake()
            await until(lambda: len(receiver.received) == 1 and states(store) == {"pending": 1})
            clock.advance(FORTY)
            with store.begin_write() as conn:
                maintenance.after_jump(conn, clock.now(), by=FORTY)
            notifier.forget_holds()
            await until(lambda: len(receiver.received) == 2)
            await until(lambda: states(store) == {"pending": 1})
            receiver.reply = Reply()
            clock.advance(HOUR)
            notifier.forget_holds()
            await until(lambda: states(store) == {"sent": 1})


def test_what_an_earlier_life_dated_ahead_is_taken_to_be_of_now(store: Store, clock: ManualClock) -> None:
    """The daemon was killed while its clock was wrong, and starts with the right one."""
    queue(store, numbered(2, at=clock.now() + FORTY))
    with store.begin_write() as conn:
        maintenance.not_ahead(conn, clock.now())
        rows = conn.execute(select(deliveries.c.created_at, deliveries.c.next_attempt_at)).all()
        assert set(rows) == {(clock.now(), clock.now())}
        assert len(outbox.claim(conn, channel="ops", owner="x", now=clock.now(), lease=HOUR, limit=9)) == 2


async def test_an_observation_by_a_clock_that_was_ahead_counts_from_now(store: Store, clock: ManualClock, tmp_path: Path) -> None:
    async with running(store, clock, one_world(clock, lifetime=timedelta(days=20)), tmp_path) as cycle:
        await cycle.poll()
        await cycle.probe()
        ahead = clock.now() + timedelta(days=40)
        observed = dict.fromkeys(("token_dated_since", "token_reconnected_at", "probe_at", "probe_silent_since"), ahead)
        with store.begin_write() as conn:
            conn.execute(update(connections).values(**observed, probe_refused_since=clock.now() - timedelta(days=1)))
            maintenance.after_jump(conn, clock.now(), by=timedelta(days=-40))
        state = next(iter(cycle.states().values()))
        assert state.token.dated_since == state.token.reconnected_at == state.probe.silent_since == clock.now()
        assert state.probe.at == clock.now()
        assert state.probe.refused_since == clock.now() - timedelta(days=1), "what is past stays"


def test_observations_in_the_future_are_looked_for_in_the_table_and_not_row_by_row_from_an_index(store: Store) -> None:
    """That takes three times as long, at each start: 80 ms with 100,000 connections."""
    asked: list[str] = []
    with store.begin_write() as conn:
        event.listen(conn, "before_cursor_execute", lambda _conn, _cursor, statement, *_: asked.append(statement))
        maintenance.not_ahead(conn, datetime(2026, 1, 1, tzinfo=UTC))
        [query] = [each for each in asked if "max(connections.token_dated_since)" in each]
        if conn.dialect.name == "sqlite":
            assert "USING INDEX" not in str(conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}").all())


async def test_reminders_go_on_after_a_clock_that_was_ahead(store: Store, clock: ManualClock, tmp_path: Path) -> None:
    world = World(clock=clock)
    world.add_source("agency", "postpost")
    made = world.connect("agency", "linkedin", account="li", username="N", display_name="N", lifetime=50 * DAY)
    async with running(store, clock, world, tmp_path) as cycle:
        await cycle.poll()
        clock.advance(FORTY)
        world.expire("agency", made.external_id)
        await cycle.poll()
        assert cycle.notified()[-1][0] == "expired"
        clock.advance(-FORTY)
        with store.begin_write() as conn:
            maintenance.after_jump(conn, clock.now(), by=-FORTY)
            assert conn.scalar(select(func.count()).where(incidents.c.said_at > clock.now())) == 0
            assert conn.scalar(select(func.count()).where(connections.c.since > clock.now())) == 0
            conn.execute(deliveries.update().values(state=DeliveryState.SENT, sent_at=clock.now(), next_attempt_at=None))
        said = len(cycle.alerts)
        await cycle.pass_time(25 * HOUR)
        assert [alert.reason for alert in cycle.alerts[said:]] == ["reminder"]


async def test_P23_nothing_is_thrown_away_as_old_by_a_clock_that_may_be_wrong(
    store: Store, clock: ManualClock, tmp_path: Path
) -> None:
    def kept() -> int:
        with store.begin_read() as conn:
            return conn.scalar(select(func.count()).select_from(polls)) or 0

    truth = ManualClock(clock.now())
    async with running(store, clock, one_world(truth, lifetime=200 * DAY), tmp_path) as cycle:
        scheduler, keeper = build_scheduler(cycle, keep=2 * DAY, tick=timedelta(seconds=1))
        await cycle.poll()
        clock.advance(FORTY)
        keeper.distrust()  # as after a start or a jump
        await scheduler.prune()
        assert kept() == 1, "nobody has told yet what time it is"
        await cycle.poll()
        keeper.trust("agency", since=keeper.doubts)
        await scheduler.prune()
        assert kept() == 2, "the API has told that the clock is wrong"
        truth.advance(FORTY)
        await cycle.poll()
        await scheduler.prune()
        assert kept() == 2, "of this clock the first poll was forty days ago"


async def test_P35_in_weeks_of_operation_the_database_keeps_what_its_retention_covers(
    store: Store, clock: ManualClock, tmp_path: Path
) -> None:
    async with running(store, clock, one_world(clock, lifetime=200 * DAY), tmp_path) as cycle:
        scheduler, keeper = build_scheduler(cycle, keep=2 * DAY, tick=timedelta(seconds=1))
        for _ in range(21):
            await cycle.poll(after=DAY)
            keeper.trust("agency", since=keeper.doubts)
            await scheduler.prune()
        with store.begin_read() as conn:
            assert conn.scalar(select(func.count()).select_from(polls)) == 3


async def test_P23_a_poll_that_began_before_the_clock_was_moved_confirms_nothing(
    store: Store, clock: ManualClock, tmp_path: Path
) -> None:
    """Its answer compared the clocks before the jump; what it recorded says that they agree."""
    truth = ManualClock(clock.now())
    async with running(store, clock, one_world(truth, lifetime=20 * DAY), tmp_path) as cycle:
        _, keeper = build_scheduler(cycle, keep=2 * DAY, tick=timedelta(seconds=1))
        before = keeper.doubts
        await cycle.poll()
        clock.advance(FORTY)
        keeper.distrust()
        keeper.trust("agency", since=before)
        assert not (await keeper.advance()).alerts
        believed, now = keeper.trusts_clock, keeper.doubts
        assert not believed
        await cycle.poll()
        keeper.trust("agency", since=now)
        assert not (await keeper.advance()).alerts, "the API has told that the clock is wrong"
        assert keeper.trusts_clock
    assert set(cycle.statuses().values()) == {"valid"}


@pytest.mark.parametrize(
    ("zone", "evening", "lasts"),
    [
        ("Europe/Berlin", date(2026, 3, 28), 8.5 - 1),
        ("Europe/Berlin", date(2026, 10, 24), 8.5 + 1),
        ("Australia/Lord_Howe", date(2026, 4, 4), 8.5 + 0.5),
    ],
)
def test_P25_quiet_hours_end_by_the_wall_in_both_nights_in_which_clocks_change(
    zone: str, evening: datetime, lasts: float
) -> None:
    """Half past ten to seven: an hour less in the short night, an hour (or half of one) more in the long one."""
    hours = QuietHours(from_time=time(22, 0), to_time=time(7, 0), days=None, except_severity=None, timezone=zone)
    now = datetime.combine(evening, time(22, 30), ZoneInfo(zone)).astimezone(UTC)
    assert quiet_until((hours,), now, severity=Severity.WARNING, timezone="UTC") == now + timedelta(hours=lasts)


@pytest.mark.slow
def test_P10_P22_P23_P25_P35_days_with_jumps_sleep_and_outages_miss_no_line_and_stay_level(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The quick version of `python -m benchmarks.soak`: three days, with a look every half hour."""
    plan = Plan(days=3, tick=timedelta(minutes=30), poll_every="1h")
    soaked = Soak(plan, tmp_path).run()
    with capsys.disabled():
        print(f"\n{plan.days} simulated days in {soaked.seconds:.0f} s: {soaked.figures()}")  # noqa: T201
    assert soaked.score.violations == []
    assert soaked.score.lines > 40
    assert soaked.unplanned_errors == []
    first, last = soaked.settled[0], soaked.settled[-1]
    assert last.descriptors <= first.descriptors + 8, "but for idle connections"
    # Over so few days caches still fill; the program measures the slope of thirty.
    assert last.resident - first.resident < 16 * 2**20
