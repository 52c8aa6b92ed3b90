"""Rows with fields of unexpected types, and statuses in other words: the service's own verdict is read all the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from monitor.domain import LastError, PollReport, ReportedStatus, Snapshot
from tests.contract.loopback import as_json, connected, running, source
from tests.support.fakes import ManualClock

DATE = "Sat, 21 Nov 2026 12:00:00 GMT"
AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
AHEAD = "2027-01-01T00:00:00.000Z"
IGNORED = frozenset({"field_ignored"})
NONE: frozenset[str] = frozenset()


async def poll(kind: str, row: dict[str, Any], clock: ManualClock) -> PollReport:
    body = {
        "postbreeze": [{"id": "soc_1", "workspaceId": "ws_1", "platform": "X", **row}],
        "postpeer": {"success": True, "total": 1, "integrations": [{"id": "int_1", "platform": "twitter", **row}]},
    }.get(kind, {"success": True, "connections": [{"platformId": "linkedin-1", **row}]})
    async with running(lambda _: as_json(body, Date=DATE)) as server, connected(source(kind, server), clock) as provider:
        return await provider.poll()


async def read(kind: str, row: dict[str, Any], clock: ManualClock) -> Snapshot:
    report = await poll(kind, row, clock)
    assert [lost for scope in report.scopes for lost in scope.unreadable] == []
    (found,) = [row for scope in report.scopes for row in scope.snapshots]
    return found


@pytest.mark.parametrize("kind", ["postpost", "publora"])
@pytest.mark.parametrize(
    ("odd", "flags"),
    [
        ({"tokenExpiresIn": -3600}, NONE),
        ({"tokenExpiresIn": 0}, NONE),
        ({"tokenExpiresIn": {"seconds": -5}}, IGNORED),
        ({"tokenExpiresIn": True}, IGNORED),
        ({"lastError": ["Session has expired"]}, NONE),
        ({"lastError": [7]}, IGNORED),
        ({"lastError": {"message": {"text": "no"}}}, IGNORED),
        ({"username": 4711}, IGNORED),
        ({"profileUrl": {"href": "https://x.com/a"}}, IGNORED),
        ({"displayName": ["A", "B"]}, IGNORED),
        ({"lastSuccessfulPost": {"at": AHEAD}}, IGNORED),
        ({"accessTokenExpiresAt": {"$date": AHEAD}}, frozenset({"unparsed_date"})),
        ({"accessTokenExpiresAt": [AHEAD]}, frozenset({"unparsed_date"})),
        ({"accessTokenExpiresAt": True, "username": 5}, frozenset({"unparsed_date", "field_ignored"})),
    ],
)
async def test_N21_expired_is_read_beside_any_odd_field(
    kind: str, odd: dict[str, Any], flags: frozenset[str], clock: ManualClock
) -> None:
    row = await read(kind, {"tokenStatus": "expired", **odd}, clock)
    assert (row.reported, row.raw_status, row.expires_at, row.flags) == (ReportedStatus.EXPIRED, "expired", None, flags)


@pytest.mark.parametrize(
    ("seconds", "before"),
    [
        (3_000, timedelta(hours=1)),
        (3_600, timedelta(hours=2)),
        (7_199.9, timedelta(hours=2)),
        (30 * 86_400, timedelta(days=30, hours=1)),
        (-1, None),
        (0, None),
    ],
)
async def test_a_time_left_in_seconds_is_read_like_the_documented_text(
    seconds: float, before: timedelta | None, clock: ManualClock
) -> None:
    row = await read("postpost", {"tokenStatus": "valid", "tokenExpiresIn": seconds}, clock)
    assert row.expires_before == (None if before is None else AT + before)
    assert row.flags == (frozenset({"span_expired"}) if before is None else NONE)


@pytest.mark.parametrize("seconds", [10**18, 1e300, 2**63])
async def test_a_time_left_of_an_absurd_length_gives_no_date(seconds: float, clock: ManualClock) -> None:
    row = await read("postpost", {"tokenStatus": "valid", "tokenExpiresIn": seconds}, clock)
    assert (row.reported, row.expires_at, row.expires_before) == (ReportedStatus.VALID, None, None)


@pytest.mark.parametrize(
    ("stated", "error"),
    [
        ({"message": {"message": "no", "code": "E7"}, "occurredAt": "2026-11-01T00:00:00Z"}, "no"),
        ([{"message": "no", "occurredAt": "2026-11-01T00:00:00Z"}], "no"),
        ({"message": "no", "code": "E7", "occurredAt": "2026-11-01T00:00:00Z"}, "no"),
    ],
)
async def test_a_posting_error_of_another_form_keeps_its_message(stated: Any, error: str, clock: ManualClock) -> None:
    row = await read("postpost", {"tokenStatus": "valid", "username": 5, "lastError": stated}, clock)
    assert row.last_error is not None
    assert row.last_error.message.startswith(error)
    assert (await read("postpost", {"lastError": {"message": "no", "occurredAt": []}}, clock)).last_error == LastError(
        message="no"
    )


async def test_without_a_status_a_date_that_cannot_be_read_is_no_good_sign(clock: ManualClock) -> None:
    """It is not taken for a token that does not expire."""
    row = await read("postpost", {"accessTokenExpiresAt": {"$date": AHEAD}}, clock)
    assert (row.reported, row.expires_at) == (ReportedStatus.UNKNOWN, None)


@pytest.mark.parametrize("status", ["TOKEN_EXPIRED", "REVOKED", "DISCONNECTED"])
@pytest.mark.parametrize(
    ("odd", "flags"),
    [
        ({"lastRefreshErrorStatus": "400"}, NONE),
        ({"lastRefreshErrorStatus": "BAD"}, IGNORED),
        ({"lastRefreshError": {"message": "invalid_grant"}}, NONE),
        ({"scopes": "read,publish offline"}, NONE),
        ({"scopes": ["read", 7]}, IGNORED),
        ({"scopes": {"read": True}}, IGNORED),
        ({"handle": 4711}, IGNORED),
        ({"connectedAt": {}}, IGNORED),
        ({"lastRefreshedAt": {}, "lastRefreshError": "no"}, NONE),
        ({"tokenExpiresAt": {"$date": AHEAD}}, frozenset({"unparsed_date"})),
    ],
)
async def test_N21_postbreeze_verdicts_are_read_beside_any_odd_field(
    status: str, odd: dict[str, Any], flags: frozenset[str], clock: ManualClock
) -> None:
    row = await read("postbreeze", {"status": status, **odd}, clock)
    assert (row.raw_status, row.flags) == (status, flags)
    assert row.reported.value == {"TOKEN_EXPIRED": "expired"}.get(status, status.lower())


@pytest.mark.parametrize(
    ("stated", "text"),
    [
        ("invalid_grant", "invalid_grant"),
        ({"message": "invalid_grant"}, "invalid_grant"),
        ({"error": "invalid_grant", "code": "E7"}, "invalid_grant (E7)"),
        ({"error": {"message": "invalid_grant"}}, "invalid_grant"),
        ({"code": "invalid_grant"}, "invalid_grant"),
        ({"reason": "gone"}, '{"reason": "gone"}'),
        (["invalid_grant"], '["invalid_grant"]'),
        (401, "401"),
        (True, "true"),
        ({}, None),
        ([], None),
        (False, None),
        (0, None),
        (None, None),
    ],
)
async def test_a_refresh_error_of_any_type_is_kept_as_text(stated: Any, text: str | None, clock: ManualClock) -> None:
    row = await read("postbreeze", {"status": "ACTIVE", "lastRefreshError": stated, "lastRefreshErrorStatus": " 401 "}, clock)
    assert row.refresh is not None
    assert (row.refresh.error, row.refresh.error_status) == (text, 401)


async def test_scopes_as_text_and_ids_as_numbers(clock: ManualClock) -> None:
    row = await read("postbreeze", {"status": "ACTIVE", "scopes": " a b,c, d ", "externalId": 9}, clock)
    assert (row.scopes, row.account, row.flags) == (("a", "b", "c", "d"), "x:9", NONE)
    mixed = await read("postbreeze", {"status": "ACTIVE", "scopes": ["a", None]}, clock)
    assert (mixed.scopes, mixed.flags) == (None, IGNORED), "a list that is read in part would look like a lost permission"
    peer = await read("postpeer", {"platformUserId": 9}, clock)
    assert (peer.account, peer.flags) == ("twitter:9", NONE)


@pytest.mark.parametrize("refreshed", [{}, ["2026-11-01T00:00:00Z"], True, "soon"])
async def test_an_active_row_whose_refresh_error_has_no_readable_age_is_unreadable(refreshed: Any, clock: ManualClock) -> None:
    """The error may have been overcome, or not: neither is guessed. Without an error the date is not needed."""
    active = {"status": "ACTIVE", "tokenExpiresAt": AHEAD, "lastRefreshedAt": refreshed}
    report = await poll("postbreeze", {**active, "lastRefreshError": "no", "lastRefreshAttemptAt": "2026-11-01T00:00:00Z"}, clock)
    (lost,) = report.scopes[0].unreadable
    assert (lost.external_id, "lastRefreshedAt" in lost.why) == ("soc_1", True)
    assert (await read("postbreeze", active, clock)).reported is ReportedStatus.VALID


@pytest.mark.parametrize("date", [{}, [AHEAD], True, "soon"])
@pytest.mark.parametrize("status", ["ACTIVE", " active ", "Connected"])
async def test_an_active_row_without_a_readable_date_is_unreadable_in_any_spelling(
    status: str, date: Any, clock: ManualClock
) -> None:
    report = await poll("postbreeze", {"status": status, "tokenExpiresAt": date}, clock)
    assert [lost.external_id for lost in report.scopes[0].unreadable] == ["soc_1"]


async def test_postpeer_needs_only_an_id(clock: ManualClock) -> None:
    row = await read("postpeer", {"platform": 7, "username": [], "displayName": {}, "profileUrl": 1, "createdAt": []}, clock)
    assert (row.external_id, row.platform, row.reported) == ("int_1", "unknown", ReportedStatus.NO_HEALTH)
    assert row.flags == {"field_ignored", "platform_missing"}


@pytest.mark.parametrize(
    ("word", "reported"),
    [
        ("EXPIRED", ReportedStatus.EXPIRED),
        (" needs_reauth", ReportedStatus.EXPIRED),
        ("Reconnect-Required", ReportedStatus.EXPIRED),
        ("revoked", ReportedStatus.REVOKED),
        ("removed", ReportedStatus.DISCONNECTED),
        ("Valid", ReportedStatus.VALID),
        ("error", ReportedStatus.UNRECOGNISED),
    ],
)
@pytest.mark.parametrize(("kind", "field"), [("postpost", "tokenStatus"), ("publora", "tokenStatus"), ("postbreeze", "status")])
async def test_N22_a_status_is_understood_in_any_case_and_kept_as_written(
    kind: str, field: str, word: str, reported: ReportedStatus, clock: ManualClock
) -> None:
    row = await read(kind, {field: word}, clock)
    assert (row.reported, row.raw_status) == (reported, word.strip())


@pytest.mark.parametrize("word", ["unknown", "Unknown", " UNKNOWN "])
async def test_N22_unknown_in_other_letters_means_what_the_rows_decide(word: str, clock: ManualClock) -> None:
    assert (await read("postpost", {"tokenStatus": word}, clock)).reported is ReportedStatus.NON_EXPIRING
    assert (await read("publora", {"tokenStatus": word}, clock)).reported is ReportedStatus.UNKNOWN


@pytest.mark.parametrize("text", ["6d 0h", "0d 7h", "7h", "1d 23h", "82d 4h", "< 1h"])
async def test_a_fine_time_left_is_exact_to_an_hour(text: str, clock: ManualClock) -> None:
    """The stated time is rounded down, so the expiry lies in the hour before `expires_before`."""
    days, hours = ({"6d 0h": (6, 0), "1d 23h": (1, 23), "82d 4h": (82, 4), "< 1h": (0, 0)}).get(text, (0, 7))
    row = await read("postpost", {"tokenStatus": "valid", "tokenExpiresIn": text}, clock)
    assert row.expires_before is not None
    assert row.expires_before - (AT + timedelta(days=days, hours=hours)) == timedelta(hours=1)
    assert row.flags == NONE


@pytest.mark.parametrize("text", ["29 days", "29d", "6d", "1 day"])
async def test_a_time_left_in_whole_days_is_only_flagged(text: str, clock: ManualClock) -> None:
    row = await read("postpost", {"tokenStatus": "valid", "tokenExpiresIn": text}, clock)
    assert (row.expires_at, row.expires_before, row.flags) == (None, None, frozenset({"coarse_span"}))
