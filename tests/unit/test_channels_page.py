"""docs/channels.md: every URL in it is accepted by the check that `config check` makes, without a warning."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from monitor.config import Secret
from monitor.notify.apprise import Channel

PAGE = (Path(__file__).parent.parent.parent / "docs" / "channels.md").read_text("utf-8")
URLS = re.findall(r"`([a-z]+://[^`\s]+)`", PAGE)


@pytest.mark.parametrize("url", URLS)
def test_every_url_is_accepted_without_a_warning(url: str) -> None:
    channel = Channel("ops", Secret(url))
    channel.verify()
    assert channel.warnings == ()


def test_the_ten_commonest_services_are_there() -> None:
    schemes = {url.partition(":")[0] for url in URLS}
    common = {"mailtos", "slack", "discord", "workflows", "tgram", "ntfys", "pover", "gotifys", "mmosts", "jsons"}
    assert common | {"pagerduty", "opsgenie"} <= schemes


def test_the_command_that_escapes_a_value_prints_what_the_page_states() -> None:
    line = next(line for line in PAGE.splitlines() if line.startswith("python3 -c"))
    words = shlex.split(line)
    done = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True, check=True)
    printed = done.stdout.strip()
    assert f"This prints `{printed}`." in PAGE
    assert unquote(printed) == words[-1]
    channel = Channel("ops", Secret(f"jsons://user:{printed}@hooks.example.com/path"))
    channel.verify()
