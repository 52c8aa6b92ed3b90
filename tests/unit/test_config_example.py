"""The example, the starter, the reference and `config show` agree with what is really loaded."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from monitor.config import Config, KeyDoc, Secret, load, reference, show, starter
from monitor.domain.records import replace

ROOT = Path(__file__).parent.parent.parent
FILES = ROOT / "tests" / "data" / "config"
EXAMPLE = ROOT / "config.example.toml"
ENV = {
    "HOME": "/home/someone",
    "POSTPOST_API_KEY": "a",
    "POSTBREEZE_API_KEY": "b",
    "POSTPEER_API_KEY": "c",
    "OPS_APPRISE_URL": "json://localhost/ops",
    "OPS_PROXY": "http://proxy.example:3128",
    "ACME_APPRISE_URL": "json://localhost/acme",
    "BOSS_APPRISE_URL": "json://localhost/boss",
    "LAST_APPRISE_URL": "json://localhost/last",
    "HEARTBEAT_URL": "https://hc-ping.com/abc",
    "A_KEY": "sk_one",
    "B_KEY": "sk_two",
    "A_URL": "json://localhost/hook",
    "WEB_TOKEN": "open-sesame",
    "ANNA_TOKEN": "0123456789abcdef0123456789abcdef",
    "BEAT_URL": "https://hc-ping.com/abc",
}


def uncommented() -> str:
    """The example with every commented setting in use."""
    return re.sub(r"^#(?=[a-z\[])", "", EXAMPLE.read_text("utf-8"), flags=re.MULTILINE)


def paths_in(value: Any, prefix: str = "") -> set[str]:
    """The reference's paths of all keys in a TOML document."""
    if not isinstance(value, dict):
        return {prefix}
    found: set[str] = set()
    for key, item in value.items():
        step = "<platform>" if prefix.endswith("platforms") else key
        path = f"{prefix}.{step}" if prefix else step
        if path in ("sources", "channels", "labels", "web.users") and item and isinstance(item[0], dict):
            found = found.union(*(paths_in(entry, f"{path}[]") for entry in item))
        elif isinstance(item, dict) and (key in TABLES or prefix.endswith("platforms")):
            found |= paths_in(item, path)
        else:
            found.add(path)
    return found


TABLES = {"database", "schedule", "policy", "platforms", "web", "hooks", "cluster", "logging", "heartbeat", "retention", "match"}


def test_the_example_loads_without_a_warning() -> None:
    assert load(EXAMPLE, ENV).warnings == ()


def test_the_example_loads_with_every_setting_in_use(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(uncommented(), "utf-8")
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    assert load(path, ENV | {"TOKEN_MONITOR_WEB_TOKEN": "t"}).warnings == ()


def test_the_example_names_every_key_of_the_reference_and_no_other() -> None:
    assert paths_in(tomllib.loads(uncommented())) == {key.path for key in reference()}


def test_the_example_shows_the_real_defaults() -> None:
    """A commented value in the tables that have plain defaults is the default."""
    document = tomllib.loads(uncommented())
    unset = "token", "hosts", "public_url", "base_path", "trusted_proxies", "auth_header"
    for key in reference():
        table, _, name = key.path.partition(".")
        if table in ("policy", "web", "logging", "retention") and "." not in name and name not in unset:
            assert tomllib.loads(f"x = {key.default}")["x"] in (document[table][name], "1d"), key.path


def test_the_starter_is_valid_once_its_keys_are_set(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(starter(), "utf-8")
    loaded = load(path, ENV)
    assert loaded.warnings == ()
    assert [source.name for source in loaded.config.sources] == ["main"]
    used = re.sub(r"^#(?=[a-z\[])", "", starter(), flags=re.MULTILINE)
    (tmp_path / "postbreeze.key").write_text("b")
    (tmp_path / "postbreeze.key").chmod(0o600)
    path.write_text(used, "utf-8")
    assert load(path, ENV).warnings == ()


@pytest.mark.parametrize("key", reference(), ids=lambda key: str(key.path))
def test_every_key_is_documented(key: KeyDoc) -> None:
    assert key.type
    assert key.default
    assert key.meaning.endswith(".")


def test_the_reference_states_plain_defaults_as_toml() -> None:
    by_path = {key.path: key for key in reference()}
    assert by_path["schedule.poll_every"].default == '"15m"'
    assert by_path["policy.stages"].default == '["7d", "3d", "1d"]'
    assert by_path["sources[].name"].required
    assert not by_path["sources[].base_url"].required
    assert len(by_path) == len(reference())


def without_secrets(config: Config) -> Config:
    """The same with every secret replaced, so that what was shown can be compared with what was loaded."""
    hidden = Secret("x")
    return replace(
        config,
        path=Path("x"),
        sources=tuple(replace(source, api_key=hidden) for source in config.sources),
        channels=tuple(replace(channel, url=hidden) for channel in config.channels),
        web=replace(config.web, token=hidden),
        heartbeat=replace(config.heartbeat, url=hidden) if config.heartbeat else None,
    )


@pytest.mark.parametrize(
    "file", [EXAMPLE, FILES / "good-minimal.toml", FILES / "good-everything.toml"], ids=lambda path: path.name
)
def test_what_is_shown_is_what_is_in_force(file: Path, tmp_path: Path) -> None:
    """Loading the text of `config show`, with secrets put in, gives the same configuration again."""
    config = load(file, ENV).config
    again = tmp_path / "config.toml"
    again.write_text(show(config).replace("<secret>", "x"), "utf-8")
    again.chmod(0o600)
    assert without_secrets(load(again, ENV).config) == without_secrets(config)
