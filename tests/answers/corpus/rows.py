"""Rows: every field with every wrong type, fields missing, and unknown statuses and platforms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.answers.case import OK, POSTBREEZE, POSTPEER, READ, STATING, TWINS, Answerer, Book, body

_WRONG: Mapping[str, Any] = {
    "null": None,
    "true": True,
    "zero": 0,
    "minus": -1,
    "fraction": 1.5,
    "empty": "",
    "array": [],
    "object": {},
    "array_of_it": ["valid"],
    "object_of_it": {"value": "valid"},
    "large": 10**18,
}
"""Values that a field may hold although it is not documented to."""

_FIELDS = {
    TWINS: (
        "platformId",
        "username",
        "displayName",
        "profileImageUrl",
        "profileUrl",
        "accessTokenExpiresAt",
        "tokenStatus",
        "tokenExpiresIn",
        "lastSuccessfulPost",
        "lastError",
    ),
    (POSTBREEZE,): (
        "id",
        "workspaceId",
        "platform",
        "externalId",
        "handle",
        "displayName",
        "status",
        "scopes",
        "connectedAt",
        "lastRefreshedAt",
        "tokenExpiresAt",
        "lastRefreshAttemptAt",
        "lastRefreshError",
        "lastRefreshErrorStatus",
    ),
    (POSTPEER,): ("id", "platform", "platformUserId", "username", "displayName", "profileUrl", "createdAt"),
}


def _first(**over: Any) -> Answerer:
    return body(lambda sample: sample.first(**over))


def _word(value: Any) -> Answerer:
    return body(lambda sample: sample.first(**{sample.word: value}))


def _instead(value: Any) -> Answerer:
    return body(lambda sample: sample.text([value, *sample.rows()[1:]]))


wrong = Book(row="N21", part="row")
for field_name in dict.fromkeys(name for fields in _FIELDS.values() for name in fields):
    have_it = [kind for kinds, fields in _FIELDS.items() if field_name in fields for kind in kinds]
    for what, value in _WRONG.items():
        wrong.add(f"{field_name}_is_{what}", _first(**{field_name: value}), kinds=have_it, outcome=READ)
    wrong.add(f"{field_name}_is_missing", _first(**{field_name: ...}), kinds=have_it, outcome=READ)
for what, value in {
    "null": None,
    "true": True,
    "number": 7,
    "text": "linkedin-000a",
    "array": [],
    "empty_object": {},
    "object_in_array": [{}],
}.items():
    wrong.add(f"row_is_{what}", _instead(value), outcome=READ)
wrong.add("row_is_wrapped", body(lambda s: s.text([{"connection": s.row(0)}, *s.rows()[1:]])), outcome=READ)
wrong.add("row_is_the_list_again", body(lambda s: s.text([s.rows(), *s.rows()[1:]])), outcome=READ)
wrong.add("every_row_is_an_array", body(lambda s: s.text([list(row.values()) for row in s.rows()])), outcome=READ)
wrong.add(
    "keys_in_snake_case",
    body(lambda s: s.text([{"platform_id": s.id_of(0), "token_status": s.broken}, *s.rows()[1:]])),
    outcome=READ,
)
wrong.add(
    "keys_in_capitals",
    body(lambda s: s.text([{name.upper(): value for name, value in s.row(0).items()}, *s.rows()[1:]])),
    outcome=READ,
)
wrong.add("only_an_id", body(lambda s: s.text([{s.key: s.id_of(0)}, *s.rows()[1:]])), outcome=READ)
wrong.add("scopes_of_numbers", _first(scopes=[1, 2]), kinds=(POSTBREEZE,), outcome=READ, flag="unreadable")
wrong.add("scopes_of_ten_thousand", _first(scopes=[f"scope{n}" for n in range(10_000)]), kinds=(POSTBREEZE,), outcome=OK)
wrong.add("scopes_with_null", _first(scopes=["read", None]), kinds=(POSTBREEZE,), outcome=READ, flag="unreadable")
wrong.add("error_status_as_text", _first(lastRefreshErrorStatus="401"), kinds=(POSTBREEZE,), outcome=READ, flag="unreadable")
wrong.add(
    "refresh_error_without_dates",
    _first(lastRefreshError="no", lastRefreshErrorStatus=401, lastRefreshAttemptAt=None),
    kinds=(POSTBREEZE,),
    outcome=OK,
)
wrong.add(
    "old_refresh_error",
    _first(lastRefreshError="no", lastRefreshErrorStatus=401, lastRefreshAttemptAt="2026-01-01T00:00:00Z"),
    kinds=(POSTBREEZE,),
    outcome=OK,
)
wrong.add(
    "refresh_refused_just_now",
    _first(lastRefreshError="no", lastRefreshErrorStatus=401, lastRefreshAttemptAt="2026-03-10T11:00:00Z"),
    kinds=(POSTBREEZE,),
    outcome=OK,
    well="expiring_soon",
)
wrong.add(
    "refresh_fails_with_status_zero",
    _first(lastRefreshError="no", lastRefreshErrorStatus=0, lastRefreshAttemptAt="2026-03-10T11:00:00Z"),
    kinds=(POSTBREEZE,),
    outcome=OK,
    flag="refresh_failing",
)
wrong.add("last_error_with_a_number", _first(lastError={"message": 7}), kinds=TWINS, outcome=READ, flag="unreadable")
wrong.add("last_error_as_text", _first(lastError="Token expired"), kinds=TWINS, outcome=OK)
wrong.add(
    "last_error_says_expired",
    _first(lastError={"message": "The access token expired", "occurredAt": "2026-03-10T11:00:00Z"}),
    kinds=TWINS,
    outcome=OK,
)
wrong.add("last_error_of_a_megabyte", _first(lastError={"message": "x" * 1_000_000}), kinds=TWINS, outcome=OK)
wrong.add("id_of_dots", body(lambda s: s.first(**{s.key: "linkedin-.." if s.twin else ".."})), outcome=READ)
wrong.add("id_with_path_parts", body(lambda s: s.first(**{s.key: "linkedin-../../admin"})), outcome=READ)
wrong.add("id_without_dash", _first(platformId="nodash"), kinds=TWINS, outcome=READ)
wrong.add("id_with_nothing_behind_the_dash", _first(platformId="linkedin-"), kinds=TWINS, outcome=READ)
wrong.add("id_with_nothing_before_the_dash", _first(platformId="-000a"), kinds=TWINS, outcome=READ)
wrong.add("profile_url_is_a_script", _first(profileUrl="javascript:alert(1)"), kinds=(*TWINS, POSTPEER), outcome=OK)
wrong.add(
    "profile_url_hides_its_host", _first(profileUrl="https://linkedin.com@evil.example/"), kinds=(*TWINS, POSTPEER), outcome=OK
)

span = Book(row="N21", part="row", kinds=TWINS)
for name, text in {
    "soon": "soon",
    "negative": "-3d 4h",
    "years": "2y",
    "huge": "999999d 999999h",
    "huger": "9999999d",
    "arabic": "\u0663d",
    "nan": "NaNd",
    "iso": "P3DT4H",
    "html": "<b>3d</b>",
    "fractions": "1.5d",
    "hours_alone": "5h",
    "whole_days": "29 days",
    "expired": "expired",
    "expired_in_capitals": " EXPIRED ",
    "less_than_an_hour": "< 1h",
    "blanks": "   ",
    "a_thousand_letters": "d" * 1000,
}.items():
    span.add(f"span_{name}_beside_a_date", _first(tokenExpiresIn=text), outcome=OK)
    span.add(f"span_{name}_alone", _first(tokenExpiresIn=text, accessTokenExpiresAt=None), outcome=OK)

new = Book(row="N22", part="row", kinds=STATING)
for name, value in {
    "brand_new": "brand_new",
    "rotated": "ROTATING",
    "empty": "",
    "blank": " ",
    "number_as_text": "1",
    "html": "<b>valid</b>",
    "sentence": "valid until further notice",
    "not_valid": "invalid",
    "not_expired": "not_expired",
    "none": "none",
    "null_as_text": "null",
    "true_as_text": "true",
    "ok": "ok",
    "very_long": "x" * 10_000,
    "emoji": "\U0001f7e2",
    "line_breaks": "val\nid",
    "homoglyph": "v\u0430lid",
    "fullwidth": "\uff56\uff41\uff4c\uff49\uff44",
    "zero_width": "val\u200bid",
    "turkish": "EXP\u0130RED",
    "format_string": "%s{0}${x}",
    "with_a_nul": "valid\x00",
    "disconnected": "disconnecting",
    "revoking": "revoke_pending",
}.items():
    new.add(f"word_{name}", _word(value), outcome=OK)
new.add(
    "word_of_another_service",
    body(lambda s: s.first(**{s.word: "expired" if s.kind == POSTBREEZE else "TOKEN_EXPIRED"})),
    outcome=OK,
)
new.add("word_in_other_letters", _first(tokenStatus="VALID"), kinds=TWINS, outcome=OK)
new.add("every_word_is_new", body(lambda s: s.text([{**row, s.word: "quarantined"} for row in s.rows()])), outcome=OK)
new.add(
    "every_word_is_missing", body(lambda s: s.text([{**row, s.word: None} for row in s.rows()])), kinds=(POSTBREEZE,), outcome=OK
)
new.add(
    "no_word_but_in_one_row", body(lambda s: s.text([s.row(0), *[{**row, s.word: None} for row in s.rows()[1:]]])), outcome=OK
)
new.add("revoked_is_a_word_of_theirs", _word("REVOKED"), kinds=(POSTBREEZE,), outcome=OK, well="revoked", ill="revoked")
new.add(
    "disconnected_is_a_word_of_theirs",
    _word("DISCONNECTED"),
    kinds=(POSTBREEZE,),
    outcome=OK,
    well="disconnected",
    ill="disconnected",
)
new.add("expired_is_a_word_of_theirs", body(lambda s: s.first(**{s.word: s.broken})), outcome=OK, well="expired")
new.add("expired_in_small_letters", _word(" token_expired "), kinds=(POSTBREEZE,), outcome=OK, well="expired")
new.add("expired_without_a_date", body(lambda s: s.first(**{s.word: s.broken, s.expiry: None})), outcome=OK, well="expired")
new.add(
    "expired_with_a_date_ahead",
    body(lambda s: s.first(**{s.word: s.broken, s.expiry: "2027-01-01T00:00:00Z"})),
    outcome=OK,
    well="expired",
)
for name, value in {
    "nobody_knows": "friendster",
    "empty": "",
    "very_long": "p" * 5000,
    "with_a_slash": "x/y",
    "html": "<script>",
    "emoji": "\U0001f426",
    "null_as_text": "null",
    "line_break": "x\ny",
    "path": "../..",
    "capitals_with_dots": "\u0130NSTAGRAM",
}.items():
    new.add(f"platform_{name}", _first(platform=value), kinds=(POSTBREEZE, POSTPEER), outcome=READ)
    new.add(f"platform_{name}_in_an_id", _first(platformId=f"{value}-1"), kinds=TWINS, outcome=READ)

CASES = [*wrong.cases, *span.cases, *new.cases]
