"""The daemon as its users run it: a process, the simulated APIs, a real webhook, and a database of each kind."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.demo.payloads import ProbeScript
from monitor.demo.receivers import WebhookReply
from monitor.demo.source import Trouble
from monitor.demo.world import DEFAULT_WORKSPACE, World
from tests.acceptance.daemon import Setting, eventually, setting

pytestmark = pytest.mark.slow

POSTPOST, PUBLORA, POSTBREEZE, POSTPEER = "postpost", "publora", "postbreeze", "postpeer"
DAY = timedelta(days=1)
QUICK = """
[schedule]
poll_every = "1s"
probe_every = "1s"
requests_per_minute = 6000
"""


def all_four() -> World:
    """One connection in every state that its provider can tell."""
    world = World()
    world.add_source("agency", POSTPOST)
    world.connect("agency", "linkedin", account="fine", username="Fine", display_name="Fine", lifetime=50 * DAY)
    world.connect("agency", "linkedin", account="near", username="Near", display_name="Near", lifetime=5 * DAY)
    world.connect("agency", "threads", account="over", username="Over", display_name="Over", lifetime=50 * DAY)
    world.expire("agency", "threads-over")
    world.connect("agency", "twitter", account="gone", username="Gone", display_name="Gone")
    world.revoke("agency", "twitter-gone", noticed=False)
    world.connect("agency", "telegram", account="-1001", username="News", display_name="News")
    world.refuse("agency", "telegram--1001")
    world.connect("agency", "telegram", account="-1002", username="Personal", display_name="Personal")
    world.change("agency", "telegram--1002", mtproto=True)
    world.connect("agency", "pinterest", account="pin", username="Pin", display_name="Pin")
    world.add_source("studio", PUBLORA)
    world.connect("studio", "tiktok", account="tt", username="tt", display_name="Tick", lifetime=25 * DAY)
    world.connect("studio", "facebook", account="fb", username="fb", display_name="Face")
    world.add_source("retail", POSTBREEZE)
    for name in ("active", "expired", "revoked"):
        world.connect(
            "retail",
            "instagram",
            account=name,
            external_id=f"soc_{name}",
            scope=DEFAULT_WORKSPACE,
            username=name,
            display_name=name,
            lifetime=60 * DAY,
        )
    world.expire("retail", "soc_expired")
    world.revoke("retail", "soc_revoked")
    world.add_source("events", POSTPEER)
    world.connect("events", "youtube", account="yt", external_id="int_1", username="yt", display_name="Tube")
    return world


EXPECTED = {
    "agency/linkedin-fine": "valid",
    "agency/linkedin-near": "expiring_soon",
    "agency/threads-over": "expired",
    "agency/twitter-gone": "revoked",
    "agency/telegram--1001": "failing",
    "agency/telegram--1002": "unknown",  # "Invalid bot token": a personal session, or a revoked bot
    "agency/pinterest-pin": "valid",
    "studio/tiktok-tt": "expiring_soon",
    "studio/facebook-fb": "valid",
    "retail/soc_active": "valid",
    "retail/soc_expired": "expired",
    "retail/soc_revoked": "revoked",
    "events/int_1": "unknown",
}


@pytest.fixture
def running_world(tmp_path: Path, empty_database: str) -> Iterator[Setting]:
    with setting(tmp_path, all_four(), database=empty_database, top=QUICK) as made:
        yield made


@pytest.fixture
def one(tmp_path: Path, empty_database: str) -> Iterator[Setting]:
    """One PostPost source with two healthy connections, polled every second and never probed."""
    world = World()
    world.add_source("agency", POSTPOST)
    world.connect("agency", "linkedin", account="li", username="Northwind", display_name="Northwind", lifetime=50 * DAY)
    world.connect("agency", "threads", account="th", username="Lumen", display_name="Lumen", lifetime=50 * DAY)
    top = '[schedule]\npoll_every = "1s"\nprobe_every = "off"\nrequests_per_minute = 6000\n'
    with setting(tmp_path, world, database=empty_database, top=top) as made:
        yield made


def test_check_gives_every_connection_of_all_four_services_its_right_status(running_world: Setting) -> None:
    running_world.call("check", "--json")
    done = running_world.call("check", "--json")  # the second cycle confirms what the first one's probes refused
    answer = json.loads(done.stdout)
    assert {row["id"]: row["status"] for row in answer["connections"]} == EXPECTED
    assert answer["summary"] == {**dict.fromkeys(answer["summary"], 0), **Counter(EXPECTED.values())}
    assert [source["status"] for source in answer["sources"]] == ["ok"] * 4
    assert done.returncode == 2
    assert done.stderr == "" or "Traceback" not in done.stderr


def test_the_daemon_reaches_the_same_statuses_and_notifies_each_problem_once(running_world: Setting) -> None:
    process = running_world.start()
    eventually(lambda: running_world.status() == EXPECTED)
    troubles = {name for name, status in EXPECTED.items() if status not in ("valid", "unknown")}
    eventually(
        lambda: len(running_world.receiver.posts) >= 1 and all(running_world.find_post(name.split("/")[1]) for name in troubles)
    )
    assert running_world.stop(process) == 0
    text = json.dumps(running_world.messages())
    for name in troubles:
        assert text.count(f"{name.split('/')[1]}") >= 1
        external_id, status = name.split("/")[1], EXPECTED[name]
        brief = (
            " left (" if status == "expiring_soon" else status
        )  # a single alert states the status, one of several the time left
        assert running_world.find_post(external_id, status) or running_world.find_post(external_id, brief)
    for secret in (source.key for source in running_world.world.sources.values()):
        assert secret not in running_world.log()


def test_expiry_and_renewal_are_notified_and_the_stop_is_clean(one: Setting) -> None:
    process = one.start()
    one.world.expire("agency", "linkedin-li")
    expired = eventually(lambda: one.find_post("linkedin-li", "expired"))
    for word in ("Northwind", "linkedin", "agency", "expired"):
        assert word in json.dumps(expired.document)
    one.world.renew("agency", "linkedin-li")
    eventually(lambda: one.find_post("linkedin-li", "recovered"))
    assert one.stop(process) == 0
    assert len(one.messages()) == 2
    eventually(lambda: "daemon.stopped" in one.log())


def test_a_trusted_date_that_passes_is_notified_while_the_api_is_down(tmp_path: Path, empty_database: str) -> None:
    world = World()
    world.add_source("agency", POSTPOST)
    world.connect("agency", "linkedin", account="li", username="N", display_name="N", lifetime=timedelta(seconds=12))
    top = '[schedule]\npoll_every = "1s"\nprobe_every = "off"\n[policy]\nexpiring_within = "4s"\nstages = []\n'
    world_says_valid = {"tokenStatus": "valid", "tokenExpiresIn": None}
    world.change("agency", "linkedin-li", overrides=world_says_valid)
    with setting(tmp_path, world, database=empty_database, top=top) as made:
        process = made.start()
        eventually(lambda: made.status() if (made.folder / "monitor.db").exists() or "postgres" in empty_database else None)
        made.world.break_source("agency", Trouble.SERVER_ERROR)
        eventually(lambda: made.find_post("linkedin-li", "expiring_soon"))
        eventually(lambda: made.find_post("linkedin-li", "[EXPIRED]"))
        assert made.stop(process) == 0


def test_P01_A14_ten_restarts_in_the_middle_of_incidents_repeat_nothing_and_forget_nothing(one: Setting) -> None:
    process = one.start()
    one.world.expire("agency", "linkedin-li")
    eventually(lambda: one.find_post("linkedin-li", "expired"))
    for turn in range(10):
        if turn % 2:
            assert one.stop(process) == 0
        else:
            one.stop(process, signal.SIGKILL)
        if turn == 4:
            one.world.expire("agency", "threads-th")  # while nobody watches
        process = one.start()
        one.await_polls(2)
    eventually(lambda: one.find_post("threads-th", "expired"))
    one.world.renew("agency", "linkedin-li")
    eventually(lambda: one.find_post("linkedin-li", "recovered"))
    assert one.stop(process) == 0
    said = [message["title"] for message in one.messages() if "may be a repeat" not in message["message"]]
    assert said == [
        "[EXPIRED] Northwind (linkedin) at agency",
        "[EXPIRED] Lumen (threads) at agency",
        "[RECOVERED] Northwind (linkedin) at agency",
    ]


def test_a_delivery_in_flight_at_a_kill_is_repeated_and_marked_so(one: Setting) -> None:
    one.receiver.script.append(WebhookReply(after=30))
    process = one.start()
    one.world.expire("agency", "linkedin-li")
    eventually(lambda: one.find_post("linkedin-li"))
    one.stop(process, signal.SIGKILL)
    process = one.start()
    eventually(lambda: len(one.messages()) == 2)
    first, second = one.messages()
    assert "repeat" not in first["message"]
    assert "may be a repeat" in second["message"]
    assert one.stop(process) == 0


def test_an_alert_that_no_channel_took_before_the_kill_is_delivered_after_it(one: Setting) -> None:
    one.receiver.script.extend([WebhookReply(status=503)] * 1)
    process = one.start()
    one.world.expire("agency", "linkedin-li")
    eventually(lambda: one.find_post("linkedin-li"))
    eventually(lambda: "503" in one.log() or "delivery" in one.log())
    one.stop(process, signal.SIGKILL)
    process = one.start()
    eventually(lambda: len(one.messages()) >= 2)
    assert one.stop(process) == 0


def test_P27_a_second_daemon_names_the_process_that_holds_the_database_and_exits_1(one: Setting, backend: str) -> None:
    """On PostgreSQL it stands by instead: see test_standby.py."""
    process = one.start()
    if backend == "sqlite":
        second = one.call("run")
        assert second.returncode == 1
        assert str(process.pid) in second.stderr
        assert "Traceback" not in second.stderr
    check = one.call("check")
    assert check.returncode == 3
    assert str(process.pid) in check.stderr
    assert one.call("status").returncode == 0  # reading is always possible
    assert one.stop(process) == 0


def test_P07_sighup_takes_over_a_good_file_and_keeps_the_old_one_when_it_is_bad(one: Setting) -> None:
    process = one.start()
    good = one.config.read_text(encoding="utf-8")
    one.config.write_text(good + "\nnonsense = 1\n", encoding="utf-8")
    process.send_signal(signal.SIGHUP)
    eventually(lambda: "config.reload_refused" in one.log())
    one.world.expire("agency", "linkedin-li")
    eventually(lambda: one.find_post("linkedin-li", "expired"))
    one.world.add_source("second", PUBLORA)
    one.world.connect("second", "mastodon", account="m", username="@m", display_name="M")
    one.config.write_text(
        good
        + f"""
