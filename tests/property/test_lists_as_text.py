"""A list that is kept as text says what the same list says row by row, and no digest and no mark hides a change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from monitor.domain import ReportedStatus, ScopeReport, Snapshot
from monitor.domain.errors import ProviderError, ProviderPayloadInvalid
from monitor.domain.rules import dates
from monitor.domain.rules.fingerprint import comparable, digest_of, fingerprint
from monitor.providers import json_chunks
from monitor.providers.api import ApiResponse
from monitor.providers.postpost import listing, scopes
from monitor.providers.postpost.listing import LazySnapshots
from monitor.providers.postpost.scopes import IntactLists
from tests.answers.shapes import JSON, POSTPOST_ROW
from tests.property.test_payloads import AT

FULL = {
    "platformId": "linkedin-1",
    "username": "acme",
    "displayName": "Acme",
    "profileUrl": "https://linkedin.example/acme",
    "accessTokenExpiresAt": "2027-01-01T00:00:00.000Z",
    "tokenStatus": "valid",
    "tokenExpiresIn": "41d 0h",
    "lastSuccessfulPost": "2026-11-01T00:00:00.000Z",
    "lastError": {"message": "Upload failed", "occurredAt": "2026-11-02T00:00:00.000Z"},
}
UNDATED = {"platformId": "twitter-2", "tokenStatus": "unknown"}


@pytest.fixture(autouse=True, scope="module")
def _small_pieces() -> Iterator[None]:
    """So that lists of a few rows are cut, too."""
    usual, json_chunks.PIECE_BYTES = json_chunks.PIECE_BYTES, 48
    yield
    json_chunks.PIECE_BYTES = usual


def reply(rows: Any, *, at: datetime = AT, bare: bool = False) -> ApiResponse:
    body = rows if isinstance(rows, bytes) else json.dumps(rows if bare else {"success": True, "connections": rows}).encode()
    return ApiResponse(status=200, body=body, content_type="application/json", at=at)


def report(answer: ApiResponse, *, as_text: bool = True, max_rows: int = 1000, intact: IntactLists | None = None) -> ScopeReport:
    read = scopes.read_rows if as_text else scopes.read_one_by_one
    rows = read(answer, max_rows=max_rows)
    results: dict[str | None, scopes.ScopeRows | ProviderError] = {"u1": rows}
    dialect = rows.votes.dialect(ReportedStatus.NON_EXPIRING)
    (found,) = scopes.interpret(results, dialect=dialect, max_rows=max_rows, intact=intact or IntactLists())
    return found


def seen(found: ScopeReport) -> list[Snapshot]:
    return list(found.snapshots)


ROWS = st.lists(POSTPOST_ROW | POSTPOST_ROW | JSON, max_size=6)
TIMES = st.sampled_from([AT, AT + timedelta(minutes=15), AT + timedelta(days=400)])

GOOD_ROW: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"platformId": st.sampled_from(["threads-1", "X-1", "linkedin-2"])},
    optional={
        "username": st.sampled_from(["a", "b", "\ud800", None, 7, ["a"]]),
        "accessTokenExpiresAt": st.sampled_from(
            [
                None,
                "",
                "2027-01-01T00:00:00Z",
                "2027-01-01",
                "2031-12-01T00:00:00Z",
                "1999-01-01T00:00:00Z",
                "soon",
                1830000000,
                {},
            ]
        ),
        "tokenStatus": st.sampled_from(["valid", "unknown", "expired", "odd", "", None, " Unknown", "EXPIRED", 7]),
        "tokenExpiresIn": st.sampled_from(["3d 4h", "expired", "29 days", None, 300_000, -1, {}]),
        "lastError": st.sampled_from(["no", {"message": "no"}, None, {"message": {}}, ["no"]]),
    },
)
FEW = st.lists(GOOD_ROW, max_size=3)
"""Rows of which two draws are often the same, or nearly so."""


@given(ROWS, TIMES, st.booleans())
def test_any_list_as_text_is_the_list_row_by_row(rows: list[Any], at: datetime, bare: bool) -> None:
    answer = reply(rows, at=at, bare=bare)
    as_text, plain = report(answer), report(answer, as_text=False)
    assert seen(as_text) == seen(plain)
    assert (as_text.complete, as_text.unreadable, as_text.problem) == (plain.complete, plain.unreadable, plain.problem)
    assert len(as_text.snapshots) == len(plain.snapshots)


HEADS = (
    b'{"connections":',
    b'{"success":true,"connections":',
    b'{"success": true, "connections": ',
    b'{"success":false,"error":"no","connections":',
    b'{"success":true,"success":false,"connections":',
    b'{"succ\\u0065ss":false,"success":true,"connections":',
    b'{"message":"\\"connections\\":[","connections":',
    b'{"message":"a [b]","connections":',
    b'{"connections":null,"connections":',
    b'{"page":{"n":1},"connections":',
    b'{"more":[1],"connections":',
    b'{"more":',
    b"{",
)
TAILS = (b"}", b"\n}", b',"total":1}', b',"more":[1]}', b',"success":false,"more":[]}', b',"connections":[]}', b"]}", b"")
TEXT_ROWS = (
    b"[]",
    b"[ ]",
    b'[{"platformId":"x-1"}]',
    b'[{"platformId":"x-1"},{"platformId":"x-2"}]',
    b"[1]",
    b'["},{"]',
    b"{}",
    b"null",
)
ENVELOPES = st.builds(
    lambda head, rows, tail: head + rows + tail, st.sampled_from(HEADS), st.sampled_from(TEXT_ROWS), st.sampled_from(TAILS)
)
"""Responses with fields before and behind the list, of which some look like the list's beginning or end."""


