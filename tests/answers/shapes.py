"""Hypothesis strategies: the documented shapes, in which any field may be missing or hold anything."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

WORDS = ["valid", "expiring_soon", "expired", "unknown", "brand_new"]

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8
)
IDS = st.sampled_from(["threads-1", "threads-2", "X-1", "telegram--1", "nodash", ""])
DATES = st.sampled_from(["2027-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "soon", None])


def mutated(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Rows as documented, in which any field may be missing or hold anything."""
    return st.fixed_dictionaries({}, optional={name: good | JSON for name, good in fields.items()})


POSTPOST_ROW = mutated(
    {
        "platformId": IDS,
        "username": st.text(),
        "displayName": st.text(),
        "profileUrl": st.text(),
        "accessTokenExpiresAt": DATES,
        "tokenStatus": st.sampled_from(WORDS),
        "tokenExpiresIn": st.sampled_from(["82d 4h", "< 1h", "expired", "29 days", None]),
        "lastSuccessfulPost": DATES,
        "lastError": st.text() | st.fixed_dictionaries({}, optional={"message": st.text(), "occurredAt": DATES}),
    }
)
POSTBREEZE_ROW = mutated(
    {
        "id": st.sampled_from(["soc_1", "soc_2"]),
        "workspaceId": st.sampled_from(["ws_1", "ws_2"]),
        "platform": st.sampled_from(["X", "THREADS"]),
        "status": st.sampled_from(["ACTIVE", "TOKEN_EXPIRED", "REVOKED"]),
        "scopes": st.lists(st.text(), max_size=3),
        "tokenExpiresAt": DATES,
        "connectedAt": DATES,
        "lastRefreshError": st.text(),
        "lastRefreshErrorStatus": st.integers(400, 599),
    }
)
POSTPEER_ROW = mutated({"id": st.sampled_from(["a", "b"]), "platform": st.sampled_from(["twitter"]), "displayName": st.text()})

_ROWS = {
    "postpost": POSTPOST_ROW,
    "publora": POSTPOST_ROW,
    "postbreeze": POSTBREEZE_ROW,
    "postpeer": POSTPEER_ROW,
}


def lists(kind: str) -> st.SearchStrategy[Any]:
    """Lists of that API, things that are nearly one, and bytes that are none."""
    rows = st.lists(_ROWS[kind] | JSON, max_size=6)
    name = "integrations" if kind == "postpeer" else "connections"
    around = mutated({"success": st.just(value=True), "total": st.integers(0, 6), "error": st.text(max_size=3)})
    wrapped = st.builds(lambda inside, outside: {**outside, name: inside}, rows, around)
    return rows | wrapped | wrapped | JSON | st.binary(max_size=100)


probe_answers = mutated(
    {
        "status": st.sampled_from(["ok", "error", "OK", ""]),
        "message": st.sampled_from(["Session has expired", "revoked", "Rate limit", "Unknown platform: x"])
        | st.text(max_size=20),
        "tokenExpiresIn": st.sampled_from(["82d 4h", "expired", None]),
        "username": st.text(max_size=5),
        "permissions": st.lists(st.text(max_size=5), max_size=3),
        "error": st.text(max_size=5),
        "success": st.booleans(),
    }
)

_LATIN = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\x00"), max_size=20).map(
    lambda text: text.encode("latin-1")
)
_HEADER = st.tuples(
    st.sampled_from([b"content-type", b"content-encoding", b"retry-after", b"x-ratelimit-reset", b"date", b"content-length"]),
    _LATIN | st.sampled_from([b"application/json", b"gzip", b"text/html", b"45", b"Tue, 10 Mar 2026 12:00:00 GMT"]),
)
heads = st.tuples(
    st.sampled_from([200, 200, 200, 200, 201, 204, 302, 400, 401, 404, 408, 429, 500, 503]),
    st.lists(_HEADER, max_size=3).map(tuple),
)
"""A status and some headers, mostly good ones."""
