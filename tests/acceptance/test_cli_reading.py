"""status, history, sources and alerts, each run as a process on an existing database."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from monitor.domain import Event, EventKind, Refresh, SourceStatus, Status, TokenState, utc_text
from monitor.domain.rules.labels import ConnectionLabels
from monitor.store import Store, alerts, connection_queries, history, label_sets, maintenance, open_store, outbox
from monitor.store.schema import connections
from tests.support.command_line import ROOT, add_source, environment, make_world, real_now, token_monitor, write_config
from tests.support.factories import make_alert, make_state
from tests.support.terminal import in_terminal

HOSTILE = "Ev\x1b[31mil\u202e[bold]\nName\x9b2J"


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


def test_status_answers_first_whether_there_is_something_to_do(small: Store, tmp_path: Path, at: datetime) -> None:
    make_world(small, at)
    done = token_monitor("status", folder=tmp_path)
    assert (done.status, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "2 of 5 connections need attention now. 1 revoked, 1 expired. 1 more expires soon."
    assert lines[-1] == "2 valid, 1 expiring_soon, 1 expired, 1 revoked"
    assert [line.split()[0] for line in lines[3:9]] == ["STATUS", "revoked", "expired", "expiring_soon", "valid", "valid"]
    assert "expired 1 day ago" in lines[5]
    assert (at - timedelta(days=1)).strftime("%H:%M UTC") in lines[5]


def test_status_prints_the_same_on_both_databases(store: Store, database_url: str, tmp_path: Path, at: datetime) -> None:
    make_world(store, at)
    done = token_monitor("status", "--json", "--status", "expired", config=write_config(tmp_path, url=database_url))
    assert done.status == 0, done.err
    assert [row["id"] for row in done.json["connections"]] == ["agency/linkedin-expired"]


def test_status_of_healthy_connections_prints_that_there_is_nothing_to_do(small: Store, tmp_path: Path, at: datetime) -> None:
    for name in ("agency", "studio"):
        add_source(small, name, [make_state(external_id="1", expires_at=at + timedelta(days=60))], now=at)
    done = token_monitor("status", "--exit-code", folder=tmp_path)
    assert (done.status, done.out.splitlines()[0]) == (0, "OK: No action needed. 2 connections are valid.")


def test_an_unknown_status_is_not_called_fine(small: Store, tmp_path: Path, at: datetime) -> None:
    doubtful = make_state(external_id="1", status=Status.UNKNOWN)
    for name in ("agency", "studio"):
        add_source(small, name, [doubtful], now=at)
    said = token_monitor("status", folder=tmp_path).out.splitlines()[0]
    assert said == "No known problems. The status of 2 connections is unknown."
    fine = make_state(external_id="2", expires_at=at + timedelta(days=60))
    add_source(small, "studio", [fine], now=at)
    said = token_monitor("status", folder=tmp_path).out.splitlines()[0]
    assert said == "No action needed. 1 of 3 connections is valid; the status of 2 is unknown."


def test_filters_that_match_nothing_print_it_and_succeed(small: Store, tmp_path: Path, at: datetime) -> None:
    for name in ("agency", "studio"):
        add_source(small, name, [make_state(external_id="1", expires_at=at + timedelta(days=60))], now=at)
    for arguments, sentence in (
        ("--status failing", "None of 2 connections is failing."),
        ("--status failing --status revoked", "None of 2 connections is revoked or failing."),
        ("--status failing --source agency", "None of 2 connections matches these filters."),
        ("--platform tiktok", "None of 2 connections matches these filters."),
    ):
        done = token_monitor("status", "--exit-code", *arguments.split(), folder=tmp_path)
        assert (done.status, done.out.splitlines()[0]) == (0, f"OK: {sentence}")


@pytest.mark.parametrize(
    ("arguments", "status", "word"),
    [
        (["--source", "studio"], 0, "OK"),
        (["--status", "expiring_soon"], 1, "WARNING"),
        ([], 2, "CRITICAL"),
        (["--platform", "linkedin", "--label", "client=acme"], 2, "CRITICAL"),
    ],
)
def test_status_exit_code_answers_monitoring_programs(
    *, small: Store, tmp_path: Path, at: datetime, arguments: list[str], status: int, word: str
) -> None:
    make_world(small, at)
    done = token_monitor("status", "--exit-code", *arguments, folder=tmp_path)
    assert (done.status, done.out.split(":")[0]) == (status, word)


def test_status_exit_code_is_unknown_where_a_source_cannot_be_read(small: Store, tmp_path: Path, at: datetime) -> None:
    add_source(small, "agency", [make_state()], now=at)
    add_source(small, "studio", now=at, status=SourceStatus.UNAUTHORIZED)
    done = token_monitor("status", "--exit-code", folder=tmp_path)
    assert done.status == 3
    assert done.out.startswith(
        "UNKNOWN: 1 of 2 sources cannot be read: studio. 1 connection is valid. See `token-monitor sources`."
    )
    assert token_monitor("status", folder=tmp_path).status == 0


def test_old_data_is_marked_stale(small: Store, tmp_path: Path, at: datetime) -> None:
    add_source(small, "agency", [make_state()], now=at, polled_at=at - timedelta(hours=1))
    done = token_monitor("status", "--source", "agency", folder=tmp_path)
    assert "The data of 1 connection is stale." in done.out
    assert "1 connection was not read since" in done.out
    assert "is valid" not in done.out
    assert "valid stale" in done.out


@pytest.mark.parametrize(
    "command",
    ["status", "sources", "alerts", "history x", "forget x", "db prune", "ack x", "silence list", "forecast", "cluster"],
)
def test_commands_that_read_make_no_database(tmp_path: Path, command: str) -> None:
    write_config(tmp_path)
    done = token_monitor(*command.split(), folder=tmp_path)
    assert (done.status, done.out) == (1, "")
    assert done.err.count("\n") == 1
    assert "Run `token-monitor check` for one cycle, or `token-monitor run` to start the daemon" in done.err
    assert not (tmp_path / "monitor.db").exists()


def test_status_writes_nothing(small: Store, tmp_path: Path, at: datetime) -> None:
    """What time alone moved is shown, and left to the daemon to write."""
    ends = at - timedelta(minutes=1)
    state = make_state(status=Status.EXPIRING_SOON, expires_at=ends, next_change_at=ends)
    add_source(small, "agency", [state], now=at)
    before = dump(small)
    assert token_monitor("status", "--json", folder=tmp_path).json["summary"]["expired"] == 1
    assert dump(small) == before


def dump(store: Store) -> list[str]:
    with store.begin_read() as conn:
        raw = conn.connection.driver_connection
        assert raw is not None
        return list(raw.iterdump())


def test_S04_an_untrusted_name_can_neither_control_a_terminal_nor_break_a_line(
    small: Store, tmp_path: Path, at: datetime
) -> None:
    state = make_state(display_name=HOSTILE, external_id="linkedin-9\u202e", username=None)
    [row] = add_source(small, "agency", [state], now=at)
    with small.begin_write() as conn:
        alert = make_alert(id="a1", at=at, label=HOSTILE, connection="agency/linkedin-9\u202e", message=HOSTILE)
        alerts.add_alerts(conn, [(alert, row, HOSTILE)])
    for command in ("status", "history linkedin", "alerts", "alerts explain a1", "status --json", "alerts --json"):
        done = token_monitor(*command.split(), folder=tmp_path)
        assert done.status == 0, done.err
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", done.out), command
        assert "Evil[bold] Name" in done.out or "--json" in command or "explain" in command
    shown = token_monitor("status", "--json", folder=tmp_path).json["connections"][0]
    assert shown["display_name"] == small_name(small), "JSON gives the very text, escaped"
    on_terminal = in_terminal(tmp_path, "status", width=80)
    assert not re.search("[\x9b\u202e]", on_terminal)
    assert "\x1b[31mil" not in on_terminal


def small_name(store: Store) -> str | None:

    with store.begin_read() as conn:
        [row] = connection_queries.find_connections(conn, "linkedin-9")
        return row.state.snapshot.display_name


def test_history_begins_with_learned_renewals_and_lost_permissions(small: Store, tmp_path: Path, at: datetime) -> None:
    hour = timedelta(hours=1)
    token = TokenState(
        status=Status.VALID, reason="stated", message="", expires_at=at + hour, renewal_gap=hour, renewal_left=hour, renewals=2
    )
    renewing = make_state(external_id="65f0", refresh=Refresh(last_refreshed_at=at), token=token)
    lost = make_state(external_id="65f1", lost_permissions=("w_member_social",))
    add_source(small, "studio", [renewing, lost], now=at, provider="postbreeze")
    lines = token_monitor("history", "65f0", folder=tmp_path).out.splitlines()
    assert lines[1].startswith("Renewed every 1 hour, with about 1 hour left. The last renewal: ")
    assert f"The next one is overdue at {at + 1.5 * hour:%a} " in lines[1]
    lines = token_monitor("history", "65f1", folder=tmp_path).out.splitlines()
    assert lines[1] == "Lost permissions that publishing needs: w_member_social."


def test_colour_is_for_terminals_only(small: Store, tmp_path: Path, at: datetime) -> None:
    make_world(small, at)
    assert "\x1b[1;31mrevoked" in in_terminal(tmp_path, "status", width=100)
    assert "\x1b[31m" not in in_terminal(tmp_path, "status", width=100, env={"NO_COLOR": "1"})
    assert "\x1b" not in token_monitor("status", folder=tmp_path, env={"FORCE_COLOR": "1", "TERM": "xterm"}).out


@pytest.mark.parametrize("command", ["status", "sources", "alerts", "history linkedin-valid", "alerts explain a1"])
def test_tables_fit_a_narrow_terminal(small: Store, tmp_path: Path, at: datetime, command: str) -> None:
    make_world(small, at)
    with small.begin_write() as conn:
        alerts.add_alerts(conn, [(make_alert(id="a1", at=at), None, "No channel accepts this alert.")])
        outbox.add_deliveries(conn, [("a1", "ops", at)], at)
    text = re.sub(r"\x1b\[[0-9;]*m", "", in_terminal(tmp_path, *command.split(), width=60))
    table = text.replace("\r", "").split("\n\n", 1)[1]
    assert max(len(line) for line in table.splitlines()) <= 60


def test_a_terminal_shows_the_hundred_worst_unless_asked_for_all(small: Store, tmp_path: Path, at: datetime) -> None:
    states = [make_state(external_id=f"linkedin-{number:03}") for number in range(120)]
    add_source(small, "agency", [*states, make_state(external_id="worst", status=Status.REVOKED)], now=at)
    short = in_terminal(tmp_path, "status", width=80)
    assert "Showing the 100 worst of 121; --all shows all." in short
    assert short.count("agency/") == 100
    assert "agency/worst" in short
    assert in_terminal(tmp_path, "status", "--all", width=80).count("agency/") == 121
    assert token_monitor("status", folder=tmp_path).out.count("agency/") == 121


def test_history_is_a_timeline_and_lists_the_candidates_of_a_vague_word(small: Store, tmp_path: Path, at: datetime) -> None:
    make_world(small, at)
    done = token_monitor("history", "EXPIRED", folder=tmp_path)
    assert done.out.splitlines()[0] == "Person 2 (linkedin), agency/linkedin-expired: expired"
    assert "appeared: expired" in done.out
    vague = token_monitor("history", "linkedin", folder=tmp_path)
    assert (vague.status, vague.out) == (1, "")
    assert "4 connections have linkedin in their ids. Use a longer part of one of them:" in vague.err
    assert "agency/linkedin-revoked (Person 3)" in vague.err
    narrowed = token_monitor("history", "linkedin", "--status", "revoked", "--json", folder=tmp_path)
    assert [event["new"] for event in narrowed.json["events"]] == ["revoked"]
    by_name = token_monitor("history", "person 3", folder=tmp_path)
    assert by_name.out.startswith("Person 3 (linkedin), agency/linkedin-revoked: revoked")
    several = token_monitor("history", "person", folder=tmp_path)
    assert (several.status, several.out) == (1, "")
    assert "4 connections have person in their names. Use a longer part of one of them:" in several.err
    nobody = token_monitor("history", "nobody", folder=tmp_path)
    assert (nobody.status, nobody.err.count("\n")) == (1, 1)


def test_history_shows_a_gap_that_is_over_and_one_that_lasts(small: Store, tmp_path: Path, at: datetime) -> None:
    read = at - timedelta(hours=5)
    add_source(small, "agency", [make_state(external_id="linkedin-1")], now=at - timedelta(days=3), polled_at=read)
    entry = Event(kind=EventKind.GAP, at=read, old=utc_text(read - timedelta(hours=2)), new=utc_text(read), reason="not_read")
    with small.begin_write() as conn:
        history.append(conn, "agency", None, [entry])
        conn.execute(connections.update().values(added_at=at - timedelta(days=3)))
    events = token_monitor("history", "linkedin-1", "--json", folder=tmp_path).json["events"]
    over, lasting = (each for each in events if each["kind"] == "gap")
    assert (over["reason"], over["new"]) == ("not_read", utc_text(read))
    assert (lasting["reason"], lasting["old"], lasting["new"]) == ("not_polled", utc_text(read), None)
    assert "Not observed for 5 hours" in token_monitor("history", "linkedin-1", folder=tmp_path).out


def test_sources_shows_health_pace_and_budget(small: Store, tmp_path: Path, at: datetime) -> None:
    add_source(small, "agency", [make_state()], now=at)
    add_source(small, "studio", now=at, status=SourceStatus.FAILING)
    done = token_monitor("sources", folder=tmp_path)
    assert done.out.splitlines()[0] == "1 of 2 sources needs attention: studio."
    assert "600/min, all probed in 1 second, every 6 hours" in done.out
    assert "! Its status is failing." in done.out
    only = token_monitor("sources", "--json", "--status", "ok", folder=tmp_path).json
    assert [source["name"] for source in only["sources"]] == ["agency"]


def test_alerts_explain_and_retry(small: Store, tmp_path: Path, at: datetime) -> None:
    with small.begin_write() as conn:
        alert = make_alert(
            id="65aa1", at=at, reason="first", verdict_reason="date_passed", message="The expiry date passed.", expires_at=at
        )
        alerts.add_alerts(conn, [(alert, None, None), (make_alert(id="65bb2", at=at), None, "No channel takes it.")])
        outbox.add_deliveries(conn, [("65aa1", "ops", at)], at)
        [claimed] = outbox.claim(conn, channel="ops", owner="me", now=at, lease=timedelta(minutes=1), limit=1)
        outbox.mark_failed(conn, [claimed.delivery_id], "me", at, next_attempt_at=None, detail="It answered 404.", permanent=True)
    listed = token_monitor("alerts", folder=tmp_path)
    assert listed.out.splitlines()[0] == "2 alerts: 1 given up (see `token-monitor alerts explain ID`), 1 without a channel."
    assert "ops: dead" in listed.out
    why = token_monitor("alerts", "explain", "65aa", folder=tmp_path).out
    for said in (
        "date_passed: The expiry date passed.",
        "first: first notification of an incident",
        "takes it, after grouping alerts into one message for 10 seconds",
        "filtered out by `sources`",
        "rejected: It answered 404.",
        "given up",
    ):
        assert said in why
    assert "1 delivery is due now" in token_monitor("alerts", "retry", "65aa1", folder=tmp_path).out
    assert token_monitor("alerts", "--json", folder=tmp_path).json["alerts"][1]["deliveries"][0]["state"] == "pending"
    assert token_monitor("alerts", "retry", "65bb2", folder=tmp_path).status == 1
    vague = token_monitor("alerts", "explain", "65", folder=tmp_path)
    assert (vague.status, vague.err.count("\n")) == (1, 3)
    assert "65aa1 (expired, Acme Ltd (agency/linkedin-123), " in vague.err
    assert token_monitor("alerts", "explain", "a1", folder=tmp_path).out.startswith("Alert 65aa1: ")


def test_the_middle_of_many_attempts_is_counted_and_a_waiting_delivery_is_marked(
    small: Store, tmp_path: Path, at: datetime
) -> None:
    with small.begin_write() as conn:
        alerts.add_alerts(conn, [(make_alert(id="65aa1", at=at), None, None)])
        outbox.add_deliveries(conn, [("65aa1", "ops", at)], at)
        for _ in range(60):
            [claimed] = outbox.claim(conn, channel="ops", owner="me", now=at, lease=timedelta(minutes=1), limit=1)
            again = at - timedelta(minutes=1)
            outbox.mark_failed(conn, [claimed.delivery_id], "me", at, next_attempt_at=again, detail="It answered 503.")
        thinned = maintenance.prune(conn, at, history=timedelta(days=400), polls_kept=timedelta(days=30)).attempts
    told = token_monitor("alerts", "explain", "65aa1", folder=tmp_path).out
    assert told.count("failed: It answered 503.") == 60 - thinned
    assert f"{thinned} more failed attempts" in told
    assert "attempt 60, " in told
    assert "due: sent with the channel's next attempt" in told


def test_S20_no_name_begins_performance_data(small: Store, tmp_path: Path, at: datetime) -> None:
    """Nagios and Icinga read everything after the first | as performance data, in every line of a plugin's output."""
    hostile = make_state(display_name="Foo | Bar; rm -rf", external_id="linkedin-1|2", status=Status.EXPIRED)
    add_source(small, "agency", [hostile], now=at)
    for command in (["status", "--exit-code"], ["check", "--no-probe"]):
        out = token_monitor(*command, folder=tmp_path).out
        assert "Foo ¦ Bar; rm -rf" in out
        assert "linkedin-1¦2" in out
        assert "|" not in out
    assert "Foo | Bar; rm -rf" in token_monitor("status", folder=tmp_path).out
    assert (
        token_monitor("status", "--exit-code", "--json", folder=tmp_path).json["connections"][0]["display_name"]
        == "Foo | Bar; rm -rf"
    )


