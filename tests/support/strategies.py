"""Hypothesis strategies: any row, any answer, any policy, any instant; nonsense included, as untrusted services send it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from monitor.domain import LastError, LastNotified, Policy, ProbeAnswer, Refresh, ReportedStatus, Snapshot, Status
from monitor.domain.providers import provider_names
from tests.support.factories import NOW

FIRST_DAY = datetime.min.replace(tzinfo=UTC)
LAST_DAY = datetime.max.replace(tzinfo=UTC)
FAR_AHEAD = NOW + timedelta(seconds=999_999_999)
"""What one service stores for "does not expire"."""

SPANS = [
    timedelta(0),
    timedelta(seconds=1),
    timedelta(hours=1),
    timedelta(hours=1, seconds=1),
    timedelta(hours=24),
    timedelta(hours=48),
    timedelta(days=1),
    timedelta(days=3),
    timedelta(days=7),
    timedelta(days=30),
    timedelta(days=60),
]
"""The spans on which something turns."""

near_spans = st.one_of(
    st.sampled_from([*SPANS, *(-span for span in SPANS)]),
    st.integers(min_value=-90 * 86400, max_value=90 * 86400).map(lambda seconds: timedelta(seconds=seconds)),
)
any_span = st.one_of(near_spans, st.sampled_from([timedelta.min, timedelta.max, timedelta(days=4000), timedelta(days=-4000)]))

_CALENDAR = (LAST_DAY - FIRST_DAY) // timedelta(seconds=1)

near_instants = near_spans.map(lambda span: NOW + span)
instants = st.one_of(
    near_instants,
    near_instants,
    st.sampled_from([FIRST_DAY, LAST_DAY, FAR_AHEAD, datetime(1970, 1, 1, tzinfo=UTC)]),
    st.integers(min_value=0, max_value=_CALENDAR).map(lambda seconds: FIRST_DAY + timedelta(seconds=seconds)),
)
"""Any aware instant, mostly near now, some on the first and the last day of the calendar."""

texts = st.sampled_from(["", "acme", "@Acme", "unknown", "\ud800", "\x00", "Rate limit", "expired", "{%s}", "\u202e"]) | st.text(
    max_size=6
)

PLATFORMS = ["linkedin", "instagram", "threads", "tiktok", "facebook", "youtube", "twitter", "bluesky", "telegram", "", "\ud800"]
platforms = st.sampled_from(PLATFORMS)

refreshes = st.builds(
    Refresh,
    connected_at=st.none() | instants,
    last_refreshed_at=st.none() | instants,
    last_attempt_at=st.none() | instants,
    error=st.sampled_from([None, "", "Bad gateway"]),
    error_status=st.sampled_from([None, 400, 401, 403, 429, 500, 0, -1]),
)

DRESSINGS: list[dict[str, Any]] = [
    {},
    {"username": "acme", "display_name": "Acme", "account": "1", "profile_url": "https://acme.example", "scopes": ("a", "b")},
    {"username": "@Acme", "scopes": ("b", "a"), "flags": frozenset({"naive_date", "far_date"})},
    {"username": "unknown", "display_name": "\ud800", "scopes": (), "raw_status": "\x00"},
    {"username": "", "display_name": "Other", "scopes": ("c",), "raw_status": "zombie", "scope": "user-1"},
    {"last_error": LastError(message=""), "last_successful_post_at": FIRST_DAY},
    {"last_error": LastError(message="Upload failed", occurred_at=LAST_DAY), "last_successful_post_at": NOW},
]
"""What a row carries besides its token: no rule of the token uses it."""

snapshots = st.builds(
    lambda dressing, **own: Snapshot(external_id="x-1", **own, **dressing),
    st.sampled_from(DRESSINGS),
    platform=platforms,
    reported=st.sampled_from(ReportedStatus),
    expires_at=st.none() | instants,
    expires_before=st.none() | st.none() | instants,
    refresh=st.none() | refreshes,
)

MESSAGES = [
    "Unknown platform: pinterest",
    "Invalid bot connection",
    "Invalid bot token",
    "Bot needs channel administrator posting rights",
    "Request failed with status code 401",
    "Request failed with status code 403",
    "invalid_grant",
    "The token was revoked",
    "status code 503",
    "Something else",
]
answers = st.builds(
    ProbeAnswer,
    http_status=st.sampled_from([200, 200, 200, 400, 404, 0, 999]),
    status=st.sampled_from(["ok", "error", "error", None, "", "OK"]),
    message=st.none() | st.sampled_from(MESSAGES) | texts,
    token_expires_in=st.none() | st.sampled_from(["expired", " EXPIRED ", "3d 4h", ""]) | texts,
)
transient_answers = st.builds(
    ProbeAnswer,
    http_status=st.just(200),
    status=st.just("error"),
    message=st.sampled_from(["Rate limit exceeded", "status code 502", "timeout of 10000ms exceeded", "read ECONNRESET"]),
)

policies = st.builds(
    Policy,
    expiring_within=any_span,
    expiring_within_explicit=st.booleans(),
    stages=st.lists(any_span, max_size=4).map(tuple),
    confirm_failures=st.sampled_from([2, 1, 3, 0, -1]),
    confirm_missing=st.sampled_from([2, 1, 3, 0, -1]),
    remind_every=st.none() | any_span,
    learn_renewals=st.booleans(),
)
"""Also what the configuration would refuse: the rules hold whatever they are given."""

providers = st.sampled_from(provider_names())
good_skews = st.sampled_from([None, 0.0, 119.0, -121.0, 300.0])
bad_skews = st.sampled_from([300.1, -301.0, 1e9, float("inf"), float("-inf"), float("nan")])
skews = st.one_of(good_skews, good_skews, bad_skews)

saids = st.builds(
    LastNotified,
    status=st.sampled_from([status for status in Status if status.needs_attention]),
    stage=st.none() | any_span,
    at=instants,
    reminders=st.integers(min_value=0, max_value=9),
)
