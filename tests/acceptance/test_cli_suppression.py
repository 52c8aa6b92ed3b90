"""ack, silence and forecast, on a database that a daemon may be using at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from monitor.domain import Ack, Alert, AlertEvent, LastNotified, Severity, Status
from monitor.domain.records import replace
from monitor.domain.rules.silences import Silence
from monitor.notify import handover
from monitor.store import Store, alerts, channel_states, open_store, outbox, silences
from monitor.store.incidents import Incident
from tests.support.command_line import Done, make_world, real_now, token_monitor, write_config
from tests.support.factories import make_alert
from tests.support.incidents import all_open, open_incident

EXPIRED = "agency/linkedin-expired"


@pytest.fixture
def at() -> datetime:
    """When everything was polled: just now by the real clock."""
    return real_now()


@pytest.fixture
def small(tmp_path: Path, at: datetime) -> Iterator[Store]:
    """A SQLite database with the usual world, its problems said."""
    write_config(tmp_path)
    with open_store(f"sqlite:///{tmp_path / 'monitor.db'}") as store:
        fill(store, at)
        yield store


def fill(store: Store, at: datetime) -> None:
    ids = make_world(store, at)
    with store.begin_write() as conn:
        for status in (Status.EXPIRING_SOON, Status.EXPIRED, Status.REVOKED):
            said = LastNotified(status=status, at=at)
            open_incident(conn, source="agency", connection_id=ids[status], last_notified=said, now=at)


def open_incidents(store: Store) -> dict[Status, Incident]:
    with store.begin_read() as conn:
        return {each.last_notified.status: each for each in all_open(conn) if each.last_notified is not None}


def stored(store: Store) -> list[Silence]:
    with store.begin_read() as conn:
        return silences.list_silences(conn, include_removed=True)


def shown(done: Done) -> dict[str, tuple[bool, str | None]]:
    return {row["id"]: (row["acked"], row["silenced_until"]) for row in done.json["connections"]}


# --- ack


def test_an_acknowledgement_is_stored_and_shown_until_it_is_taken_back(small: Store, tmp_path: Path, at: datetime) -> None:
    done = token_monitor("ack", "linkedin-expired", "--until", "2d", "--comment", "Ann knows", folder=tmp_path)
    assert done.status == 0, done.err
    assert done.out.startswith(f"{EXPIRED} is acknowledged (expired): no alerts until it worsens or recovers, or ")
    incident = open_incidents(small)[Status.EXPIRED]
    assert isinstance(incident.ack, Ack)
    assert (incident.ack.status, incident.ack.comment) == (Status.EXPIRED, "Ann knows")
    assert incident.ack.until == incident.next_review_at
    assert incident.next_review_at is not None
    assert abs(incident.next_review_at - at - timedelta(days=2)) < timedelta(minutes=2)
    seen = shown(token_monitor("status", "--json", folder=tmp_path))
    assert [name for name, (acked, _) in seen.items() if acked] == [EXPIRED]
    text = token_monitor("status", folder=tmp_path).out
    assert "1 is acknowledged." in text.splitlines()[0]
    assert "expired acked" in text

    assert token_monitor("ack", EXPIRED, "--remove", folder=tmp_path).status == 0
    incident = open_incidents(small)[Status.EXPIRED]
    assert incident.ack is None
    assert incident.next_review_at is not None
    assert incident.next_review_at >= at  # the daemon judges it again at once


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["agency/linkedin-valid"], 1, "has no open incident (it is valid): there is nothing to acknowledge."),
        (["agency/linkedin-expired", "--remove"], 1, "is not acknowledged."),
        (["linkedin"], 1, "4 connections have linkedin in their ids"),
        (["nobody"], 1, "No connection has nobody in its id"),
        (["linkedin-expired", "--until", "whenever"], 2, "--until is not a valid time: whenever."),
        (["linkedin-expired", "--until", "2001-01-01"], 2, "--until is in the past: 2001-01-01."),
    ],
)
def test_a_wrong_ack_prints_the_reason_and_stores_nothing(
    *, small: Store, tmp_path: Path, arguments: list[str], status: int, said: str
) -> None:
    done = token_monitor("ack", *arguments, folder=tmp_path)
    assert (done.status, done.out) == (status, "")
    assert said in done.err
    assert all(incident.ack is None for incident in open_incidents(small).values())


# --- silences


def test_a_silence_is_added_listed_shown_and_removed(small: Store, tmp_path: Path, at: datetime) -> None:
    arguments = ["--platform", "linkedin", "--label", "client=acme", "--for", "2h", "--comment", "we are moving"]
    done = token_monitor("silence", "add", *arguments, folder=tmp_path)
    assert done.status == 0, done.err
    assert done.out.startswith("Silence 1 matches 4 connections now: active until ")
    assert all(each.next_review_at is not None and each.next_review_at >= at for each in open_incidents(small).values())

    [row] = token_monitor("silence", "list", "--json", folder=tmp_path).json["silences"]
    assert (row["id"], row["state"], row["platforms"], row["labels"]) == (1, "active", ["linkedin"], {"client": "acme"})
    assert row["comment"] == "we are moving"
    seen = shown(token_monitor("status", "--json", folder=tmp_path))
    assert {name for name, (_, until) in seen.items() if until == row["ends_at"]} == {
        name for name in seen if name.startswith("agency/")
    }
    text = token_monitor("status", folder=tmp_path).out
    assert "3 are silenced." in text.splitlines()[0]
    assert "revoked silenced" in text
    assert "platform linkedin, client=acme" in token_monitor("silence", "list", folder=tmp_path).out

    assert token_monitor("silence", "remove", "1", folder=tmp_path).status == 0
    assert token_monitor("silence", "list", folder=tmp_path).out == "No silences.\n"
    [row] = token_monitor("silence", "list", "--all", "--json", folder=tmp_path).json["silences"]
    assert (row["state"], row["active_until"]) == ("removed", None)
    again = token_monitor("silence", "remove", "1", folder=tmp_path)
    assert (again.status, "was removed already" in again.err) == (1, True)
    assert "There is no silence 7" in token_monitor("silence", "remove", "7", folder=tmp_path).err


def test_a_recurring_silence_begins_at_midnight_of_its_own_zone(small: Store, tmp_path: Path) -> None:
    rule = ["--rrule", "RRULE:FREQ=WEEKLY;BYDAY=SA,SU", "--for", "24h", "--timezone", "Europe/Berlin"]
    done = token_monitor("silence", "add", "--connection", "agency/*", *rule, "--comment", "weekends", folder=tmp_path)
    assert done.status == 0, done.err
    assert "(FREQ=WEEKLY;BYDAY=SA,SU, 1 day each, Europe/Berlin)" in done.out
    [silence] = stored(small)
    assert (silence.rrule, silence.lasts, silence.timezone) == ("FREQ=WEEKLY;BYDAY=SA,SU", timedelta(days=1), "Europe/Berlin")
    assert silence.starts_at.minute == silence.starts_at.second == 0
    assert silence.starts_at.hour in (22, 23)


def test_a_silence_of_a_platform_without_connections_is_kept_with_a_warning(small: Store, tmp_path: Path) -> None:
    """It may come later; a slip of the pen must not look like quiet."""
    done = token_monitor("silence", "add", "--platform", "linkdin", "--comment", "why", folder=tmp_path)
    assert (done.status, len(stored(small))) == (0, 1)
    assert "warning: No connection has the platform linkdin; did you mean linkedin?" in done.out
    assert "warning" not in token_monitor("silence", "add", "--platform", "X", "--comment", "why", folder=tmp_path).out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--for", "2h"], "Give at least one CONNECTION, --source, --platform, --status, --connection or --label."),
        (["--source", "agncy"], "Unknown source agncy"),
        (["--label", "client=nobody"], "No connection has the label client=nobody; "),
        (["--source", "agency", "--for", "long"], "--for is not a valid duration: long."),
        (["--source", "agency", "--for", "2h", "--until", "3h"], "--until and --for cannot be combined"),
        (["--source", "agency", "--from", "3h", "--until", "2h"], "The silence would end before it starts"),
        (["--source", "agency", "--from", "later"], "--from is not a valid time: later."),
        (["--source", "agency", "--timezone", "Europe/Berlim"], "which is not an IANA time zone; did you mean Europe/Berlin?"),
        (["--source", "agency", "--rrule", "FREQ=WEEKLY"], "--rrule needs --for"),
        (["--source", "agency", "--rrule", "weekly", "--for", "1h"], "--rrule is not an RRULE, such as FREQ=WEEKLY;BYDAY=SA,SU."),
        (["--source", "agency", "--rrule", "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30", "--for", "1h"], "--rrule has no occurrence"),
        (["--source", "agency", "--rrule", "FREQ=WEEKLY;BYDAY=XX", "--for", "1h"], "--rrule has BYDAY=XX, but MO, TU, WE,"),
    ],
)
def test_a_wrong_silence_prints_the_reason_and_stores_nothing(
    *, small: Store, tmp_path: Path, arguments: list[str], said: str
) -> None:
    done = token_monitor("silence", "add", "--comment", "why", *arguments, folder=tmp_path)
    assert (done.status, done.out) == (2, "")
    assert said in done.err
    assert stored(small) == []


def test_commands_suppress_on_both_databases(store: Store, database_url: str, tmp_path: Path, at: datetime) -> None:
    fill(store, at)
    config = write_config(tmp_path, url=database_url)
    assert token_monitor("ack", "linkedin-revoked", config=config).status == 0
    assert token_monitor("silence", "add", "--source", "studio", "--comment", "quiet", config=config).status == 0
    seen = shown(token_monitor("status", "--json", config=config))
    assert seen["agency/linkedin-revoked"] == (True, None)
    assert seen["studio/65f0"] == (False, "9999-01-01T00:00:00Z")


def test_the_history_of_a_connection_shows_its_suppressions(
    store: Store, database_url: str, tmp_path: Path, at: datetime
) -> None:
    fill(store, at)
    config = write_config(tmp_path, url=database_url)

    def call(*arguments: str, user: str = "ann") -> Done:
        done = token_monitor(*arguments, config=config, env={"LOGNAME": user})
        assert done.status == 0, done.err
        return done

    call("ack", EXPIRED, "--comment", "reconnects it on Monday", "--until", "2901-01-01 08:00")
    call("ack", EXPIRED, "--remove", user="bob")
    call("silence", "add", "--label", "client=acme", "--comment", "we are moving")
    call("silence", "add", "--platform", "tiktok", "--comment", "not this one")
    call("silence", "remove", "1", user="bob")
    events = call("history", EXPIRED, "--json").json["events"]
    assert [(row["kind"], row["new"], row["message"]) for row in events[1:]] == [
        ("acknowledged", "expired", "By command line (ann), until 2901-01-01 08:00 UTC: reconnects it on Monday"),
        ("unacknowledged", None, "By command line (bob)."),
        ("silenced", "1", "By command line (ann): we are moving"),
        ("unsilenced", "1", "By command line (bob)."),
    ]
    assert {row["connection"] for row in events} == {EXPIRED}
    ann, bob = "command line (ann)", "command line (bob)"
    assert [row["author"] for row in events] == [None, ann, bob, ann, bob]
    removed, kept = call("silence", "list", "--all", "--json").json["silences"]
    assert [(each["author"], each["removed_by"]) for each in (removed, kept)] == [(ann, bob), (ann, None)]
    assert "not this one (by command line (ann))" in " ".join(call("silence", "list").out.split())
    assert [row["kind"] for row in call("history", "studio/65f0", "--json").json["events"]] == ["appeared"]
    shown = call("history", EXPIRED).out
    assert "acknowledged: expired" in shown
    assert " silenced: silence 1 " in shown
    assert " unsilenced: silence 1 " in shown


# --- what is told about both, and about channels


def test_an_explanation_shows_the_acknowledgement_the_silence_and_the_route(small: Store, tmp_path: Path, at: datetime) -> None:
    text = (tmp_path / "config.toml").read_text("utf-8")
    more = [
        '[[channels]]\nname = "boss"\nurl = "json://127.0.0.1:9/boss"\nafter = "2h"\n',
        '[[channels]]\nname = "last"\nurl = "json://127.0.0.1:9/last"\nfallback = true\n',
        '[[channels]]\nname = "sleeper"\nurl = "json://127.0.0.1:9/sleep"\n',
        'quiet_hours = [{ from = "00:00", to = "24:00", days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"] }]\n',
    ]
    (tmp_path / "config.toml").write_text("".join([text, *more]), "utf-8")
    incident = open_incidents(small)[Status.EXPIRED]
    with small.begin_write() as conn:
        alerts.add_alerts(conn, [(told(incident.id, at), None, None)])
    assert token_monitor("ack", EXPIRED, "--comment", "Ann", folder=tmp_path).status == 0
    assert token_monitor("silence", "add", "--connection", "*expired", "--comment", "moving", folder=tmp_path).status == 0
    done = token_monitor("alerts", "explain", "a1", folder=tmp_path)
    assert done.status == 0, done.err
    for said in (
        "while expired: Ann",
        "by silence 1 until it is removed: moving",
        "takes it only if the incident is still open and unacknowledged after 2 hours (after)",
        "does not take it: it is a fallback, and another channel takes it",
        "it had quiet hours until ",
    ):
        assert said in done.out
    [found] = token_monitor("alerts", "explain", "a1", "--json", folder=tmp_path).json["alerts"]
    assert {route["channel"]: route["refused_by"] for route in found["routes"]} == {
        "ops": None, "night": "sources", "boss": None, "last": "fallback", "sleeper": None,
    }  # fmt: skip
    assert [each["id"] for each in found["silences"]] == [1]
    assert found["acked_at"] is not None


def test_an_explanation_counts_the_other_alerts_of_the_message(
    store: Store, database_url: str, tmp_path: Path, at: datetime
) -> None:
    fill(store, at)
    config = write_config(tmp_path, url=database_url)
    incident = open_incidents(store)[Status.EXPIRED].id
    with store.begin_write() as conn:
        alerts.add_alerts(conn, [(replace(told(incident, at), id=f"a{number}"), None, None) for number in range(3)])
        for channel, count in (("ops", 2), ("night", 1)):
            outbox.add_deliveries(conn, [(f"a{number}", channel, at) for number in range(3)], at)
            claimed = outbox.claim(conn, channel=channel, owner="me", now=at, lease=timedelta(minutes=1), limit=count)
            outbox.mark_sent(conn, [each.delivery_id for each in claimed], "me", at)
    done = token_monitor("alerts", "explain", "a0", config=config)
    assert "in one message with 1 other alert\n" in done.out
    [found] = token_monitor("alerts", "explain", "a0", "--json", config=config).json["alerts"]
    assert {row["channel"]: row["alerts"] for row in found["said_together"]} == {"ops": 2, "night": 1}


def test_an_explanation_shows_why_a_delivery_is_no_longer_wanted(small: Store, tmp_path: Path, at: datetime) -> None:
    with small.begin_write() as conn:
        alerts.add_alerts(conn, [(told(open_incidents(small)[Status.EXPIRED].id, at), None, None)])
        outbox.add_deliveries(conn, [("a1", "old", at)], at)
        handover.hand_over_removed(conn, [], at)
    done = token_monitor("alerts", "explain", "a1", folder=tmp_path)
    assert "Not sent: the channel old is no longer configured." in done.out
    assert "no attempt yet" not in done.out


def told(incident: str, at: datetime) -> Alert:
    return make_alert(
        id="a1", incident=incident, event=AlertEvent.EXPIRED, severity=Severity.CRITICAL, at=at, connection=EXPIRED,
        external_id="linkedin-expired",
    )  # fmt: skip


def test_sources_names_channels_that_cannot_deliver(small: Store, tmp_path: Path, at: datetime) -> None:
    with small.begin_write() as conn:
        channel_states.record_failure(conn, "ops", at, problem="The service answered 410.", broken=True)
    done = token_monitor("sources", folder=tmp_path)
    assert done.out.splitlines()[0] == "1 of 2 channels cannot deliver. 2 sources can be read."
    assert "Nothing to do" not in done.out
    assert "Channels that cannot deliver:\n! ops: broken since " in done.out
    assert "no success yet: The service answered 410." in done.out
    channels = token_monitor("sources", "--json", folder=tmp_path).json["channels"]
    assert [(row["name"], row["broken"]) for row in channels] == [("ops", True), ("night", False)]


def test_a_template_that_cannot_be_rendered_is_a_mistake_of_the_configuration(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    text = path.read_text("utf-8").replace('name = "ops"', 'name = "ops"\ntemplates.expired = { title = "{{ no_such_thing }}" }')
    path.write_text(text, "utf-8")
    done = token_monitor("config", "check", folder=tmp_path)
    assert (done.status, done.out) == (2, "")
    assert "channels[0] (ops).templates.expired cannot be rendered for expired: " in done.err


# --- forecast


def test_the_forecast_groups_expiries_into_reconnect_batches(small: Store, tmp_path: Path) -> None:
    done = token_monitor("forecast", folder=tmp_path)
    assert done.status == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == "3 connections to reconnect within 30 days, 2 of them now, in 2 batches."
    assert lines[2] == "Now: acme, 2 on linkedin at agency (https://app.postpost.dev)"
    assert lines[6].startswith("By ")
    found = token_monitor("forecast", "--json", folder=tmp_path).json["forecast"]
    assert [[row["status"] for row in batch["connections"]] for batch in found] == [["revoked", "expired"], ["expiring_soon"]]
    assert [batch["overdue"] for batch in found] == [True, False]


def test_the_forecast_covers_the_given_period(small: Store, tmp_path: Path) -> None:
    def ids(*arguments: str) -> list[str]:
        found = token_monitor("forecast", "--json", *arguments, folder=tmp_path).json["forecast"]
        return [row["external_id"] for batch in found for row in batch["connections"]]

    assert ids("--days", "2") == ["linkedin-revoked", "linkedin-expired"]
    assert ids("--days", "90", "--status", "valid") == ["linkedin-valid"]
    assert token_monitor("forecast", "--source", "studio", folder=tmp_path).out.startswith("No known expiry within 30 days")
