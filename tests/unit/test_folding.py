"""Several alerts of one story in one message: one item, with the newest state, and every alert settled by it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from monitor.domain import Alert, AlertEvent, Severity
from monitor.domain.rules.alerting import AlertReason
from monitor.notify.messages import Dispatch, Part, compose, compose_each, render
from tests.support.factories import NOW, make_alert

HOUR = timedelta(hours=1)


def alert(name: str, *, hours_ago: float = 0, **over: Any) -> Alert:
    values: dict[str, Any] = {
        "id": name,
        "at": NOW - HOUR * hours_ago,
        "opened_at": NOW - 4 * HOUR,
        "reason": AlertReason.FIRST,
        "expires_at": NOW - 4 * HOUR,
    }
    return make_alert(**{**values, **over})


def soon(name: str, **over: Any) -> Alert:
    return alert(name, **{"event": AlertEvent.EXPIRING_SOON, "status": "expiring_soon", "severity": Severity.WARNING, **over})


def well(name: str, **over: Any) -> Alert:
    values = {"event": AlertEvent.RECOVERED, "status": "valid", "reason": AlertReason.RECOVERED, "previous": "expired"}
    return alert(name, **{**values, "expires_at": NOW + 60 * 24 * HOUR, **over})


def message_of(*alerts: Alert, **over: Any) -> Part:
    return render(compose([Dispatch(alert=each, **over) for each in alerts], timezone="UTC", now=NOW))


def test_A12_a_problem_and_its_recovery_are_one_item_with_the_duration() -> None:
    part = message_of(well("b"), alert("a", hours_ago=4))
    assert part.title == "[RECOVERED] Acme Ltd (linkedin) at agency, was expired for 4 hours"
    assert part.body.startswith("Acme Ltd on LinkedIn was expired for 4 hours and works again.")
    assert part.alert_ids == ("a", "b")
    assert part.body.endswith("Alerts: a, b")


def test_how_long_it_lasted_counts_from_the_status_and_not_from_the_first_warning() -> None:
    opened = NOW - 7 * 24 * HOUR
    bad = alert("a", hours_ago=1, reason=AlertReason.WORSE, previous="expiring_soon", since=NOW - HOUR, opened_at=opened)
    good = well("b", reason=AlertReason.RENEWED, opened_at=opened)
    assert message_of(bad, good).body.startswith("Acme Ltd on LinkedIn was expired for 1 hour and works again.")
    assert message_of(good).body.startswith("Acme Ltd on LinkedIn works again after 7 days.")
    assert "previously expired" in message_of(good).body
    at_once = alert("a", since=NOW, opened_at=opened)
    assert "Acme Ltd on LinkedIn was expired and works again." in message_of(at_once, good).body


def test_a_recovery_alone_has_the_duration_of_its_incident() -> None:
    part = message_of(well("b"))
    assert part.title == "[RECOVERED] Acme Ltd (linkedin) at agency"
    assert "Acme Ltd on LinkedIn works again after 4 hours." in part.body


def test_what_got_worse_while_it_waited_is_one_item_in_its_newest_state() -> None:
    worse = alert("b", hours_ago=1, reason=AlertReason.WORSE, previous="expiring_soon")
    part = message_of(soon("a", hours_ago=3), worse)
    assert part.title == "[EXPIRED] Acme Ltd (linkedin) at agency"
    assert "First alert. Previous status: expiring soon." in part.body
    assert part.alert_ids == ("a", "b")


def test_status_changes_are_listed_where_there_is_more_than_one() -> None:
    again = alert("c", reason=AlertReason.FIRST, incident="incident-2", previous=None)
    part = message_of(alert("a", hours_ago=3), well("b", hours_ago=2), again)
    assert "Status changes since the last message: expired, recovered, expired." in part.body
    assert part.alert_ids == ("a", "b", "c")


def test_reminders_of_one_incident_become_one() -> None:
    second, third = (
        alert(name, reason=AlertReason.REMINDER, hours_ago=hours, reminder=number, since=NOW - 72 * HOUR)
        for name, hours, number in (("r2", 24, 2), ("r3", 0, 3))
    )
    part = message_of(second, third)
    assert "Reminder 3: unchanged for 3 days, since Sat 7 Mar 2026 12:00 UTC." in part.body
    assert part.alert_ids == ("r2", "r3")


def test_the_title_counts_connections_and_not_alerts() -> None:
    other: dict[str, Any] = {"external_id": "tiktok-1", "platform": "tiktok", "incident": "incident-9"}
    part = message_of(
        soon("a", hours_ago=2), alert("b", reason=AlertReason.WORSE), alert("c", **other), alert("d", hours_ago=1, **other)
    )
    assert part.title == "2 connections need attention: 2 expired at agency (Acme Ltd)"
    assert sorted(part.alert_ids) == ["a", "b", "c", "d"]


def test_the_same_id_in_two_scopes_or_sources_is_two_connections() -> None:
    part = message_of(alert("a"), alert("b", scope="u1"), alert("c", source="studio"))
    assert part.title == "3 connections need attention: 3 expired (Acme Ltd)"


def test_a_fold_is_a_repeat_or_late_where_one_of_its_alerts_is() -> None:
    dispatches = [Dispatch(alert=alert("a", hours_ago=3), uncertain=True, late_by=3 * HOUR), Dispatch(alert=well("b"))]
    body = render(compose(dispatches, timezone="UTC", now=NOW)).body
    assert "may be a repeat" in body
    assert "Late by 3 hours" in body


def test_a_source_that_failed_and_came_back_is_one_item() -> None:
    about: dict[str, Any] = {"external_id": None, "connection": None, "platform": None, "label": None, "expires_at": None}
    down = alert("a", hours_ago=4, event=AlertEvent.SOURCE_FAILING, status="failing", **about)
    up = alert("b", event=AlertEvent.SOURCE_RECOVERED, status="ok", reason=AlertReason.RECOVERED, **about)
    part = message_of(down, up)
    assert part.body.startswith("The source agency (PostPost) can be read again. It was unreadable for 4 hours.")
    assert part.alert_ids == ("a", "b")


def test_where_incidents_are_kept_apart_each_is_a_message_of_its_own() -> None:
    """Two incidents of one connection are two things to open and to close."""
    first, over, second = alert("a", hours_ago=3), well("b", hours_ago=2), alert("c", incident="incident-2")
    messages = compose_each([Dispatch(alert=each) for each in (second, over, first)], timezone="UTC", now=NOW)
    assert [[item.alert_ids for item in message.items] for message in messages] == [[("a", "b")], [("c",)]]


def test_alerts_about_the_monitor_itself_name_their_subject_and_no_service() -> None:
    about: dict[str, Any] = {
        "external_id": None,
        "connection": None,
        "platform": None,
        "label": None,
        "expires_at": None,
        "source": "",
    }
    broken = alert(
        "a",
        event=AlertEvent.MONITOR_PROBLEM,
        status="",
        provider=None,
        subject="channel:ops",
        reason="channel_broken",
        message="Slack answered 404",
        **about,
    )
    part = message_of(broken)
    assert part.title == "[MONITOR PROBLEM] channel ops"
    assert "The monitor has a problem: channel ops." in part.body
    assert "Slack answered 404." in part.body
