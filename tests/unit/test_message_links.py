"""Links from messages to the status page, and what an acknowledge link permits."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain import AlertEvent, Status
from monitor.notify.links import ACKNOWLEDGE_WITHIN, AcknowledgeLink, MessageLinks, read_acknowledge_link
from monitor.web.auth import Access
from tests.support.factories import NOW, make_alert

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
LINKS = MessageLinks(public_url="https://tokens.example/monitor", key=KEY)
SOON = NOW + timedelta(days=1)


def alert(**over: Any) -> Any:
    return make_alert(**{"connection": "agency/linkedin-1", "status": Status.EXPIRED, "platform": "linkedin", **over})


@pytest.mark.parametrize(
    ("public_id", "address"),
    [
        ("agency/linkedin-1", "/connections/agency/linkedin-1"),
        ("agency/a b?c#d", "/connections/agency/a%20b%3Fc%23d"),
        ("agency/../x", "/connections/?id=agency%2F..%2Fx"),
    ],
)
def test_a_connection_has_an_address_whatever_its_id(public_id: str, address: str) -> None:
    assert LINKS.connection(public_id) == f"https://tokens.example/monitor{address}"


@pytest.mark.parametrize(
    ("alerts", "address"),
    [
        ([alert()], "/connections/agency/linkedin-1"),
        ([alert(), alert(event=AlertEvent.RECOVERED)], "/connections/agency/linkedin-1"),
        (
            [alert(), alert(connection="agency/linkedin-2", status=Status.REVOKED, event=AlertEvent.REVOKED)],
            "/?status=expired&status=revoked&source=agency&platform=linkedin",
        ),
        (
            [alert(labels={"client": "a&b"}), alert(connection="agency/x-2", platform="x", labels={"client": "a&b"})],
            "/?status=expired&source=agency&platform=linkedin&platform=x&label=client=a%26b",
        ),
        (
            [alert(labels={"client": "a"}), alert(connection="agency/2", event=AlertEvent.RECOVERED, status=Status.VALID)],
            "/?source=agency&platform=linkedin",
        ),
        (
            [alert(connection=f"s{number}/1", source=f"s{number}") for number in range(6)],
            "/?status=expired&platform=linkedin",
        ),
        ([alert(connection=None, external_id=None, event=AlertEvent.SOURCE_FAILING)], "/sources"),
        ([alert(), alert(connection=None, external_id=None, event=AlertEvent.SOURCE_FAILING)], "/"),
    ],
)
def test_the_page_shows_what_the_alerts_are_about(alerts: list[Any], address: str) -> None:
    assert LINKS.about(alerts) == f"https://tokens.example/monitor{address}"


@pytest.mark.parametrize(
    "nothing_to_acknowledge",
    [
        {"event": AlertEvent.RECOVERED},
        {"event": AlertEvent.SOURCE_FAILING, "connection": None},
        {"event": AlertEvent.MONITOR_PROBLEM, "connection": None},
        {"event": AlertEvent.REPORT, "connection": None},
    ],
)
def test_only_a_problem_of_a_connection_has_an_acknowledge_link(nothing_to_acknowledge: dict[str, Any]) -> None:
    assert LINKS.acknowledge(alert(), channel="ops", now=NOW) is not None
    assert LINKS.acknowledge(alert(**nothing_to_acknowledge), channel="ops", now=NOW) is None


def test_an_acknowledge_link_is_for_one_incident_and_channel_and_ends_after_14_days() -> None:
    link = LINKS.acknowledge(alert(incident="0123456789abcdef"), channel="ops-night", now=NOW + timedelta(microseconds=5))
    assert link is not None
    begin, _, secret = link.rpartition("/")
    assert begin == "https://tokens.example/monitor/ack"
    permitted = read_acknowledge_link(secret, KEY)
    assert permitted == AcknowledgeLink(incident="0123456789abcdef", channel="ops-night", until=NOW + timedelta(days=14))
    assert timedelta(days=14) == ACKNOWLEDGE_WITHIN
    assert len(link) < 140


@pytest.mark.parametrize("part", range(4))
def test_a_link_that_was_changed_anywhere_permits_nothing(part: int) -> None:
    parts = AcknowledgeLink(incident="a1", channel="ops", until=SOON).text(KEY).split(".")
    other = AcknowledgeLink(incident="a2", channel="night", until=SOON + timedelta(days=1)).text(KEY).split(".")
    parts[part] = other[part]
    assert read_acknowledge_link(".".join(parts), KEY) is None


def test_another_key_and_another_purpose_sign_nothing() -> None:
    link = AcknowledgeLink(incident="a1", channel="ops", until=SOON)
    assert read_acknowledge_link(link.text(OTHER_KEY), KEY) is None
    content = link.text(KEY).rpartition(".")[0]
    assert read_acknowledge_link(f"{content}.{Access((), KEY).csrf(content)[:32]}", KEY) is None


@given(st.text(max_size=80))
def test_no_text_is_a_link_by_accident(text: str) -> None:
    assert read_acknowledge_link(text, KEY) is None


def test_the_key_is_not_shown() -> None:
    assert "kkkk" not in repr(LINKS)