@given(
    ENVELOPES
    | st.binary(max_size=80)
    | st.text(max_size=60).map(lambda text: f'[{{"platformId": "x-1"{text}'.encode("utf-8", "surrogatepass"))
)
@example(b'[{"platformId":"x-1","username":"},{\\"platformId"},{"platformId":"x-2"}]')
@example(b'[{"platformId":"x-1","more":[{"a":1},{"b":2}],"username":"' + b"n" * 90 + b'"},{"platformId":"x-2"}]')
@example(
    b'[{"platformId":"x-1","username":"},{"},{"platformId":"x-2","displayName":"' + b"n" * 90 + b'},{"},{"platformId":"x-3"}]'
)
@example(b'[{"platformId":"x-1","tokenStatus":"expired","tokenStatus":"valid"},{"platformId":"x-2","username":NaN}]')
@example(b'{"connections":[{"platformId":"x-1"}],"connections":[]}')
@example(b'{"connections" : [ {"platformId":"x-1"} , {"platformId":"x-2"} ], "success":true}')
@example(b"[{]")
def test_any_bytes_as_text_are_what_they_are_row_by_row(body: bytes) -> None:
    told: list[object] = []
    for as_text in (True, False):
        try:
            found = report(reply(body), as_text=as_text)
            told.append((seen(found), found.unreadable, found.complete))
        except ProviderPayloadInvalid as error:
            told.append(str(error))
    assert told[0] == told[1]


@pytest.mark.parametrize("tail", [b"}", b"\n}", b',"total":1}', b',"more":[1]}'])
def test_fields_behind_the_list_do_not_count(tail: bytes) -> None:
    rows = b'[{"platformId":"x-1"}]'
    digests = {report(reply(body)).digest for body in (rows, b'{"connections":' + rows + tail)}
    assert len(digests) == 1
    assert None not in digests


@given(FEW, FEW, TIMES, TIMES)
def test_equal_digests_are_of_equivalent_lists(one: list[Any], other: list[Any], at: datetime, later: datetime) -> None:
    first, second = report(reply(one, at=at)), report(reply(other, at=later))
    if first.digest is not None and first.digest == second.digest:
        assert seen(first) == seen(second)
        assert not first.unreadable
        assert not second.unreadable
    if (one, at) == (other, later):
        assert first.digest == second.digest


