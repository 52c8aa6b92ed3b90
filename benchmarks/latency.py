"""How soon people are told: from a changed answer to the webhook, from a date to the webhook, from start to poll."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from benchmarks.setting import PATIENCE, ROOT, Apis, pinned, spread, until, write_config
from monitor.demo.receivers import WebhookReceiver
from monitor.demo.server import ThreadedWorld
from monitor.demo.threads import in_thread
from monitor.demo.world import World
from monitor.model import ProviderKind

CHANGES = 20


@contextlib.contextmanager
def daemon(config: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The daemon on core 0, until the block ends."""
    log = (config.parent / "daemon.log").open("wb")
    process = subprocess.Popen(
        pinned([sys.executable, "-m", "monitor", "--config", str(config), "run"], core=0), cwd=ROOT, stdout=log, stderr=log
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE)
        log.close()


def transition_to_webhook(database: str) -> dict[str, object]:
    """From the first list answered with a changed status to the alert's arrival at a local webhook; group_wait "0s"."""
    world = World()
    world.add_source("source-0", ProviderKind.POSTPOST)
    for number in range(CHANGES):
        world.connect("source-0", "mastodon", account=str(number), username=f"@u{number}", display_name=f"User {number}")
    took: list[float] = []
    with ThreadedWorld(world) as server, in_thread(WebhookReceiver()) as hook, tempfile.TemporaryDirectory() as folder:
        api = Apis(urls={"postpost": server.base_url(ProviderKind.POSTPOST)}, control="", key=world.sources["source-0"].key)
        channel = f'[[channels]]\nname = "hook"\nurl = "{hook.apprise_url}"\ngroup_wait = "0s"\n'
        config = write_config(Path(folder), api, database=database, poll_every="1s", channel=channel)
        with daemon(config):
            calls = world.sources["source-0"].calls
            until(lambda: calls["list"] >= 2)
            for number in range(CHANGES):
                polled, heard = calls["list"], len(hook.posts)
                world.expire("source-0", f"mastodon-{number}")
                until(lambda polled=polled: calls["list"] > polled)
                answered = time.monotonic()
                until(lambda heard=heard: len(hook.posts) > heard)
                took.append(max(hook.posts[heard].monotonic - answered, 0.0))
    return {"changes": CHANGES, "seconds": spread(took), "p95": round(sorted(took)[int(len(took) * 0.95) - 1], 4)}


def date_to_webhook(database: str) -> dict[str, object]:
    """From the instant of a trusted date to the alert, while the API answers nothing at all."""
    took: list[float] = []
    world = World()
    world.add_source("source-0", ProviderKind.POSTPOST)
    start = datetime.now(UTC)
    for number in range(8):
        world.connect(
            "source-0",
            "linkedin",
            account=str(number),
            username="u",
            display_name="U",
            lifetime=timedelta(seconds=12 + number * 1.37),
        )
        world.change("source-0", f"linkedin-{number}", overrides={"tokenStatus": "valid", "tokenExpiresIn": None})
    with in_thread(WebhookReceiver()) as hook, tempfile.TemporaryDirectory() as folder:
        with ThreadedWorld(world) as server:
            api = Apis(urls={"postpost": server.base_url(ProviderKind.POSTPOST)}, control="", key=world.sources["source-0"].key)
            channel = f'[[channels]]\nname = "hook"\nurl = "{hook.apprise_url}"\ngroup_wait = "0s"\nevents = ["expired"]\n'
            policy = '[policy]\nexpiring_within = "2s"\nstages = []\n'
            config = write_config(Path(folder), api, database=database, channel=channel, policy=policy)
            running = contextlib.ExitStack()
            running.enter_context(daemon(config))
            until(lambda: world.sources["source-0"].calls["list"] >= 1)
            time.sleep(0.5)
        with running:  # the APIs are gone now
            until(lambda: len(hook.posts) >= 8, within=60)
            stated = sorted(found.expires_at for found in world.sources["source-0"] if found.expires_at)
            arrived = sorted(post.at for post in hook.posts)
            took = [(post - due).total_seconds() for post, due in zip(arrived, stated, strict=True)]
    return {"dates": len(took), "seconds": spread(took), "started": start.isoformat()}


def start_to_poll(database: str) -> dict[str, object]:
    """From the start of the process to the first list asked for, on a database that exists."""
    took = []
    world = World()
    world.add_source("source-0", ProviderKind.POSTPOST)
    world.connect("source-0", "mastodon", account="1", username="@u", display_name="U")
    with ThreadedWorld(world) as server, tempfile.TemporaryDirectory() as folder:
        api = Apis(urls={"postpost": server.base_url(ProviderKind.POSTPOST)}, control="", key=world.sources["source-0"].key)
        config = write_config(Path(folder), api, database=database, poll_every="1s")
        for _ in range(4):
            time.sleep(2.0)  # so that a poll is due
            calls = world.sources["source-0"].calls["list"]
            started = time.monotonic()
            with daemon(config):
                took.append(until(lambda calls=calls: world.sources["source-0"].calls["list"] > calls) - started)
    return {"first_with_migration_s": round(took[0], 3), "then_s": round(median(took[1:]), 3)}


def table(results: dict[str, object]) -> str:
    """The results as JSON, indented."""
    return json.dumps(results, indent=2)
