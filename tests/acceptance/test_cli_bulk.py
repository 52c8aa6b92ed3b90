"""ack, silence, forget and recheck for several connections: with and without a terminal, on both databases."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from monitor.domain import LastNotified, Status
from monitor.store import Store, connection_queries, incidents, open_store, silences
from tests.acceptance.daemon import eventually
from tests.support.command_line import add_source, make_world, real_now, token_monitor, write_config
from tests.support.factories import make_state
from tests.support.incidents import open_incident
from tests.support.terminal import terminal

EXPIRED, REVOKED, SOON = "agency/linkedin-expired", "agency/linkedin-revoked", "agency/linkedin-expiring_soon"
STUDIO, VALID = "studio/65f0", "agency/linkedin-valid"


@pytest.fixture
def at() -> datetime:
    return real_now()


@pytest.fixture
def small(store: Store, database_url: str, tmp_path: Path, at: datetime) -> Store:
    """The usual world with three open incidents, in either database."""
    ids = make_world(store, at)
    with store.begin_write() as conn:
        for status in (Status.EXPIRING_SOON, Status.EXPIRED, Status.REVOKED):
            open_incident(
                conn, source="agency", connection_id=ids[status], last_notified=LastNotified(status=status, at=at), now=at
            )
    write_config(tmp_path, url=database_url)
    return store


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[Store]:
    write_config(tmp_path)
    with open_store(f"sqlite:///{tmp_path / 'monitor.db'}") as store:
        yield store


def acked(store: Store) -> set[str]:
    with store.begin_read() as conn:
        return {row.public_id for row in connection_queries.get_connections(conn, incidents.all_acks(conn))}


@pytest.mark.parametrize(
    ("arguments", "covered"),
    [
        (["agency/*"], {EXPIRED, REVOKED, SOON}),
        (["*EXPIR*"], {EXPIRED, SOON}),  # letter case does not matter
        (["Person ?"], {EXPIRED, REVOKED, SOON}),  # names match, too
        (["linkedin-revoked", "linkedin-expired"], {EXPIRED, REVOKED}),
        (["linkedin-revoked", "agency/*expired"], {EXPIRED, REVOKED}),
        (["--status", "expired", "--status", "revoked"], {EXPIRED, REVOKED}),
        (["--label", "client=acm*"], {EXPIRED, REVOKED, SOON}),
        (["--source", "agency", "--platform", "linkedin"], {EXPIRED, REVOKED, SOON}),
        (["agency/*", "--status", "revoked"], {REVOKED}),
    ],
)
def test_ack_covers_exactly_what_the_dry_run_lists(
    *, small: Store, tmp_path: Path, arguments: list[str], covered: set[str]
) -> None:
    listed = token_monitor("ack", *arguments, "--dry-run", "--json", folder=tmp_path)
    assert (listed.status, listed.json["dry_run"], set(listed.json["connections"])) == (0, True, covered), listed.err
    assert acked(small) == set()
    done = token_monitor("ack", *arguments, "--yes", "--json", "--comment", "Ann", folder=tmp_path)
    assert done.status == 0, done.err
    assert done.json["connections"] == listed.json["connections"]
    assert done.json["skipped"] == listed.json["skipped"]
    assert acked(small) == covered
    assert token_monitor("ack", *arguments, "--remove", "--yes", folder=tmp_path).status == 0
    assert acked(small) == set()


def test_the_dry_run_has_the_columns_of_status_and_names_what_would_be_skipped(small: Store, tmp_path: Path) -> None:
    done = token_monitor("ack", "agency/*", "--dry-run", folder=tmp_path)
    lines = done.out.splitlines()
    assert lines[0] == "3 connections would be acknowledged."
    assert lines[2].split() == ["STATUS", "NAME", "PLATFORM", "SOURCE", "WHEN", "DATE", "ID", "WHY"]
    assert [line.split()[0] for line in lines[3:6]] == ["revoked", "expired", "expiring_soon"]
    assert lines[6:] == [
        "1 connection would be skipped:",
        f"  {VALID} has no open incident (it is valid): there is nothing to acknowledge.",
    ]
    assert acked(small) == set()


@pytest.mark.parametrize(
    ("command", "question"),
    [
        (["ack"], "Acknowledge 4 connections?"),
        (["ack", "--remove"], "Remove the acknowledgements of 4 connections?"),
        (["forget"], "Retire 4 connections?"),
        (["silence", "add", "--comment", "why"], "Silence 4 connections?"),
    ],
)
def test_without_a_terminal_several_connections_need_yes(
    *, small: Store, tmp_path: Path, command: list[str], question: str
) -> None:
    done = token_monitor(*command, "agency/*", folder=tmp_path)
    assert (done.status, done.out) == (2, "")
    assert f"{question} Add --yes to confirm, or --dry-run to list them." in done.err
    with small.begin_read() as conn:
        assert silences.list_silences(conn) == []
        assert len(connection_queries.public_ids(conn, "agency/", limit=9)) == 4
    assert acked(small) == set()


def test_recheck_of_several_needs_yes_too(small: Store, tmp_path: Path) -> None:
    done = token_monitor("recheck", "agency/*", folder=tmp_path)
    assert (done.status, "Check 4 connections? Add --yes" in done.err) == (3, True)
    listed = token_monitor("recheck", "agency/*", "--dry-run", folder=tmp_path)
    assert (listed.status, listed.out.splitlines()[0]) == (0, "4 connections would be checked.")


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        ([], 2, "Give at least one CONNECTION, --source, --platform, --status or --label."),
        (["nothing/*", "--yes"], 1, "No connection matches nothing/*; "),
        (["--status", "failing", "--yes"], 1, "No connection matches the filters."),
        (["studio/*", "--yes"], 1, "studio/65f0 has no open incident"),
        (["*valid", "studio/*", "--yes"], 1, "None of the 2 connections was changed:"),
        (["--source", "agncy"], 2, "Unknown source agncy"),
    ],
)
def test_a_selection_that_changes_nothing_is_an_error(
    *, small: Store, tmp_path: Path, arguments: list[str], status: int, reason: str
) -> None:
    done = token_monitor("ack", *arguments, folder=tmp_path)
    assert (done.status, done.out) == (status, "")
    assert reason in done.err
    assert acked(small) == set()


def test_forget_retires_all_that_match(small: Store, tmp_path: Path) -> None:
    done = token_monitor("forget", "agency/*", "--status", "expired", "--status", "revoked", "--yes", folder=tmp_path)
    assert done.status == 0, done.err
    assert done.out.startswith("2 connections are retired and their history is kept. The sources still list 2 of them:")
    with small.begin_read() as conn:
        assert connection_queries.public_ids(conn, "agency/", limit=9) == [SOON, VALID]
        assert set(incidents.all_acks(conn)) == set()
    again = token_monitor("forget", "linkedin-expired", folder=tmp_path)
    assert (again.status, f"{EXPIRED} is already retired." in again.err) == (1, True)


def test_a_silence_may_name_connections_that_match_now(small: Store, tmp_path: Path) -> None:
    arguments = ["agency/*", STUDIO, "--status", "revoked", "--status", "valid", "--for", "2h", "--comment", "why"]
    listed = token_monitor("silence", "add", *arguments, "--dry-run", "--json", folder=tmp_path)
    assert set(listed.json["connections"]) == {REVOKED, VALID, STUDIO}, listed.err
    done = token_monitor("silence", "add", *arguments, "--yes", folder=tmp_path)
    assert done.out.startswith("Silence 1 matches 3 connections now: active until "), done.err
    [silence] = token_monitor("silence", "list", "--json", folder=tmp_path).json["silences"]
    assert set(silence["connections"]) == {REVOKED, VALID, STUDIO}
    found = {row["id"] for row in token_monitor("status", "--json", folder=tmp_path).json["connections"] if row["silenced_until"]}
    assert found == {REVOKED, VALID, STUDIO}


def test_filters_of_a_silence_need_no_confirmation_without_a_terminal(small: Store, tmp_path: Path) -> None:
    """Scripts of the first version add silences so."""
    done = token_monitor("silence", "add", "--source", "agency", "--comment", "why", "--json", folder=tmp_path)
    assert (done.status, len(done.json["connections"])) == (0, 4)
    assert done.json["silence"]["sources"] == ["agency"]


def test_a_terminal_lists_the_connections_and_asks(lite: Store, tmp_path: Path) -> None:
    now = real_now()
    states = [make_state(external_id=f"linkedin-{number}", status=Status.EXPIRED) for number in range(25)]
    ids = add_source(lite, "agency", states, now=now)
    with lite.begin_write() as conn:
        for each in ids:
            notified = LastNotified(status=Status.EXPIRED, at=now)
            open_incident(conn, source="agency", connection_id=each, last_notified=notified, now=now)
    for answer, changed, status in ((b"n\n", 0, 1), (b"\n", 0, 1), (b"y\n", 25, 0)):
        with terminal(tmp_path, "ack", "agency/*", width=140) as shown:
            asked = shown.until("Acknowledge 25 connections? [y/N]")
            assert "linkedin-3" in asked
            assert "and 5 more; --dry-run lists all." in asked
            shown.type(answer)
            ended = shown.rest()
            assert shown.process.wait(30) == status, ended
        assert len(acked(lite)) == changed
    assert "25 connections are acknowledged" in ended


def test_an_interrupted_question_changes_nothing(lite: Store, tmp_path: Path) -> None:
    add_source(lite, "agency", [make_state(external_id=f"linkedin-{number}") for number in range(2)], now=real_now())
    with terminal(tmp_path, "forget", "agency/*", width=100) as shown:
        shown.until("Retire 2 connections? [y/N]")

        def interrupted() -> bool:
            """Interrupt again, as a user does: readline misses a signal that arrives just before it waits for keys."""
            shown.process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                return shown.process.wait(1) != 0
            return False

        eventually(interrupted)
    with lite.begin_read() as conn:
        assert len(connection_queries.public_ids(conn, "agency/", limit=9)) == 2


def test_thousands_are_acknowledged_in_short_transactions(lite: Store, tmp_path: Path) -> None:
    """No writer waits for longer than the limit of one batch."""
    now = real_now()
    states = [make_state(external_id=f"linkedin-{number}", status=Status.EXPIRED) for number in range(5000)]
    ids = add_source(lite, "agency", states, now=now - timedelta(minutes=1))
    with lite.begin_write() as conn:
        for each in ids:
            notified = LastNotified(status=Status.EXPIRED, at=now)
            open_incident(conn, source="agency", connection_id=each, last_notified=notified, now=now)
    done = token_monitor("ack", "agency/*", "--yes", folder=tmp_path)
    assert done.out.startswith("5,000 connections are acknowledged"), done.err
    assert len(acked(lite)) == 5000
