"""A channel URL that Apprise would misread is refused by every command that would send a message, and by a reload."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from monitor.demo.world import World
from tests.acceptance.daemon import eventually, setting
from tests.support.command_line import CONFIG, OPS_URL, token_monitor, write_config

MISREAD = "ntfys://tk_abc123#xyz@ntfy.corp.example/alerts"
SENTENCE = (
    "channels[0] (ops).url: The URL of the channel ops (ntfys://...) is misread, "
    'because the "#" at character 18 ends the address, so the text after it is not used: write %23.'
)


@pytest.mark.parametrize(("command", "status"), [("config check", 2), ("run", 2), ("check", 3)])
def test_A17_a_misread_url_is_refused_before_anything_starts(tmp_path: Path, command: str, status: int) -> None:
    config = write_config(tmp_path, text=CONFIG.replace(OPS_URL, MISREAD))
    done = token_monitor(*command.split(), config=config)
    assert done.status == status
    assert SENTENCE in done.err
    assert "is valid" not in done.out
    assert "abc123" not in done.err
    assert not (tmp_path / "monitor.db").exists()


def test_a_misread_url_is_named_by_the_live_check_and_the_test_alert(tmp_path: Path) -> None:
    config = write_config(tmp_path, text=CONFIG.replace(OPS_URL, MISREAD))
    for command in ("config check --live", "test-alert ops"):
        done = token_monitor(*command.split(), config=config)
        assert done.status == 1
        assert 'FAILED  channel ops: The URL of the channel ops (ntfys://...) is misread, because the "#"' in done.out


def test_the_live_check_names_the_host_of_a_channel(tmp_path: Path) -> None:
    config = write_config(tmp_path, text=CONFIG.replace(OPS_URL, "jsons://hooks.corp.example/secret-path"))
    done = token_monitor("config", "check", "--live", config=config)
    assert "channel ops: the URL is valid for Apprise, and messages go to hooks.corp.example\n" in done.out


@pytest.mark.parametrize(
    ("url", "warning"),
    [
        ("json://user:secret@hooks.example/x", "sends a password or token unencrypted to another host (json://): use jsons://"),
        ("syslog://", "belongs to a service that never confirms a message (Syslog)"),
        ("json://hooks.example/x?fromat=html", "has the parameter fromat, which JSON does not have"),
    ],
)
def test_what_is_unsafe_about_a_url_is_a_warning(tmp_path: Path, url: str, warning: str) -> None:
    config = write_config(tmp_path, text=CONFIG.replace(OPS_URL, url))
    done = token_monitor("config", "check", config=config)
    assert done.status == 0
    assert f"warning: {config}: channels[0] (ops).url {warning}" in done.out


def test_A22_a_test_alert_does_not_claim_that_a_service_without_answers_accepted_it(tmp_path: Path) -> None:
    config = write_config(tmp_path, text=CONFIG.replace(OPS_URL, "rsyslog://127.0.0.1:9"))
    done = token_monitor("test-alert", "ops", config=config)
    assert (done.status, done.out) == (0, "ok      channel ops: sent to 127.0.0.1, not confirmed by the service\n")


def test_a_scheme_alone_is_shown_and_no_secret(tmp_path: Path) -> None:
    config = write_config(tmp_path, text=CONFIG.replace(OPS_URL, "slak://"))
    done = token_monitor("config", "check", config=config)
    assert done.status == 2
    assert "Apprise cannot use the URL of the channel ops (slak://...): it has no service with this scheme." in done.err


@pytest.mark.slow
def test_a_reload_with_a_misread_url_is_refused_and_the_start_prints_the_warnings(tmp_path: Path) -> None:
    world = World()
    world.add_source("agency", "postpost")
    with setting(tmp_path, world, database=f"sqlite:///{tmp_path / 'monitor.db'}") as made:
        text = made.config.read_text("utf-8")
        made.config.write_text(text + '\n[[channels]]\nname = "extra"\nurl = "json://user:secret@hooks.example/x"\n', "utf-8")
        process = made.start()
        eventually(lambda: "(extra).url sends a password or token unencrypted" in made.log())
        made.config.write_text(text + f'\n[[channels]]\nname = "extra"\nurl = "{MISREAD}"\n', "utf-8")
        process.send_signal(signal.SIGHUP)
        eventually(lambda: "config.reload_refused" in made.log())
        eventually(lambda: "at character 18 ends the address" in made.log())
        assert process.poll() is None
