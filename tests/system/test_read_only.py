"""Every command on a machine whose only writable folder is the one of the database."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command_line import ROOT, environment
from tests.support.receivers import WebhookReceiver

TOOLS = ("unshare", "mount", "awk")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        os.geteuid() != 0 or any(shutil.which(tool) is None for tool in TOOLS),
        reason="NOT PROVEN: a mount namespace takes root, unshare, mount and awk: a read-only machine is not tested here",
    ),
]
READ_ONLY = r"""
set -eu
mount --make-rprivate /
mount --bind "$1" "$1"
awk '{print $2}' /proc/self/mounts | sort -u | while read -r place; do
    case "$place" in "$1"|/proc*|/sys*) ;; *) mount -o remount,bind,ro "$place" 2>/dev/null || true ;; esac
done
cd /
for folder in / /tmp /var/tmp /dev/shm; do
    if touch "$folder/token-monitor-test" 2>/dev/null; then echo "$folder can be written"; exit 99; fi
done
touch "$1/writable"
shift
exec "$@"
"""
CONFIG = """\
[database]
url = "{database}"
[web]
listen = "off"
[policy]
confirm_failures = 1
[[sources]]
name = "agency"
provider = "postpost"
api_key = "a-key"
base_url = "http://127.0.0.1:9/api/v1"
[[channels]]
name = "ops"
url = "{channel}"
group_wait = "0s"
"""


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as made:
        yield made


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program where only this folder can be written."""
    program = [sys.executable, "-m", "monitor", "--config", str(folder / "config.toml"), *arguments]
    command = ["unshare", "-m", "sh", "-c", READ_ONLY, "sh", str(folder), *program]
    env = {**environment(), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode != 99, shlex.join(command)
    assert "nexpected" not in done.stdout + done.stderr, done.stderr
    return done


def configure(folder: Path, receiver: WebhookReceiver, *, database: str = "sqlite:///monitor.db") -> None:
    path = folder / "config.toml"
    path.write_text(CONFIG.format(database=database, channel=receiver.apprise_url()), "utf-8")
    path.chmod(0o600)


def test_P39_alerts_are_sent_without_a_temporary_folder(tmp_path: Path, receiver: WebhookReceiver) -> None:
    configure(tmp_path, receiver)
    assert run(tmp_path, "config", "check").returncode == 0
    assert "channel ops" in run(tmp_path, "config", "check", "--live").stdout
    assert run(tmp_path, "test-alert").returncode == 0
    assert len(receiver.wait_for(1)) == 1
    checked = run(tmp_path, "check")
    assert (checked.returncode, "queued" in checked.stdout) == (3, False), checked.stdout + checked.stderr
    assert "agency" in receiver.wait_for(2)[1].text
    for command in ("status", "sources", "alerts", "forecast", "cluster", "config show", "config diff", "db current", "db prune"):
        assert run(tmp_path, *command.split()).returncode == 0, command


@pytest.mark.parametrize("database", ["sqlite:///monitor.db", "sqlite:////nowhere/monitor.db", "postgresql://x@127.0.0.1:9/x"])
def test_P39_a_failure_is_reported_without_a_temporary_folder(database: str, tmp_path: Path, receiver: WebhookReceiver) -> None:
    """With the store, and in memory where there is none."""
    configure(tmp_path, receiver, database=database)
    done = run(tmp_path, "report-failure", "token-monitor.service")
    assert (done.returncode, done.stdout) == (0, "Delivered.\n"), done.stderr
    assert "is down and nothing is monitored" in receiver.wait_for(1)[0].text


def test_P39_the_demo_names_what_it_needs(tmp_path: Path) -> None:
    done = run(tmp_path, "demo", "--seconds", "1")
    assert (done.returncode, done.stderr) == (
        1,
        "token-monitor: The demo needs a folder for its files, and no temporary one can be written: set TMPDIR.\n",
    )
