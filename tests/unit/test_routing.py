"""Which channels take an alert: every filter, alone and at its edges."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from monitor.domain import Alert, AlertEvent, Severity
from monitor.domain.rules.routing import route
from tests.support.factories import make_alert


@dataclass(frozen=True)
class Filter:
    name: str = "ops"
    events: frozenset[AlertEvent] | None = None
    severity: Severity = Severity.INFO
    sources: frozenset[str] | None = None
    platforms: frozenset[str] | None = None
    labels: dict[str, str] = field(default_factory=dict)


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
        (Filter(), EXPIRED, True),
        (Filter(), SOURCE, True),
        (Filter(), MONITOR, True),
        # Events name what is wanted.
        (Filter(events=frozenset({AlertEvent.EXPIRED})), EXPIRED, True),
        (Filter(events=frozenset({AlertEvent.EXPIRED})), WARNING, False),
        (Filter(events=frozenset()), EXPIRED, False),
        # Severity is a least one: its own level is taken.
        (Filter(severity=Severity.WARNING), WARNING, True),
        (Filter(severity=Severity.CRITICAL), WARNING, False),
        (Filter(severity=Severity.CRITICAL), EXPIRED, True),
        # A recovery carries the severity of what it ends, so it reaches who heard of the problem.
        (Filter(severity=Severity.CRITICAL), make_alert(event=AlertEvent.RECOVERED, status="valid"), True),
        # Sources by name.
        (Filter(sources=frozenset({"agency"})), EXPIRED, True),
        (Filter(sources=frozenset({"studio"})), EXPIRED, False),
        (Filter(sources=frozenset({"studio"})), SOURCE, False),
        # Platforms by slug; a source that cannot be read hides every platform, so it is said to all of its readers.
        (Filter(platforms=frozenset({"linkedin"})), EXPIRED, True),
        (Filter(platforms=frozenset({"tiktok"})), EXPIRED, False),
        (Filter(platforms=frozenset({"tiktok"})), SOURCE, True),
        # Labels: all of the filter's must be there with their value; the alert may carry more.
        (Filter(labels={"client": "acme"}), EXPIRED, True),
        (Filter(labels={"client": "acme", "tier": "gold"}), EXPIRED, True),
        (Filter(labels={"client": "acme", "tier": "iron"}), EXPIRED, False),
        (Filter(labels={"client": "acme"}), SOURCE, False),
        # The monitor's own trouble passes by sources, platforms and labels, not by events and severity.
        (Filter(sources=frozenset({"studio"}), platforms=frozenset({"tiktok"}), labels={"client": "acme"}), MONITOR, True),
        (Filter(events=frozenset({AlertEvent.EXPIRED})), MONITOR, False),
        # Filters are ANDed.
        (Filter(sources=frozenset({"agency"}), platforms=frozenset({"tiktok"})), EXPIRED, False),
    ],
)
def test_a_channel_takes_what_all_its_filters_let_through(channel: Filter, alert: Alert, *, taken: bool) -> None:
    assert route(alert, [channel]) == (["ops"] if taken else [])


def test_every_matching_channel_is_named_in_the_order_given() -> None:
    channels = [Filter(name="b"), Filter(name="none", events=frozenset()), Filter(name="a")]
    assert route(EXPIRED, channels) == ["b", "a"]


def test_an_alert_that_no_channel_takes_gives_an_empty_list() -> None:
    assert route(EXPIRED, []) == []
