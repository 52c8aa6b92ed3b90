"""Commands that need only the database, run without the API keys and the channels' URLs: a second terminal, Nagios."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.store import open_store
from tests.support.command_line import CONFIG, add_source, real_now, token_monitor, write_config
from tests.support.factories import make_state

REFERRING = (
    CONFIG.replace('api_key = "', 'api_key = {{ env = "NOT_HERE" }}  # "', 1)
    .replace('api_key = "', 'api_key = {{ file = "not-here.key" }}  # "', 1)
    .replace('url = "json://127.0.0.1:9/night"', 'url = {{ credential = "not-here" }}')
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_config(tmp_path, text=REFERRING)
    with open_store(f"sqlite:///{tmp_path / 'monitor.db'}") as store:
        add_source(store, "agency", [make_state(external_id="linkedin-1")], now=real_now())
        add_source(store, "studio", now=real_now())
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        "status --exit-code",
        "status --json",
        "history agency/linkedin-1",
        "sources",
        "alerts",
        "forecast",
        "cluster",
        "silence add --source agency --for 1h --comment known",
        "silence list",
        "db current",
        "db backup copy.db",
        "db prune",
    ],
)
def test_what_needs_the_database_alone_needs_no_key(folder: Path, words: str) -> None:
    done = token_monitor(*words.split(), folder=folder)
    assert (done.status, done.err) == (0, "")


@pytest.mark.parametrize("words", ["run", "check", "test-alert", "config check", "config show", "config diff"])
def test_a_command_that_needs_a_secret_names_the_missing_one(folder: Path, words: str) -> None:
    done = token_monitor(*words.split(), folder=folder)
    assert done.status == (3 if words == "check" else 2)
    assert "sources[0] (agency).api_key needs the environment variable NOT_HERE, which is not set." in done.err


def test_the_databases_own_url_is_needed_everywhere(folder: Path) -> None:
    config = folder / "config.toml"
    config.write_text(config.read_text("utf-8").replace('url = "sqlite:///monitor.db"', 'url = { env = "ITS_URL" }'), "utf-8")
    done = token_monitor("status", folder=folder)
    assert done.status == 2
    assert "database.url needs the environment variable ITS_URL, which is not set." in done.err
