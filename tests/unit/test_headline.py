"""The headline: no healthy state is reported while a source is unread or data is stale."""

from __future__ import annotations

from collections import Counter

import pytest

from monitor.domain import Status
from monitor.views.staleness import Doubts, Stale
from monitor.views.status import headline
from monitor.web.status_page import parts_of

V, U, SOON, EXPIRED = Status.VALID, Status.UNKNOWN, Status.EXPIRING_SOON, Status.EXPIRED
SINCE = "since Tue 10 Mar 2026 10:00 UTC"


def stale(**numbers: int) -> Doubts:
    """Two sources that can be read, and stale connections."""
    counted = Counter({Status(status): number for status, number in numbers.items()})
    return Doubts(sources=2, stale=Stale(by_status=counted), since=SINCE)


CERTAIN = Doubts(sources=2)
REFUSED = Doubts(sources=2, refused=("studio",))
PENDING = Doubts(sources=2, pending=1)
OVERDUE = Doubts(sources=2, overdue=1)

CASES: list[tuple[dict[Status, int], Doubts, str, str]] = [
    ({V: 3}, CERTAIN, "good", "No action needed. 3 connections are valid."),
    ({V: 1}, CERTAIN, "good", "No action needed. 1 connection is valid."),
    ({V: 2, U: 1}, CERTAIN, "good", "No action needed. 2 of 3 connections are valid; the status of 1 is unknown."),
    ({U: 2}, CERTAIN, "unsure", "No known problems. The status of 2 connections is unknown."),
    ({V: 3}, REFUSED, "bad", "1 of 2 sources cannot be read: studio. 3 connections are valid."),
    ({U: 1}, REFUSED, "bad", "1 of 2 sources cannot be read: studio. The status of 1 connection is unknown."),
    ({V: 3}, PENDING, "unsure", "1 of 2 sources has not been read yet. 3 connections are valid."),
    ({V: 3}, OVERDUE, "unsure", "1 of 2 sources was not read for three poll intervals. 3 connections are valid."),
    (
        {V: 17},
        stale(valid=5),
        "unsure",
        f"The data of 5 of 17 connections is stale. 12 of 17 connections are valid; 5 were not read {SINCE}.",
    ),
    (
        {V: 3, U: 2},
        stale(valid=1, unknown=1),
        "unsure",
        (
            "The data of 2 of 5 connections is stale. 2 of 5 connections are valid; the status of 1 is unknown; "
            f"2 were not read {SINCE}."
        ),
    ),
    ({V: 2}, stale(valid=2), "unsure", f"The data of 2 connections is stale. 2 connections were not read {SINCE}."),
    ({V: 1}, stale(valid=1), "unsure", f"The data of 1 connection is stale. 1 connection was not read {SINCE}."),
    ({V: 1, SOON: 1}, CERTAIN, "soon", "1 of 2 connections expires soon."),
    ({V: 1, SOON: 1}, REFUSED, "bad", "1 of 2 connections expires soon. 1 of 2 sources cannot be read: studio."),
    (
        {V: 2, EXPIRED: 1},
        PENDING,
        "bad",
        "1 of 3 connections needs attention now. 1 expired. 1 of 2 sources has not been read yet.",
    ),
    (
        {V: 2, EXPIRED: 1},
        stale(expired=1),
        "bad",
        f"1 of 3 connections needs attention now. 1 expired. The data of 1 connection is stale: not read {SINCE}.",
    ),
    ({}, CERTAIN, "unsure", "No connections are known. The sources list none."),
    ({}, Doubts(), "unsure", "No source is configured."),
    ({}, REFUSED, "bad", "1 of 2 sources cannot be read: studio. No connections are known yet."),
    (
        {},
        PENDING,
        "unsure",
        "No connections are known yet. 1 of 2 sources has not been read yet. Connections appear after the first successful poll.",
    ),
]


@pytest.mark.parametrize(("summary", "doubts", "tone", "text"), CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_the_headline(summary: dict[Status, int], doubts: Doubts, tone: str, text: str) -> None:
    answer = headline({**dict.fromkeys(Status, 0), **summary}, doubts)
    assert (answer.tone, str(answer)) == (tone, text)


@pytest.mark.parametrize("doubts", [CERTAIN, Doubts()])
def test_a_selection_without_a_connection_is_no_statement_about_sources(doubts: Doubts) -> None:
    assert str(headline(dict.fromkeys(Status, 0), doubts, selected=True)) == "No connection matches."


def test_many_sources_that_cannot_be_read_are_not_all_named() -> None:
    doubts = Doubts(sources=9, refused=tuple(f"s{number}" for number in range(7)))
    assert (
        headline({**dict.fromkeys(Status, 0), V: 1}, doubts).text
        == "7 of 9 sources cannot be read: s0, s1, s2, s3, s4 and 2 more."
    )


def test_stale_connections_are_a_part_of_a_bar_that_is_not_green() -> None:
    parts = {key: number for key, number, _, _ in parts_of({V: 10, U: 2, EXPIRED: 3}, {V: 4, U: 2, EXPIRED: 1})}
    assert parts == {"expired": 3, "valid": 6, "stale": 6}
