"""Inside the booted system: does to the service what happens to services, and writes down what was seen."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

UNIT = "token-monitor.service"
TIMER = "token-monitor-restart.timer"
CONFIG = Path("/etc/token-monitor/config.toml")
STATE = Path("/var/lib/private/token-monitor")
RECEIVED = Path("/out/received.jsonl")
PATIENCE = 60.0
"""Seconds; never a claim about speed."""

FACTS: list[tuple[str, float]] = []
_began = time.monotonic()


def fact(sentence: str) -> None:
    FACTS.append((sentence, round(time.monotonic() - _began, 1)))


def call(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)


def shown(name: str, unit: str = UNIT) -> str:
    return call("systemctl", "show", "--value", "-p", name, unit).stdout.strip()


def eventually(condition: Callable[[], object], name: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"it did not come true: {name}; status: {shown('StatusText')}"
        time.sleep(0.05)


def expect(found: object, wanted: object, name: str) -> None:
    assert found == wanted, f"{name}: found {found!r}, wanted {wanted!r}"


def journal(*more: str) -> str:
    return call("journalctl", "-u", UNIT, "-o", "cat", "--no-pager", *more).stdout


def received(*words: str) -> int:
    lines = RECEIVED.read_text("utf-8").splitlines() if RECEIVED.exists() else []
    return sum(all(word in line for word in words) for line in lines)


def write_config(base_url: str, *, more: str = "") -> None:
    CONFIG.write_text(
        f"""
{more}
[database]
url = "sqlite:////var/lib/token-monitor/monitor.db"
[schedule]
poll_every = "1s"
probe_every = "1h"
[web]
listen = "off"
[[sources]]
name = "agency"
provider = "postpost"
api_key = {{ credential = "postpost" }}
base_url = "{base_url}"
[[channels]]
name = "hook"
url = {{ credential = "hook" }}
group_wait = "0s"
""",
        "utf-8",
    )
    CONFIG.chmod(0o644)


def starts(_: str) -> None:
    done = call("systemctl", "start", UNIT)
    expect(done.returncode, 0, f"start ({done.stderr}; {journal()})")
    expect(shown("ActiveState"), "active", "state")
    expect(shown("Type"), "notify", "type")
    fact("start waits for READY=1 (Type=notify)")
    eventually(lambda: "monitoring 2 connections from 1 source" in shown("StatusText"), "STATUS= counts")
    assert "next poll in" in shown("StatusText") or "polling now" in shown("StatusText")
    fact(f"STATUS=: {shown('StatusText')}")
    eventually(lambda: received("linkedin-near", "expiring_soon") == 1, "the first alert")
    fact("the key came as a credential: the source answers, and its alert arrived")


def is_sealed(_: str) -> None:
    pid = shown("MainPID")
    status = Path(f"/proc/{pid}/status").read_text("utf-8")
    for line in ("CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
        assert line in status, f"{line} is not in {status}"
    uid = int(re.findall(r"Uid:\t(\d+)", status)[0])
    assert 61184 <= uid <= 65519, f"uid {uid} is not a dynamic one"
    fact(f"sandbox: no capability, seccomp filter, no new privileges, a user that exists only meanwhile (uid {uid})")
    key = Path("/etc/token-monitor/credentials/postpost").read_bytes()
    assert key not in Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()
    seen = call("nsenter", "-t", pid, "-m", "setpriv", f"--reuid={uid}", "cat", "/etc/token-monitor/credentials/postpost")
    assert seen.returncode != 0, "the service can read the credential's source"
    fact("the key is neither in the environment nor in the command line, and its file is out of the service's reach")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (STATE, STATE / "monitor.db")}
    expect(modes, {"token-monitor": 0o700, "monitor.db": 0o600}, "modes")
    fact("state folder 0700, database 0600")


def survives_a_kill(_: str) -> None:
    before = shown("MainPID")
    os.kill(int(before), signal.SIGKILL)
    eventually(lambda: shown("MainPID") not in (before, "0") and shown("ActiveState") == "active", "restart after SIGKILL")
    fact("kill -9: restarted")


def survives_a_hang(_: str) -> None:
    before = shown("MainPID")
    os.kill(int(before), signal.SIGUSR2)
    eventually(lambda: "Watchdog timeout" in journal(), "the watchdog's timeout in the journal")
    eventually(lambda: shown("MainPID") not in (before, "0") and shown("ActiveState") == "active", "restart after the hang")
    fact("an event loop that hangs is noticed by the watchdog, ended and restarted")


def reloads(base_url: str) -> None:
    before = shown("MainPID")
    write_config(base_url, more='timezone = "Europe/Berlin"')
    done = call("systemctl", "reload", UNIT)
    expect(done.returncode, 0, f"reload ({done.stderr})")
    eventually(lambda: "config.reloaded" in journal(), "the reload is logged")
    eventually(lambda: shown("ActiveState") == "active", "running again")
    expect(shown("MainPID"), before, "main process")
    fact("reload with a good file: taken, same process")


def refuses_a_bad_reload(base_url: str) -> None:
    before = shown("MainPID")
    write_config(base_url, more='timezone = "Nowhere/Land"')
    done = call("systemctl", "reload", UNIT)
    assert done.returncode != 0, "the reload of a bad file succeeded"
    eventually(lambda: shown("ActiveState") == "active", "running on")
    expect(shown("MainPID"), before, "main process")
    assert "config.reload_refused" not in journal(), "the daemon was signalled"
    fact("reload with a bad file: systemctl fails, the daemon is not signalled and goes on")
    os.kill(int(before), signal.SIGHUP)
    eventually(lambda: "last reload was rejected" in shown("StatusText"), "STATUS= reports the refusal")
    eventually(lambda: "config.reload_refused" in journal("-p", "err"), "journalctl -p err shows it")
    expect(shown("MainPID"), before, "main process")
    fact("a bare SIGHUP with a bad file: STATUS= and journalctl -p err report it, and the former file stays in force")
    write_config(base_url)


def stops_and_remembers(_: str) -> None:
    done = call("systemctl", "stop", UNIT)
    expect((done.returncode, shown("ActiveState"), shown("Result")), (0, "inactive", "success"), "stop")
    fact("stop: clean, exit status 0")
    expect(call("systemctl", "start", UNIT).returncode, 0, "second start")
    eventually(lambda: "monitoring 2 connections" in shown("StatusText"), "it knows its connections")
    expect(received("linkedin-near"), 1, "alerts about the connection after five starts")
    fact("state survives stop and start: nothing is announced a second time")


def gives_up_on_a_wrong_configuration(base_url: str) -> None:
    call("systemctl", "stop", UNIT)
    write_config(base_url, more='timezone = "Nowhere/Land"')
    call("systemctl", "start", UNIT)
    eventually(lambda: shown("ActiveState") == "failed", "failed")
    expect((shown("ExecMainStatus"), shown("NRestarts")), ("2", "0"), "exit status and restarts")
    time.sleep(0.6)  # thrice RestartSec=
    expect((shown("ActiveState"), shown("NRestarts")), ("failed", "0"), "state, later on")
    fact("a configuration error: exit status 2, not restarted")
    eventually(lambda: received("is down and nothing is monitored", "Nowhere/Land") == 1, "the alert of OnFailure=")
    fact("OnFailure=: the channel received the failure and the mistake in the configuration")
    write_config(base_url)
    expect(call("systemctl", "start", UNIT).returncode, 0, "start with the mended file")
    eventually(lambda: received("The monitor is running again") == 1, "the alert of the recovery")
    fact("corrected and started: the channel received the recovery")


def shows_why_there_is_no_execstartpre(_: str) -> None:
    eventually(lambda: int(shown("NRestarts", "pre.service")) > 0, "ExecStartPre= is restarted")
    fact("a failing ExecStartPre= is restarted in spite of RestartPreventExitStatus=: the unit has none")


def names_the_missing_credential(base_url: str) -> None:
    call("systemctl", "stop", UNIT)
    write_config(base_url)
    key = Path("/etc/token-monitor/credentials/postpost")
    away = key.rename(CONFIG.with_name("postpost-taken-away"))
    call("systemctl", "start", UNIT)
    eventually(lambda: shown("ActiveState") == "failed", "failed without its credential")
    expect((shown("ExecMainStatus"), shown("NRestarts")), ("2", "0"), "exit status and restarts")
    assert "needs the systemd credential postpost" in journal(), "the journal does not name the credential"
    fact("a missing credential: exit status 2 with its name, not restarted")
    eventually(lambda: shown("ActiveState", TIMER) == "active", "the timer runs")
    call("systemctl", "stop", UNIT)
    expect(shown("ActiveState", TIMER), "inactive", "timer after stop")
    fact("stop cancels the start that the timer was to make after the failure")
    away.rename(key)


def ends_a_crash_loop(base_url: str) -> None:
    limit = Path("/etc/systemd/system") / f"{UNIT}.d/limit.conf"
    limit.write_text("[Unit]\nStartLimitBurst=2\nStartLimitIntervalSec=20s\n", "utf-8")
    write_config(base_url)
    CONFIG.write_text(CONFIG.read_text("utf-8").replace("/var/lib/token-monitor/", "/proc/nowhere/"), "utf-8")
    call("systemctl", "daemon-reload")
    call("systemctl", "reset-failed", UNIT)
    before = received("is down and nothing is monitored")
    call("systemctl", "start", UNIT)
    eventually(lambda: shown("ActiveState") == "failed" and int(shown("NRestarts")) >= 1, "the start limit ends the loop")
    eventually(lambda: received("is down and nothing is monitored") == before + 1, "one more alert of OnFailure=")
    fact("a crash loop: ended by the start limit, and notified once")
    eventually(lambda: shown("ActiveState", TIMER) == "active", "the timer runs")
    first = shown("ActiveEnterTimestampMonotonic", TIMER)
    eventually(lambda: shown("ActiveEnterTimestampMonotonic", TIMER) != first, "a second failure starts the timer again")
    eventually(lambda: shown("ActiveState", TIMER) == "active", "the timer runs again")
    write_config(base_url)
    eventually(lambda: shown("ActiveState") == "active", "the timer starts the service")
    eventually(lambda: "monitoring 2 connections" in shown("StatusText"), "it monitors again")
    fact("the timer starts the service again, also after a second failure, until its cause is remedied")


STEPS = (
    starts,
    is_sealed,
    survives_a_kill,
    survives_a_hang,
    reloads,
    refuses_a_bad_reload,
    stops_and_remembers,
    gives_up_on_a_wrong_configuration,
    names_the_missing_credential,
    ends_a_crash_loop,
    shows_why_there_is_no_execstartpre,
)


def main() -> None:
    problem = None
    try:
        eventually(lambda: Path("/out/base_url").exists(), "the simulated world")
        base_url = Path("/out/base_url").read_text("utf-8")
        write_config(base_url)
        for step in STEPS:
            step(base_url)
    except Exception:  # noqa: BLE001 - whatever it was, it is to be read outside
        problem = f"{traceback.format_exc()}\n--- journal\n{call('journalctl', '-o', 'short', '--no-pager').stdout[-12000:]}"
    Path("/out/facts.json").write_text(json.dumps({"facts": FACTS, "problem": problem}), "utf-8")
    call("systemctl", "exit", "0", "--no-block")


if __name__ == "__main__":
    main()
    sys.exit(0)
