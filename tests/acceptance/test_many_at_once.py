"""A thousand connections that change at once, as the people at the other end of the channels see it."""

from __future__ import annotations

import csv
import io
import json
import re
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from monitor.demo.receivers import Post, WebhookReceiver
from monitor.demo.server import in_thread
from monitor.demo.source import Trouble
from monitor.demo.world import World, populate
from monitor.notify.messages import MOST_PARTS
from tests.acceptance.daemon import PATIENCE, eventually, setting
from tests.support.sim_world import state_word_of_all

pytestmark = pytest.mark.slow

MANY = 1_000
GROUP_WAIT = timedelta(seconds=1)
TOP = '[schedule]\npoll_every = "1s"\nprobe_every = "off"\nrequests_per_minute = 6000\n'
CHANNEL = f'group_wait = "{GROUP_WAIT.seconds}s"\n'


def thousand() -> World:
    world = World()
    populate(world, MANY, source="agency")
    return world


def ids_of(world: World) -> set[str]:
    return {connection.external_id for connection in world.sources["agency"]}


def ids_in(post: Post) -> set[str]:
    """Every connection that a message of Apprise's json:// names, in its text or in the file beside it."""
    document = json.loads(post.body)
    found = set(re.findall(r"\b[a-z]+-10\d{5}\b", document["message"]))
    for attached in document["attachments"]:
        table = csv.DictReader(io.StringIO(b64decode(attached["base64"]).decode("utf-8-sig")))
        found |= {row["external_id"] for row in table}
    return found


def test_a_thousand_expire_at_once(tmp_path: Path, empty_database: str) -> None:
    """On one channel that carries files and one that does not: at most three messages each, the first within group_wait + 5 s."""
    world = thousand()
    with in_thread(WebhookReceiver()) as plain:
        second = f'[[channels]]\nname = "plain"\nurl = "{plain.apprise_url}"\nattachments = false\n{CHANNEL}'
        with setting(tmp_path, world, database=empty_database, top=TOP, channel=CHANNEL + second) as made:
            process = made.start()
            made.await_polls(2)
            assert made.messages() == []
            with world.lock:  # no list is answered half-way
                assert state_word_of_all(world, "agency", "expired") == MANY
                at = datetime.now(UTC)
            for receiver in (made.receiver, plain):
                eventually(lambda receiver=receiver: told(receiver) >= ids_of(world), within=2 * PATIENCE)  # type: ignore[misc]  # bound at once
            made.await_polls(2)  # nothing more comes
            for receiver in (made.receiver, plain):
                posts = list(receiver.posts)
                assert posts[0].at - at < GROUP_WAIT + timedelta(seconds=5)
                assert len(posts) <= MOST_PARTS
                assert "1000 connections need attention: 1000 expired at agency" in str(posts[0].document["title"])
            assert made.stop(process) == 0


def told(receiver: WebhookReceiver) -> set[str]:
    """Every connection that was named there so far."""
    return set[str]().union(*(ids_in(post) for post in list(receiver.posts)))


def test_a_source_of_a_thousand_that_goes_down_is_one_message_down_and_one_up(tmp_path: Path, empty_database: str) -> None:
    world = thousand()
    with setting(tmp_path, world, database=empty_database, top=TOP, channel=CHANNEL) as made:
        process = made.start()
        made.await_polls(2)
        world.break_source("agency", Trouble.SERVER_ERROR)
        eventually(lambda: made.find_post("[SOURCE FAILING]"))
        made.await_polls(2)
        assert made.titles() == ["[SOURCE FAILING] agency (PostPost)"]
        world.recover_source("agency")
        eventually(lambda: made.find_post("[SOURCE RECOVERED]"))
        made.await_polls(2)
        assert made.titles() == ["[SOURCE FAILING] agency (PostPost)", "[SOURCE RECOVERED] agency (PostPost)"]
        assert all(ids_in(post) == set() for post in list(made.receiver.posts))
        assert made.stop(process) == 0
