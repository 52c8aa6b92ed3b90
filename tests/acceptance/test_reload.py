"""A reload from the user's side: what it would change, what it changed, and that it was rejected."""

from __future__ import annotations

import json
import signal
import socket
import time
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.demo.receivers import WebhookReply
from monitor.demo.world import World
from tests.acceptance.daemon import Setting, eventually, setting
from tests.support.ports import free_port

pytestmark = pytest.mark.slow

DAY = timedelta(days=1)
TOP = '[schedule]\npoll_every = "1s"\nprobe_every = "off"\nrequests_per_minute = 6000\n'


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def one(tmp_path: Path, port: int) -> Iterator[Setting]:
    world = World()
    world.add_source("agency", "postpost")
    world.connect("agency", "linkedin", account="li", username="Northwind", display_name="Northwind", lifetime=50 * DAY)
    with setting(tmp_path, world, database=f"sqlite:///{tmp_path / 'monitor.db'}", top=TOP) as made:
        edit(made, 'listen = "off"', f'listen = "127.0.0.1:{port}"')
        yield made


def edit(made: Setting, old: str, new: str) -> None:
    text = made.config.read_text("utf-8")
    assert old in text
    made.config.write_text(text.replace(old, new), "utf-8")


def gauge(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        lines = str(answer.read(), "utf-8").splitlines()
    return next(line.split()[1] for line in lines if line.startswith("token_monitor_config_last_reload_successful "))


def difference(made: Setting) -> list[tuple[str, str]]:
    done = made.call("config", "diff", "--json")
    assert done.returncode == 0, done.stderr
    return [(each["path"], each["kind"]) for each in json.loads(done.stdout)["differences"]]


def test_config_diff_prints_what_a_reload_would_change_and_the_reload_changes_it(one: Setting) -> None:
    assert "nothing to compare with" in one.call("config", "diff").stdout or one.call("config", "diff").returncode == 1
    process = one.start()
    one.await_polls(1)
    assert "uses this configuration" in one.call("config", "diff").stdout
    edit(one, 'poll_every = "1s"', 'poll_every = "2s"')
    edit(one, 'name = "agency"', 'name = "bureau"')
    assert difference(one) == [
        ("sources.bureau", "renamed"),
        ("schedule.poll_every", "changed"),
        ("sources.bureau.poll_every", "changed"),
    ]
    told = one.call("config", "diff").stdout
    assert f"The daemon (process {process.pid} on " in told
    assert '~ schedule.poll_every: "1s" -> "2s"' in told
    assert "~ sources.bureau was agency: its history, incidents and pending deliveries are kept" in told
    assert set(one.status()) == {"agency/linkedin-li"}
    process.send_signal(signal.SIGHUP)
    eventually(lambda: one.log().count("config.reloaded") == 1)
    assert difference(one) == []
    assert set(one.status()) == {"bureau/linkedin-li"}
    kinds = [event["kind"] for event in json.loads(one.call("history", "linkedin-li", "--json").stdout)["events"]]
    assert kinds[0] == "appeared", "its history went along"
    assert one.stop(process) == 0
    assert one.messages() == []


def test_P07_another_database_takes_a_restart_and_a_reload_that_names_one_changes_nothing(one: Setting) -> None:
    process = one.start()
    one.await_polls(1)
    edit(one, "monitor.db", "other.db")
    process.send_signal(signal.SIGHUP)
    eventually(lambda: "config.reload" in one.log())
    eventually(lambda: "config.reload_refused" in one.log())
    eventually(lambda: "database.url changed, which requires a restart" in one.log())
    edit(one, "other.db", "monitor.db")
    one.world.expire("agency", "linkedin-li")
    eventually(lambda: one.find_post("linkedin-li", "expired"))
    assert not (one.folder / "other.db").exists()
    assert one.stop(process) == 0


def test_a_refused_reload_is_seen_in_log_status_and_metrics_until_one_is_taken(one: Setting, port: int) -> None:
    process = one.start()
    one.await_polls(1)
    eventually(lambda: "web.listening" in one.log())
    assert gauge(port) == "1.0"
    edit(one, 'poll_every = "1s"', 'poll_every = "soon"')
    process.send_signal(signal.SIGHUP)
    eventually(lambda: "config.reload_refused" in one.log())
    eventually(lambda: gauge(port) == "0.0")
    edit(one, 'poll_every = "soon"', 'poll_every = "1s"')
    told = one.call("status").stdout
    assert "was rejected; the previous configuration stays in force:" in told
    assert 'poll_every is "soon"' in told
    process.send_signal(signal.SIGHUP)
    eventually(lambda: "config.reloaded" in one.log())
    eventually(lambda: gauge(port) == "1.0")
    assert "was refused" not in one.call("status").stdout
    assert one.stop(process) == 0


def test_what_waits_for_a_channel_goes_out_on_it_after_it_was_renamed(one: Setting) -> None:
    one.receiver.reply = WebhookReply(status=503)
    process = one.start()
    one.await_polls(1)
    one.world.expire("agency", "linkedin-li")
    eventually(lambda: one.find_post("linkedin-li"))
    refused = len(one.messages())
    one.receiver.reply = WebhookReply()
    edit(one, 'name = "hook"', 'name = "people"')
    process.send_signal(signal.SIGHUP)
    eventually(lambda: len(one.messages()) > refused)
    eventually(lambda: "delivery.sent" in one.log())
    eventually(lambda: "channel.renamed" in one.log())
    assert one.stop(process) == 0


def test_a_source_that_is_taken_out_leaves_without_a_word_and_returns_with_its_history(one: Setting) -> None:
    one.world.add_source("second", "publora")
    one.world.connect("second", "mastodon", account="m", username="@m", display_name="M")
    whole = one.config.read_text("utf-8")
    second = f"""
[[sources]]
name = "second"
provider = "publora"
api_key = "{one.world.sources["second"].key}"
base_url = "{one.server.base_url("publora")}"
"""
    one.config.write_text(whole + second, "utf-8")
    process = one.start()
    eventually(lambda: one.status().get("second/mastodon-m"))
    one.world.expire("second", "mastodon-m")
    eventually(lambda: one.find_post("mastodon-m"))
    said = len(one.messages())
    one.config.write_text(whole, "utf-8")
    assert difference(one) == [("sources.second", "removed")]
    process.send_signal(signal.SIGHUP)
    eventually(lambda: set(one.status()) == {"agency/linkedin-li"})
    one.config.write_text(whole + second, "utf-8")
    process.send_signal(signal.SIGHUP)
    eventually(lambda: one.status().get("second/mastodon-m") == "expired")
    one.await_polls(2, "second")
    assert one.stop(process) == 0
    assert len(one.messages()) == said


def test_what_is_under_way_at_a_reload_ends_under_the_old_configuration(one: Setting) -> None:
    """A poll that was asked is recorded, and a message that is being sent is sent, once: neither is cut off and done again."""
    process = one.start()
    one.await_polls(1)
    one.world.expire("agency", "linkedin-li")
    one.receiver.reply = WebhookReply(after=2.0)
    eventually(lambda: one.find_post("linkedin-li"))
    one.world.slow_source("agency", timedelta(seconds=1.5))
    calls = one.world.sources["agency"].calls
    asked = calls["list"]
    eventually(lambda: calls["list"] > asked)
    edit(one, 'poll_every = "1s"', 'poll_every = "1h"')
    edit(one, f'url = "{one.receiver.apprise_url}"', f'url = "{one.receiver.apprise_url}elsewhere"')
    process.send_signal(signal.SIGHUP)
    eventually(lambda: "config.reloaded" in one.log())
    before, after = one.log().split("config.reloaded")
    assert before.count("poll.done") > asked, "the list that had been asked for was recorded before the swap"
    eventually(lambda: "delivery.sent" in one.log())
    one.receiver.reply = WebhookReply()
    assert "poll.failed" not in after
    assert one.stop(process) == 0
    assert [post.path for post in one.receiver.posts] == ["/"], "sent once, where it was being sent"


def test_a_stop_signal_during_a_reload_ends_the_process_within_10_s(one: Setting) -> None:
    """The reload waits for a poll that hangs; then the stop waits for a delivery that hangs."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mail = f"mailto://u:p@127.0.0.1:{silent.getsockname()[1]}?from=a@example.com&to=b@example.com"
        text = one.config.read_text("utf-8")
        one.config.write_text(f'{text}\n[[channels]]\nname = "mail"\nurl = "{mail}"\ngroup_wait = "0s"\n', "utf-8")
        process = one.start()
        one.await_polls(1)
        one.world.expire("agency", "linkedin-li")
        silent.settimeout(20)
        delivering, _ = silent.accept()
        one.world.slow_source("agency", timedelta(seconds=60))
        time.sleep(2.5)  # the next poll is under way
        process.send_signal(signal.SIGHUP)
        time.sleep(0.1)
        begun = time.monotonic()
        assert one.stop(process) == 0
        assert time.monotonic() - begun < 10
        delivering.close()
