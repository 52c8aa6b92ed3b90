"""Apprise in a process of its own: what it loads for one channel, and that every service is still found."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.support.command_line import ROOT, environment

VERIFY = """
import json, sys
from monitor.notify.apprise import Channel
from monitor.config import Secret
from monitor.domain.errors import ConfigError
found = []
for url in sys.argv[1:]:
    try:
        Channel("ops", Secret(url)).verify()
        found.append(True)
    except ConfigError:
        found.append(False)
loaded = {name.split(".")[2] for name in sys.modules if name.startswith("apprise.plugins.")} - {"base"}
print(json.dumps({"found": found, "loaded": sorted(loaded)}))
"""

CLAIMS = """
import json
from pathlib import Path
from apprise.manager_plugins import NotificationManager
from monitor.notify.apprise.services import modules_by_schema
manager = NotificationManager()
claimed = modules_by_schema(Path(manager.module_path))
manager.load_modules()
wrong = []
for plugin in manager.plugins():
    module = plugin.__module__.split(".")[2]
    for schema in plugin.schemas(plugin):
        if claimed.get(schema, {module}) != {module}:
            wrong.append([schema, module, sorted(claimed[schema])])
print(json.dumps({"wrong": wrong, "claimed": len(claimed)}))
"""


def answer(script: str, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_a_channel_loads_its_own_plugin_and_no_other() -> None:
    """All of them would cost the running daemon 17 MB more."""
    found = answer(VERIFY, "json://127.0.0.1:9/hook", "mailto://user:password@mail.example")
    assert found["found"] == [True, True]
    assert len(found["loaded"]) <= 6, found["loaded"]


@pytest.mark.parametrize(
    "url", ["https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", "JSON://127.0.0.1:9/hook"]
)
def test_a_service_is_found_also_by_its_own_address_and_after_another(url: str) -> None:
    assert answer(VERIFY, "json://127.0.0.1:9/hook", url, "ntfys://ntfy.example/topic")["found"] == [True, True, True]


def test_an_unknown_service_is_refused_and_the_others_go_on() -> None:
    assert answer(VERIFY, "no-such://x", "json://127.0.0.1:9/hook", "other://x")["found"] == [False, True, False]


def test_no_source_claims_the_schema_of_another_plugin() -> None:
    """Then the wrong one would be loaded; a schema that no source claims is looked up among all."""
    found = answer(CLAIMS)
    assert found["wrong"] == []
    assert found["claimed"] > 200
