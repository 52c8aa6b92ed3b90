"""The man page and the completions match the code, and the unit files are installed where systemd expects them."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from docs import generate, shipped
from monitor.cli.systemd import hidden_from_services, install
from monitor.domain.errors import MonitorError
from tests.support.command_line import token_monitor

PROGRAM = Path("/opt/elsewhere/bin/token-monitor")


@pytest.mark.parametrize("path", list(shipped.FILES), ids=lambda path: path.name)
def test_the_shipped_files_match_the_code(path: Path) -> None:
    """If this fails: make docs."""
    assert path.read_text("utf-8") == shipped.FILES[path]()


def test_the_man_page_knows_every_command_and_option() -> None:
    text = shipped.man_page().replace("\\-", "-")
    for name, command in generate.commands().items():
        assert f'.SS "token-monitor {name}' in text
        for each in command.params:
            assert not each.help or f".B {generate.typed(each)}" in text


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("groff") is None, reason="NOT PROVEN: groff is missing, which reads man pages")
def test_the_man_page_is_written_without_a_fault() -> None:
    page = shipped.PACKAGING / "token-monitor.1"
    done = subprocess.run(["groff", "-man", "-ww", "-z", "-Tutf8", page], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_bash_reads_its_completions() -> None:
    file = shipped.PACKAGING / "completions" / "token-monitor.bash"
    done = subprocess.run(["bash", "-n", file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# --- the units


def test_install_writes_units_that_start_the_program_where_it_is(tmp_path: Path) -> None:
    written = install(tmp_path, program=PROGRAM, dry_run=False)
    assert all(each.changed for each in written)
    units = tmp_path / "etc/systemd/system"
    assert f"ExecStart={PROGRAM} " in (units / "token-monitor.service").read_text("utf-8")
    assert f"ExecStart={PROGRAM} " in (units / "token-monitor-failure@.service").read_text("utf-8")
    assert stat.S_IMODE((tmp_path / "etc/token-monitor/credentials").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "etc/token-monitor/config.toml").stat().st_mode) == 0o644


def test_a_second_install_changes_nothing_and_keeps_a_configuration(tmp_path: Path) -> None:
    install(tmp_path, program=PROGRAM, dry_run=False)
    config = tmp_path / "etc/token-monitor/config.toml"
    config.write_text("# mine\n", "utf-8")
    assert not any(each.changed for each in install(tmp_path, program=PROGRAM, dry_run=False))
    assert config.read_text("utf-8") == "# mine\n"


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    written = install(tmp_path, program=PROGRAM, dry_run=True)
    assert all(each.changed for each in written)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_is_reported_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "etc").write_text("in the way", "utf-8")
    with pytest.raises(MonitorError, match="cannot be written: Not a directory"):
        install(tmp_path, program=PROGRAM, dry_run=False)


@pytest.mark.parametrize(("path", "hidden"), [("/home/x/bin/p", True), ("/root/p", True), ("/opt/p", False), ("/homes/p", False)])
def test_a_program_in_a_home_folder_is_hidden_from_the_service(path: str, hidden: bool) -> None:
    assert hidden_from_services(Path(path)) is hidden


@pytest.mark.slow
def test_the_command_prints_what_it_writes_and_the_next_step(tmp_path: Path) -> None:
    tried = token_monitor("systemd", "install", "--root", str(tmp_path), "--program", str(PROGRAM), "--dry-run")
    assert (tried.status, list(tmp_path.iterdir())) == (0, [])
    assert "would write  /etc/systemd/system/token-monitor.service\n" in tried.out
    done = token_monitor("systemd", "install", "--root", str(tmp_path), "--program", str(PROGRAM))
    assert done.status == 0
    assert "wrote        /etc/token-monitor/config.toml\n" in done.out
    assert "systemctl enable --now token-monitor" in done.out
    refused = token_monitor("systemd", "install", "--root", str(tmp_path), "--program", "/home/me/bin/token-monitor")
    assert refused.status == 1
    assert "home directories are hidden from it" in refused.err
