"""`token-monitor db copy`: the same lists from the new database, and words where it cannot be copied."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from monitor.store import open_store
from monitor.store.lock import DaemonLock
from tests.support.command_line import CONFIG, make_world, real_now, token_monitor, write_config


def listed(config: Path) -> object:
    """Return the connections that `status --json` lists, without what changes by the second."""
    found = json.loads(token_monitor("status", "--json", config=config).out)["connections"]
    return [{key: value for key, value in each.items() if key != "seconds_left"} for each in found]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    with open_store(f"sqlite:///{tmp_path / 'monitor.db'}") as store:
        make_world(store, real_now())
    return write_config(tmp_path)


def test_commands_list_the_same_from_the_copy_and_from_its_copy(
    config: Path, tmp_path: Path, new_postgres: Callable[[], str]
) -> None:
    url = new_postgres()
    done = token_monitor("db", "copy", url, config=config)
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("Copied ")
    assert "Set database.url to the new URL and start the daemon." in done.out
    before = listed(config)
    assert before
    (tmp_path / "pg").mkdir()
    moved = write_config(tmp_path / "pg", url=url, text=CONFIG)
    assert listed(moved) == before
    assert token_monitor("db", "copy", f"sqlite:///{tmp_path / 'back.db'}", config=moved).status == 0
    (tmp_path / "back").mkdir()
    assert listed(write_config(tmp_path / "back", url=f"sqlite:///{tmp_path / 'back.db'}", text=CONFIG)) == before


def test_nothing_is_copied_while_a_daemon_uses_the_database(config: Path, tmp_path: Path) -> None:
    with DaemonLock(f"sqlite:///{tmp_path / 'monitor.db'}"):
        done = token_monitor("db", "copy", f"sqlite:///{tmp_path / 'new.db'}", config=config)
    assert done.status == 1
    assert "only one daemon can use it at a time" in done.err
    assert not (tmp_path / "new.db").exists()


@pytest.mark.parametrize(
    ("url", "status", "words"),
    [
        ("mysql://a@b/c", 2, "The URL must start with sqlite:/// or postgresql://."),
        ("sqlite:///monitor.db", 2, "is the configured database: name a new one."),
        ("sqlite:///used.db", 1, "used.db is not empty (sources, "),
        ("sqlite:////dev/null/else.db", 1, "/dev/null"),
    ],
)
def test_a_database_that_cannot_be_the_copy_is_refused_in_one_sentence(
    config: Path, tmp_path: Path, url: str, status: int, words: str
) -> None:
    with open_store(f"sqlite:///{tmp_path / 'used.db'}") as store:
        make_world(store, real_now())
    done = token_monitor("db", "copy", url, config=config, folder=tmp_path)
    assert (done.status, done.out) == (status, "")
    assert words in done.err
    assert done.err.count("\n") == 1
