"""Two sources with one API key: rejected in a new database, continued in one that an earlier version used."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from monitor.config import Config, load
from monitor.domain.errors import ConfigError
from monitor.engine import config_sync
from monitor.store import Store, migrate, open_store, sources
from tests.support import canary
from tests.support.command_line import token_monitor, write_config

ONE = f"""
[database]
url = "{{url}}"
[web]
listen = "off"
[[sources]]
name = "agency"
provider = "postpost"
api_key = "{canary.POSTPOST_KEY}"
base_url = "http://127.0.0.1:9/api/v1"
[[channels]]
name = "ops"
url = "json://127.0.0.1:9/hook"
"""
SECOND = f"""
[[sources]]
name = "casa"
provider = "postpost"
api_key = "{canary.POSTPOST_KEY}"
base_url = "http://127.0.0.1:9/api/v1"
users = ["u1"]
"""
PROBLEM = (
    "The sources agency and casa have the same API key and read the same connections, so every alert about these is sent twice"
)
REMEDY = (
    'remove the source casa, add ["u1"] to users of agency and add the rule [[labels]] '
    'match = { source = "agency", scope = ["u1"] } set = { client = "casa" }'
)


def config(folder: Path, text: str) -> Config:
    return load(write_config(folder, text=text), {"HOME": str(folder)}).config


def sync(store: Store, config: Config, now: datetime) -> list[str]:
    """Apply the configuration and return the sources in the database."""
    with store.begin_write() as conn:
        config_sync.sync(conn, config, now)
    with store.begin_read() as conn:
        return [row.name for row in sources.all_sources(conn)]


def test_a_new_database_rejects_the_pair_and_stays_unchanged(store: Store, tmp_path: Path, now: datetime) -> None:
    """Also the second source alone, when the first has been monitored by this version."""
    assert sync(store, config(tmp_path, ONE), now) == ["agency"]
    with pytest.raises(ConfigError) as raised:
        sync(store, config(tmp_path, ONE + SECOND), now)
    assert str(raised.value) == f"{PROBLEM}: {REMEDY}."
    with store.begin_read() as conn:
        assert [row.name for row in sources.all_sources(conn)] == ["agency"]


def test_a_pair_from_before_this_version_continues_also_under_a_new_name(
    empty_database: str, tmp_path: Path, now: datetime
) -> None:
    with open_store(empty_database) as store:
        assert sync(store, config(tmp_path, ONE), now) == ["agency"]
        migrate.downgrade(store.target, to="0006")
        assert store.upgrade()
        assert sync(store, config(tmp_path, ONE + SECOND), now) == ["agency", "casa"]
        sync(store, config(tmp_path, ONE), now)
        renamed = ONE.replace('"agency"', '"studio"')
        assert sync(store, config(tmp_path, renamed), now) == ["studio"]
        assert sync(store, config(tmp_path, renamed + SECOND), now) == ["casa", "studio"]


@pytest.mark.parametrize(("command", "status"), [("run", 2), ("check", 3)])
def test_the_daemon_does_not_start_and_names_the_rule(tmp_path: Path, command: str, status: int) -> None:
    path = write_config(tmp_path, text=ONE + SECOND)
    done = token_monitor(command, config=path)
    assert (done.status, done.out) == (status, "")
    assert f"{PROBLEM}: {REMEDY}." in done.err
