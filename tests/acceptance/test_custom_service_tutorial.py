"""docs/custom-service.md, step by step: its commands and configurations against a service on loopback."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.demo.receivers import WebhookReceiver
from monitor.demo.server import in_thread
from tests.support.command_line import ROOT, Done, token_monitor
from tests.support.json_service import JsonService, json_service

TEXT = (ROOT / "docs" / "custom-service.md").read_text("utf-8")
PUBLIC = "https://api.planner.example"
KEY = "planner-key-of-the-tutorial"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture
def planner() -> Iterator[JsonService]:
    with json_service({"/v1/accounts": json.loads(blocks("json")[0])}) as service:
        yield service


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with in_thread(WebhookReceiver()) as receiver:
        yield receiver


def test_the_steps_of_the_tutorial_lead_to_the_alert(tmp_path: Path, planner: JsonService, receiver: WebhookReceiver) -> None:
    env = {"PLANNER_API_KEY": KEY, "OPS_APPRISE_URL": f"json://127.0.0.1:{receiver.port}/", "HOME": str(tmp_path)}
    curl, try_sample, *others = [line for block in blocks("sh") for line in block.splitlines()]
    try_live, check_live, check = others
    first, second = (block.replace(PUBLIC, planner.address) for block in blocks("toml"))
    config = tmp_path / "config.toml"
    config.touch(mode=0o600)

    def run(line: str) -> Done:
        program, *arguments = shlex.split(line)
        assert program == "token-monitor"
        return token_monitor(*arguments, folder=tmp_path, env=env)

    sent = curl.replace(PUBLIC, planner.address).replace("$PLANNER_API_KEY", KEY)
    subprocess.run(shlex.split(sent), cwd=tmp_path, check=True, timeout=30)
    config.write_text(first, "utf-8")
    tried = run(try_sample)
    assert (tried.status, tried.out.strip()) == (0, blocks("text")[0].strip())

    config.write_text(second, "utf-8")
    tried = run(try_live)
    assert tried.status == 0
    assert "no [[sources.status]] rule" not in tried.out
    assert "not dates" not in tried.out
    assert re.search(r"^a2 +instagram +Harbor & Pine +valid +.*2027", tried.out, re.MULTILINE)
    assert re.search(r"^a3 +tiktok +Kestrel Market +expired ", tried.out, re.MULTILINE)
    live = run(check_live)
    assert "source planner: lists 3 connections\n" in live.out, live.out

    assert run(check).status == 2  # critical
    (post,) = receiver.posts
    assert "Kestrel Market" in str(post.document["title"])
    assert "Planner asks to reconnect it" in str(post.document["message"])
    assert all("x1" not in str(post.document) for post in receiver.posts)
