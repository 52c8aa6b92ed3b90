"""Rows: every field with every wrong type, fields missing, and unknown statuses and platforms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.answers.case import OK, POSTBREEZE, POSTPEER, READ, STATING, TWINS, Answerer, Book, SampleSource, body

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


def _odd_spans(sample: SampleSource) -> list[dict[str, Any]]:
    """Return all rows but the first with the time left in seconds, and dates where the documented rows have none."""
    return [{**row, "tokenExpiresIn": 3_456_000 if sample.well else -60} for row in sample.rows()[1:]]


_ODD_TWIN_FIELDS: Mapping[str, Mapping[str, Any]] = {
    "span_in_seconds": {"tokenExpiresIn": -3600},
    "span_of_zero": {"tokenExpiresIn": 0},
    "span_object": {"tokenExpiresIn": {"seconds": 5}},
    "last_error_list": {"lastError": ["Session has expired"]},
    "last_error_of_objects": {"lastError": [{"message": "Session has expired"}]},
    "last_error_message_object": {"lastError": {"message": {"text": "no"}}},
    "last_error_date_object": {"lastError": {"message": "no", "occurredAt": {"$date": "2026-03-01"}}},
    "username_number": {"username": 4711},
    "display_name_list": {"displayName": ["A", "B"]},
    "profile_url_object": {"profileUrl": {"href": "https://x.com/a"}},
    "last_post_object": {"lastSuccessfulPost": {"id": 1}},
    "date_object": {"accessTokenExpiresAt": {"$date": "2026-03-01"}},
    "date_list": {"accessTokenExpiresAt": ["2027-03-01T00:00:00Z"]},
    "date_true": {"accessTokenExpiresAt": True},
}
_ODD_POSTBREEZE_FIELDS: Mapping[str, Mapping[str, Any]] = {
    "error_status_text": {"lastRefreshErrorStatus": "400", "lastRefreshError": "invalid_grant"},
    "error_object": {"lastRefreshError": {"code": "invalid_grant", "message": "Token revoked"}},
    "error_list": {"lastRefreshError": ["invalid_grant"]},
    "error_number": {"lastRefreshError": 400},
    "scopes_text": {"scopes": "read publish"},
    "handle_number": {"handle": 4711},
    "external_id_number": {"externalId": 9000},
    "connected_at_object": {"connectedAt": {}},
    "refreshed_at_object": {"lastRefreshedAt": {}},
    "attempt_list": {"lastRefreshAttemptAt": ["2026-03-01"], "lastRefreshError": "no"},
    "token_date_object": {"tokenExpiresAt": {"$date": "2026-03-01"}},
}
_BOTH_REVOKED = {"well": "revoked", "ill": "revoked"}

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
wrong.add("scopes_of_numbers", _first(scopes=[1, 2]), kinds=(POSTBREEZE,), outcome=OK, flag="field_ignored")
wrong.add("scopes_of_ten_thousand", _first(scopes=[f"scope{n}" for n in range(10_000)]), kinds=(POSTBREEZE,), outcome=OK)
wrong.add("scopes_with_null", _first(scopes=["read", None]), kinds=(POSTBREEZE,), outcome=OK, flag="field_ignored")
wrong.add("error_status_as_text", _first(lastRefreshErrorStatus="401"), kinds=(POSTBREEZE,), outcome=OK)
wrong.add("error_status_as_a_word", _first(lastRefreshErrorStatus="NO"), kinds=(POSTBREEZE,), outcome=OK, flag="field_ignored")
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
wrong.add("last_error_with_a_number", _first(lastError={"message": 7}), kinds=TWINS, outcome=OK, flag="field_ignored")
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

# What states a death beside a field of another type: it is read as if the field were not there.
dead = Book(row="N21", part="row", kinds=TWINS)
for name, over in _ODD_TWIN_FIELDS.items():
    dead.add(f"expired_beside_{name}", _first(tokenStatus="expired", **over), outcome=OK, well="expired")
dead.add(
    "every_row_expired_beside_a_span_in_seconds",
    body(lambda s: s.text([{**s.row(0), "tokenStatus": "expired", "tokenExpiresIn": -60}, *_odd_spans(s)])),
    outcome=OK,
    well="expired",
)
for name, over in _ODD_POSTBREEZE_FIELDS.items():
    dead.add(f"expired_beside_{name}", _first(status="TOKEN_EXPIRED", **over), kinds=(POSTBREEZE,), outcome=OK, well="expired")
    dead.add(f"revoked_beside_{name}", _first(status="REVOKED", **over), kinds=(POSTBREEZE,), outcome=OK, **_BOTH_REVOKED)
dead.add(
    "active_beside_an_error_of_unknown_age",
    _first(status="ACTIVE", lastRefreshError="invalid_grant", lastRefreshErrorStatus=400, lastRefreshedAt={"$date": 5}),
    kinds=(POSTBREEZE,),
    outcome=READ,
    flag="unreadable",
)
dead.add(
    "active_and_refresh_refused_with_an_error_object",
    _first(
        status="ACTIVE",
        lastRefreshError={"error": "invalid_grant"},
        lastRefreshErrorStatus="400",
        lastRefreshAttemptAt="2026-03-10T11:00:00Z",
    ),
    kinds=(POSTBREEZE,),
    outcome=OK,
    well="expiring_soon",
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
    near = "expiring_soon" if name in ("hours_alone", "less_than_an_hour") else ""  # the first is LinkedIn, whose dates count
    span.add(f"span_{name}_alone", _first(tokenExpiresIn=text, accessTokenExpiresAt=None), outcome=OK, well=near)

new = Book(row="N22", part="row", kinds=STATING)
for name, value in {
    "brand_new": "brand_new",
    "rotated": "ROTATING",
    "empty": "",
    "blank": " ",
    "number_as_text": "1",
    "html": "<b>valid</b>",
    "sentence": "valid until further notice",
    "error": "error",
    "failed": "FAILED",
    "inactive": "inactive",
    "pending": "pending",
    "not_expired": "not_expired",
    "none": "none",
    "null_as_text": "null",
    "true_as_text": "true",
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
    well="expired",
)
for name, text in {
    "capitals": "EXPIRED",
    "blanks": " expired ",
    "needs_reauth": "needs_reauth",
    "reconnect_required": "RECONNECT-REQUIRED",
    "reauth_required": "reauth required",
    "camel_case": "needsReconnect",
    "token_expired": "token_expired",
    "not_valid": "invalid",
}.items():
    new.add(f"expired_as_{name}", _word(text), outcome=OK, well="expired")
for name, text in {"revoked": "revoked", "deauthorized": "Deauthorized"}.items():
    new.add(f"revoked_as_{name}", _word(text), outcome=OK, **_BOTH_REVOKED)
for name, text in {"disconnected": "disconnected", "removed": "REMOVED"}.items():
    new.add(f"disconnected_as_{name}", _word(text), outcome=OK, well="disconnected", ill="disconnected")
for text in ("VALID", " Active ", "connected", "HEALTHY", "Ok"):
    new.add(f"valid_as_{text.strip()}", _word(text), outcome=OK, only_well=True)
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

CASES = [*wrong.cases, *dead.cases, *span.cases, *new.cases]
