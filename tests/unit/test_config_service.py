"""The configuration of the systemd service: its credentials, checks without them, and the usable part of a broken one."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.config import load, load_channels
from monitor.domain.errors import ConfigError
from tests.support.command_line import token_monitor

ROOT = Path(__file__).parent.parent.parent
SHIPPED = ROOT / "systemd" / "config.toml"


def given(folder: Path, **secrets: str) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    for name, text in secrets.items():
        (folder / name.replace("_", "-")).write_text(text, "utf-8")
    return {"CREDENTIALS_DIRECTORY": str(folder), "HOME": "/nonexistent"}


def test_a_folder_of_credentials_arrives_with_its_id_in_front(tmp_path: Path) -> None:
    env = given(tmp_path)
    (tmp_path / "token-monitor_postpost").write_text("the-key", "utf-8")
    (tmp_path / "token-monitor_ops-url").write_text("json://127.0.0.1/hook", "utf-8")
    config = load(SHIPPED, env).config
    assert config.sources[0].api_key.reveal() == "the-key"
    assert config.channels[0].url.reveal() == "json://127.0.0.1/hook"


def test_a_credential_of_its_own_outranks_the_folders(tmp_path: Path) -> None:
    env = given(tmp_path, postpost="its-own", ops_url="json://127.0.0.1/hook")
    (tmp_path / "token-monitor_postpost").write_text("the-folders", "utf-8")
    assert load(SHIPPED, env).config.sources[0].api_key.reveal() == "its-own"


def test_a_missing_credential_is_named_as_the_configuration_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the systemd credential postpost, which does not exist"):
        load(SHIPPED, given(tmp_path, ops_url="json://127.0.0.1/hook"))


def test_the_shipped_configuration_holds_no_literal_secret_and_gives_no_warning(tmp_path: Path) -> None:
    loaded = load(SHIPPED, given(tmp_path, postpost="a-key", ops_url="json://127.0.0.1/hook"))
    assert loaded.warnings == ()


def test_without_credentials_everything_else_is_judged(tmp_path: Path) -> None:
    """systemd gives ExecReload= none of them."""
    path = tmp_path / "config.toml"
    path.write_text(SHIPPED.read_text("utf-8"), "utf-8")
    assert load(path, {"HOME": "/nonexistent"}, unread_kinds=["credential"]).warnings == ()
    path.write_text(SHIPPED.read_text("utf-8").replace('"postpost" ', '"postpast" '), "utf-8")
    with pytest.raises(ConfigError, match="postpast"):
        load(path, {"HOME": "/nonexistent"}, unread_kinds=["credential"])


@pytest.mark.slow
def test_the_command_judges_without_credentials_and_refuses_to_do_so_live(tmp_path: Path) -> None:
    done = token_monitor("config", "check", "--no-credentials", config=SHIPPED)
    assert (done.status, done.err) == (0, "")
    assert "is valid" in done.out
    assert token_monitor("config", "check", config=SHIPPED).status == 2
    assert token_monitor("config", "check", "--no-credentials", "--live", config=SHIPPED).status == 2


def test_of_a_configuration_with_mistakes_the_whole_channels_are_saved(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        """
timezone = "Nowhere/Land"
[database]
url = "sqlite:////var/lib/token-monitor/monitor.db"
[[sources]]
name = "agency"
provider = "postpast"
[[channels]]
name = "whole"
url = "json://127.0.0.1/hook"
severity = "critical"
[[channels]]
name = "broken"
url = "nonsense"
[[channels]]
url = "json://127.0.0.1/nameless"
""",
        "utf-8",
    )
    saved = load_channels(path, {"HOME": "/nonexistent"})
    assert [(channel.name, channel.url.reveal()) for channel in saved.channels] == [("whole", "json://127.0.0.1/hook")]
    assert saved.database.url.reveal() == "sqlite:////var/lib/token-monitor/monitor.db"


@pytest.mark.parametrize("text", ["[[sources]\n", "\x00"])
def test_of_what_is_no_toml_nothing_can_be_saved(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_channels(path, {"HOME": "/nonexistent"})
