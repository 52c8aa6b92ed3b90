"""WHEN: every form of a time that the command line accepts, and the error for any other text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import typer

from monitor.cli.values import later_when, parse_length, parse_when

NOW = datetime(2026, 3, 28, 14, 0, tzinfo=UTC)
"""A Saturday, 15:00 in Berlin, the night before the clocks go forward."""


def when(text: str, *, today: bool = False) -> datetime:
    return parse_when(text, now=NOW, timezone="Europe/Berlin", option="--until", today=today)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2h", "2026-03-28T16:00"),
        ("1d 12h", "2026-03-30T02:00"),
        ("now", "2026-03-28T14:00"),
        ("16:30", "2026-03-28T15:30"),
        ("15:00", "2026-03-29T13:00"),  # this very minute is not ahead: tomorrow, in summer time
        ("8:00", "2026-03-29T06:00"),
        ("today 23:00", "2026-03-28T22:00"),
        ("today 08:00", "2026-03-28T07:00"),
        ("tomorrow", "2026-03-28T23:00"),
        ("Tomorrow 08:00", "2026-03-29T06:00"),
        ("tomorrow 02:30", "2026-03-29T01:30"),  # which clocks skip: 03:30 by summer time
        ("mon 08:00", "2026-03-30T06:00"),
        ("monday", "2026-03-29T22:00"),
        ("sat 16:00", "2026-03-28T15:00"),
        ("sat 08:00", "2026-04-04T06:00"),
        ("2026-12-01", "2026-11-30T23:00"),
        ("2026-12-01 08:00", "2026-12-01T07:00"),
        ("2026-12-01T08:00:30", "2026-12-01T07:00:30"),
        ("2026-12-01T08:00Z", "2026-12-01T08:00"),
        ("2026-12-01T08:00+05:30", "2026-12-01T02:30"),
    ],
)
def test_an_instant_can_be_written_in_these_ways(text: str, instant: str) -> None:
    assert when(text) == datetime.fromisoformat(instant).replace(tzinfo=UTC)


def test_a_time_alone_can_mean_the_one_of_today() -> None:
    assert when("08:00", today=True) == datetime(2026, 3, 28, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    ["", "soon", "8", "25:00", "tomorrow noon", "2026-13-01", "2026-02-30", "0001-01-01", "mo", "-2h", "1e9d", "999999999999d"],
)
def test_what_is_no_time_is_a_usage_error_that_shows_how(text: str) -> None:
    with pytest.raises(typer.BadParameter, match=r'is not a valid time: .*\. WHEN is "2h", "08:00", "tomorrow 08:00"'):
        when(text)


@pytest.mark.parametrize("text", ["now", "2026-03-28 14:59", "today"])
def test_an_end_must_lie_ahead(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is in the past"):
        later_when(text, now=NOW, timezone="Europe/Berlin", option="--until")


def test_a_length_is_a_duration_of_at_least_a_minute() -> None:
    assert parse_length("24h", option="--for") == timedelta(days=1)
    with pytest.raises(typer.BadParameter, match="is not a valid duration"):
        parse_length("a day", option="--for")
    with pytest.raises(typer.BadParameter, match="at least 1m"):
        parse_length("30s", option="--for")
