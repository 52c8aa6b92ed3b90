"""The crash report: on the configured channels, with the store, while a daemon runs, and without a store."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.cli.systemd import failure_message
from monitor.config import ChannelConfig
from monitor.daemon import crash_report
from monitor.domain import AlertEvent
from monitor.notify import DeliverySettings
from monitor.store import Store, alerts, outbox
from monitor.store.lock import DaemonLock
from tests.support.command_line import CONFIG, OPS_URL, token_monitor, write_config
from tests.support.delivery import channel
from tests.support.fakes import ManualClock
from tests.support.receivers import WebhookReceiver

DIED = "token-monitor on host is down and nothing is monitored."


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as made:
        yield made


async def report(
    database: str, channels: list[ChannelConfig], clock: ManualClock, *, within: timedelta = crash_report.SEND_WITHIN
) -> crash_report.CrashReportResult:
    return await crash_report.report(
        DIED, database=database, channels=channels, settings=DeliverySettings(), clock=clock, within=within
    )


async def test_a_failure_is_delivered_immediately_and_only_once_until_the_service_is_back(
    store: Store, database_url: str, receiver: WebhookReceiver, clock: ManualClock
) -> None:
    channels = [channel(receiver.apprise_url())]
    assert await report(database_url, channels, clock) == crash_report.CrashReportResult(new=True, undelivered=0)
    assert DIED in receiver.wait_for(1)[0].text
    assert await report(database_url, channels, clock) == crash_report.CrashReportResult(new=False, undelivered=0)
    assert len(receiver.received) == 1
    assert await crash_report.recover(store, message="The monitor runs again.", channels=channels, clock=clock) == {"ops"}
    assert await crash_report.recover(store, message="The monitor runs again.", channels=channels, clock=clock) == frozenset()
    with store.begin_read() as conn:
        events = [row.alert.event for row in alerts.list_alerts(conn)]
    assert sorted(events) == [AlertEvent.MONITOR_PROBLEM, AlertEvent.MONITOR_RECOVERED]


async def test_where_a_daemon_runs_again_already_it_delivers(
    store: Store, database_url: str, receiver: WebhookReceiver, clock: ManualClock
) -> None:
    with DaemonLock(database_url):
        reported = await report(database_url, [channel(receiver.apprise_url())], clock)
    assert reported.new
    assert "only one daemon can use it at a time" in (reported.daemon or "")
    assert receiver.received == []
    with store.begin_read() as conn:
        assert outbox.pending_counts(conn) == {"ops": 1}


async def test_P15_a_broken_store_does_not_keep_it_silent(tmp_path: Path, receiver: WebhookReceiver, clock: ManualClock) -> None:
    path = tmp_path / "monitor.db"
    path.write_bytes(b"this is no database" * 100)
    reported = await report(f"sqlite:///{path}", [channel(receiver.apprise_url())], clock)
    assert reported == crash_report.CrashReportResult(new=True, undelivered=0)
    assert DIED in receiver.wait_for(1)[0].text


async def test_what_no_channel_takes_waits_for_the_daemon(store: Store, database_url: str, clock: ManualClock) -> None:
    """The clock stands still, so nothing is tried a second time here."""
    reported = await report(database_url, [channel("json://127.0.0.1:9/")], clock, within=timedelta(seconds=3))
    assert (reported.new, reported.undelivered) == (True, 1)
    with store.begin_read() as conn:
        assert outbox.pending_counts(conn) == {"ops": 1}


@pytest.mark.slow
def test_the_command_reports_an_unusable_configuration(tmp_path: Path, receiver: WebhookReceiver) -> None:
    """Sources with mistakes, one channel with another: what is whole is used, and the mistake is said."""
    text = CONFIG.replace(OPS_URL, receiver.apprise_url())
    text = text.replace('provider = "postpeer"', 'provider = "postpear"').replace(
        'url = "json://127.0.0.1:9/night"', 'url = "nonsense"'
    )
    config = write_config(tmp_path, text=text)
    env = {"MONITOR_SERVICE_RESULT": "exit-code", "MONITOR_EXIT_STATUS": "2"}
    done = token_monitor("report-failure", "token-monitor.service", config=config, env=env)
    assert (done.status, done.out) == (0, "Delivered.\n"), done.err
    said = receiver.wait_for(1)[0].text
    assert "is down and nothing is monitored: the configuration cannot be used" in said
    assert "postpear" in said


@pytest.mark.slow
def test_without_any_channel_the_command_fails_with_an_error(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[[sources]\n", "utf-8")
    done = token_monitor("report-failure", "token-monitor.service", config=config)
    assert done.status == 2
    assert "not valid TOML" in done.err


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ("exit-code", "is down and nothing is monitored (it exited; exit status 3)"),
        ("watchdog", "it did not respond, so systemd ended it"),
        ("oom-kill", "the machine ran out of memory"),
        ("start-limit-hit", "it failed too often, so systemd stopped restarting it"),
        ("something-new", "result something-new"),
    ],
)
def test_the_systemd_result_is_translated_to_plain_english(result: str, said: str) -> None:
    assert said in failure_message(
        "token-monitor.service", {"MONITOR_SERVICE_RESULT": result, "MONITOR_EXIT_STATUS": "3"}, problem=None
    )
