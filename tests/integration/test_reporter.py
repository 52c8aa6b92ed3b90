"""Drills and reports through the real outbox: planned in the store, so that restarts neither skip nor repeat one."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from monitor.config import ChannelConfig, Secret, SourceConfig
from monitor.config.time_windows import ReportPlan, WeeklyTime
from monitor.domain import AlertEvent, Policy, Status, Verdict
from monitor.notify.reports import Reporter
from monitor.store import Store, alerts, channel_states, connections, sources
from monitor.store.connections import NewConnection
from tests.support.delivery import HOUR, SECOND, channel, running, states, until
from tests.support.factories import NOW, make_state
from tests.support.fakes import ManualClock
from tests.support.receivers import Reply, WebhookReceiver

DAY, WEEK = timedelta(days=1), timedelta(days=7)
MONDAY_EIGHT = ReportPlan(at=WeeklyTime(weekday=0, time=time(8)))  # NOW is a Tuesday


@pytest.fixture
def webhook() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


def source(name: str = "agency", **labels: str) -> SourceConfig:
    return SourceConfig(
        name=name,
        provider="postpost",
        api_key=Secret("key"),
        base_url="http://127.0.0.1",
        users="none",
        workspaces=None,
        probe=True,
        labels=labels,
        poll_every=HOUR,
        probe_every=HOUR,
        jitter=0.1,
        requests_per_minute=60,
        proxy=None,
        ca_file=None,
        policy=Policy(),
    )


def reporter(store: Store, clock: ManualClock, *channels: ChannelConfig, timezone: str = "UTC") -> Reporter:
    return Reporter(store=store, clock=clock, channels=channels, sources=[source(client="acme")], timezone=timezone)


def messages_of(store: Store, event: AlertEvent) -> list[str]:
    with store.begin_read() as conn:
        return [row.alert.message for row in reversed(alerts.list_alerts(conn, event=event))]


def fill(store: Store) -> None:
    """Five expire in nine days, two are expired, one is fine for long."""
    made: list[Any] = [make_state(external_id=f"linkedin-{number}", expires_at=NOW + 9 * DAY) for number in range(5)]
    for number in range(2):
        verdict = Verdict(status=Status.EXPIRED, reason="stated", message="Expired.", since=NOW - DAY)
        made.append(make_state(external_id=f"tiktok-{number}", platform="tiktok", display_name="Evil @everyone", verdict=verdict))
    made.append(make_state(external_id="linkedin-99"))
    with store.begin_write() as conn:
        sources.sync_sources(conn, [("agency", "postpost", "api")], NOW)
        rows = [NewConnection(state=state, fingerprint="", next_probe_at=None) for state in made]
        connections.insert(conn, source="agency", provider="postpost", rows=rows, now=NOW)


async def test_a_drill_is_queued_every_interval_and_states_the_last_success(
    store: Store, clock: ManualClock, webhook: WebhookReceiver
) -> None:
    ops = channel(webhook.apprise_url(), drill_every=WEEK, events=frozenset({AlertEvent.EXPIRED}), sources=frozenset({"other"}))
    drills = reporter(store, clock, ops)
    assert await drills.run_due() == set(), "the first comes after a whole interval, not at every first start"
    clock.advance(WEEK - SECOND)
    assert await drills.run_due() == set()
    clock.advance(SECOND)
    async with running(store, clock, ops) as notifier:
        for name in await drills.run_due():
            notifier.wake(name)
        await until(lambda: states(store) == {"sent": 1})
        assert await drills.run_due() == set()
        clock.advance(WEEK)
        assert await drills.run_due() == {"ops"}
        notifier.wake("ops")
        await until(lambda: states(store) == {"sent": 2})
    assert "drill" in webhook.received[0].text.lower()
    first, second = messages_of(store, AlertEvent.DRILL)
    assert "has not accepted a message yet" in first
    assert "last accepted a message 7 days ago" in second


async def test_restarts_and_long_pauses_neither_skip_nor_repeat_a_drill(
    store: Store, clock: ManualClock, webhook: WebhookReceiver
) -> None:
    ops = channel(webhook.apprise_url(), drill_every=WEEK)
    for _ in range(20):
        clock.advance(12 * HOUR)
        await reporter(store, clock, ops).run_due()
    assert len(messages_of(store, AlertEvent.DRILL)) == 1
    clock.advance(30 * DAY)  # four more are missed: one is enough
    assert await reporter(store, clock, ops).run_due() == {"ops"}
    assert await reporter(store, clock, ops).run_due() == set()
    with store.begin_read() as conn:
        planned = channel_states.find_state(conn, "ops").next_drill_at
    assert planned == NOW + 12 * HOUR + 6 * WEEK, "the grid stays where it was"


async def test_a_shorter_interval_counts_at_once_and_off_forgets_the_plan(store: Store, clock: ManualClock) -> None:
    await reporter(store, clock, channel("json://127.0.0.1", drill_every=WEEK)).run_due()
    await reporter(store, clock, channel("json://127.0.0.1", drill_every=DAY)).run_due()
    with store.begin_read() as conn:
        assert channel_states.find_state(conn, "ops").next_drill_at == NOW + DAY
    await reporter(store, clock, channel("json://127.0.0.1", drill_every=None)).run_due()
    with store.begin_read() as conn:
        assert channel_states.find_state(conn, "ops").next_drill_at is None


async def test_a_report_comes_once_a_week_by_the_local_clock_across_its_change(store: Store, clock: ManualClock) -> None:
    ops = channel("json://127.0.0.1", report=MONDAY_EIGHT)
    clock.set(datetime(2026, 3, 20, 12, tzinfo=UTC))
    came: list[datetime] = []
    for _ in range(30 * 24):
        if await reporter(store, clock, ops, timezone="Europe/Berlin").run_due():
            came.append(clock.now())
        clock.advance(HOUR)
    assert came == [
        datetime(2026, 3, 23, 7, tzinfo=UTC),  # 08:00 CET
        datetime(2026, 3, 30, 6, tzinfo=UTC),  # 08:00 CEST
        datetime(2026, 4, 6, 6, tzinfo=UTC),
        datetime(2026, 4, 13, 6, tzinfo=UTC),
    ]


async def test_a_report_lists_what_needs_action_worst_first_with_a_chart(
    store: Store, clock: ManualClock, webhook: WebhookReceiver
) -> None:
    fill(store)
    ops = channel(webhook.apprise_url(), report=MONDAY_EIGHT)
    await reporter(store, clock, ops).run_due()
    clock.set(datetime(2026, 3, 16, 8, tzinfo=UTC))
    async with running(store, clock, ops) as notifier:
        assert await reporter(store, clock, ops).run_due() == {"ops"}
        notifier.wake()
        await until(lambda: states(store) == {"sent": 1})
    (message,) = webhook.received
    lines = messages_of(store, AlertEvent.REPORT)[0].splitlines()
    assert lines[0] == "7 connections need action in the next 30 days, in 2 reconnect batches. 2 of them no longer work."
    assert lines[1] == "All connections: 2 expired, 6 valid."
    assert lines[2].startswith("Now (2 expired): acme, 2 on TikTok at agency: Evil @everyone (since 9 Mar)")
    assert lines[3].startswith("Before Thu 19 Mar 2026 12:00 UTC: acme, 5 on LinkedIn at agency")
    assert message.title == "[REPORT] 7 connections need action in the next 30 days, in 2 reconnect batches"
    assert lines[0] in message.text
    assert message.text.index("TikTok") < message.text.index("LinkedIn")
    assert "@everyone" not in message.text, "names from strangers are defused"
    (picture,) = message.json["attachments"]
    assert picture["filename"] == "report.png"
    assert base64.b64decode(picture["base64"]).startswith(b"\x89PNG")


async def test_without_the_extra_or_with_attachments_off_a_report_has_no_chart(
    store: Store, clock: ManualClock, webhook: WebhookReceiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fill(store)
    (tmp_path / "resvg_py.py").write_text("raise ImportError('not installed')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "resvg_py", raising=False)
    ops = channel(webhook.apprise_url(), report=MONDAY_EIGHT)
    await reporter(store, clock, ops).run_due()
    clock.set(datetime(2026, 3, 16, 8, tzinfo=UTC))
    await reporter(store, clock, ops).run_due()
    async with running(store, clock, ops):
        await until(lambda: states(store) == {"sent": 1})
    assert webhook.received[0].json["attachments"] == []
    assert "7 connections need action" in webhook.received[0].text


async def test_a_report_keeps_to_the_channels_filters(store: Store, clock: ManualClock) -> None:
    fill(store)
    tiktok = channel("json://127.0.0.1", "tiktok", report=MONDAY_EIGHT, platforms=frozenset({"tiktok"}))
    nobody = channel("json://127.0.0.1", "nobody", report=MONDAY_EIGHT, labels={"client": "other"})
    mine = channel("json://127.0.0.1", "mine", report=MONDAY_EIGHT, labels={"client": "acme"})
    await reporter(store, clock, tiktok, nobody, mine).run_due()
    clock.set(datetime(2026, 3, 16, 8, tzinfo=UTC))
    assert await reporter(store, clock, tiktok, nobody, mine).run_due() == {"tiktok", "nobody", "mine"}
    firsts = sorted(message.splitlines()[0] for message in messages_of(store, AlertEvent.REPORT))
    assert [line.split(" connection")[0] for line in firsts] == ["2", "7", "No"]


async def test_a_report_is_read_outside_the_write_transaction(store: Store, clock: ManualClock) -> None:
    """It may read every row: the writer, for which polls and deliveries wait, only queues it."""
    fill(store)
    ops = channel("json://127.0.0.1", report=MONDAY_EIGHT)
    await reporter(store, clock, ops).run_due()
    clock.set(datetime(2026, 3, 16, 8, tzinfo=UTC))
    by_connection: dict[Connection, list[str]] = {}

    def note(conn: Connection, _cursor: object, statement: str, *_: object) -> None:
        by_connection.setdefault(conn, []).append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        assert await reporter(store, clock, ops).run_due() == {"ops"}
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    [written] = [
        statements for statements in by_connection.values() if any(each.startswith("INSERT INTO alerts") for each in statements)
    ]
    assert not [each for each in written if re.search(r"FROM (connections|events|sources|label_sets)\b", each)]
    assert any("FROM connections" in each for statements in by_connection.values() for each in statements)


async def test_two_reporters_at_the_same_time_queue_one_report(store: Store, clock: ManualClock) -> None:
    fill(store)
    ops = channel("json://127.0.0.1", report=MONDAY_EIGHT)
    await reporter(store, clock, ops).run_due()
    clock.set(datetime(2026, 3, 16, 8, tzinfo=UTC))
    both = await asyncio.gather(*(reporter(store, clock, ops).run_due() for _ in range(2)))
    assert sorted(map(len, both)) == [0, 1]
    assert len(messages_of(store, AlertEvent.REPORT)) == 1


async def test_a_report_that_cannot_be_delivered_waits_like_any_alert(
    store: Store, clock: ManualClock, webhook: WebhookReceiver
) -> None:
    webhook.script(Reply(status=503))
    ops = channel(webhook.apprise_url(), report=MONDAY_EIGHT)
    await reporter(store, clock, ops).run_due()
    clock.set(datetime(2026, 3, 16, 8, tzinfo=UTC))
    await reporter(store, clock, ops).run_due()
    async with running(store, clock, ops) as notifier:
        await until(lambda: states(store) == {"pending": 1} and len(webhook.received) == 1)
        clock.advance(HOUR)
        notifier.wake()
        await until(lambda: states(store) == {"sent": 1})
    assert "No connection needs action" in webhook.received[1].text
    assert "Late by 1 hour" in webhook.received[1].text