def test_a_reader_that_leaves_early_is_no_error(small: Store, tmp_path: Path, at: datetime) -> None:
    add_source(small, "agency", [make_state(external_id=f"linkedin-{number}") for number in range(2000)], now=at)
    with subprocess.Popen(
        [sys.executable, "-m", "monitor", "status", "--json"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


def test_a_full_disk_behind_stdout_is_one_sentence(small: Store, tmp_path: Path, at: datetime) -> None:
    add_source(small, "agency", [make_state()], now=at)
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "monitor", "status"],
            cwd=tmp_path,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "token-monitor: The output could not be written: No space left on device.\n"


def test_a_terminal_that_knows_only_ascii_gets_an_answer(small: Store, tmp_path: Path, at: datetime) -> None:
    add_source(small, "agency", [make_state(display_name="Zoë 表")], now=at)
    plain = {"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    assert "Zo? ?" in token_monitor("status", folder=tmp_path, env=plain).out
    answer = token_monitor("status", "--json", folder=tmp_path, env=plain)
    assert answer.json["connections"][0]["display_name"] == "Zoë 表"


def test_status_loads_nothing_heavy() -> None:
    """Apprise, Alembic, HTTP clients and the scheduler are for commands that need them."""
    script = (
        "import sys; from monitor.cli.startup import loading\n"
        "with loading(): from monitor.cli.commands import command_line; command_line('status')\n"
        "print(*sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True)
    heavy = {"apprise", "alembic", "aiohttp", "httpx", "apscheduler", "uvloop", "psycopg", "requests", "rich"}
    assert not heavy & set(done.stdout.split())


def clients(store: Store, at: datetime) -> None:
    """Store two connections of each of two clients and one of the owner; two of them have expired."""
    long = "linkedin-" + "x" * 60
    states = [
        make_state(external_id=f"{long}{number}", scope=scope, status=Status.EXPIRED if number == 3 else Status.VALID)
        for number, scope in enumerate(("6" * 24, "6" * 24, "7" * 24, "7" * 24, None))
    ]
    add_source(store, "agency", states, now=at)
    with store.begin_write() as conn:
        for client, scope in (("Casa Verde", "6" * 24), ("Brava", "7" * 24)):
            [key] = label_sets.ids_of(conn, [label_sets.key_of(ConnectionLabels({"client": client}))]).values()
            conn.exec_driver_sql(f"UPDATE connections SET label_set = {key} WHERE scope = '{scope}'")  # noqa: S608 - the test's own


def test_status_is_one_line_an_account_under_its_client_from_100_columns_on(small: Store, tmp_path: Path, at: datetime) -> None:
    clients(small, at)
    for width in (100, 160):
        lines = re.sub(r"\x1b\[[0-9;]*m|\r", "", in_terminal(tmp_path, "status", width=width)).splitlines()
        assert max(map(len, lines[3:])) <= width
        table = lines[lines.index("Brava") :]  # the client with the worst status comes first
        assert [line for line in table if "agency/" not in line and line][:3] == ["Brava", "Casa Verde", "acme"]
        assert sum("agency/" in line for line in lines) == 5
    narrow = re.sub(r"\x1b\[[0-9;]*m|\r", "", in_terminal(tmp_path, "status", width=100)).splitlines()
    assert all(re.search(r"  agency/\S+…\S*[0-4]$", line) for line in narrow if "agency/" in line)  # the middle is left out
    wide = re.sub(r"\x1b\[[0-9;]*m|\s", "", in_terminal(tmp_path, "status", "--wide", width=100))
    assert f"agency/{'6' * 24}/linkedin-{'x' * 60}1" in wide
    assert "…" not in wide


def test_a_pipe_gets_whole_ids_and_every_column(small: Store, tmp_path: Path, at: datetime) -> None:
    clients(small, at)
    lines = token_monitor("status", folder=tmp_path).out.splitlines()
    assert any(line.startswith("STATUS") and line.endswith("WHY") for line in lines)
    assert any(f"agency/{'6' * 24}/linkedin-{'x' * 60}1" in line for line in lines)