@given(FEW, FEW, TIMES, TIMES)
def test_equal_fingerprints_are_of_equivalent_rows(one: list[Any], other: list[Any], at: datetime, later: datetime) -> None:
    """But for the end of a coarse span, which is compared by itself."""
    first, second = (comparable(report(reply(rows, at=when)).snapshots) for rows, when in ((one, at), (other, later)))
    before, after = ({row.external_id: row for row in rows.snapshots_of(rows.fingerprints())} for rows in (first, second))
    for key, mark in first.fingerprints().items():
        if second.fingerprints().get(key) == mark:
            assert fingerprint(before[key]) == fingerprint(after[key])
            assert before[key].expires_before is None or key in first.spans()
    assert first.spans() == {key: row.expires_before for key, row in before.items() if row.expires_before is not None}


@given(FEW, st.data())
def test_a_list_known_to_be_sound_is_not_scanned_and_gives_the_same_result(rows: list[Any], data: st.DataObject) -> None:
    intact = IntactLists()
    first, again = (report(reply(rows), intact=intact) for _ in range(2))
    assert (again.digest, len(again.snapshots), again.complete) == (first.digest, len(first.snapshots), first.complete)
    wanted = set(data.draw(st.lists(st.sampled_from(["threads-1", "X-1", "linkedin-2"]))))
    assert list(comparable(again.snapshots).snapshots_of(wanted)) == [row for row in seen(first) if row.external_id in wanted]
    assert seen(again) == seen(first)


@pytest.mark.parametrize(
    "change",
    [
        {"platformId": "linkedin-3"},
        {"username": "other"},
        {"username": None},
        {"displayName": "Other"},
        {"profileUrl": "https://linkedin.example/other"},
        {"accessTokenExpiresAt": "2027-01-01T00:00:00.001Z"},
        {"accessTokenExpiresAt": None},
        {"accessTokenExpiresAt": "2027-01-01"},
        {"tokenStatus": "expired"},
        {"tokenStatus": None},
        {"lastSuccessfulPost": "2026-11-01T00:00:00.001Z"},
        {"lastError": None},
        {"lastError": {"message": "Upload failed"}},
        {"lastError": {"message": "Other", "occurredAt": "2026-11-02T00:00:00.000Z"}},
    ],
    ids="-".join,
)
def test_every_field_that_matters_counts(change: dict[str, Any]) -> None:
    before, after = report(reply([FULL, UNDATED])), report(reply([FULL | change, UNDATED]))
    assert before.digest is not None
    assert after.digest != before.digest
    assert comparable(after.snapshots).fingerprints().items() != comparable(before.snapshots).fingerprints().items()
    assert comparable(after.snapshots).fingerprints()["twitter-2"] == comparable(before.snapshots).fingerprints()["twitter-2"]


@pytest.mark.parametrize(
    "change", [{"tokenExpiresIn": "40d 23h"}, {"profileImageUrl": "https://images.example/a.jpg?signed=2"}, {"brandNew": 1}]
)
def test_what_is_not_kept_of_a_row_does_not_count(change: dict[str, Any]) -> None:
    """Spans beside a date count hours down, signed addresses are others in every answer: an unchanged list stays one."""
    before, after = report(reply([FULL])), report(reply([FULL | change]))
    assert after.digest == before.digest is not None


