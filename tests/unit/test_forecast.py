"""Upcoming expiries in reconnect batches, and the hour of the weekly report."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from monitor.domain import ReportedStatus, Status, Verdict, provider_info
from monitor.domain.rules.forecast import Need, need_of, reconnect_batches
from monitor.domain.rules.labels import group_of
from monitor.domain.rules.recurrence import next_weekly
from monitor.notify.messages import chart
from monitor.notify.messages.chart import MAX_ROWS, timeline
from tests.support.factories import NOW, make_state

DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
MONTH = 30 * DAY
BERLIN = ZoneInfo("Europe/Berlin")


def need(days: float, **over: Any) -> Need:
    values: dict[str, Any] = {
        "connection": f"agency/linkedin-{days}",
        "source": "agency",
        "platform": "linkedin",
        "label": "Acme",
        "status": Status.VALID,
        "by": NOW + days * DAY,
    }
    return Need(**{**values, **over})


def found(**over: Any) -> Need | None:
    verdict = over.pop("verdict", None)
    state = make_state(**over, **({"verdict": verdict} if verdict else {}))
    return need_of(state, connection="agency/x", source="agency", provider=provider_info("postpost"), now=NOW, within=MONTH)


@pytest.mark.parametrize(
    ("over", "needed"),
    [
        ({"expires_at": NOW + MONTH}, True),  # exactly at the horizon
        ({"expires_at": NOW + MONTH + SECOND}, False),
        ({"expires_at": None}, False),
        ({"expires_at": NOW + DAY, "platform": "facebook"}, False),  # a date that cannot be trusted
        ({"expires_at": NOW + DAY, "platform": "facebook", "status": Status.EXPIRING_SOON}, True),  # the provider warns of it
        ({"expires_at": NOW + DAY, "status": Status.UNKNOWN}, True),
        ({"expires_at": NOW + 300 * DAY, "status": Status.REVOKED}, True),  # what is broken needs a person now
        ({"expires_at": None, "status": Status.FAILING, "reported": ReportedStatus.NO_HEALTH}, True),
    ],
)
def test_what_is_broken_and_what_runs_out_for_sure_needs_a_person(over: dict[str, Any], needed: bool) -> None:
    assert (found(**over) is not None) is needed


def test_what_is_broken_is_due_since_it_broke() -> None:
    verdict = Verdict(status=Status.EXPIRED, reason="stated", message="", since=NOW - 3 * DAY)
    broken = found(verdict=verdict)
    assert broken is not None
    assert broken.overdue
    assert broken.by == NOW - 3 * DAY


def test_reconnect_batches_hold_what_lies_within_three_days_worst_first() -> None:
    needs = [need(20), need(9), need(12), need(12.1), need(1, platform="threads")]
    needs += [need(-2, status=Status.EXPIRED), need(-1, status=Status.REVOKED), need(-9, status=Status.FAILING, source="studio")]
    told = [
        (each.source, each.platform, [round((one.by - NOW) / DAY, 1) for one in each.needs]) for each in reconnect_batches(needs)
    ]
    assert told == [
        ("agency", "linkedin", [-1.0, -2.0]),  # revoked before expired, in one batch
        ("studio", "linkedin", [-9.0]),  # failing is less severe, however long
        ("agency", "threads", [1.0]),
        ("agency", "linkedin", [9.0, 12.0]),  # exactly three days apart
        ("agency", "linkedin", [12.1]),
        ("agency", "linkedin", [20.0]),
    ]


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-03-23 07:59:59", "2026-03-23T07:00Z"),
        ("2026-03-23 08:00", "2026-03-30T06:00Z"),  # exactly at it: the next one, which is after the change of the clock
        ("2026-03-24 00:00", "2026-03-30T06:00Z"),
        ("2026-10-19 09:00", "2026-10-26T07:00Z"),  # and back
    ],
)
def test_the_weekly_hour_is_that_of_the_wall_clock(now: str, expected: str) -> None:
    instant = datetime.fromisoformat(now).replace(tzinfo=BERLIN).astimezone(UTC)
    assert next_weekly(instant, weekday=0, at=time(8), zone=BERLIN) == datetime.fromisoformat(expected)


def test_a_weekly_hour_that_the_clock_skips_comes_once_all_the_same() -> None:
    before = datetime(2026, 3, 29, 0, tzinfo=UTC)
    first = next_weekly(before, weekday=6, at=time(2, 30), zone=BERLIN)
    assert first == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    assert next_weekly(first, weekday=6, at=time(2, 30), zone=BERLIN) == datetime(2026, 4, 5, 0, 30, tzinfo=UTC)


def test_of_a_weekly_hour_that_comes_twice_the_first_counts() -> None:
    first = next_weekly(datetime(2026, 10, 24, 12, tzinfo=UTC), weekday=6, at=time(2, 30), zone=BERLIN)
    assert first == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert next_weekly(first, weekday=6, at=time(2, 30), zone=BERLIN) == datetime(2026, 11, 1, 1, 30, tzinfo=UTC)


def test_the_chart_is_well_formed_bounded_and_escapes_names() -> None:
    batches = reconnect_batches(need(number, source=f"<&{number}>") for number in range(1, 40))
    drawn = timeline(batches, now=NOW, ahead=MONTH)
    tree = ET.fromstring(drawn)  # noqa: S314 - our own drawing
    assert {child.tag.rpartition("}")[2] for child in tree} <= {"path", "rect", "circle", "text"}
    assert len(drawn) < 200_000
    assert drawn.count("<circle") == MAX_ROWS
    assert f"{39 - MAX_ROWS} more reconnect batches not shown" in drawn
    assert timeline((), now=NOW, ahead=MONTH).startswith("<svg")


def test_a_chart_has_text_from_the_shipped_font_alone() -> None:
    drawn = timeline(reconnect_batches([need(3)]), now=NOW, ahead=MONTH)
    picture = chart.png(drawn)
    assert picture is not None
    assert picture.startswith(b"\x89PNG")
    for shown in ("1 connection needs action in the next 30 days", "now"):
        assert f">{shown}<" in drawn
        other = chart.png(drawn.replace(f">{shown}<", "><"))
        assert other is not None
        assert other != picture, "the text is painted"
    accented, plain = (chart.png(drawn.replace(">now<", f">{letter}<")) for letter in "\u00e9e")
    assert accented != plain, "the font has accented letters"


@pytest.mark.parametrize("platform", ["\x00\x1b[2J", "\ud800", "</text><script>", "\u4e16\u754c", "]]>", "&nbsp;"])
def test_no_platform_name_breaks_the_chart(platform: str) -> None:
    drawn = timeline(reconnect_batches([need(3, platform=platform)]), now=NOW, ahead=MONTH)
    ET.fromstring(drawn)  # noqa: S314 - our own drawing
    assert chart.png(drawn) is not None


def test_reconnect_batches_are_those_of_one_client() -> None:
    needs = [need(9), need(9.5, group="acme"), need(10, group="acme"), need(-1, status=Status.EXPIRED, group="acme")]
    found = [(batch.group, batch.overdue, len(batch.needs)) for batch in reconnect_batches(needs)]
    assert found == [("acme", True, 1), ("", False, 1), ("acme", False, 2)]


@pytest.mark.parametrize(
    ("labels", "group_by", "group"),
    [
        ({"client": "acme"}, "client", "acme"),
        ({"client": "acme", "team": "red"}, "team", "red"),
        ({"team": "red"}, "client", ""),
        ({"client": "acme", "source": "x"}, "source", ""),
    ],
)
def test_connections_are_grouped_by_the_configured_label(labels: dict[str, str], group_by: str, group: str) -> None:
    assert group_of(labels, group_by) == group
