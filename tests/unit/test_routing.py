"""Which channels take an alert: every filter, alone and at its edges."""

from __future__ import annotations

from typing import Any

import pytest

from monitor.domain import Alert, AlertEvent, ChannelRules, Severity
from monitor.domain.rules.routing import route
from tests.support.factories import make_alert


def rules(**over: Any) -> ChannelRules:
    return ChannelRules(**{"name": "ops", **over})


EXPIRED = make_alert(labels={"client": "acme", "tier": "gold"})
WARNING = make_alert(event=AlertEvent.EXPIRING_SOON, severity=Severity.WARNING, status="expiring_soon")
SOURCE = make_alert(
    event=AlertEvent.SOURCE_FAILING, external_id=None, connection=None, platform=None, label=None, status="failing"
)
MONITOR = make_alert(event=AlertEvent.MONITOR_PROBLEM, external_id=None, connection=None, platform=None, label=None, source="")


@pytest.mark.parametrize(
    ("channel", "alert", "taken"),
    [
        # No filter at all takes everything.
        (rules(), EXPIRED, True),
        (rules(), SOURCE, True),
        (rules(), MONITOR, True),
        # Events name what is wanted.
        (rules(events=frozenset({AlertEvent.EXPIRED})), EXPIRED, True),
        (rules(events=frozenset({AlertEvent.EXPIRED})), WARNING, False),
        (rules(events=frozenset()), EXPIRED, False),
        # Severity is a least one: its own level is taken.
        (rules(severity=Severity.WARNING), WARNING, True),
        (rules(severity=Severity.CRITICAL), WARNING, False),
        (rules(severity=Severity.CRITICAL), EXPIRED, True),
        # A recovery carries the severity of what it ends, so it reaches the channels that were notified of the problem.
        (rules(severity=Severity.CRITICAL), make_alert(event=AlertEvent.RECOVERED, status="valid"), True),
        # Sources by name.
        (rules(sources=frozenset({"agency"})), EXPIRED, True),
        (rules(sources=frozenset({"studio"})), EXPIRED, False),
        (rules(sources=frozenset({"studio"})), SOURCE, False),
        # Platforms by slug; a source that cannot be read hides every platform, so all of its channels are notified.
        (rules(platforms=frozenset({"linkedin"})), EXPIRED, True),
        (rules(platforms=frozenset({"tiktok"})), EXPIRED, False),
        (rules(platforms=frozenset({"tiktok"})), SOURCE, True),
        # Labels: all of the filter's must be there with their value; the alert may carry more.
        (rules(labels={"client": "acme"}), EXPIRED, True),
        (rules(labels={"client": "acme", "tier": "gold"}), EXPIRED, True),
        (rules(labels={"client": "acme", "tier": "iron"}), EXPIRED, False),
        (rules(labels={"client": "acme"}), SOURCE, False),
        # The monitor's own trouble passes by sources, platforms and labels, not by events and severity.
        (rules(sources=frozenset({"studio"}), platforms=frozenset({"tiktok"}), labels={"client": "acme"}), MONITOR, True),
        (rules(events=frozenset({AlertEvent.EXPIRED})), MONITOR, False),
        # ChannelRuless are ANDed.
        (rules(sources=frozenset({"agency"}), platforms=frozenset({"tiktok"})), EXPIRED, False),
    ],
)
def test_a_channel_takes_what_all_its_filters_let_through(channel: ChannelRules, alert: Alert, *, taken: bool) -> None:
    assert route(alert, [channel]) == (["ops"] if taken else [])


def test_every_matching_channel_is_named_in_the_order_given() -> None:
    channels = [rules(name="b"), rules(name="none", events=frozenset()), rules(name="a")]
    assert route(EXPIRED, channels) == ["b", "a"]


def test_an_alert_that_no_channel_takes_gives_an_empty_list() -> None:
    assert route(EXPIRED, []) == []