def test_where_a_list_is_cut_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A span that is a digit longer moves every cut behind it."""
    strange = [{"platformId": "x-1", "accessTokenExpiresAt": "1999-01-01"}, {"platformId": "x-2", "username": "\ud800"}]
    rows = [FULL, *strange, UNDATED, *({**row, "platformId": f"{row['platformId']}9"} for row in strange)]
    answer = reply(rows, bare=True)
    before = report(answer)
    monkeypatch.setattr(json_chunks, "PIECE_BYTES", 1_000_000)
    after = report(answer)
    assert after.digest == before.digest is not None
    assert comparable(after.snapshots).fingerprints() == comparable(before.snapshots).fingerprints()


def test_rows_that_come_or_go_count_and_their_order_only_for_the_digest() -> None:
    lists = [[FULL, UNDATED], [UNDATED, FULL], [FULL], [FULL, UNDATED, FULL | {"platformId": "x-9"}]]
    reports = [report(reply(rows)) for rows in lists]
    assert len({found.digest for found in reports}) == len(lists)
    assert comparable(reports[0].snapshots).fingerprints() == comparable(reports[1].snapshots).fingerprints()


def test_what_a_word_means_counts_where_other_rows_decide_it() -> None:
    """The one row that is `valid` without a date says what `unknown` means in all others."""
    stating = {"platformId": "facebook-1", "tokenStatus": "valid"}
    before, after = report(reply([UNDATED])), report(reply([UNDATED, stating]))
    assert [row.reported for row in seen(before)[:1] + seen(after)[:1]] == [ReportedStatus.NON_EXPIRING, ReportedStatus.UNKNOWN]
    assert comparable(before.snapshots).fingerprints()["twitter-2"] != comparable(after.snapshots).fingerprints()["twitter-2"]


def test_a_date_far_ahead_counts_as_what_it_means_at_that_time() -> None:
    """Five years ahead it means: does not expire. As time passes, the same text becomes a date."""
    rows = [FULL | {"accessTokenExpiresAt": "2031-12-01T00:00:00Z"}]
    now, later = report(reply(rows)), report(reply(rows, at=AT + timedelta(days=400)))
    assert (seen(now)[0].flags, seen(later)[0].flags) == (frozenset({"far_date"}), frozenset())
    assert now.digest not in (None, later.digest)
    assert comparable(now.snapshots).fingerprints() != comparable(later.snapshots).fingerprints()


def test_a_list_whose_dates_are_spans_has_no_digest() -> None:
    """The same text means a later date in the next answer."""
    found = report(reply([UNDATED | {"tokenExpiresIn": "3d 4h"}]))
    assert found.digest is None
    assert digest_of(found, comparable(found.snapshots)) is None


def test_another_reading_of_the_same_text_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = report(reply([FULL, UNDATED]))
    marks = dict(comparable(before.snapshots).fingerprints())
    monkeypatch.setattr(listing, "READER_VERSION", listing.READER_VERSION + 1)
    after = report(reply([FULL, UNDATED]))
    assert after.digest not in (None, before.digest)
    assert not marks.items() & comparable(after.snapshots).fingerprints().items()


def test_digest_and_marks_are_the_same_in_every_process() -> None:
    """Pinned. A change here must come with a new READER_VERSION, or an upgrade would treat changed rows as unchanged."""
    found = report(reply([FULL, UNDATED]))
    assert isinstance(found.snapshots, LazySnapshots)
    assert (listing.READER_VERSION, found.digest) == (3, "d5a6bbb1d506c71f0a65c5747764fd8a")
    assert list(found.snapshots.fingerprints().values()) == ["e8d628524a6294f442f8955d", "0b7fc385da8a60c25b67e8f7"]


@given(
    st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2060, 1, 1)).map(datetime.isoformat),  # noqa: DTZ001 - text
    st.sampled_from(["", "Z", "z", "+00:00", "-05:30", "+2359", "+24:00", ",5Z", ".1234567891Z", " Z"]),
    st.sampled_from(["T", " ", "t"]),
)
@example("2027-02-30T00:00:00", "Z", "T")
@example("2027-01-01T24:00:00", "Z", "T")
@example("2027-01-01T00:00:60", "Z", "T")
def test_a_plain_date_is_one_that_reads_as_it_is_written(text: str, zone: str, between: str) -> None:
    stated = text.replace("T", between) + zone
    if listing.are_plain([stated], AT):
        instant, flags = dates.parse_expiry(stated, now=AT)
        assert flags == frozenset()
        assert instant is not None


def test_more_rows_than_are_allowed_are_cut_off_as_ever() -> None:
    rows = [FULL | {"platformId": f"linkedin-{number}"} for number in range(5)]
    as_text, plain = report(reply(rows), max_rows=3), report(reply(rows), max_rows=3, as_text=False)
    assert seen(as_text) == seen(plain)
    assert (as_text.complete, as_text.problem, as_text.digest) == (False, plain.problem, None)