[[sources]]
name = "second"
provider = "publora"
api_key = "{one.world.sources["second"].key}"
base_url = "{one.server.base_url(PUBLORA)}"
""",
        encoding="utf-8",
    )
    process.send_signal(signal.SIGHUP)
    eventually(lambda: one.status().get("second/mastodon-m") == "valid")
    assert one.stop(process) == 0


def test_P05_sigterm_in_the_middle_of_a_slow_poll_and_a_slow_delivery_ends_in_time(one: Setting) -> None:
    process = one.start()
    one.world.expire("agency", "linkedin-li")
    one.receiver.reply = WebhookReply(after=25)
    eventually(lambda: one.find_post("linkedin-li"))
    one.world.slow_source("agency", timedelta(seconds=25))
    one.await_polls(1)
    assert one.stop(process) == 0


def test_inconclusive_probes_change_nothing(tmp_path: Path, empty_database: str) -> None:
    world = World()
    world.add_source("agency", POSTPOST)
    world.connect("agency", "mastodon", account="m", username="@m", display_name="M")
    world.change("agency", "mastodon-m", probe=ProbeScript(message="Request failed with status code 503"))
    with setting(tmp_path, world, database=empty_database, top=QUICK) as made:
        process = made.start()
        eventually(lambda: world.sources["agency"].calls["probe"] >= 4)
        assert made.status() == {"agency/mastodon-m": "valid"}
        assert made.stop(process) == 0
        assert made.messages() == []
