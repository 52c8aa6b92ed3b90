"""What changed between two states of a connection, as entries for its history."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from monitor.domain import ConnectionState, Event, EventKind, ProbeFinding, ProbeState, ProbeStatus, Refresh, Snapshot, Status
from monitor.domain.rules import transitions
from tests.support.factories import NOW, make_snapshot, make_state

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
LATER = NOW + timedelta(minutes=15)

OK = ProbeState(status=ProbeStatus.OK, finding=ProbeFinding.OK, ever_ok=True)
REFUSED = ProbeState(status=ProbeStatus.FAILING, finding=ProbeFinding.FAILING, refusals=1, message="Not allowed")


def detect(before: ConnectionState | None, after: ConnectionState) -> tuple[Event, ...]:
    return transitions.detect(before, after, LATER)


def kinds(before: ConnectionState | None, after: ConnectionState) -> list[EventKind]:
    return [entry.kind for entry in detect(before, after)]


def test_the_first_poll_makes_one_entry_with_the_verdict() -> None:
    (entry,) = detect(None, make_state(status=Status.EXPIRED))
    assert entry == Event(kind=EventKind.APPEARED, at=LATER, new="expired", reason="stated", message="Reported by the provider.")


def test_the_same_state_twice_is_no_entry() -> None:
    assert detect(make_state(), make_state()) == ()


def test_a_changed_status_is_recorded_with_its_reason() -> None:
    (entry,) = detect(make_state(), make_state(status=Status.REVOKED))
    assert (entry.kind, entry.old, entry.new, entry.reason) == (EventKind.STATUS_CHANGED, "valid", "revoked", "stated")
    assert entry.at == LATER


def test_a_stage_is_no_entry() -> None:
    before = make_state(status=Status.EXPIRING_SOON, stage=None)
    assert detect(before, make_state(status=Status.EXPIRING_SOON, stage=3 * DAY)) == ()


# --- presence


def test_a_connection_vanishes_once_however_often_it_is_missed() -> None:
    assert kinds(make_state(), make_state(missing=1)) == [EventKind.VANISHED]
    assert kinds(make_state(missing=1), make_state(missing=2)) == []


def test_a_connection_returns() -> None:
    assert kinds(make_state(missing=2), make_state()) == [EventKind.RETURNED]
    assert kinds(make_state(missing=1), make_state()) == [EventKind.RETURNED]


# --- renewal


@pytest.mark.parametrize(
    ("moved", "renewed"),
    [(HOUR, False), (HOUR + timedelta(seconds=1), True), (60 * DAY, True), (timedelta(0), False), (-DAY, False)],
)
def test_a_renewal_is_a_date_that_moved_later_by_more_than_an_hour(moved: timedelta, renewed: bool) -> None:
    before, after = make_state(), make_state(expires_at=NOW + 60 * DAY + moved)
    assert transitions.is_renewal(before, after) is renewed
    assert kinds(before, after) == ([EventKind.RENEWED] if renewed else [])


def test_a_renewal_records_both_dates() -> None:
    (entry,) = detect(make_state(), make_state(expires_at=NOW + 90 * DAY))
    assert (entry.old, entry.new) == ("2026-05-09T12:00:00Z", "2026-06-08T12:00:00Z")


def test_a_date_that_appears_or_goes_away_is_no_renewal() -> None:
    with_date, without = make_state(), make_state(expires_at=None)
    assert detect(with_date, without) == ()
    assert detect(without, with_date) == ()
    assert not transitions.is_renewal(None, with_date)


def short_lived(left: timedelta) -> ConnectionState:
    refresh = Refresh(last_refreshed_at=NOW + left - 2 * HOUR)
    return make_state(platform="twitter", expires_at=NOW + left, refresh=refresh)


def test_tokens_of_hours_renew_all_day_without_an_entry() -> None:
    before, after = short_lived(HOUR), short_lived(3 * HOUR)
    assert detect(before, after) == ()
    assert transitions.is_renewal(before, after)


def test_access_tokens_of_hours_in_a_list_without_refresh_dates_are_no_entries_either() -> None:
    """PostPost's YouTube rows may carry the access token's date, which moves every hour."""
    before = make_state(platform="youtube", expires_at=NOW)
    assert detect(before, make_state(platform="youtube", expires_at=NOW + 2 * HOUR)) == ()
    assert kinds(before, make_state(platform="youtube", expires_at=NOW + 60 * DAY)) == [EventKind.RENEWED]


# --- names


# user name and display name before, and after; old and new name of the entry, or None
NAMES = [
    ("the user name changed", ("acme", "Acme"), ("acme_ltd", "Acme"), ("acme", "acme_ltd")),
    ("the at sign is no part of it", ("@acme", "Acme"), ("acme", "Acme"), None),
    ("case is no part of it", ("Acme", "Acme"), ("aCME", "Acme"), None),
    ("spaces around it are no part of it", ("acme ", "Acme"), ("acme", "Acme"), None),
    ("a name appears", (None, None), ("acme", "Acme"), None),
    ("a name appears beside a display name", (None, "Acme"), ("acme_ltd", "Acme"), None),
    ("a name goes away", ("acme", "Acme Ltd"), (None, "Acme Ltd"), None),
    ("the filler is no name", ("acme", "Acme"), ("unknown", "Acme"), None),
    ("the filler was no name", ("Unknown", "Acme"), ("acme", "Acme"), None),
    ("an empty name is none", ("acme", "Acme"), ("", "Acme"), None),
    ("the display name is not the handle", ("acme", "Acme"), ("acme", "Acme Limited"), None),
    ("without user names the display name counts", (None, "News"), (None, "Old News"), ("News", "Old News")),
    ("private channel, unchanged", (None, "News"), (None, "News"), None),
]


@pytest.mark.parametrize(("old", "new", "entry"), [case[1:] for case in NAMES], ids=[case[0] for case in NAMES])
def test_renamed(old: tuple[str | None, str | None], new: tuple[str | None, str | None], entry: tuple[str, str] | None) -> None:
    before = make_state(username=old[0], display_name=old[1])
    found = detect(before, make_state(username=new[0], display_name=new[1]))
    assert [(e.kind, e.old, e.new) for e in found] == ([(EventKind.RENAMED, *entry)] if entry else [])


# --- permissions


def scoped(*scopes: str, **over: Any) -> ConnectionState:
    return make_state(scopes=scopes, **over)


def test_lost_and_gained_permissions_are_recorded() -> None:
    (entry,) = detect(scoped("read", "publish"), scoped("read", "comment", "like"))
    assert (entry.kind, entry.message) == (EventKind.SCOPES_CHANGED, "Permissions lost publish; gained comment, like.")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (scoped("a", "b"), scoped("b", "a")),  # order is no change
        (scoped("a", "b"), make_state(scopes=None)),  # not reported any more
        (make_state(scopes=None), scoped("a")),  # reported for the first time
        (scoped("a", "b", status=Status.EXPIRED), scoped("a", status=Status.EXPIRED)),  # not healthy
    ],
)
def test_what_is_no_change_of_permissions(before: ConnectionState, after: ConnectionState) -> None:
    assert detect(before, after) == ()


def test_an_empty_list_beside_an_error_is_no_loss_of_permissions() -> None:
    assert kinds(scoped("a", "b"), scoped(status=Status.EXPIRED)) == [EventKind.STATUS_CHANGED]
    assert kinds(scoped(status=Status.EXPIRED), scoped("a")) == [EventKind.STATUS_CHANGED]


# --- probes


def test_a_first_ok_is_no_news() -> None:
    assert detect(make_state(), make_state(probe=OK)) == ()


def test_a_refusal_and_its_end_are_recorded() -> None:
    (entry,) = detect(make_state(probe=OK), make_state(probe=REFUSED))
    assert (entry.kind, entry.old, entry.new, entry.message) == (EventKind.PROBE_CHANGED, "ok", "failing", "Not allowed")
    assert kinds(make_state(probe=REFUSED), make_state(probe=OK)) == [EventKind.PROBE_CHANGED]


def test_a_refusal_at_first_probe_is_recorded() -> None:
    (entry,) = detect(make_state(), make_state(probe=REFUSED))
    assert (entry.old, entry.new) == ("unprobed", "failing")


def test_a_confirmed_refusal_is_no_new_change_of_the_probe() -> None:
    confirmed = ProbeState(status=ProbeStatus.FAILING, finding=ProbeFinding.FAILING, refusals=2, message="Not allowed")
    assert detect(make_state(probe=REFUSED), make_state(probe=confirmed)) == ()


# --- order


def test_the_entries_come_in_a_fixed_order() -> None:
    before = make_state(missing=1, scopes=("a",), username="acme")
    after = make_state(expires_at=NOW + 90 * DAY, scopes=("b",), username="acme_ltd", probe=REFUSED, status=Status.UNKNOWN)
    assert kinds(before, after) == [
        EventKind.RETURNED,
        EventKind.RENEWED,
        EventKind.RENAMED,
        EventKind.SCOPES_CHANGED,
        EventKind.PROBE_CHANGED,
        EventKind.STATUS_CHANGED,
    ]


def test_irrelevant_changes_are_no_entries() -> None:
    before = make_snapshot()
    after: Snapshot = make_snapshot(
        profile_url="https://linkedin.example/other", last_successful_post_at=NOW, flags=frozenset({"naive_date"})
    )
    assert detect(make_state(snapshot=before), make_state(snapshot=after)) == ()
