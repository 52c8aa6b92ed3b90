"""The command `report`, and `test-alert --event report`, as processes on an existing database."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from monitor.store import Store, open_store
from tests.support.command_line import CONFIG, make_world, real_now, token_monitor, write_config
from tests.support.receivers import WebhookReceiver


@pytest.fixture
def webhook() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture
def at() -> datetime:
    return real_now()


@pytest.fixture
def folder(tmp_path: Path, webhook: WebhookReceiver, at: datetime) -> Path:
    """A world of two sources, and channels for everything and for one of its sources."""
    text = CONFIG + (
        f'[[channels]]\nname = "team"\nurl = "{webhook.apprise_url()}"\n'
        'report = {{ at = "mon 08:00", days = 30, labels = {{ client = "globex" }} }}\n'
    )
    write_config(tmp_path, text=text)
    with open_store(f"sqlite:///{tmp_path / 'monitor.db'}") as store:
        make_world(store, at)
    return tmp_path


def test_the_report_is_printed_as_text_a_page_or_a_table(folder: Path) -> None:
    done = token_monitor("report", folder=folder)
    assert (done.status, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0].startswith("3 connections need action in the next 30 days, in 2 reconnect batches. 2 of them no longer work.")
    assert any(line.startswith("Uptime in the last 7 days: ") for line in lines)
    assert lines[-1].startswith("Channels: ops has accepted no message yet")
    page = token_monitor("report", "--format", "html", folder=folder)
    assert page.out.startswith("<!DOCTYPE html>")
    assert page.out.rstrip().endswith("</html>")
    table = token_monitor("report", "--format", "csv", "--days", "30", folder=folder)
    rows = list(csv.DictReader(io.StringIO(table.out)))
    assert [row["connection"] for row in rows] == [
        "agency/linkedin-expired",
        "agency/linkedin-expiring_soon",
        "agency/linkedin-revoked",
        "agency/linkedin-valid",
        "studio/65f0",
    ]


def test_the_report_is_that_of_a_channel_or_of_a_filter(folder: Path) -> None:
    team = token_monitor("report", "--channel", "team", folder=folder).out
    assert "Uptime in the last 30 days" in team
    assert "All connections: 1 valid." in team
    assert "agency" not in team
    acme = token_monitor("report", "--label", "client=acme", "--days", "3", folder=folder).out
    assert "in the last 3 days" in acme
    assert "All connections: 1 revoked, 1 expired, 1 expiring_soon, 1 valid." in acme
    both = token_monitor("report", "--channel", "team", "--label", "client=acme", folder=folder).out
    assert "All connections: none." in both


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--send",), "--send needs --channel"),
        (("--send", "--channel", "team", "--format", "csv"), "omit --format"),
        (("--channel", "tema"), "did you mean team?"),
        (("--format", "pdf"), "pdf"),
        (("--days", "0"), "1"),
        (("--label", "client=acmee"), "did you mean client=acme?"),
    ],
)
def test_a_mistake_is_a_usage_error(folder: Path, arguments: tuple[str, ...], sentence: str) -> None:
    done = token_monitor("report", *arguments, folder=folder)
    assert (done.status, done.out) == (2, "")
    assert sentence in " ".join(done.err.split())


def test_the_report_is_sent_through_the_channel(folder: Path, webhook: WebhookReceiver) -> None:
    done = token_monitor("report", "--channel", "team", "--send", folder=folder)
    assert done.status == 0, done.err
    (message,) = webhook.received
    assert message.title == "[REPORT] No connection needs action in the next 30 days"
    assert "All connections: 1 valid." in message.text
    assert "agency" not in message.text


def test_a_test_of_the_report_is_the_real_one(folder: Path, webhook: WebhookReceiver) -> None:
    done = token_monitor("test-alert", "team", "--event", "report", folder=folder)
    assert done.status == 0, done.err
    (message,) = webhook.received
    assert "All connections: 1 valid." in message.text
    assert "sample" not in message.text.lower()


def test_without_a_database_a_test_of_the_report_is_a_sample(tmp_path: Path, webhook: WebhookReceiver) -> None:
    write_config(tmp_path, text=CONFIG.replace("json://127.0.0.1:9/night", webhook.apprise_url()))
    done = token_monitor("test-alert", "night", "--event", "report", folder=tmp_path)
    assert done.status == 0, done.err
    assert "sample" in webhook.received[0].text.lower()


def test_a_report_is_the_same_on_both_databases(store: Store, database_url: str, tmp_path: Path, at: datetime) -> None:
    make_world(store, at)
    done = token_monitor("report", "--format", "csv", config=write_config(tmp_path, url=database_url))
    assert done.status == 0, done.err
    assert done.out.count("\n") == 6
