"""Whatever a server sends as a list: a report of rows or a clear error, never another exception, never a better word."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain import ReportedStatus, ScopeReport, Snapshot, Unreadable
from monitor.domain.errors import ProviderPayloadInvalid
from monitor.domain.records import replace
from monitor.domain.text import sanitize, web_address
from monitor.providers import payload, postbreeze, postpeer, transport
from monitor.providers.postpost import rows as postpost_rows
from monitor.providers.scopes import scope_report
from tests.answers.case import SampleSource
from tests.answers.shapes import JSON, POSTBREEZE_ROW, POSTPEER_ROW, POSTPOST_ROW, WORDS

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)


def read_postpost(body: bytes) -> ScopeReport:
    listing = payload.read_list(
        body, content_type=None, key="connections", bare=True, guarded=postpost_rows.GUARDED, max_rows=100_000
    )
    read = [postpost_rows.READER.read(row) for row in listing.rows]
    rows = [row for row in read if isinstance(row, postpost_rows.PostPostRow)]
    votes = postpost_rows.DialectVotes()
    for row in rows:
        votes.note(row)
    dialect = votes.dialect(ReportedStatus.NON_EXPIRING)
    seen = [postpost_rows.to_snapshot(row, scope=None, at=AT, dialect=dialect) for row in rows]
    lost = [row for row in [*read, *seen] if isinstance(row, Unreadable)]
    return scope_report(None, [row for row in seen if isinstance(row, Snapshot)], lost)


def fit(report: ScopeReport) -> None:
    """What every report must be, so that any store and any channel can hold it."""
    ids = [row.external_id for row in report.snapshots]
    assert len(set(ids)) == len(ids)
    for row in report.snapshots:
        for text in (row.external_id, row.platform, row.username, row.display_name, row.profile_url, row.raw_status):
            assert text is None or (0 < len(text) <= 256 and "\x00" not in text)
            (text or "").encode()
        for instant in (row.expires_at, row.expires_before, row.last_successful_post_at):
            assert instant is None or instant.tzinfo is UTC


@given(st.lists(POSTPOST_ROW | JSON, max_size=6))
def test_N21_any_postpost_rows_give_a_fit_report(rows: list[Any]) -> None:
    body = json.dumps({"connections": rows}).encode()
    report = read_postpost(body)
    fit(report)
    assert len(report.snapshots) + len(report.unreadable) <= len(rows)


@given(
    st.lists(
        st.builds(
            postpost_rows.PostPostRow,
            platform_id=st.sampled_from(["x-1", "youtube-1", "linkedin-1", "odd"]),
            token_status=st.sampled_from([None, "valid", "active", "unknown", "UNKNOWN", "expired", "?"]),
            access_token_expires_at=st.sampled_from([None, "2027-01-01T00:00:00Z"]),
        ),
        max_size=8,
    ),
    st.integers(0, 8),
)
def test_rows_in_pieces_decide_the_dialect_as_each_row_alone(rows: list[postpost_rows.PostPostRow], cut: int) -> None:
    one_by_one, in_pieces = postpost_rows.DialectVotes(), postpost_rows.DialectVotes()
    for row in rows:
        one_by_one.note(row)
    in_pieces.note_all(rows[:cut])
    in_pieces.note_all(rows[cut:])
    for default in ReportedStatus:
        assert in_pieces.dialect(default) == one_by_one.dialect(default)


@given(st.lists(POSTBREEZE_ROW | JSON, max_size=6))
def test_N21_any_postbreeze_rows_give_fit_snapshots(rows: list[Any]) -> None:
    listing = payload.read_list(
        json.dumps(rows).encode(), content_type=None, key=None, bare=True, guarded=("id",), max_rows=100_000
    )
    for row in map(postbreeze.ROWS.read, listing.rows):
        read = row if isinstance(row, Unreadable) else postbreeze.to_snapshot(row, workspace=None, at=AT)
        if isinstance(read, Snapshot):
            fit(ScopeReport(scope=None, complete=True, snapshots=(read,)))
            assert read.refresh is not None


@given(st.lists(POSTPEER_ROW | JSON, max_size=6))
def test_N21_any_postpeer_rows_give_fit_snapshots(rows: list[Any]) -> None:
    body = json.dumps({"success": True, "integrations": rows}).encode()
    listing = payload.read_list(body, content_type=None, key="integrations", bare=False, guarded=("id",), max_rows=100_000)
    for row in map(postpeer.ROWS.read, listing.rows):
        read = row if isinstance(row, Unreadable) else postpeer.to_snapshot(row)
        if isinstance(read, Snapshot):
            fit(ScopeReport(scope=None, complete=True, snapshots=(read,)))


# --- side fields: whatever they hold, the row is read with the same status and date ---

_SIDE_FIELDS = {
    "postpost": ("username", "displayName", "profileImageUrl", "profileUrl", "lastSuccessfulPost", "lastError"),
    "postbreeze": ("platform", "externalId", "handle", "displayName", "scopes", "connectedAt"),
    "postpeer": ("platform", "platformUserId", "username", "displayName", "profileUrl", "createdAt"),
}
_EVERY_TYPE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 7, 1.5, 10**18, 2**64, -(2**70), 1e300, float("nan"), "", "text", "\ud800"),
    *([], {}, [None], [7], ["a", 7], [[]], {"a": 1}, {"message": []}, {"message": 7, "occurredAt": {}}),
)
_ODD = st.sampled_from(_EVERY_TYPE) | JSON


def read_row(kind: str, row: dict[str, Any]) -> Snapshot | Unreadable:
    """Read one row as the adapter does."""
    raw = payload.read_list(
        json.dumps([row]).encode(), content_type=None, key=None, bare=True, guarded=("id", "platformId"), max_rows=5
    ).rows[0]
    if kind == "postpost":
        read = postpost_rows.READER.read(raw)
        dialect = postpost_rows.Dialect(states_status=True, unknown=ReportedStatus.UNKNOWN)
        return read if isinstance(read, Unreadable) else postpost_rows.to_snapshot(read, scope=None, at=AT, dialect=dialect)
    if kind == "postbreeze":
        channel = postbreeze.ROWS.read(raw)
        return channel if isinstance(channel, Unreadable) else postbreeze.to_snapshot(channel, workspace=None, at=AT)
    integration = postpeer.ROWS.read(raw)
    return integration if isinstance(integration, Unreadable) else postpeer.to_snapshot(integration)


@st.composite
def rows_with_odd_side_fields(draw: st.DrawFn) -> tuple[str, bool, dict[str, Any]]:
    kind = draw(st.sampled_from(sorted(_SIDE_FIELDS)))
    well = draw(st.booleans())
    names = draw(st.lists(st.sampled_from(_SIDE_FIELDS[kind]), min_size=1, unique=True))
    return kind, well, {name: draw(_ODD) for name in names}


@given(rows_with_odd_side_fields())
def test_N21_no_side_field_hides_the_status_or_the_date(drawn: tuple[str, bool, dict[str, Any]]) -> None:
    kind, well, odd = drawn
    row = SampleSource(kind=kind, well=well).row(0)
    plain, read = read_row(kind, row), read_row(kind, row | odd)
    assert isinstance(plain, Snapshot)
    assert isinstance(read, Snapshot), read
    assert (read.external_id, read.scope, read.reported, read.raw_status, read.expires_at, read.expires_before) == (
        *(plain.external_id, plain.scope, plain.reported, plain.raw_status, plain.expires_at, plain.expires_before),
    )
    assert read.flags - plain.flags <= {"field_ignored", "platform_missing", "naive_date"}
    fit(ScopeReport(scope=None, complete=True, snapshots=(read,)))


@pytest.mark.parametrize("kind", _SIDE_FIELDS)
@pytest.mark.parametrize("value", _EVERY_TYPE, ids=repr)
def test_N21_every_side_field_of_every_type(kind: str, value: Any) -> None:
    """An ignored field counts as null, and the row carries a flag exactly if a field was ignored."""
    for name in _SIDE_FIELDS[kind]:
        row = SampleSource(kind=kind, well=False).row(0)
        read, without = read_row(kind, row | {name: value}), read_row(kind, row | {name: None})
        assert isinstance(read, Snapshot)
        assert isinstance(without, Snapshot)
        if "field_ignored" in read.flags:
            assert replace(read, flags=read.flags - {"field_ignored"}) == without


@given(st.sampled_from(["postpost", "postbreeze"]), st.booleans(), _ODD)
def test_N21_a_date_of_any_type_never_hides_a_stated_expiry(kind: str, well: bool, date: Any) -> None:
    """Only where the status is good does a date that cannot be read cost the row, at Postbreeze."""
    sample = SampleSource(kind=kind, well=well)
    read = read_row(kind, sample.row(0) | {sample.expiry: date})
    if isinstance(read, Unreadable):
        assert (kind, well) == ("postbreeze", True)
        assert read.external_id == sample.id_of(0)
        return
    assert read.reported is (ReportedStatus.VALID if well else ReportedStatus.EXPIRED)
    if not isinstance(date, (str, int, float, type(None))) or isinstance(date, bool):
        assert (read.expires_at, "unparsed_date" in read.flags) == (None, True)


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_a_list_or_a_clear_error(body: bytes) -> None:
    said = "read"
    try:
        fit(read_postpost(body))
    except ProviderPayloadInvalid as exc:
        said = str(exc)
    assert 0 < len(said) < 400
    payload.error_fields(body)


@given(st.lists(st.tuples(st.sampled_from(["tokenStatus", "token\\u0053tatus"]), st.sampled_from(WORDS)), min_size=1, max_size=4))
def test_N18_a_key_stated_twice_never_turns_expired_into_anything_better(stated: list[tuple[str, str]]) -> None:
    fields = ", ".join(f'"{name}": "{word}"' for name, word in stated)
    report = read_postpost(f'[{{"platformId": "threads-1", {fields}}}]'.encode())
    if any(word == "expired" for _, word in stated):
        assert all(row.reported is ReportedStatus.EXPIRED for row in report.snapshots)


@given(st.permutations(["valid", "expired", "unknown", "expiring_soon"]), st.integers(1, 4))
def test_N28_duplicate_ids_never_better_than_their_worst(words: list[str], count: int) -> None:
    rows = [{"platformId": "threads-1", "tokenStatus": word} for word in words[:count]]
    (row,) = read_postpost(json.dumps(rows).encode()).snapshots
    if "expired" in words[:count]:
        assert row.reported is ReportedStatus.EXPIRED
    assert ("duplicate_id" in row.flags) is (count > 1)


@given(st.text())
def test_S04_cleaned_text_is_one_short_line(text: str) -> None:
    cleaned = sanitize(text)
    assert len(cleaned) <= 256
    assert not set(cleaned) & set("\x00\x1b\n\r\t\x85\u2028\u202e\u2066")
    assert sanitize(cleaned) == cleaned
    cleaned.encode()


def test_S08_only_web_addresses_are_links() -> None:
    assert web_address("https://x.com/a?b=c#d") == "https://x.com/a?b=c#d"
    for text in (
        None,
        "",
        "javascript:alert(1)",
        "https://",
        "https:///x",
        "//x.com",
        "https://x.com@evil.test/",
        "https://x.com/\n",
        "https://x.com\\@evil.test",
        "https://x .com",
        "https://x.com/" + "a" * 256,
    ):
        assert web_address(text) is None


@given(st.binary(max_size=300), st.sampled_from(["gzip", "deflate", "identity", "br", "gzip, gzip", None]))
def test_N14_any_body_decodes_within_its_cap_or_is_refused(raw: bytes, encoding: str | None) -> None:
    try:
        assert len(transport.decode(raw, encoding, cap=10_000, inflation=100)) <= max(len(raw) * 100, len(raw))
    except ProviderPayloadInvalid:
        assert encoding not in ("identity", None)
