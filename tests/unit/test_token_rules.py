"""The token axis, row by row of the decision table (PROVIDERS 2a and 2b)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from monitor.domain import Policy, ProviderInfo, Refresh, ReportedStatus, Snapshot, Status, TokenState, provider_info
from monitor.domain.records import replace
from monitor.domain.rules import token, token_evidence, token_rules
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
    return token.judge(token_evidence.gather(snapshot, previous, context))


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
    ("unknown after expired, date near", row(word=ReportedStatus.UNKNOWN, left=DAY), before(Status.EXPIRED), Status.EXPIRED),
    ("unknown after revoked, date near", row(word=ReportedStatus.UNKNOWN, left=DAY), before(Status.REVOKED), Status.REVOKED),
    (
        "unknown after expired, date near and later",
        row(word=ReportedStatus.UNKNOWN, left=DAY),
        before(Status.EXPIRED, expires_at=NOW - DAY, crossed_at=NOW - DAY),
        Status.EXPIRING_SOON,
    ),
    ("unknown after valid, date near", row(word=ReportedStatus.UNKNOWN, left=DAY), before(Status.VALID), Status.EXPIRING_SOON),
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


@pytest.mark.parametrize("snapshot", [row(left=-HOUR), breeze("facebook", -2 * HOUR), row(left=7 * DAY)])
def test_the_more_lenient_clock_decides(snapshot: Snapshot) -> None:
    """Where the server's clock is behind, its dates are reached later; where it is ahead, they are not reached earlier."""
    found = judge(snapshot, at(POSTBREEZE))
    assert found.status is not Status.VALID
    assert judge(snapshot, at(POSTBREEZE, clock_skew=86400.0)) == found
    assert judge(snapshot, at(POSTBREEZE, clock_skew=-86400.0)).status.rank < found.status.rank


def test_a_skew_of_minutes_delays_a_date_by_minutes() -> None:
    """SIGNAL: 400 seconds of difference once switched off every date of the source."""
    for left, status in [(6 * DAY, SOON), (HOUR, SOON), (-DAY, Status.EXPIRED), (-20 * DAY, Status.EXPIRED)]:
        for skew in (-400.0, 400.0):
            assert judge(row(word=ReportedStatus.UNSTATED, left=left), at(PUBLORA, clock_skew=skew)).status is status
    assert judge(row(left=-399 * SECOND), at(PUBLORA, clock_skew=-400.0)).status is SOON
    assert judge(row(left=-401 * SECOND), at(PUBLORA, clock_skew=-400.0)).status is Status.EXPIRED


SOON = Status.EXPIRING_SOON


def follow(
    provider: str, *polls: tuple[timedelta, Snapshot], seen: set[object] | None = None, **over: object
) -> list[token_rules.Finding]:
    """Judge one row after another, each at its time after NOW, as the polls of one connection. Add what applied to `seen`."""
    state: TokenState | None = None
    before: Snapshot | None = None
    findings = []
    for after, snapshot in polls:
        evidence = token_evidence.gather(snapshot, state, at(provider, now=NOW + after, **over), before=before)
        findings.append(token.judge(evidence))
        if seen is not None:
            seen.add(next(rule for rule in token.TOKEN_RULES if rule(evidence) is not None))
        state, before = token.next_token_state(evidence, findings[-1]), snapshot
    return findings


def statuses(*polls: tuple[timedelta, Snapshot], provider: str = POSTBREEZE, **over: object) -> list[Status]:
    return [finding.status for finding in follow(provider, *polls, seen=None, **over)]


def attempt(number: int, platform: str = "twitter", left: timedelta = HOUR) -> Snapshot:
    """A short-lived token whose refresh was tried `number` times since it last succeeded, always in vain."""
    tried = NOW - HOUR + number * 10 * 60 * SECOND
    return breeze(platform, left, 2 * HOUR, last_attempt_at=tried, error="refused for now", error_status=503)


