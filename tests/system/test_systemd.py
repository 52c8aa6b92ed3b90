"""The units as systemd reads them, and the service as a real systemd runs it, booted in namespaces of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from monitor.cli.systemd import install

ROOT = Path(__file__).parent.parent.parent
INSIDE = Path(__file__).parent / "inside"
SYSTEMD = Path("/lib/systemd/systemd")
PREFIX = Path("/opt/token-monitor")
UNITS = ("token-monitor.service", "token-monitor-failure@.service")
TIMER = "token-monitor-restart.timer"

pytestmark = pytest.mark.slow
needs_analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="NOT PROVEN: systemd-analyze is missing here")


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The folder of installed units, whose program exists."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n", "utf-8")
    program.chmod(0o755)
    install(tmp_path / "root", program=program, dry_run=False)
    return tmp_path / "root/etc/systemd/system"


@needs_analyze
@pytest.mark.parametrize("name", [*UNITS, TIMER])
def test_systemd_accepts_the_units(units: Path, name: str) -> None:
    """An unknown key is only a line on stderr, so any line is a failure."""
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", units / name], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_analyze
@pytest.mark.parametrize("name", UNITS)
def test_S17_the_units_expose_at_most_one_point_two(units: Path, name: str) -> None:
    """--threshold counts in tenths."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=12", units / name],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout.splitlines()[-1]


def missing() -> str | None:
    """Why a systemd cannot be booted here."""
    if not sys.platform.startswith("linux") or not SYSTEMD.exists():
        return "there is no systemd here"
    if os.geteuid() != 0:
        return "it takes root to boot a systemd in namespaces of its own"
    tools = [name for name in ("unshare", "setpriv", "ip", "nsenter", "pivot_root", "journalctl") if shutil.which(name) is None]
    return f"{', '.join(tools)} is missing here" if tools else None


def build_payload(payload: Path) -> dict[str, str]:
    """What lies over the machine's files in the booted system. Returns what is bound there, by where it is now."""
    source = PREFIX / "src"
    bindings = {sysconfig.get_path("purelib"): f"{PREFIX}/site"}
    for folder in ("monitor", "migrations"):
        shutil.copytree(ROOT / folder, payload / source.relative_to("/") / folder)
    if sys.base_prefix == "/usr":
        python = Path(sys.executable).resolve()
    else:  # a Python of one's own, which may lie in a home folder that the service cannot see
        bindings[sys.base_prefix] = "/opt/python"
        python = Path("/opt/python") / Path(sys.executable).resolve().relative_to(Path(sys.base_prefix).resolve())
    programs = payload / PREFIX.relative_to("/") / "bin"
    programs.mkdir(parents=True)
    for name in ("program.py", "world.py", "driver.py"):
        shutil.copy(INSIDE / name, programs / name)
    launch = f"#!/bin/sh\nexport PYTHONPATH={source}:{PREFIX}/site LD_LIBRARY_PATH=/opt/python/lib\nexec {python}"
    for name, script in (("token-monitor", "program.py"), ("world", "world.py"), ("driver", "driver.py")):
        (programs / name).write_text(f'{launch} {PREFIX}/bin/{script} "$@"\n', "utf-8")
        (programs / name).chmod(0o755)
    install(payload, program=PREFIX / "bin/token-monitor", dry_run=False)
    units = payload / "etc/systemd/system"
    (units / f"{UNITS[0]}.d/e2e.conf").write_text(
        "[Service]\nRestartSec=200ms\nWatchdogSec=3s\nEnvironment=TOKEN_MONITOR_TRACEBACK=1\n", "utf-8"
    )
    (units / f"{TIMER}.d").mkdir()
    (units / f"{TIMER}.d/e2e.conf").write_text("[Timer]\nOnActiveSec=\nOnActiveSec=21s\n", "utf-8")
    for name, text in OURS.items():
        (units / name).write_text(text, "utf-8")
    return bindings


OURS = {
    "e2e.target": """[Unit]
Requires=basic.target
After=basic.target
Wants=world.service driver.service pre.service
AllowIsolate=yes
""",
    "world.service": f"""[Service]
ExecStart={PREFIX}/bin/world
StandardError=append:/out/world.log
""",
    "driver.service": f"""[Service]
Type=oneshot
ExecStart={PREFIX}/bin/driver
StandardOutput=append:/out/driver.log
StandardError=append:/out/driver.log
""",
    # What the unit would do with an ExecStartPre= that judges the configuration.
    "pre.service": """[Unit]
StartLimitBurst=3
[Service]
Type=exec
ExecStartPre=/bin/sh -c 'exit 2'
ExecStart=/bin/sleep 60
Restart=on-failure
RestartSec=100ms
RestartPreventExitStatus=2
""",
}
"""The units around the one that is tested."""


@pytest.mark.timeout(260)
@pytest.mark.skipif(missing() is not None, reason=f"NOT PROVEN under a real systemd: {missing()}")
def test_P07_P09_P31_P32_P33_S03_the_service_under_a_real_systemd(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Notify, watchdog, restart, reload, credentials, state and the configuration error, one after the other."""
    out, payload = tmp_path / "out", tmp_path / "payload"
    out.mkdir()
    out.chmod(0o755)
    bindings = build_payload(payload)
    env = {**os.environ, "LIMIT": "230", "BINDS": " ".join(f"{source}:{target}" for source, target in bindings.items())}
    done = subprocess.run([INSIDE / "boot.sh", payload, out], env=env, capture_output=True, text=True, check=False, timeout=240)
    facts = out / "facts.json"
    log = "".join(path.read_text("utf-8") for path in sorted(out.glob("*.log")))
    if not facts.exists() and not (out / "driver.log").exists():
        pytest.skip(f"NOT PROVEN under a real systemd: it does not boot here: {done.stdout[-800:]}{done.stderr[-800:]}")
    assert facts.exists(), f"{log}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    answer = json.loads(facts.read_text("utf-8"))
    with capsys.disabled():
        print("\nProven under a real systemd:")  # noqa: T201 - the list is what this test is for
        for sentence, seconds in answer["facts"]:
            print(f"  {seconds:5.1f} s  {sentence}")  # noqa: T201 - as above
    assert answer["problem"] is None, f"{answer['problem']}\n{log}"
    assert len(answer["facts"]) == 21
