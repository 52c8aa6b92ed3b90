"""The commands of the task pages, run as they are written, beside a running daemon."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from monitor.demo.world import World
from tests.acceptance.daemon import Setting, eventually, setting
from tests.support.launcher import ROOT, Process

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PAGES = ("troubleshooting.md", "clients.md", "channels.md", "key-rotation.md")
CONNECTION = "agency/linkedin-123"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text("utf-8")


@contextmanager
def agency(folder: Path) -> Iterator[tuple[Setting, Process]]:
    """An agency with an expired account and a client, its key in a file, and a daemon that runs."""
    world = World()
    world.add_source("agency", "postpost")
    casa = world.add_user("agency", display_name="Casa Verde").id
    world.connect("agency", "linkedin", account="123", username="@fern", display_name="Fern & Fable")
    world.connect("agency", "linkedin", account="7", username="@casa", display_name="Casa Verde Living", scope=casa)
    world.expire("agency", "linkedin-123")
    with setting(folder, world, database="sqlite:///monitor.db", per_source={"agency": 'users = "all"'}) as made:
        text = made.config.read_text("utf-8").replace('name = "hook"', 'name = "ops"')
        assert 'name = "ops"' in text
        made.config.write_text(re.sub(r'api_key = ".*"', 'api_key = { file = "postpost.key" }', text), "utf-8")
        write_key(folder, world.sources["agency"].key)
        process = made.start()
        eventually(lambda: "delivery.sent" in made.log())
        yield made, process


def write_key(folder: Path, key: str) -> None:
    path = folder / "postpost.key"
    path.touch(mode=0o600)
    path.write_text(key, "utf-8")


def tools(folder: Path, process: Process) -> dict[str, str]:
    """Return an environment in which `token-monitor` is this program and `systemctl reload` signals this daemon."""
    programs = folder / "bin"
    programs.mkdir()
    for name, script in (
        ("token-monitor", f'exec {sys.executable} -m monitor --config {folder}/config.toml "$@"'),
        ("systemctl", f'test "$*" = "reload token-monitor" && kill -HUP {process.pid}'),
    ):
        path = programs / name
        path.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
        path.chmod(0o755)
    return {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "SSL_CERT_FILE": os.devnull}


def lines(name: str) -> list[str]:
    """The program's command lines in the blocks of a page."""
    blocks = "".join(BLOCK.findall(page(name)))
    return [line for line in dict.fromkeys(blocks.splitlines()) if line.startswith("token-monitor ")]


def test_every_command_of_the_pages_runs(tmp_path: Path) -> None:
    """Its exit status may report a problem (1, 3), but never wrong usage (2)."""
    with agency(tmp_path) as (made, _):
        [alert, *_] = json.loads(made.call("alerts", "--json").stdout)["alerts"]
        ran = 0
        for line in dict.fromkeys(line for name in PAGES for line in lines(name)):
            words = shlex.split(line, comments=True)[1:]
            done = made.call(*({"CONNECTION": CONNECTION, "ID": alert["id"]}.get(word, word) for word in words))
            assert done.returncode in (0, 1, 3), f"{line}: {done.stdout}{done.stderr}"
            assert "nexpected" not in done.stderr, line
            ran += 1
        assert ran >= 10


def test_a_key_is_rotated_by_the_commands_of_the_page(tmp_path: Path) -> None:
    """A poll follows with the new key, and no alert about the source is sent."""
    [rotation] = BLOCK.findall(page("key-rotation.md").split("\n## A file\n")[1].split("\n## ")[0])
    with agency(tmp_path) as (made, process):
        old = made.world.sources["agency"].key
        before, polls = made.titles(), made.log().count("poll.done")
        made.world._keys["postpost", "another-key-7f3a91c2"] = made.world.sources["agency"]  # the old one stays valid
        script = tmp_path / "rotate.sh"
        script.write_text(f"set -e\n{rotation}", "utf-8")
        done = subprocess.run(
            ["sh", script],
            input="another-key-7f3a91c2\n",
            cwd=tmp_path,
            env=tools(tmp_path, process),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "ok      source agency: lists 2 connections" in done.stdout
        del made.world._keys["postpost", old]
        eventually(lambda: made.log().count("poll.done") > polls)
        assert made.call("recheck", CONNECTION, "--wait", "20s").returncode == 1, "the account is still expired"
        assert "poll.failed" not in made.log()
        assert made.titles() == before
        (source,) = json.loads(made.call("sources", "--json").stdout)["sources"]
        assert source["status"] == "ok"
