"""The program as a process of its own, beside the simulated world and real receivers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from monitor.demo.receivers import Post, WebhookReceiver
from monitor.demo.server import ThreadedWorld, WorldServer, in_thread
from monitor.demo.world import World
from tests.support import canary, launcher
from tests.support.launcher import Process
from tests.support.poll_cycle import config_text

ROOT = launcher.ROOT
PATIENCE = 40.0
"""Seconds that something may take before the test gives up; never a claim about speed."""

T = TypeVar("T")


def eventually(what: Callable[[], T | None], *, within: float = PATIENCE) -> T:
    """The first answer that is neither None nor false."""
    deadline = time.monotonic() + within
    while True:
        found = what()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"it did not come true within {within} s: {what}")
        time.sleep(0.02)


def _environment() -> dict[str, str]:
    """The test's own, in which the program is found."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "SSL_CERT_FILE": os.devnull}


@dataclass(kw_only=True)
class Setting:
    """A configured monitor: the world it watches, where its alerts arrive, and its processes."""

    folder: Path
    world: World
    server: WorldServer
    receiver: WebhookReceiver
    config: Path
    processes: list[Process] = field(default_factory=list)

    def command(self, *words: str) -> list[str]:
        """The command line of the program."""
        return [sys.executable, "-m", "monitor", "--config", str(self.config), *words]

    def call(self, *words: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        chosen = ["--config", str(self.config), *words]
        done = launcher.run(*chosen, env={**_environment(), **(environment or {})}, cwd=self.folder, timeout=90)
        canary.WATCH.look(done.stdout + done.stderr, f"token-monitor {' '.join(words)}")
        return done

    def launch(self, *words: str) -> Process:
        """Start a command that goes on: what it writes goes to the log, and it is killed at the end of the test."""
        return self.launch_module("monitor", "--config", str(self.config), *words)

    def launch_module(self, module: str, *arguments: str) -> Process:
        """Start the `main` of a module likewise."""
        with self.log_path.open("ab") as output:
            process = launcher.launch(
                *arguments, stdout=output, stderr=output, env=_environment(), cwd=self.folder, module=module
            )
        self.processes.append(process)
        return process

    def start(self) -> Process:
        """Start the daemon and wait until its log reports that."""
        seen = self.log().count("daemon.started")
        process = self.launch("run")
        eventually(lambda: self.log().count("daemon.started") > seen or process.poll() is not None)
        assert process.poll() is None, self.log()
        return process

    def stop(self, process: Process, number: int = signal.SIGTERM) -> int:
        """End a process and give its exit status."""
        process.send_signal(number)
        return process.wait(timeout=PATIENCE)

    @property
    def log_path(self) -> Path:
        """What the daemon wrote on standard error and output."""
        return self.folder / "daemon.log"

    def log(self) -> str:
        """The daemon's log so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""

    def messages(self) -> list[dict[str, Any]]:
        """What arrived at the webhook, in order."""
        return [dict(post.document) for post in list(self.receiver.posts)]

    def titles(self) -> list[str]:
        """The titles of what arrived."""
        return [str(message["title"]) for message in self.messages()]

    def find_post(self, *words: str) -> Post | None:
        """Return the first post whose text holds all of the words, None if there is none."""
        for post in list(self.receiver.posts):
            text = json.dumps(post.document)
            if all(word in text for word in words):
                return post
        return None

    def await_idle(self) -> None:
        """Wait until a poll has just been recorded, so that none is under way."""
        done = self.log().count("poll.done")
        eventually(lambda: self.log().count("poll.done") > done)

    def await_polls(self, count: int, source: str = "agency") -> None:
        """Wait until the source was asked for its list so many times more."""
        calls = self.world.sources[source].calls
        reached = calls["list"] + count
        eventually(lambda: calls["list"] >= reached)

    def status(self) -> dict[str, str]:
        """Each connection's status by its id, as `status --json` prints."""
        done = self.call("status", "--json")
        assert done.returncode == 0, done.stderr
        return {row["id"]: row["status"] for row in json.loads(done.stdout)["connections"]}


@contextmanager
def setting(
    folder: Path,
    world: World,
    *,
    database: str,
    top: str = "",
    channel: str = 'group_wait = "0s"',
    per_source: dict[str, str] | None = None,
) -> Iterator[Setting]:
    """A monitor for this world on this database, with one webhook channel; its processes end with the block."""
    with ThreadedWorld(world) as server, in_thread(WebhookReceiver()) as receiver:
        text = f"""{top}
[database]
url = {json.dumps(database)}
[web]
listen = "off"
[[channels]]
name = "hook"
url = {json.dumps(receiver.apprise_url)}
{channel}
"""
        config = folder / "config.toml"
        config.touch(mode=0o600)
        config.write_text(text + config_text(world, server, per_source=per_source), encoding="utf-8")
        made = Setting(folder=folder, world=world, server=server, receiver=receiver, config=config)
        try:
            yield made
        finally:
            for process in made.processes:
                if process.poll() is None:
                    process.kill()
                    process.wait(timeout=PATIENCE)
            for post in list(receiver.posts):
                canary.WATCH.look(post.body, "a message")
