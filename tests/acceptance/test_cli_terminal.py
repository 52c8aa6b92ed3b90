"""Output on a terminal: the daemon's state, --watch, the timeline, completion, and typing errors."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from typer.main import get_command

from monitor.cli.commands import PARTS, command_line
from monitor.domain import DeliveryState, Event, EventKind, Status
from monitor.store import Store, alerts, history, open_store, outbox
from monitor.store.lock import DaemonLock
from tests.support.command_line import ROOT, add_source, environment, make_world, real_now, token_monitor, write_config
from tests.support.factories import make_alert, make_state
from tests.support.terminal import in_terminal, terminal

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def at() -> datetime:
    """When everything was polled: just now by the real clock."""
    return real_now()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Store]:
    """A SQLite database beside a configuration of the sources agency and studio."""
    write_config(tmp_path)
    with open_store(f"sqlite:///{tmp_path / 'monitor.db'}") as store:
        yield store


def plain(text: str) -> str:
    return ESCAPE.sub("", text).replace("\r", "")


# --- the daemon's state


def test_status_reports_that_no_daemon_is_running(store: Store, database_url: str, tmp_path: Path, at: datetime) -> None:
    add_source(store, "agency", [make_state()], now=at - timedelta(minutes=3))
    config = write_config(tmp_path, url=database_url)
    alone = token_monitor("status", config=config).out.splitlines()
    assert re.fullmatch(
        r"No daemon is running; the last poll was 3 minutes ago\. Start it with `token-monitor run`\.", alone[1]
    ), alone[1]
    with DaemonLock(database_url):
        assert "No daemon" not in token_monitor("status", config=config).out


def test_status_shows_which_deliveries_wait(store: Store, database_url: str, tmp_path: Path, at: datetime) -> None:
    add_source(store, "agency", [make_state()], now=at)
    with store.begin_write() as conn:
        alerts.add_alerts(conn, [(make_alert(id=f"a{number}", at=at), None, None) for number in range(4)])
        early, late = at - timedelta(hours=1), at + timedelta(hours=1)
        outbox.add_deliveries(conn, [("a0", "ops", early), ("a1", "ops", early), ("a2", "ops", late)], at - timedelta(hours=1))
        outbox.add_deliveries(conn, [("a3", "night", early)], early)
        [claimed] = outbox.claim(conn, channel="night", owner="me", now=at, lease=timedelta(minutes=1), limit=1)
        ids = [claimed.delivery_id]
        outbox.mark_failed(conn, ids, "me", at, next_attempt_at=late, detail="It does not answer.", permanent=False)
        assert outbox.state_counts(conn)["night", DeliveryState.PENDING] == 1
    said = token_monitor("status", config=write_config(tmp_path, url=database_url)).out
    assert re.search(
        r"^1 delivery for night pending since .* \(1 hour ago\) \(see `token-monitor alerts`\)\.$", said, re.MULTILINE
    )
    assert re.search(r"^2 deliveries for ops pending since .* \(1 hour ago\)", said, re.MULTILINE), "one is not due yet"


# --- a screen that follows


def test_status_watch_follows_the_store_until_ctrl_c(small: Store, tmp_path: Path, at: datetime) -> None:
    add_source(small, "agency", [make_state(external_id="linkedin-1")], now=at)
    with terminal(tmp_path, "status", "--watch", width=100, height=12) as screen:
        screen.until("1 valid")
        add_source(small, "studio", [make_state(external_id="x", status=Status.REVOKED)], now=at)
        screen.until("1 of 2 connections needs attention now. 1 revoked.")
        screen.process.send_signal(signal.SIGINT)
        shown = screen.rest()
        assert screen.process.wait(30) == 0
    assert "\x1b[?1049h" in shown, "a screen of its own, so that what was there before comes back"
    assert "\x1b[?1049l" in shown
    assert "Traceback" not in shown


def test_status_watch_waits_for_a_database_that_is_away(small: Store, tmp_path: Path, at: datetime) -> None:
    add_source(small, "agency", [make_state()], now=at)
    with terminal(tmp_path, "status", "--watch", width=250) as screen:  # the path must not break the sentence
        screen.until("1 valid")
        path = tmp_path / "monitor.db"
        path.rename(tmp_path / "away.db")
        screen.until("is empty")
        (tmp_path / "away.db").rename(path)
        before = screen.text.count("1 valid")
        while screen.text.count("1 valid") == before:
            assert screen.read(), screen.text
        screen.process.send_signal(signal.SIGINT)
        screen.rest()
        assert screen.process.wait(30) == 0


@pytest.mark.parametrize("more", [["--json"], ["--exit-code"], ["--all"], []])
def test_status_watch_is_for_a_terminal(small: Store, tmp_path: Path, more: list[str]) -> None:
    done = token_monitor("status", "--watch", *more, folder=tmp_path)
    assert (done.status, done.out) == (3 if "--exit-code" in more else 2, "")
    assert (f"cannot be combined with {more[0]}" if more else "--watch needs a terminal") in done.err


# --- a timeline


def test_history_is_a_timeline_with_the_time_between_and_how_it_is_now(small: Store, tmp_path: Path, at: datetime) -> None:
    [row] = add_source(small, "agency", [make_state(status=Status.EXPIRED)], now=at - timedelta(days=9))
    with small.begin_write() as conn:
        entry = Event(
            kind=EventKind.STATUS_CHANGED, at=at - timedelta(days=2), old="valid", new="expired", message="The date passed."
        )
        history.append(conn, "agency", row, [entry])
    for width in (100, 45):
        lines = plain(in_terminal(tmp_path, "history", "agency", width=width)).splitlines()
        assert max(map(len, lines[1:])) <= width
        marks = [re.search("[●│◆]", line) for line in lines[2:]]
        assert [mark[0] for mark in marks if mark][:4] in (["●", "│", "│", "●"], ["●", "│", "│", "│"])
        told = " ".join(" ".join(lines).split())
        assert "7 days later" in told
        assert "status changed: valid → expired" in told
        assert "2 days ago" in told
        assert "◆ expired" in told
    piped = token_monitor("history", "agency", folder=tmp_path).out.splitlines()
    assert piped[2].split() == ["WHEN", "AGO", "EVENT", "REASON"]
    assert "2 days ago" in piped[4]
    assert piped[4].endswith("status changed: valid → expired  The date passed.")


def test_the_timeline_is_drawn_in_ascii_where_the_terminal_knows_nothing_else(small: Store, tmp_path: Path, at: datetime) -> None:
    add_source(small, "agency", [make_state()], now=at)
    shown = plain(in_terminal(tmp_path, "history", "agency", width=100, env={"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}))
    assert "* appeared: " in shown
    assert "?" not in shown


# --- the forecast


def test_the_forecast_shows_the_first_of_a_large_reconnect_batch_on_a_terminal(
    small: Store, tmp_path: Path, at: datetime
) -> None:
    days = {"expires_at": at + timedelta(days=5)}
    states = [make_state(status=Status.EXPIRING_SOON, external_id=f"linkedin-{number}", **days) for number in range(14)]
    add_source(small, "agency", states, now=at)
    shown = plain(in_terminal(tmp_path, "forecast", width=140))
    assert shown.count("agency/linkedin-") == 10
    assert "and 4 more (--all shows all)" in shown
    row = next(line for line in shown.splitlines() if "agency/linkedin-" in line)
    assert "in 4 days 23 hours" in row
    assert (at + timedelta(days=5)).strftime("%H:%M UTC") in row
    assert plain(in_terminal(tmp_path, "forecast", "--all", width=140)).count("agency/linkedin-") == 14
    assert token_monitor("forecast", folder=tmp_path).out.count("agency/linkedin-") == 14
    assert max(map(len, plain(in_terminal(tmp_path, "forecast", width=60)).splitlines())) <= 65


# --- slips of the pen


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("status --source agenzy", "Unknown source agenzy; did you mean agency?"),
        ("status --platform linkdin", "Unknown platform linkdin; did you mean linkedin?"),
        ("forecast --platform linkdin", "Unknown platform linkdin; did you mean linkedin?"),
        ("status --platform abc", "Unknown platform abc; known: bluesky, facebook,"),
        ("status --status expird", "Unknown status expird; did you mean expired?"),
        ("sources --status expired", "Unknown status expired; allowed: pending, ok, failing, unauthorized."),
        ("history agency --status revoke", "Unknown status revoke; did you mean revoked?"),
        ("status --label clent=acme", "No connection has the label clent=acme; did you mean client=acme?"),
        ("status --label client=acme --label team=red", "No connection has the label team=red; known: client=acme, client="),
        ("status --label client=acme --label client=globex", "The label client is given with two values"),
        ("forecast --days 0", "'--days': 0 is not valid: it must be a whole number from 1 to 3650."),
        ("forecast --days 3.5", "'--days': 3.5 is not valid: it must be a whole number from 1 to 3650."),
        ("demo --seconds abc", "'--seconds': abc is not valid: it must be a number of at least 1."),
        ("test-alert ops --event expird", "'--event': Unknown event expird; did you mean expired? Allowed: expiring_soon,"),
        ("run --log-format jsn", "'--log-format': Unknown log format jsn; did you mean json? Allowed: console, json,"),
    ],
)
def test_a_mistyped_filter_is_refused_with_the_nearest_match(
    small: Store, tmp_path: Path, at: datetime, *, arguments: str, said: str
) -> None:
    make_world(small, at)
    done = token_monitor(*arguments.split(), folder=tmp_path)
    assert (done.status, done.out) == (2, "")
    assert said in done.err
    assert "--help`." in done.err


def test_a_platform_that_only_the_store_knows_is_no_mistake(small: Store, tmp_path: Path, at: datetime) -> None:
    add_source(small, "agency", [make_state(platform="orkut", external_id="orkut-1")], now=at)
    assert token_monitor("status", "--json", "--platform", "orkut", folder=tmp_path).json["summary"]["valid"] == 1
    assert token_monitor("status", "--json", "--platform", "Mastodon", folder=tmp_path).json["connections"] == []


# --- Tab


def offered(folder: Path, words: str) -> list[str]:
    """What bash is told to offer for these words, the last of which is being typed."""
    done = subprocess.run(
        [sys.executable, "-m", "monitor"],
        cwd=folder,
        env=environment(
            {
                "_TOKEN_MONITOR_COMPLETE": "complete_bash",
                "COMP_WORDS": f"token-monitor {words}",
                "COMP_CWORD": str(len(words.split(" "))),
            }
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offers"),
    [
        ("fore", ["forecast"]),
        ("status --wat", ["--watch"]),
        ("status --source a", ["agency"]),
        ("status --platform ", ["linkedin", "youtube"]),
        ("status --status ex", ["expiring_soon", "expired"]),
        ("status --label client=g", ["client=globex"]),
        ("history agency/linkedin-exp", ["agency/linkedin-expired", "agency/linkedin-expiring_soon"]),
        ("ack studio/", ["studio/65f0"]),
        ("forget studio/", ["studio/65f0"]),
        ("test-alert n", ["night"]),
    ],
)
def test_tab_completes_commands_names_and_ids(
    small: Store, tmp_path: Path, at: datetime, *, words: str, offers: list[str]
) -> None:
    make_world(small, at)
    assert sorted(offered(tmp_path, words)) == sorted(offers)


def test_tab_completes_labels_that_rules_set(small: Store, tmp_path: Path, at: datetime) -> None:
    make_world(small, at)
    config = tmp_path / "config.toml"
    config.write_text(config.read_text() + '\n[[labels]]\nmatch = { source = "agency" }\nset = { team = "red" }\n')
    assert offered(tmp_path, "status --label team=") == ["team=red"]


def test_tab_offers_nothing_where_nothing_can_be_read(tmp_path: Path) -> None:
    assert offered(tmp_path, "status --source a") == []
    write_config(tmp_path)
    assert offered(tmp_path, "history a") == []
    assert not (tmp_path / "monitor.db").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_of_each_shell_can_be_shown(tmp_path: Path, shell: str) -> None:
    """Typer looks for the shell among the processes above, where under test there may be none: it is told instead."""
    done = token_monitor("--show-completion", shell, folder=tmp_path, env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"})
    assert done.status == 0, done.err
    assert "_TOKEN_MONITOR_COMPLETE" in done.out


# --- how little is loaded


def test_every_command_is_found_in_the_part_that_adds_it() -> None:
    for part, commands in PARTS.items():
        for word in commands:
            alone = get_command(command_line(word))
            assert set(getattr(alone, "commands", {})) == set(commands), part
    everything = getattr(get_command(command_line()), "commands", {})
    assert set(everything) == {word for commands in PARTS.values() for word in commands}


def test_a_pipe_needs_no_drawing(small: Store, tmp_path: Path, at: datetime) -> None:
    """Tables of a hundred thousand rows took over a minute, most of it for measuring cells that need no measuring."""
    add_source(small, "agency", [make_state()], now=at)
    script = (
        "import sys; from monitor.cli import main; main(['status']); "
        "sys.stderr.write(' '.join(name for name in sys.modules if name.startswith(('rich.table', 'rich.live'))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert os.fspath(ROOT) not in done.stdout
