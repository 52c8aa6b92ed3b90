"""What services receive besides title and text."""

from __future__ import annotations

from typing import Any

import pytest

from monitor.domain import AlertEvent
from monitor.domain.records import replace
from monitor.notify.annotations import annotated, tags_of
from monitor.notify.links import MessageLinks
from monitor.notify.messages import Part, Tone
from tests.support.delivery import channel
from tests.support.factories import NOW, make_alert

LINKS = MessageLinks(public_url="https://tokens.example", key=b"k" * 32)
OPS = channel("json://127.0.0.1:9/hook")
PART = Part(title="A title", body="A text", tone=Tone.FAILURE, alert_ids=("alert-1",), secrets=("a connection page",))


def alert(number: int = 1, **over: Any) -> Any:
    return make_alert(**{"connection": f"agency/linkedin-{number}", "incident": f"i{number}", "platform": "linkedin", **over})


def test_the_acknowledge_link_is_a_secret_of_the_part() -> None:
    part = annotated(PART, [alert()], channel=OPS, links=LINKS, now=NOW)
    assert part.acknowledge.startswith("https://tokens.example/ack/i1.ops.")
    assert part.secrets == ("a connection page", part.acknowledge)
    assert part.acknowledge not in repr(part)


@pytest.mark.parametrize(
    ("alerts", "links", "over"),
    [
        ([alert(), alert(2)], LINKS, {}),
        ([alert(event=AlertEvent.RECOVERED)], LINKS, {}),
        ([alert()], None, {}),
        ([alert()], LINKS, {"actions": False}),
        ([], LINKS, {}),
    ],
    ids=["two-incidents", "recovered", "no-public-url", "no-actions", "test-message"],
)
def test_no_link_where_there_is_not_exactly_one_incident_to_acknowledge(
    alerts: list[Any], links: Any, over: dict[str, Any]
) -> None:
    part = annotated(PART, alerts, channel=replace(OPS, **over), links=links, now=NOW)
    assert part.acknowledge == ""
    assert part.secrets == PART.secrets


def test_several_alerts_of_one_incident_have_one_link() -> None:
    part = annotated(PART, [alert(event=AlertEvent.EXPIRING_SOON), alert()], channel=OPS, links=LINKS, now=NOW)
    assert part.acknowledge


@pytest.mark.parametrize(
    ("alerts", "tags"),
    [
        ([alert()], ("expired", "linkedin", "agency")),
        ([alert(), alert(2, platform="tiktok")], ("expired", "agency")),
        ([alert(), alert(2, source="studio", event=AlertEvent.REVOKED)], ("linkedin",)),
        ([alert(platform="my, platform\r\nX-Evil: 1")], ("expired", "agency")),
        ([alert(event=AlertEvent.MONITOR_PROBLEM, source="", platform=None)], ("monitor_problem",)),
    ],
    ids=["one", "platforms", "sources", "hostile", "monitor"],
)
def test_tags_are_plain_words_that_all_alerts_share(alerts: list[Any], tags: tuple[str, ...]) -> None:
    assert tags_of(alerts) == tags
