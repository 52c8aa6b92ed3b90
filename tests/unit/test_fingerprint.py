"""Did a row change in anything that is stored?"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from monitor.domain import LastError, Refresh, ReportedStatus, Snapshot
from monitor.domain.records import replace
from monitor.domain.rules.fingerprint import fingerprint, span_moved
from tests.support.factories import NOW, make_snapshot

HOUR = timedelta(hours=1)

FULL = make_snapshot(
    account="li-1",
    refresh=Refresh(connected_at=NOW, last_refreshed_at=NOW, last_attempt_at=NOW, error="no", error_status=400),
    scopes=("read", "publish"),
    last_successful_post_at=NOW,
    last_error=LastError(message="Upload failed", occurred_at=NOW),
    flags=frozenset({"naive_date"}),
)

REFRESH_CHANGES: list[dict[str, Any]] = [
    {"connected_at": NOW + HOUR},
    {"last_refreshed_at": NOW + HOUR},
    {"last_attempt_at": None},
    {"error": None},
    {"error_status": 500},
]
CHANGES: dict[str, list[Any]] = {
    "platform": ["facebook"],
    "reported": [ReportedStatus.EXPIRED, ReportedStatus.UNSTATED],
    "raw_status": [None, "Valid", ""],
    "detail": ["", "Token revoked"],
    "trusted": [True, False],
    "labels": [{}, {"client": "acme"}],
    "expires_at": [None, NOW, FULL.expires_at and FULL.expires_at + timedelta(microseconds=1)],
    "refresh": [
        None,
        Refresh(),
        *(replace(FULL.refresh or Refresh(), **change) for change in REFRESH_CHANGES),
    ],
    "account": [None, "li-2"],
    "username": [None, "", "Acme"],
    "display_name": [None, "Acme"],
    "profile_url": [None],
    "scopes": [None, (), ("read",), ("read,publish",)],
    "last_successful_post_at": [None, NOW + HOUR],
    "last_error": [None, LastError(message="", occurred_at=NOW), LastError(message="Upload failed")],
    "flags": [frozenset(), frozenset({"far_date"}), frozenset({"naive_date", "far_date"})],
}
KEY = {"external_id", "scope"}
"""What a row is found by is no part of what it holds."""


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in CHANGES.items() for value in values])
def test_every_stored_field_counts(name: str, value: Any) -> None:
    assert fingerprint(replace(FULL, **{name: value})) != fingerprint(FULL)


def test_no_field_is_forgotten() -> None:
    assert set(Snapshot.__struct_fields__) == {*CHANGES, *KEY, "expires_before"}


def test_that_there_is_a_coarse_span_counts_and_its_wobbling_end_does_not() -> None:
    spans = [replace(FULL, expires_at=None, expires_before=NOW + n * HOUR) for n in (1, 500)]
    assert fingerprint(spans[0]) == fingerprint(spans[1])
    assert fingerprint(spans[0]) != fingerprint(replace(FULL, expires_at=None))


def test_the_key_does_not_count() -> None:
    assert fingerprint(replace(FULL, external_id="linkedin-9", scope="user-1")) == fingerprint(FULL)


def test_the_same_row_has_the_same_digest_in_every_process() -> None:
    """Pinned: sets have another order in each process. A change here rewrites every row once after an upgrade."""
    row = replace(FULL, flags=frozenset({"naive_date", "far_date", "epoch_date"}))
    assert fingerprint(row) == "b1147623c1718303da6032b8"


def test_strange_texts_have_digests_too() -> None:
    names = ["\ud800", "\x00", "é", "e\u0301", "'", '"', "\n", "None", ""]
    assert len({fingerprint(make_snapshot(username=name)) for name in names}) == len(names)


@pytest.mark.parametrize(
    ("before", "after", "moved"),
    [
        (None, None, False),
        (NOW, None, True),
        (None, NOW, True),
        (NOW, NOW, False),
        (NOW, NOW + HOUR, False),
        (NOW, NOW - HOUR, False),
        (NOW, NOW + HOUR + timedelta(seconds=1), True),
        (NOW, NOW - HOUR - timedelta(seconds=1), True),
    ],
)
def test_a_span_moves_by_more_than_its_own_grain(before: Any, after: Any, moved: bool) -> None:
    assert span_moved(before, after) is moved
