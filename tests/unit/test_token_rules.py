"""The token axis, row by row of the decision table (PROVIDERS 2a and 2b)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from monitor.domain import Policy, Refresh, ReportedStatus, Snapshot, Status, TokenState, provider_info
from monitor.domain.rules import token, token_rules
from monitor.domain.rules.expiry import Context

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)

POSTPOST, PUBLORA, POSTBREEZE, POSTPEER = "postpost", "publora", "postbreeze", "postpeer"


def at(provider: str = POSTPOST, **over: object) -> Context:
    values: dict[str, object] = {"now": NOW, "provider": provider_info(provider), "policy": Policy(), "polled": True, **over}
    return Context(**values)  # type: ignore[arg-type]  # a test's overrides


def row(
    platform: str = "linkedin", word: ReportedStatus = ReportedStatus.VALID, left: timedelta | None = None, **over: object
) -> Snapshot:
    values: dict[str, object] = {
        "external_id": f"{platform}-1",
        "platform": platform,
        "reported": word,
        "expires_at": None if left is None else NOW + left,
        **over,
    }
    return Snapshot(**values)  # type: ignore[arg-type]  # a test's overrides


def breeze(platform: str = "facebook", left: timedelta | None = None, lived: timedelta = 60 * DAY, **refresh: object) -> Snapshot:
    """A Postbreeze row: ACTIVE, a token that will have lived `lived` at its expiry."""
    started = NOW - 30 * DAY if left is None else NOW + left - lived
    values: dict[str, object] = {
        "connected_at": NOW - 400 * DAY,
        "last_refreshed_at": started,
        "last_attempt_at": started,
        **refresh,
    }
    return row(platform, ReportedStatus.VALID, left, refresh=Refresh(**values))  # type: ignore[arg-type]  # a test's overrides


def failing(
    status: int | None, platform: str = "facebook", left: timedelta | None = 20 * DAY, lived: timedelta = 60 * DAY
) -> Snapshot:
    return breeze(platform, left, lived, last_attempt_at=NOW - 60 * SECOND, error="refresh said no", error_status=status)


def before(status: Status, **over: object) -> TokenState:
    values: dict[str, object] = {"status": status, "reason": "earlier", "message": "Earlier.", **over}
    return TokenState(**values)  # type: ignore[arg-type]  # a test's overrides


def judge(snapshot: Snapshot, context: Context, previous: TokenState | None = None) -> token_rules.Finding:
    return token.judge(token_rules.gather(snapshot, previous, context))


UNTRUSTED_CLOCK = {"clock_skew": 301.0}
EXPLICIT_3D = Policy(expiring_within=3 * DAY, expiring_within_explicit=True)
WIDE_14D = Policy(expiring_within=14 * DAY, expiring_within_explicit=True)

# provider, row, status, reason, flags
FIRST_SIGHT = [
    # --- the provider's bad words stand, whatever the date
    ("expired, date past", POSTPOST, row(word=ReportedStatus.EXPIRED, left=-DAY), Status.EXPIRED, "expiry_passed", set()),
    ("expired, date null", PUBLORA, row("facebook", ReportedStatus.EXPIRED), Status.EXPIRED, "rejected_by_platform", set()),
    (
        "expired, date ahead",
        PUBLORA,
        row(word=ReportedStatus.EXPIRED, left=40 * DAY),
        Status.EXPIRED,
        "rejected_by_platform",
        set(),
    ),
    ("Postbreeze REVOKED", POSTBREEZE, row(word=ReportedStatus.REVOKED), Status.REVOKED, "provider_revoked", set()),
    (
        "Postbreeze DISCONNECTED",
        POSTBREEZE,
        row(word=ReportedStatus.DISCONNECTED),
        Status.DISCONNECTED,
        "provider_disconnected",
        set(),
    ),
    # --- expiring_soon: the provider's word counts
    (
        "expiring_soon, 5 days",
        POSTPOST,
        row(word=ReportedStatus.EXPIRING_SOON, left=5 * DAY),
        Status.EXPIRING_SOON,
        "provider_expiring_soon",
        set(),
    ),
    (
        "expiring_soon, TikTok 25 days",
        PUBLORA,
        row("tiktok", ReportedStatus.EXPIRING_SOON, 25 * DAY),
        Status.EXPIRING_SOON,
        "provider_expiring_soon",
        set(),
    ),
    (
        "expiring_soon, no date",
        POSTPOST,
        row("facebook", ReportedStatus.EXPIRING_SOON),
        Status.EXPIRING_SOON,
        "provider_expiring_soon",
        set(),
    ),
    # --- valid and the date
    ("valid, far", POSTPOST, row(left=40 * DAY), Status.VALID, "provider_valid", set()),
    ("valid, no date", POSTPOST, row("youtube"), Status.VALID, "non_expiring", set()),
    ("valid, trusted date at 7 days to the second", POSTPOST, row(left=7 * DAY), Status.EXPIRING_SOON, "expires_within", set()),
    ("valid, trusted date one second outside", POSTPOST, row(left=7 * DAY + SECOND), Status.VALID, "provider_valid", set()),
    ("valid, untrusted date near", POSTPOST, row("facebook", left=2 * DAY), Status.VALID, "provider_valid", set()),
    ("valid, TikTok near at PostPost is untrusted", POSTPOST, row("tiktok", left=2 * DAY), Status.VALID, "provider_valid", set()),
    (
        "valid, TikTok near at Publora is trusted",
        PUBLORA,
        row("tiktok", left=2 * DAY),
        Status.EXPIRING_SOON,
        "expires_within",
        set(),
    ),
    ("valid, untrusted date past", POSTPOST, row("youtube", left=-DAY), Status.VALID, "provider_valid", {"stale_date"}),
    ("valid, trusted date past", POSTPOST, row(left=-SECOND), Status.EXPIRED, "date_passed", {"conflict"}),
    ("valid, trusted date this second", POSTPOST, row(left=timedelta(0)), Status.EXPIRED, "date_passed", {"conflict"}),
    # --- unknown has two meanings
    ("PostPost unknown, no date", POSTPOST, row("twitter", ReportedStatus.NON_EXPIRING), Status.VALID, "non_expiring", set()),
    (
        "PostPost unknown, trusted date near",
        POSTPOST,
        row(word=ReportedStatus.NON_EXPIRING, left=2 * DAY),
        Status.EXPIRING_SOON,
        "expires_within",
        set(),
    ),
    (
        "PostPost unknown, date ahead",
        POSTPOST,
        row(word=ReportedStatus.NON_EXPIRING, left=40 * DAY),
        Status.VALID,
        "date_ahead",
        {"low_confidence"},
    ),
    (
        "Publora unknown",
        PUBLORA,
        row("bluesky", ReportedStatus.UNKNOWN),
        Status.UNKNOWN,
        "provider_unknown",
        {"provider_unknown"},
    ),
    # --- the old shape: no word at all
    ("old shape, no date", PUBLORA, row("twitter", ReportedStatus.UNSTATED), Status.VALID, "no_expiry_date", {"low_confidence"}),
    (
        "old shape, date ahead",
        PUBLORA,
        row("facebook", ReportedStatus.UNSTATED, 3 * DAY),
        Status.VALID,
        "date_ahead",
        {"low_confidence"},
    ),
    (
        "old shape, trusted date near",
        PUBLORA,
        row(word=ReportedStatus.UNSTATED, left=3 * DAY),
        Status.EXPIRING_SOON,
        "expires_within",
        set(),
    ),
    ("old shape, trusted date past", PUBLORA, row(word=ReportedStatus.UNSTATED, left=-DAY), Status.EXPIRED, "date_passed", set()),
    ("old shape, date past", PUBLORA, row("facebook", ReportedStatus.UNSTATED, -DAY), Status.EXPIRED, "date_past", set()),
    *[
        (
            f"old shape, date past, {name} renews on use",
            POSTPOST,
            row(name, ReportedStatus.UNSTATED, -DAY),
            Status.UNKNOWN,
            "stale_date",
            set(),
        )
        for name in ("youtube", "tiktok", "twitter", "bluesky", "pinterest")
    ],
    (
        "a word nobody knows",
        POSTPOST,
        row(word=ReportedStatus.UNRECOGNISED, raw_status="zombie"),
        Status.UNKNOWN,
        "unrecognised_status",
        {"provider_unknown"},
    ),
    ("PostPeer: present", POSTPEER, row("tiktok", ReportedStatus.NO_HEALTH), Status.UNKNOWN, "no_health_reported", set()),
    # --- Postbreeze, ACTIVE
    ("no date, no failure", POSTBREEZE, breeze("mastodon"), Status.VALID, "non_expiring", set()),
    ("X, 2 h token, 1 h left", POSTBREEZE, breeze("twitter", HOUR, 2 * HOUR), Status.VALID, "renews_itself", set()),
    ("TikTok, 24 h token, 10 min left", POSTBREEZE, breeze("tiktok", HOUR / 6, DAY), Status.VALID, "renews_itself", set()),
    ("47 h token is short", POSTBREEZE, breeze("facebook", HOUR, 47 * HOUR), Status.VALID, "renews_itself", set()),
    (
        "48 h token is long: a third of it is the window",
        POSTBREEZE,
        breeze("facebook", 16 * HOUR, 48 * HOUR),
        Status.EXPIRING_SOON,
        "renewal_overdue",
        set(),
    ),
    (
        "48 h token, more than a third left",
        POSTBREEZE,
        breeze("facebook", 17 * HOUR, 48 * HOUR),
        Status.VALID,
        "provider_valid",
        set(),
    ),
    (
        "short token past, within 24 h",
        POSTBREEZE,
        breeze("youtube", -23 * HOUR, HOUR),
        Status.VALID,
        "renews_itself",
        {"lazy_refresh"},
    ),
    ("short token past, beyond 24 h", POSTBREEZE, breeze("youtube", -25 * HOUR, HOUR), Status.EXPIRED, "refresh_overdue", set()),
    (
        "20 h token: grace is twice its life",
        POSTBREEZE,
        breeze("youtube", -39 * HOUR, 20 * HOUR),
        Status.VALID,
        "renews_itself",
        {"lazy_refresh"},
    ),
    ("20 h token, beyond", POSTBREEZE, breeze("youtube", -41 * HOUR, 20 * HOUR), Status.EXPIRED, "refresh_overdue", set()),
    ("long token, far", POSTBREEZE, breeze("facebook", 20 * DAY), Status.VALID, "provider_valid", set()),
    ("long token, inside the window", POSTBREEZE, breeze("facebook", 6 * DAY), Status.EXPIRING_SOON, "renewal_overdue", set()),
    (
        "long token just past, within 1 h",
        POSTBREEZE,
        breeze("facebook", -HOUR / 2),
        Status.VALID,
        "provider_valid",
        {"lazy_refresh"},
    ),
    ("long token past, beyond 1 h", POSTBREEZE, breeze("facebook", -2 * HOUR), Status.EXPIRED, "refresh_overdue", set()),
    ("long trusted token past: at once", POSTBREEZE, breeze("linkedin", -SECOND), Status.EXPIRED, "date_passed", {"conflict"}),
    *[
        (f"refresh refused {code}", POSTBREEZE, failing(code), Status.EXPIRING_SOON, "refresh_rejected", set())
        for code in (400, 401, 403)
    ],
    ("refresh refused, date past", POSTBREEZE, failing(401, left=-HOUR / 2), Status.EXPIRED, "refresh_rejected", set()),
    (
        "refresh refused, short token",
        POSTBREEZE,
        failing(400, "twitter", HOUR, 2 * HOUR),
        Status.EXPIRING_SOON,
        "refresh_rejected",
        set(),
    ),
    *[
        (f"refresh fails with {code}, far", POSTBREEZE, failing(code), Status.VALID, "provider_valid", {"refresh_failing"})
        for code in (429, 500, 503, None)
    ],
    (
        "refresh fails with 503, near",
        POSTBREEZE,
        failing(503, left=5 * DAY),
        Status.EXPIRING_SOON,
        "refresh_failing",
        {"refresh_failing"},
    ),
    (
        "an old error that a success followed",
        POSTBREEZE,
        breeze("facebook", 20 * DAY, error="old", error_status=401),
        Status.VALID,
        "provider_valid",
        set(),
    ),
    (
        "never refreshed, and the attempt failed",
        POSTBREEZE,
        breeze("facebook", 20 * DAY, last_refreshed_at=None, last_attempt_at=NOW - HOUR, error="no", error_status=400),
        Status.EXPIRING_SOON,
        "refresh_rejected",
        set(),
    ),
]


@pytest.mark.parametrize(
    ("provider", "snapshot", "status", "reason", "flags"),
    [case[1:] for case in FIRST_SIGHT],
    ids=[case[0] for case in FIRST_SIGHT],
)
def test_first_sight(provider: str, snapshot: Snapshot, status: Status, reason: str, flags: set[str]) -> None:
    finding = judge(snapshot, at(provider))
    assert (finding.status, finding.reason, set(finding.flags)) == (status, reason, flags)
    assert finding.message.endswith(".")


WITH_MEMORY = [
    # --- expiring_soon ends only when the date moves later by more than an hour
    (
        "same date, provider says valid again",
        row("facebook", left=5 * DAY),
        before(Status.EXPIRING_SOON, crossed_at=NOW + 5 * DAY),
        Status.EXPIRING_SOON,
    ),
    (
        "moved by exactly an hour",
        row("facebook", left=5 * DAY + HOUR),
        before(Status.EXPIRING_SOON, crossed_at=NOW + 5 * DAY),
        Status.EXPIRING_SOON,
    ),
    (
        "moved by an hour and a second",
        row("facebook", left=5 * DAY + HOUR + SECOND),
        before(Status.EXPIRING_SOON, crossed_at=NOW + 5 * DAY),
        Status.VALID,
    ),
    ("date gone, provider says valid", row("facebook"), before(Status.EXPIRING_SOON, crossed_at=NOW + 5 * DAY), Status.VALID),
    # --- a trusted date that passed: the next answer decides
    ("valid with the same past date", row(left=-HOUR), before(Status.EXPIRED, crossed_at=NOW - HOUR), Status.EXPIRED),
    ("valid with a later date", row(left=50 * DAY), before(Status.EXPIRED, crossed_at=NOW - HOUR), Status.VALID),
    ("valid with no date", row(), before(Status.EXPIRED, crossed_at=NOW - HOUR), Status.VALID),
    ("moved by half an hour only", row(left=HOUR / 3), before(Status.EXPIRED, crossed_at=NOW - HOUR / 6), Status.EXPIRED),
    ("expired by word, then valid", row("facebook", left=-HOUR), before(Status.EXPIRED), Status.VALID),
    # --- unknown never overwrites knowledge
    ("unknown after valid", row("facebook", ReportedStatus.UNKNOWN), before(Status.VALID), Status.VALID),
    ("unknown after expired", row("facebook", ReportedStatus.UNKNOWN), before(Status.EXPIRED), Status.EXPIRED),
    (
        "new word after revoked",
        row("facebook", ReportedStatus.UNRECOGNISED, raw_status="x"),
        before(Status.REVOKED),
        Status.REVOKED,
    ),
    ("stale date after valid", row("youtube", ReportedStatus.UNSTATED, -HOUR), before(Status.VALID), Status.VALID),
    ("unknown after unknown", row("facebook", ReportedStatus.UNKNOWN), before(Status.UNKNOWN), Status.UNKNOWN),
]


@pytest.mark.parametrize(
    ("snapshot", "previous", "status"), [case[1:] for case in WITH_MEMORY], ids=[case[0] for case in WITH_MEMORY]
)
def test_what_was_known_before_counts(snapshot: Snapshot, previous: TokenState, status: Status) -> None:
    assert judge(snapshot, at(PUBLORA), previous).status is status


def test_N22_unknown_after_knowledge_is_flagged() -> None:
    assert "provider_unknown" in judge(row("facebook", ReportedStatus.UNKNOWN), at(PUBLORA), before(Status.VALID)).flags


WINDOWS = [
    # --- an explicit smaller window overrules the provider's word only with a trusted date
    ("explicit 3d, 5 days, trusted", row(word=ReportedStatus.EXPIRING_SOON, left=5 * DAY), EXPLICIT_3D, Status.VALID),
    ("explicit 3d, 5 days, untrusted", row("facebook", ReportedStatus.EXPIRING_SOON, 5 * DAY), EXPLICIT_3D, Status.EXPIRING_SOON),
    ("explicit 3d, 2 days", row(word=ReportedStatus.EXPIRING_SOON, left=2 * DAY), EXPLICIT_3D, Status.EXPIRING_SOON),
    (
        "3d by default only",
        row(word=ReportedStatus.EXPIRING_SOON, left=5 * DAY),
        Policy(expiring_within=3 * DAY),
        Status.EXPIRING_SOON,
    ),
    # --- a wider window warns earlier on trusted dates only
    ("14d, 10 days, trusted", row(left=10 * DAY), WIDE_14D, Status.EXPIRING_SOON),
    ("14d, 10 days, untrusted", row("facebook", left=10 * DAY), WIDE_14D, Status.VALID),
    # --- a window as wide as the lifetime is cut to a third of it
    (
        "90d window on LinkedIn's 60 days",
        row(left=30 * DAY),
        Policy(expiring_within=90 * DAY, expiring_within_explicit=True),
        Status.VALID,
    ),
    (
        "90d window, 20 days left",
        row(left=20 * DAY),
        Policy(expiring_within=90 * DAY, expiring_within_explicit=True),
        Status.EXPIRING_SOON,
    ),
]


@pytest.mark.parametrize(("snapshot", "policy", "status"), [case[1:] for case in WINDOWS], ids=[case[0] for case in WINDOWS])
def test_windows(snapshot: Snapshot, policy: Policy, status: Status) -> None:
    assert judge(snapshot, at(POSTPOST, policy=policy)).status is status


@pytest.mark.parametrize(
    "snapshot", [row(left=-DAY), row(left=2 * DAY), breeze("facebook", 2 * DAY), breeze("facebook", -5 * DAY)]
)
def test_a_clock_that_is_off_by_five_minutes_raises_nothing_by_dates(snapshot: Snapshot) -> None:
    assert judge(snapshot, at(POSTBREEZE, **UNTRUSTED_CLOCK)).status is Status.VALID
    assert judge(snapshot, at(POSTBREEZE, clock_skew=-300.0)).status is not Status.VALID


def test_a_passing_refresh_failure_warns_at_the_third_poll() -> None:
    state: TokenState | None = None
    seen = []
    for _ in range(5):
        evidence = token_rules.gather(failing(503), state, at(POSTBREEZE))
        finding = token.judge(evidence)
        state = token.next_token_state(evidence, finding)
        seen.append(finding.status)
    assert seen == [Status.VALID, Status.VALID, Status.EXPIRING_SOON, Status.EXPIRING_SOON, Status.EXPIRING_SOON]
    assert state is not None
    assert state.refresh_failures == 3


def test_every_rule_applies_in_some_row() -> None:
    applied = set()
    cases = [(case[1], case[2], None) for case in FIRST_SIGHT] + [(PUBLORA, case[1], case[2]) for case in WITH_MEMORY]
    for provider, snapshot, previous in cases:
        evidence = token_rules.gather(snapshot, previous, at(provider))
        applied.add(next(rule for rule in token.TOKEN_RULES if rule(evidence) is not None))
    assert applied == set(token.TOKEN_RULES)


def test_what_the_platform_rejected_names_a_date_only_where_there_is_one() -> None:
    ahead, dateless = (
        judge(each, at(PUBLORA)) for each in (row(word=ReportedStatus.EXPIRED, left=40 * DAY), row(word=ReportedStatus.EXPIRED))
    )
    assert ahead.message == "The provider reports that the token expired before its date: the platform rejected it."
    assert dateless.message == "The provider reports that the token expired without a date: the platform rejected it."
