"""Managed users' connection pages in the running daemon: in the message, and in nothing that it writes or answers."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from monitor.demo.world import World
from tests.acceptance.daemon import Setting, eventually, setting

pytestmark = pytest.mark.slow

USER = "65f0000000000000000000aa"
CANARY = f"secret-{USER}"
TOP = '[logging]\nlevel = "debug"\n[schedule]\npoll_every = "1s"\nprobe_every = "off"\nrequests_per_minute = 6000\n'
WANTED = 'users = "all"\nconnection_links = true'


def test_a_connection_page_is_shown_while_it_is_wanted_and_nowhere_else(tmp_path: Path, empty_database: str) -> None:
    world = World()
    world.add_source("agency", "postpost")
    world.add_user("agency", user=USER)
    for name in ("one", "two"):
        world.connect("agency", "mastodon", account=name, scope=USER, username=f"@{name}", display_name=name.title())
    with setting(tmp_path, world, database=empty_database, top=TOP, per_source={"agency": WANTED}) as made:
        process = made.start()
        made.await_polls(2)
        world.expire("agency", "mastodon-one", scope=USER)
        told = eventually(lambda: made.find_post("mastodon-one", "expired"))
        assert CANARY in str(told.document["message"])
        made.config.write_text(made.config.read_text("utf-8").replace("connection_links = true", ""), "utf-8")
        process.send_signal(signal.SIGHUP)
        eventually(lambda: "config.reloaded" in made.log())
        world.expire("agency", "mastodon-two", scope=USER)
        later = eventually(lambda: made.find_post("mastodon-two", "expired"))
        assert CANARY not in str(later.document["message"]), "nobody wants it any more"
        assert "https://app.postpost.dev" in str(later.document["message"])
        assert made.stop(process) == 0
        assert CANARY not in made.log()
        for kept in (path for path in tmp_path.rglob("*") if path.is_file()):
            assert CANARY.encode() not in kept.read_bytes(), kept
        for answer in answers(made):
            assert CANARY not in answer


def answers(made: Setting) -> list[str]:
    """What the commands tell of it."""
    alerts = made.call("alerts", "--json").stdout
    first = json.loads(alerts)["alerts"][-1]["id"]
    return [alerts, made.call("alerts", "explain", first, "--json").stdout, made.call("status", "--json", "--all").stdout]
