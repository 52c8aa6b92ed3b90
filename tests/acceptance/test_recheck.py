"""A recheck from the user's side: beside a busy daemon, without a daemon, and SIGUSR1."""

from __future__ import annotations

import json
import signal
import urllib.parse
import urllib.request
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.demo.source import Trouble
from monitor.demo.world import World
from monitor.store import Store, rechecks
from monitor.store.rechecks import Recheck, RecheckOutcome
from tests.acceptance.daemon import Setting, eventually, setting
from tests.support.ports import free_port

pytestmark = pytest.mark.slow

DAY = timedelta(days=1)
CLIENTS = 1_000
FAST = '[schedule]\npoll_every = "1s"\nrequests_per_minute = 60000\n'
USUAL = '[schedule]\npoll_every = "1s"\nrequests_per_minute = 600\n'
PER_SOURCE = {"agency": 'users = "all"'}


def agency(clients: int) -> tuple[World, list[str]]:
    """A workspace key whose clients have one account each, and the ids of the clients."""
    world = World(remember=100_000)
    world.add_source("agency", "postpost")
    users = [world.add_user("agency", display_name=f"Client {number}").id for number in range(clients)]
    for number, user in enumerate(users):
        world.connect("agency", "linkedin", account=f"a{number}", scope=user, display_name=f"Account {number}", lifetime=50 * DAY)
    return world, users


def edit(made: Setting, old: str, new: str) -> None:
    text = made.config.read_text("utf-8")
    assert old in text
    made.config.write_text(text.replace(old, new), "utf-8")


def lists_read(world: World) -> Counter[str]:
    """How often the list of each client was read."""
    with world.lock:
        read = [each.headers for each in world.seen if each.path.endswith("/platform-connections")]
    return Counter(headers["x-postpost-user-id"] for headers in read if "x-postpost-user-id" in headers)


def events(made: Setting) -> Counter[str]:
    """How many messages arrived about each alert event."""
    titles = " ".join(made.titles()).lower()
    return Counter({word: titles.count(word) for word in ("expired", "recovered")})


def answered_after(recheck: dict[str, Any]) -> float:
    """The seconds from a request to its answer, without the start of the command that made it."""
    begun, ended = (datetime.fromisoformat(recheck[each]) for each in ("requested_at", "finished_at"))
    return (ended - begun).total_seconds()


def api(port: int, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return answer.status, json.loads(answer.read())


def test_a_reconnected_account_is_healthy_within_five_seconds_beside_a_thousand_others(
    tmp_path: Path, empty_database: str
) -> None:
    world, users = agency(CLIENTS)
    last, port = CLIENTS - 1, free_port()
    public_id = f"agency/{users[last]}/linkedin-a{last}"
    with setting(tmp_path, world, database=empty_database, top=FAST, per_source=PER_SOURCE) as made:
        world.expire("agency", f"linkedin-a{last}")
        assert made.call("check", "--no-probe").returncode == 2
        assert events(made)["recovered"] == 0
        with world.lock:
            world.seen.clear()
        edit(made, FAST, USUAL)
        edit(made, 'listen = "off"', f'listen = "127.0.0.1:{port}"')
        process = made.start()
        made.await_polls(5)  # a poll is under way, and takes more than a minute
        world.renew("agency", f"linkedin-a{last}")
        before = lists_read(world)
        done = made.call("recheck", public_id, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        [found] = json.loads(done.stdout)["rechecks"]
        assert (found["connection"], found["outcome"]) == (public_id, "healthy")
        assert (found["status_before"], found["status_after"]) == ("expired", "valid")
        assert answered_after(found) <= 5, found
        assert lists_read(world)[users[last]] - before[users[last]] == 1
        assert len(lists_read(world)) < CLIENTS, "the poll is still under way"
        eventually(lambda: events(made)["recovered"])
        _, shown = api(port, f"/api/v1/connections?connection={urllib.parse.quote(public_id)}")
        assert [each["status"] for each in shown["connections"]] == ["valid"]
        status, answer = api(port, "/api/v1/recheck", {"connections": [public_id], "wait_seconds": 10})
        assert (status, answer["rechecks"][0]["status_before"]) == (200, "valid")
        assert events(made)["recovered"] == 1
        made.stop(process)


def test_without_a_daemon_the_command_checks_and_alerts(tmp_path: Path, empty_database: str) -> None:
    world, users = agency(3)
    with setting(tmp_path, world, database=empty_database, top=FAST, per_source=PER_SOURCE) as made:
        world.expire("agency", "linkedin-a1")
        made.call("check")
        still = made.call("recheck", "linkedin-a1")
        assert (still.returncode, still.stderr) == (1, "")
        assert "Account 1" in still.stdout
        assert "expired → expired" in still.stdout
        world.renew("agency", "linkedin-a1")
        before = lists_read(world)
        done = made.call("recheck", "linkedin-a1")
        assert done.returncode == 0, done.stdout
        assert "expired → valid" in done.stdout
        assert lists_read(world) - before == Counter({users[1]: 1})
        eventually(lambda: events(made)["recovered"] == 1)
        world.break_source("agency", Trouble.UNAUTHORIZED)
        refused = made.call("recheck", "--source", "agency", "--yes")
        assert refused.returncode == 3
        assert refused.stdout.count("rejected the key") == 3
        assert made.call("recheck", "nobody").returncode == 3
        assert made.call("recheck").returncode == 3
        assert made.call("recheck", "--label", "client=Client 2").returncode == 3


def test_the_wait_for_a_daemon_that_does_not_answer_is_limited(tmp_path: Path, empty_database: str) -> None:
    world, _ = agency(1)
    with setting(tmp_path, world, database=empty_database, top=FAST, per_source=PER_SOURCE) as made:
        made.call("check")
        process = made.start()
        world.slow_source("agency", timedelta(seconds=3))
        done = made.call("recheck", "linkedin-a0", "--wait", "1s", "--json")
        assert done.returncode == 3
        [found] = json.loads(done.stdout)["rechecks"]
        assert (found["outcome"], found["message"]) == (None, None)
        made.stop(process, signal.SIGKILL)
        world.slow_source("agency", timedelta(0))
        process = made.start()  # what the killed daemon left behind is answered

        def answered() -> Recheck | None:
            with Store(empty_database) as store, store.begin_read() as conn:
                [each] = rechecks.find(conn, [found["id"]])
            return each if each.finished_at else None

        assert eventually(answered).outcome is RecheckOutcome.HEALTHY
        made.stop(process)


def test_sigusr1_polls_every_source_now(tmp_path: Path, empty_database: str) -> None:
    world, _ = agency(1)
    world.add_source("other", "postpeer")
    calm = '[schedule]\npoll_every = "1h"\nprobe_every = "off"\n'
    with setting(tmp_path, world, database=empty_database, top=calm, per_source=PER_SOURCE) as made:
        process = made.start()
        eventually(lambda: made.log().count("poll.done") == 2)
        process.send_signal(signal.SIGUSR1)
        eventually(lambda: made.log().count("poll.done") == 4)
        eventually(lambda: "polls.requested" in made.log())
        assert made.stop(process) == 0
