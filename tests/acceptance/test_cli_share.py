"""The `share` commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from monitor.store import Store, shares
from tests.support.command_line import token_monitor

CONFIG = """
[database]
url = "{url}"
[[sources]]
name = "agency"
provider = "postpost"
api_key = "k"
users = "all"
[[labels]]
match = {{ scope = "u1" }}
set = {{ client = "acme" }}
"""
PUBLIC = '[web]\npublic_url = "https://monitor.example.com/tokens/"\n'


@pytest.fixture
def config(store: Store, database_url: str, tmp_path: Path) -> Path:
    """A configuration with a public address."""
    path = tmp_path / "config.toml"
    path.touch(mode=0o600)
    path.write_text(CONFIG.format(url=database_url) + PUBLIC, encoding="utf-8")
    return path


def test_a_share_is_added_listed_and_revoked(store: Store, config: Path) -> None:
    added = token_monitor("share", "add", "--label", "client=acme", "--days", "7", config=config, env={"LOGNAME": "ann"})
    assert added.status == 0, added.err
    found = re.match(r"https://monitor\.example\.com/tokens/share/([A-Za-z0-9_-]{43})\nShare 1 is open until ", added.out)
    assert found is not None, added.out
    with store.begin_read() as conn:
        stored = shares.find(conn, found[1])
    assert stored is not None
    assert (stored.labels, stored.created_by) == ({"client": "acme"}, "command line (ann)")
    assert (stored.until - stored.created_at).days == 7
    [listed] = token_monitor("share", "list", "--json", config=config).json["shares"]
    assert (listed["id"], listed["state"], listed["labels"]) == (1, "open", {"client": "acme"})
    assert found[1] not in str(listed)
    assert "client=acme" in token_monitor("share", "list", config=config).out
    assert token_monitor("share", "add", "--label", "client=acme", config=config).status == 0
    assert token_monitor("share", "revoke", "1", config=config).out == "Revoked: 1.\n"
    again = token_monitor("share", "revoke", "1", config=config)
    assert (again.status, "There is no open share 1" in again.err) == (1, True)
    assert token_monitor("share", "revoke", "--all", config=config).out == "Revoked: 2.\n"
    assert token_monitor("share", "list", config=config).out.startswith("2 shares, 0 open.")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("add",), "Give --label"),
        (("add", "--label", "acme"), "is not KEY=VALUE"),
        (("add", "--label", "client=Casa Verde"), 'match = { scope = "ID" } set = { "client" = "Casa Verde" }'),
        (("add", "--label", "client=acme", "--days", "0"), "--days"),
        (("revoke",), "Give either"),
        (("revoke", "1", "--all"), "Give either"),
    ],
)  # fmt: skip
def test_an_unusable_request_is_a_usage_error(config: Path, arguments: tuple[str, ...], problem: str) -> None:
    done = token_monitor("share", *arguments, config=config)
    assert done.status == 2
    assert problem in done.err


def test_a_share_needs_the_public_address(config: Path) -> None:
    config.write_text(config.read_text("utf-8").replace(PUBLIC, ""), encoding="utf-8")
    done = token_monitor("share", "add", "--label", "client=acme", config=config)
    assert done.status == 2
    assert "web.public_url is not set" in done.err
