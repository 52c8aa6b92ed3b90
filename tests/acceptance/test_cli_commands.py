"""Exit statuses, and the commands that change something, each run as a process."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from monitor.demo.server import ThreadedWorld
from monitor.demo.world import World
from monitor.store import connection_queries, former_ids, open_store
from monitor.store.former_ids import ReplacedId
from monitor.store.lock import DaemonLock
from tests.support import canary
from tests.support.command_line import CONFIG, OPS_URL, ROOT, environment, make_world, real_now, token_monitor, write_config
from tests.support.receivers import WebhookReceiver

COMMANDS = (
    "init", "config", "run", "check", "status", "history", "forecast", "sources", "alerts", "test-alert", "ack", "silence",
    "forget", "db", "demo", "recheck", "cluster",
)  # fmt: skip


def test_help_lists_every_command() -> None:
    done = token_monitor("--help")
    assert done.status == 0
    listed = {line.split()[0] for line in done.out.split("Commands:")[1].splitlines() if line.strip()}
    assert set(COMMANDS) <= listed


def test_version_names_the_program() -> None:
    assert token_monitor("--version").out.startswith("token-monitor 0.")


USAGE = [
    ("status --nonsense", 2),
    ("nonsense", 2),
    ("history", 2),
    ("status --status wrong", 2),
    ("status --source nobody", 2),
    ("status --label client=nobody", 2),
    ("status --label nonsense", 2),
    ("check --nonsense", 3),
    ("check --source nobody", 3),
    ("recheck", 3),
    ("recheck --source nobody", 3),
    ("recheck x --wait 0s", 3),
    ("status --exit-code --nonsense", 3),
    ("status --exit-code --source nobody", 3),
]


@pytest.mark.parametrize(("command", "status"), USAGE)
def test_a_usage_error_exits_2_and_3_where_monitoring_programs_call(tmp_path: Path, command: str, status: int) -> None:
    write_config(tmp_path)
    with open_store(f"sqlite:///{tmp_path / 'monitor.db'}"):
        done = token_monitor(*command.split(), folder=tmp_path)
    assert (done.status, done.out) == (status, "")
    assert done.err.startswith("token-monitor: ")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(("command", "status"), [("status", 2), ("run", 2), ("check", 3), ("status --exit-code", 3)])
def test_a_wrong_configuration_names_every_mistake(tmp_path: Path, command: str, status: int) -> None:
    config = write_config(tmp_path, text='timezone = "Mars"\n[schedule]\npoll_evry = "1m"\n')
    done = token_monitor(*command.split(), config=config)
    assert (done.status, done.out) == (status, "")
    assert "poll_evry" in done.err
    assert "Mars" in done.err
    assert all(line.startswith("token-monitor: ") for line in done.err.splitlines())


def test_a_missing_configuration_lists_the_searched_paths(tmp_path: Path) -> None:
    done = token_monitor("status", folder=tmp_path)
    assert done.status == 2
    assert "token-monitor init" in done.err


def test_a_newer_schema_exits_2(tmp_path: Path) -> None:
    write_config(tmp_path)
    with open_store(f"sqlite:///{tmp_path / 'monitor.db'}"):
        pass
    with sqlite3.connect(tmp_path / "monitor.db") as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()
    assert token_monitor("status", folder=tmp_path).status == 2
    assert token_monitor("status", "--exit-code", folder=tmp_path).status == 3
    done = token_monitor("db", "current", folder=tmp_path)
    assert (done.status, "9999" in done.err) == (2, True)


def test_init_writes_a_private_file_and_overwrites_nothing(tmp_path: Path) -> None:
    done = token_monitor("init", folder=tmp_path)
    path = tmp_path / "config.toml"
    assert done.status == 0
    assert "config check --live" in done.out
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    secrets = {"POSTPOST_API_KEY": canary.POSTPOST_KEY, "OPS_APPRISE_URL": "json://127.0.0.1:9"}
    assert token_monitor("config", "check", folder=tmp_path, env=secrets).status == 0
    before = path.read_bytes()
    again = token_monitor("init", folder=tmp_path)
    assert (again.status, path.read_bytes()) == (1, before)
    assert token_monitor("init", "other.toml", folder=tmp_path).status == 0
    assert token_monitor("init", "missing/other.toml", folder=tmp_path).status == 1


def test_S01_config_check_and_show_print_no_secret(tmp_path: Path) -> None:
    """The canary keys of the configuration are looked for in everything that any command here says."""
    config = write_config(tmp_path)
    check = token_monitor("config", "check", config=config)
    assert check.status == 0
    assert check.out.splitlines() == [
        f"{config} is valid: 2 sources, 2 channels.",
        "agency: 600 requests a minute, enough to probe 216,000 connections every 6 hours.",
        "studio: 600 requests a minute.",
    ]
    shown = token_monitor("config", "show", config=config).out
    assert 'api_key = "<secret>"' in shown
    config.chmod(0o644)
    assert "warning: " in token_monitor("config", "check", config=config).out


def test_config_check_live_names_what_does_not_answer(tmp_path: Path) -> None:
    done = token_monitor("config", "check", "--live", config=write_config(tmp_path))
    assert done.status == 1
    assert "FAILED  source agency: " in done.out
    assert "FAILED  source studio: " in done.out
    assert "ok      channel ops: " in done.out


def test_check_that_reads_nothing_is_unknown(tmp_path: Path) -> None:
    """Nothing listens at either source: no data is no good news."""
    done = token_monitor("check", config=write_config(tmp_path))
    assert done.status == 3
    assert "Could not read agency: " in done.out
    assert done.out.startswith("UNKNOWN: 2 of 2 sources cannot be read: agency, studio. No connections are known yet.")


def test_N21_check_and_status_are_unknown_where_no_row_can_be_read(tmp_path: Path) -> None:
    world = World()
    world.add_source("agency", "postpost")
    for number in range(6):
        world.connect("agency", "linkedin", account=str(number), username=f"@u{number}", display_name=f"U{number}")
        world.state_word("agency", f"linkedin-{number}", 5)
    with ThreadedWorld(world) as server:
        source = f'api_key = "{world.sources["agency"].key}"\nbase_url = "{server.base_url("postpost")}"\n'
        text = f'[[sources]]\nname = "agency"\nprovider = "postpost"\n{source}[database]\nurl = "sqlite:///monitor.db"\n'
        config = tmp_path / "config.toml"
        config.write_text(text, encoding="utf-8")
        done = token_monitor("check", config=config)
        live = token_monitor("config", "check", "--live", config=config)
    assert done.status == 3, done.out
    assert done.out.startswith("UNKNOWN: 1 of 1 source cannot be read: agency. No connections are known yet.")
    assert "1 of 1 source cannot be read: agency" in done.out
    assert token_monitor("status", "--exit-code", config=config).status == 3
    (source_json,) = token_monitor("sources", "--json", config=config).json["sources"]
    assert (source_json["status"], source_json["reason"]) == ("failing", "rows_unreadable")
    assert source_json["message"].startswith("6 of 6 rows cannot be read (")
    assert (live.status, "FAILED  source agency: 6 of 6 rows cannot be read (" in live.out) == (1, True)


def test_check_shows_what_it_read_and_exits_by_it(tmp_path: Path) -> None:
    world = World()
    world.add_source("agency", "postpost")
    world.connect("agency", "linkedin", account="1", username="@fern", display_name="Fern & Fable")
    with ThreadedWorld(world) as server:
        text = f"""