def test_attempts_are_counted_and_not_polls() -> None:
    quarter = HOUR / 4
    assert statuses(*[(number * quarter, attempt(1)) for number in range(3)]) == [Status.VALID] * 3
    assert statuses(*[(number * quarter, attempt(1 + number)) for number in range(3)]) == [Status.VALID, Status.VALID, SOON]


def test_a_long_lived_token_far_from_its_date_never_warns_of_passing_failures() -> None:
    tries = [(number * HOUR, failing(503, "instagram", 50 * DAY)) for number in range(5)]
    assert set(statuses(*tries)) == {Status.VALID}
    assert statuses((0 * DAY, failing(503, "facebook", 6 * DAY))) == [SOON]


def renewed(at_hours: float, *, lived: timedelta = 2 * HOUR, platform: str = "twitter") -> Snapshot:
    """The row of a token that was last renewed this many hours after NOW."""
    last = NOW + at_hours * HOUR
    refresh = Refresh(connected_at=NOW - 400 * DAY, last_refreshed_at=last, last_attempt_at=last)
    return row(platform, ReportedStatus.VALID, last + lived - NOW, refresh=refresh)


def hourly(until: int) -> list[tuple[timedelta, Snapshot]]:
    """Polls every 15 minutes of a two-hour token that is renewed every hour until then."""
    return [(quarter * HOUR / 4, renewed(quarter // 4)) for quarter in range(4 * until)]


def test_a_silent_stop_of_renewals_warns_before_the_date_and_expires_at_it() -> None:
    stopped = [(6 * HOUR + minutes * 60 * SECOND, renewed(5)) for minutes in (0, 15, 29, 30, 45, 59, 60, 90)]
    found = follow(POSTBREEZE, *hourly(6), *stopped)[-8:]
    assert [each.status for each in found] == [Status.VALID] * 3 + [SOON] * 3 + [Status.EXPIRED] * 2
    assert {each.reason for each in found[3:6]} == {"renewal_overdue"}
    assert "1 hour" in found[3].message


def test_a_time_of_renewal_far_ahead_teaches_nothing() -> None:
    wrong = replace(renewed(5), refresh=replace(renewed(5).refresh or Refresh(), last_refreshed_at=NOW + 365 * DAY))
    polls = [*hourly(6)[:-2], (5.5 * HOUR, wrong), *hourly(6)[-1:], (6 * HOUR, renewed(6))]
    found = follow(POSTBREEZE, *polls, (7.5 * HOUR, renewed(6)), (8 * HOUR, renewed(6)))
    assert [each.status for each in found[-3:]] == [Status.VALID, SOON, Status.EXPIRED]


def test_a_date_that_was_stale_before_expires_nothing_where_the_status_is_missing() -> None:
    stale = [
        (0 * DAY, row("facebook", ReportedStatus.VALID, -5 * DAY)),
        (DAY, row("facebook", ReportedStatus.UNSTATED, -5 * DAY)),
    ]
    assert statuses(*stale, stale[0], stale[1]) == [Status.VALID] * 4
    assert statuses(stale[1]) == [Status.EXPIRED]


def test_a_stop_is_over_with_the_first_newer_renewal() -> None:
    late = [(7 * HOUR, renewed(5)), (7 * HOUR + HOUR / 4, renewed(7))]
    assert statuses(*hourly(6), *late)[-2:] == [Status.EXPIRED, Status.VALID]
    assert statuses(*hourly(6), (6.6 * HOUR, renewed(5)), (6.8 * HOUR, renewed(6.7)))[-2:] == [SOON, Status.VALID]


def test_without_learning_a_stop_keeps_the_grace() -> None:
    late = (8 * HOUR, renewed(5))
    assert statuses(*hourly(6), late, policy=Policy(learn_renewals=False))[-1] is Status.VALID


def test_a_service_that_renews_on_use_keeps_the_grace() -> None:
    lazy = [(hours * HOUR, renewed(hours)) for hours in (0, 5, 9, 16, 20)]
    assert statuses(*lazy, (29 * HOUR, renewed(20)))[-1] is Status.VALID
    assert statuses(*lazy, (47 * HOUR, renewed(20)))[-1] is Status.EXPIRED


def monthly(cycles: int) -> list[tuple[timedelta, Snapshot]]:
    """Daily polls of a 60-day token that is always renewed with two days left."""
    return [(day * DAY, renewed(day // 58 * 58 * 24, lived=60 * DAY, platform="facebook")) for day in range(58 * cycles)]


def test_a_token_that_is_always_renewed_with_two_days_left_stops_warning() -> None:
    found = statuses(*monthly(3), poll_every=DAY / 8)
    assert SOON in found[:58]
    assert set(found[-58:]) == {Status.VALID}
    stays = [(3 * 58 * DAY + hours * HOUR, renewed(2 * 58 * 24, lived=60 * DAY, platform="facebook")) for hours in (0, 13, 49)]
    assert statuses(*monthly(3), *stays, poll_every=DAY / 8)[-3:] == [Status.VALID, SOON, Status.EXPIRED]


def test_a_long_token_that_was_renewed_twice_in_a_week_is_not_overdue_weeks_before_its_end() -> None:
    days = [(day * DAY, renewed(24 * (day // 3 * 3 if day < 9 else 6), lived=60 * DAY, platform="facebook")) for day in range(50)]
    assert set(statuses(*days, poll_every=DAY / 8)) == {Status.VALID}


def test_a_service_that_has_renewed_late_is_not_relied_on_again_at_once() -> None:
    """A token of ten days, renewed after nine, and once two hours after its expiry: the whole window warns for a while."""
    lives = [242 if number == 4 else 216 for number in range(10)]
    begins = [sum(lives[:number]) for number in range(10)]
    polls = [
        ((begin + hour) * HOUR, renewed(begin, lived=10 * DAY, platform="tiktok"))
        for begin, hours in zip(begins, lives, strict=True)
        for hour in range(hours)
    ]
    found = statuses(*polls)
    warned = [found[begin : begin + hours].count(SOON) > 0 for begin, hours in zip(begins, lives, strict=True)]
    assert warned == [True, True, False, False, True, True, True, True, False, False]


def test_an_explicit_window_is_not_narrowed_by_renewals() -> None:
    policy = Policy(expiring_within=7 * DAY, expiring_within_explicit=True)
    assert SOON in statuses(*monthly(3), poll_every=DAY / 8, policy=policy)[-58:]


def test_a_reconnect_is_no_renewal_and_voids_the_errors_of_before() -> None:
    old = {"last_refreshed_at": NOW - 5 * DAY, "last_attempt_at": NOW - HOUR, "error": "invalid_grant", "error_status": 400}
    dead = breeze("twitter", -5 * DAY, 2 * HOUR, **old)
    alive = breeze("twitter", 3 * HOUR, 2 * HOUR, **old)
    assert statuses((0 * DAY, dead), (HOUR, alive), (HOUR * 5 / 4, alive)) == [Status.EXPIRED, Status.VALID, Status.VALID]
    refused = breeze("twitter", 3 * HOUR, 2 * HOUR, **{**old, "last_attempt_at": NOW + 2 * HOUR})
    assert statuses((0 * DAY, dead), (HOUR, alive), (2 * HOUR, refused)) == [Status.EXPIRED, Status.VALID, SOON]


@pytest.mark.parametrize("never", [None, NOW - 400 * DAY])
def test_a_platform_that_rotates_all_day_never_warns_by_time_alone(never: datetime | None) -> None:
    for left in (2 * HOUR, HOUR, -HOUR, -20 * HOUR):
        assert judge(breeze("youtube", left, last_refreshed_at=never), at(POSTBREEZE)).status is Status.VALID


# error, status of the error, time of the attempt, time of the last renewal, fails
ERRORS = [
    ("a later attempt", "no", 503, NOW, NOW - HOUR, True),
    ("an earlier attempt", "no", 503, NOW - HOUR, NOW, False),
    ("only a status", None, 503, NOW, NOW - HOUR, True),
    ("no renewal at all", "no", None, None, None, True),
    ("no time of the attempt", "no", 400, None, NOW - HOUR, False),
    ("no error", None, None, NOW, NOW - HOUR, False),
]


@pytest.mark.parametrize(("error", "status", "tried", "last", "fails"), [case[1:] for case in ERRORS], ids=[e[0] for e in ERRORS])
def test_which_refresh_errors_count(
    error: str | None, status: int | None, tried: datetime | None, last: datetime | None, fails: bool
) -> None:
    refresh = Refresh(last_refreshed_at=last, last_attempt_at=tried, error=error, error_status=status)
    assert token_evidence.refresh_fails(refresh, None, date_has_passed=False) is fails
    assert token_evidence.refresh_fails(refresh, NOW + HOUR, date_has_passed=False) is False


# --- dates that prove themselves


def test_a_date_that_stays_where_it_was_warns_on_any_platform_and_expires_nothing() -> None:
    def facebook(at_days: float) -> tuple[timedelta, Snapshot]:
        return at_days * DAY, row("facebook", left=12 * DAY)

    found = statuses(facebook(0), facebook(1), facebook(4.9), facebook(5.1), facebook(11), facebook(14), provider=PUBLORA)
    assert found == [Status.VALID] * 3 + [SOON] * 3


@pytest.mark.parametrize("moves", [timedelta(hours=1), timedelta(hours=20), timedelta(minutes=5)])
def test_a_date_that_moves_warns_of_nothing(moves: timedelta) -> None:
    rows = [(number * moves, row("facebook", left=6 * DAY + number * moves)) for number in range(60)]
    assert set(statuses(*rows, provider=PUBLORA)) == {Status.VALID}


def test_a_date_without_a_status_warns_before_it_expires() -> None:
    rows = [(days * DAY, row("facebook", ReportedStatus.UNSTATED, 12 * DAY)) for days in (0, 3, 6, 11, 12.5)]
    assert statuses(*rows, provider=PUBLORA) == [Status.VALID, Status.VALID, SOON, SOON, Status.EXPIRED]


def span(at_days: float, end_days: float, word: ReportedStatus = ReportedStatus.NON_EXPIRING) -> tuple[timedelta, Snapshot]:
    return at_days * DAY, row("linkedin", word, expires_before=NOW + end_days * DAY)


def test_a_span_counts_as_a_date() -> None:
    ended = row("linkedin", ReportedStatus.UNKNOWN, flags=frozenset({"span_expired"}))
    rows = [span(0, 10), span(2, 10.02), span(4, 9.99), span(9.9, 10), (10.1 * DAY, ended)]
    assert statuses(*rows, provider=POSTPOST) == [Status.VALID, Status.VALID, SOON, SOON, Status.EXPIRED]
    assert statuses((0 * DAY, ended), provider=POSTPOST) == [Status.EXPIRED]
    still_valid = row("linkedin", ReportedStatus.VALID, flags=frozenset({"span_expired"}))
    assert statuses(span(9, 10), (10.1 * DAY, still_valid), provider=POSTPOST) == [SOON, Status.EXPIRED]


def test_the_old_form_states_the_date_of_the_access_token_where_that_is_renewed_on_use() -> None:
    for left in (HOUR, -HOUR):
        assert judge(row("tiktok", ReportedStatus.UNSTATED, left), at(PUBLORA)).status in (Status.VALID, Status.UNKNOWN)
        assert judge(row("tiktok", ReportedStatus.VALID, left), at(PUBLORA)).status not in (Status.VALID, Status.UNKNOWN)


def test_what_rests_on_a_date_ends_when_the_date_moves() -> None:
    dead = row(word=ReportedStatus.UNKNOWN, left=-DAY)
    moved = row(word=ReportedStatus.UNKNOWN, left=60 * DAY)
    assert statuses((0 * DAY, dead), (DAY, moved), provider=PUBLORA) == [Status.EXPIRED, Status.VALID]
    stated = row(word=ReportedStatus.EXPIRED, left=-DAY)
    assert statuses((0 * DAY, stated), (DAY, moved), (2 * DAY, moved), provider=PUBLORA) == [
        Status.EXPIRED,
        Status.VALID,
        Status.VALID,
    ]
    stays = statuses((0 * DAY, dead), (DAY, dead), provider=PUBLORA)
    assert stays == [Status.EXPIRED, Status.EXPIRED]


def test_a_reported_problem_counts_after_several_polls_in_a_row() -> None:
    good, bad = row(), row(word=ReportedStatus.FAILING, detail="Permissions missing.")
    assert statuses((0 * DAY, good), (HOUR, bad), (2 * HOUR, bad)) == [Status.VALID, Status.VALID, Status.FAILING]
    assert statuses((0 * DAY, bad), (HOUR, bad)) == [Status.UNKNOWN, Status.FAILING]
    assert statuses((0 * DAY, bad), (HOUR, good), (2 * HOUR, bad)) == [Status.UNKNOWN, Status.VALID, Status.VALID]
    assert statuses((0 * DAY, bad), (HOUR, bad), (2 * HOUR, good)) == [Status.UNKNOWN, Status.FAILING, Status.VALID]


def test_a_reported_problem_has_the_providers_explanation() -> None:
    bad = row(word=ReportedStatus.FAILING, detail="Permissions missing.")
    finding = judge(bad, at(policy=Policy(confirm_failures=1)))
    assert (finding.status, finding.reason) == (Status.FAILING, "provider_failing")
    assert finding.message == "The provider reports a problem of the connection: Permissions missing."


def test_a_final_report_needs_no_confirmation() -> None:
    final = replace(provider_info(POSTPOST), name="pushed", reports_are_final=True)
    assert judge(row(word=ReportedStatus.FAILING), _of(final)).status is Status.FAILING


def _of(info: ProviderInfo) -> Context:
    return Context(now=NOW, provider=info, policy=Policy(), polled=True)


def test_a_row_may_state_that_its_date_counts() -> None:
    near = row("github", left=2 * DAY)
    assert judge(near, at()).status is Status.VALID
    assert judge(replace(near, trusted=True), at()).reason == "expires_within"
    assert judge(replace(row("github", left=-HOUR), trusted=True), at()).reason == "date_passed"
    assert judge(replace(row("linkedin", left=2 * DAY), trusted=False), at()).status is Status.VALID


def test_every_rule_applies_in_some_row() -> None:
    applied: set[object] = set()
    cases = [(case[1], case[2], None) for case in FIRST_SIGHT] + [(PUBLORA, case[1], case[2]) for case in WITH_MEMORY]
    for provider, snapshot, previous in cases:
        evidence = token_evidence.gather(snapshot, previous, at(provider))
        applied.add(next(rule for rule in token.TOKEN_RULES if rule(evidence) is not None))
    ended = row("linkedin", ReportedStatus.UNKNOWN, flags=frozenset({"span_expired"}))
    moved = [(days * DAY, row(word=ReportedStatus.UNKNOWN, left=left)) for days, left in [(0, -DAY), (1, 60 * DAY)]]
    sequences = [
        (POSTBREEZE, [*hourly(6), (6.6 * HOUR, renewed(5)), (8 * HOUR, renewed(5))]),
        (POSTPOST, [(0 * DAY, ended)]),
        (POSTPOST, [(0 * DAY, row(word=ReportedStatus.FAILING)), (HOUR, row(word=ReportedStatus.FAILING))]),
        (PUBLORA, moved),
    ]
    for provider, polls in sequences:
        follow(provider, *polls, seen=applied)
    assert applied == set(token.TOKEN_RULES)


def test_what_the_platform_rejected_names_a_date_only_where_there_is_one() -> None:
    ahead, dateless = (
        judge(each, at(PUBLORA)) for each in (row(word=ReportedStatus.EXPIRED, left=40 * DAY), row(word=ReportedStatus.EXPIRED))
    )
    assert ahead.message == "The provider reports that the token expired before its date, because the platform rejected it."
    assert dateless.message == "The provider reports that the token expired without a date, because the platform rejected it."