[[sources]]
name = "agency"
provider = "postpost"
api_key = "{world.sources["agency"].key}"
base_url = "{server.base_url("postpost")}"
[database]
url = "sqlite:///monitor.db"
"""
        config = tmp_path / "config.toml"
        config.write_text(text, encoding="utf-8")
        fine = token_monitor("check", config=config)
        assert (fine.status, fine.out.splitlines()[0]) == (0, "OK: No action needed. 1 connection is valid."), fine.err
        world.expire("agency", "linkedin-1")
        bad = token_monitor("check", "--json", "--no-probe", config=config)
        assert (bad.status, bad.json["connections"][0]["status"]) == (2, "expired")
        with DaemonLock(f"sqlite:///{tmp_path / 'monitor.db'}"):
            held = token_monitor("check", config=config)
            assert (held.status, held.out) == (3, "")
            assert f"process {os.getpid()} " in held.err
            assert "use `token-monitor status --exit-code` to read the results." in held.err
            daemon = token_monitor("run", config=config)
            assert (daemon.status, f"process {os.getpid()} " in daemon.err) == (1, True)


def test_test_alert_names_the_channel_that_failed(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    done = token_monitor("test-alert", "ops", config=config)
    assert done.status == 1
    assert done.out.startswith("FAILED  channel ops: ")
    assert token_monitor("test-alert", "nobody", config=config).status == 2


def test_test_alert_shows_what_an_event_looks_like_about_a_marked_sample(tmp_path: Path) -> None:
    with WebhookReceiver() as webhook:
        text = CONFIG.replace(OPS_URL, webhook.apprise_url())
        config = write_config(tmp_path, text=text)
        done = token_monitor("test-alert", "ops", "--event", "expired", config=config)
        assert (done.status, done.out) == (0, "ok      channel ops: accepted the message at 127.0.0.1\n")
        (request,) = webhook.received
    assert request.title == "[EXPIRED] SAMPLE connection (a test, not real) (linkedin) at sample"
    assert "Nothing has happened." in request.text
    assert token_monitor("test-alert", "ops", "--event", "expierd", config=config).status == 2


def test_forget_retires_one_connection_and_keeps_its_history(tmp_path: Path) -> None:
    write_config(tmp_path)
    with open_store(f"sqlite:///{tmp_path / 'monitor.db'}") as store:
        make_world(store, real_now())
        assert token_monitor("forget", "linkedin", folder=tmp_path).status == 1, "several are meant"
        done = token_monitor("forget", "linkedin-expired", folder=tmp_path)
        assert done.out.startswith("agency/linkedin-expired is retired and its history is kept.")
        assert "the next poll adds it again unless it is\nremoved there" in done.out
        with store.begin_read() as conn:
            [row] = connection_queries.find_connections(conn, "linkedin-expired")
            assert row.retired_at is not None
        again = token_monitor("forget", "linkedin-expired", folder=tmp_path)
        assert (again.status, "agency/linkedin-expired is already retired." in again.err) == (1, True)
        past = token_monitor("history", "linkedin-expired", "--json", folder=tmp_path).json["events"]
        assert [event["kind"] for event in past] == ["appeared", "retired"]


def test_a_former_id_works_in_commands_until_its_connection_is_retired(tmp_path: Path) -> None:
    write_config(tmp_path)
    with open_store(f"sqlite:///{tmp_path / 'monitor.db'}") as store:
        make_world(store, real_now())
        with store.begin_write() as conn:
            [row] = connection_queries.find_connections(conn, "linkedin-expired")
            former_ids.add(conn, "agency", [ReplacedId(row.id, None, "linkedin-BEFORE")], real_now())
        shown = token_monitor("history", "agency/linkedin-BEFORE", folder=tmp_path)
        assert (shown.status, "agency/linkedin-expired: expired" in shown.out) == (0, True), shown.err
        done = token_monitor("forget", "linkedin-before", folder=tmp_path)
        assert done.out.startswith("agency/linkedin-expired is retired"), done.err
        assert token_monitor("history", "agency/linkedin-BEFORE", folder=tmp_path).status == 1
        assert token_monitor("history", "agency/linkedin-expired", folder=tmp_path).status == 0


def test_db_makes_shows_prunes_and_copies(tmp_path: Path) -> None:
    write_config(tmp_path)
    assert "has no tables yet" in token_monitor("db", "current", folder=tmp_path).err
    assert "was migrated to revision" in token_monitor("db", "upgrade", folder=tmp_path).out
    assert "is at revision" in token_monitor("db", "upgrade", folder=tmp_path).out
    assert token_monitor("db", "current", folder=tmp_path).status == 0
    assert token_monitor("db", "prune", folder=tmp_path).out.startswith("Deleted: 0 events")
    assert token_monitor("db", "backup", "copy.db", folder=tmp_path).status == 0
    copy = tmp_path / "copy.db"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert token_monitor("db", "backup", "copy.db", folder=tmp_path).status == 1


def test_the_configuration_may_be_named_behind_the_command_or_by_the_environment(tmp_path: Path) -> None:
    config = str(write_config(tmp_path))
    assert token_monitor("config", "check", "--config", config).status == 0
    assert token_monitor("config", "check", env={"TOKEN_MONITOR_CONFIG": config}).status == 0


def test_an_unexpected_error_is_one_sentence(tmp_path: Path) -> None:
    """A part of the program is made to fail in a way that nobody planned for."""
    write_config(tmp_path)
    broken = tmp_path / "monitor"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import monitor.config as c\ndef boom(*a, **k): raise RuntimeError('sk_secret detail')\nc.load = boom\n", encoding="utf-8"
    )
    done = token_monitor("status", folder=tmp_path, env={"PYTHONPATH": f"{broken}:{Path(__file__).parents[2]}"})
    assert done.status == 1
    assert done.err.startswith("token-monitor: Unexpected error (RuntimeError).")
    assert "sk_secret" not in done.err


def test_config_check_finds_a_channel_that_apprise_cannot_use(tmp_path: Path) -> None:
    config = write_config(tmp_path, text=CONFIG.replace("json://127.0.0.1:9/night", f"slak://{canary.CHANNEL_PATH}/x"))
    done = token_monitor("config", "check", config=config)
    assert done.status == 2
    assert "channels[1] (night).url: Apprise cannot use the URL of the channel night (slak://...)" in done.err
    assert "is valid" not in done.out


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="not root: a file that cannot be read is NOT tested with --config"
)
@pytest.mark.parametrize("named", ["--config", "TOKEN_MONITOR_CONFIG"])
def test_a_configuration_that_cannot_be_read_is_reported_alike_however_it_is_named(tmp_path: Path, named: str) -> None:
    path = write_config(tmp_path)
    os.chown(path, 23_456, 23_456)
    without_roots_access = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    command = [*without_roots_access, sys.executable, "-m", "monitor", "config", "check"]
    option, env = ([named, str(path)], {}) if named == "--config" else ([], {named: str(path)})
    done = subprocess.run([*command, *option], env=environment(env), cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"token-monitor: {path} cannot be read: Permission denied.\n"
