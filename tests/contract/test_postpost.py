"""PostPost and Publora against a real server: shapes, words, scopes, probes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from monitor.domain import LastError, PollOutcome, PollReport, ProbeAnswer, ReportedStatus, ScopeReport, Snapshot, errors
from tests.contract.loopback import KEY, Request, Response, as_json, connected, fixture, running, source
from tests.support.fakes import ManualClock

POSTPOST, PUBLORA = "postpost", "publora"
ONE, TWO = "65f000000000000000000001", "65f000000000000000000002"
DATE = "Sat, 21 Nov 2026 12:00:00 GMT"
AT = datetime(2026, 11, 21, 12, tzinfo=UTC)


async def poll(kind: str, body: Any, clock: ManualClock, **over: Any) -> PollReport:
    async with running(lambda _: as_json(body, Date=DATE)) as server, connected(source(kind, server, **over), clock) as provider:
        return await provider.poll()


def by_id(report: PollReport, scope: str | None = None) -> dict[str, Snapshot]:
    return {row.external_id: row for row in only(report, scope).snapshots}


def only(report: PollReport, scope: str | None = None) -> ScopeReport:
    (found,) = [part for part in report.scopes if part.scope == scope]
    return found


async def test_documented_list_of_postpost(clock: ManualClock) -> None:
    report = await poll(POSTPOST, fixture("postpost/documented_list.json"), clock)
    assert (report.outcome, report.requests, report.covers_all) == (PollOutcome.OK, 1, False)
    twitter, linkedin = only(report).snapshots
    assert only(report).complete
    assert (twitter.platform, twitter.reported, twitter.raw_status) == ("twitter", ReportedStatus.NON_EXPIRING, "unknown")
    assert (twitter.expires_at, twitter.expires_before) == (None, None)
    assert (linkedin.reported, linkedin.expires_at) == (ReportedStatus.VALID, datetime(2026, 5, 15, 10, 30, tzinfo=UTC))
    assert linkedin.expires_before is None
    assert linkedin.last_successful_post_at == datetime(2026, 2, 22, 9, 15, tzinfo=UTC)
    assert (linkedin.username, linkedin.display_name) == ("John Doe", "John Doe")
    assert linkedin.profile_url == "https://linkedin.com/in/johndoe"


async def test_documented_list_of_publora_states_dates_only(clock: ManualClock) -> None:
    report = await poll(PUBLORA, fixture("publora/documented_list.json"), clock)
    assert [row.reported for row in only(report).snapshots] == [ReportedStatus.UNSTATED] * 3
    assert by_id(report)["instagram-17841412345678"].expires_at == datetime(2026, 4, 20, 8, tzinfo=UTC)


async def test_a_bare_array_is_read_like_the_envelope(clock: ManualClock) -> None:
    body = fixture("postpost/documented_list.json")
    bare, wrapped = await poll(POSTPOST, body["connections"], clock), await poll(POSTPOST, body, clock)
    assert bare.scopes == wrapped.scopes


async def test_quirks_cost_at_most_their_own_row(clock: ManualClock) -> None:
    report = await poll(POSTPOST, fixture("postpost/quirks_list.json"), clock)
    rows = by_id(report)
    assert rows["telegram--1001234567890"].platform == "telegram"
    assert rows["bluesky-did:plc:abc123"].expires_before == AT + timedelta(hours=1)
    assert rows["X-1"].platform == "twitter"
    assert rows["X-1"].last_error == LastError(message="Media upload failed: Invalid image format")
    assert rows["X-1"].flags == {"coarse_span"}
    assert rows["youtube-UC1"].expires_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert rows["linkedin-naive"].flags == {"naive_date"}
    assert rows["instagram-epoch"].expires_at == datetime(2026, 12, 7, 11, tzinfo=UTC)
    assert (rows["threads-far"].expires_at, rows["threads-far"].flags) == (None, frozenset({"far_date"}))
    assert (rows["tiktok-new"].reported, rows["tiktok-new"].raw_status) == (ReportedStatus.UNRECOGNISED, "needs_attention")
    assert rows["facebook-1"].reported is ReportedStatus.EXPIRED
    assert rows["facebook-1"].last_error == LastError(
        message="Session has expired", occurred_at=datetime(2026, 2, 22, 10, tzinfo=UTC)
    )
    assert [lost.external_id for lost in only(report).unreadable] == ["mastodon-wrong", "nodash", "telegram-"]
    assert only(report).complete, "every row had an id that could be read: absence is evidence"


async def test_N21_a_row_without_a_readable_id_makes_the_scope_incomplete(clock: ManualClock) -> None:
    report = await poll(POSTPOST, [{"platformId": None}, {"platformId": "threads-1", "tokenStatus": "valid"}], clock)
    assert (report.outcome, only(report).complete) == (PollOutcome.PARTIAL, False)
    assert list(by_id(report)) == ["threads-1"]


@pytest.mark.parametrize(
    ("kind", "neighbour", "meaning"),
    [
        (POSTPOST, None, ReportedStatus.NON_EXPIRING),  # by brand
        (PUBLORA, None, ReportedStatus.UNKNOWN),  # by brand
        (POSTPOST, "valid", ReportedStatus.UNKNOWN),  # a never-expiring platform is valid: the new meaning
        (PUBLORA, "unknown", ReportedStatus.NON_EXPIRING),  # it is unknown: the old meaning
    ],
)
async def test_the_meaning_of_unknown_is_decided_by_the_rows(
    kind: str, neighbour: str | None, meaning: ReportedStatus, clock: ManualClock
) -> None:
    rows = [{"platformId": "bluesky-did:plc:a", "tokenStatus": "unknown", "accessTokenExpiresAt": None}]
    if neighbour:
        rows.append({"platformId": "mastodon-1", "tokenStatus": neighbour, "accessTokenExpiresAt": None})
    report = await poll(kind, {"success": True, "connections": rows}, clock)
    assert by_id(report)["bluesky-did:plc:a"].reported is meaning


async def test_the_current_publora_list_has_the_new_meaning(clock: ManualClock) -> None:
    report = await poll(PUBLORA, fixture("publora/current_list.json"), clock)
    assert by_id(report)["bluesky-did:plc:abc123"].reported is ReportedStatus.UNKNOWN


async def test_a_missing_status_beside_stated_ones_is_unknown(clock: ManualClock) -> None:
    rows = [{"platformId": "threads-1"}, {"platformId": "threads-2", "tokenStatus": "expired"}]
    row = by_id(await poll(POSTPOST, rows, clock))["threads-1"]
    assert (row.reported, row.flags) == (ReportedStatus.UNKNOWN, frozenset({"status_missing"}))


async def test_an_unreadable_date_never_reads_as_does_not_expire(clock: ManualClock) -> None:
    rows = [{"platformId": "threads-1", "tokenStatus": "unknown", "accessTokenExpiresAt": "soon"}]
    row = by_id(await poll(POSTPOST, rows, clock))["threads-1"]
    assert (row.reported, row.flags) == (ReportedStatus.UNKNOWN, frozenset({"unparsed_date"}))


@pytest.mark.parametrize(
    ("text", "before", "flags"),
    [
        ("82d 4h", AT + timedelta(days=82, hours=5), set()),
        ("5H", AT + timedelta(hours=6), set()),
        ("< 1h", AT + timedelta(hours=1), set()),
        ("expired", None, {"span_expired"}),
        ("29 days", None, {"coarse_span"}),
        ("soonish", None, {"unparsed_span"}),
        (None, None, set()),
    ],
)
async def test_a_span_is_anchored_on_the_servers_date(
    text: str | None, before: datetime | None, flags: set[str], clock: ManualClock
) -> None:
    clock.set(AT - timedelta(days=1))
    report = await poll(POSTPOST, [{"platformId": "threads-1", "tokenStatus": "valid", "tokenExpiresIn": text}], clock)
    row = by_id(report)["threads-1"]
    assert (row.expires_before, row.flags, report.clock_skew) == (before, frozenset(flags), 86_400.0)


async def test_a_span_never_overwrites_a_date(clock: ManualClock) -> None:
    rows = [
        {"platformId": "a-1", "tokenStatus": "valid", "accessTokenExpiresAt": "2027-01-01T00:00:00Z", "tokenExpiresIn": "expired"}
    ]
    row = by_id(await poll(POSTPOST, rows, clock))["a-1"]
    assert (row.expires_at, row.expires_before) == (datetime(2027, 1, 1, tzinfo=UTC), None)


@pytest.mark.parametrize("order", [1, -1])
async def test_N28_duplicate_ids_keep_the_worst_word_in_any_order(order: int, clock: ManualClock) -> None:
    rows = [{"platformId": "threads-1", "tokenStatus": word} for word in ("valid", "expired", "expiring_soon")][::order]
    (row,) = only(await poll(POSTPOST, rows, clock)).snapshots
    assert (row.reported, row.flags) == (ReportedStatus.EXPIRED, frozenset({"duplicate_id"}))


async def test_untrusted_names_are_cleaned_and_capped(clock: ManualClock) -> None:
    rows = [{"platformId": "threads-1", "tokenStatus": "valid", "displayName": "a\n\x1b[31m\u202e\x00b" + "x" * 999}]
    name = by_id(await poll(POSTPOST, rows, clock))["threads-1"].display_name
    assert name is not None
    assert len(name) == 256
    assert name.isprintable()


# --- scopes ---


def workspace(lists: dict[str | None, Any], users: Any = None) -> Any:
    """An API with managed users: what each scope's list answers, a Response or a body."""

    def answer(request: Request) -> Response:
        if request.path == "/workspace/users":
            said = users if users is not None else fixture("postpost/users.json")
        else:
            said = lists[request.headers.get("x-postpost-user-id") or request.headers.get("x-publora-user-id")]
        return said if isinstance(said, Response) else as_json(said)

    return answer


ROW = {"platformId": "threads-1", "tokenStatus": "valid"}


async def test_all_managed_users_are_read_and_the_owner_without_a_header(clock: ManualClock) -> None:
    async with (
        running(workspace({None: [ROW], ONE: [ROW], TWO: []})) as server,
        connected(source(POSTPOST, server, users="all"), clock) as provider,
    ):
        report = await provider.poll()
        assert [part.scope for part in report.scopes] == [None, ONE, TWO]
        assert (report.outcome, report.covers_all, report.requests) == (PollOutcome.OK, True, 4)
        assert only(report, ONE).snapshots[0].scope == ONE
        assert only(report, TWO) == ScopeReport(scope=TWO, complete=True)
        assert {request.headers["x-api-key"] for request in server.requests} == {KEY}
        assert not any("x-postpost-client" in request.headers for request in server.requests)


async def test_users_in_the_old_shape_with_publoras_headers(clock: ManualClock) -> None:
    async with (
        running(workspace({None: [], ONE: [ROW]}, users=fixture("publora/users_old.json"))) as server,
        connected(source(PUBLORA, server, users="all"), clock) as provider,
    ):
        report = await provider.poll()
        assert list(by_id(report, ONE)) == ["threads-1"]
        assert {request.headers["x-publora-key"] for request in server.requests} == {KEY}


@pytest.mark.parametrize(
    "refusal",
    [
        as_json({"error": "User is not managed by key"}, status=403),
        as_json({"message": "Invalid x-postpost-user-id"}, status=400),
    ],
)
async def test_a_detached_user_costs_that_scope_only(refusal: Response, clock: ManualClock) -> None:
    async with (
        running(workspace({None: [ROW], ONE: refusal, TWO: [ROW]})) as server,
        connected(source(POSTPOST, server, users=(ONE, TWO)), clock) as provider,
    ):
        report = await provider.poll()
        assert report.outcome is PollOutcome.PARTIAL
        assert (only(report, ONE).gone, only(report, ONE).complete) == (True, False)
        assert only(report).complete
        assert only(report, TWO).complete


@pytest.mark.parametrize("status", [401, 403])
async def test_any_other_401_or_403_concerns_the_key(status: int, clock: ManualClock) -> None:
    refusal = as_json({"error": "Workspace access is not enabled for this key"}, status=status)
    async with (
        running(workspace({None: [ROW], ONE: refusal})) as server,
        connected(source(POSTPOST, server, users=(ONE,)), clock) as provider,
    ):
        report = await provider.poll()
        assert report.outcome is PollOutcome.UNAUTHORIZED
        assert "Workspace access is not enabled" in (report.problem or "")
        assert not only(report, ONE).gone


async def test_a_scope_that_fails_leaves_the_others_alone(clock: ManualClock) -> None:
    broken = as_json({"success": False, "error": "Failed to fetch platform connections"})
    async with (
        running(workspace({None: [ROW], ONE: broken, TWO: [ROW]})) as server,
        connected(source(POSTPOST, server, users="all"), clock) as provider,
    ):
        report = await provider.poll()
        assert [(part.complete, part.gone) for part in report.scopes] == [(True, False), (False, False), (True, False)]
        assert report.outcome is PollOutcome.PARTIAL


@pytest.mark.parametrize(
    "users",
    [
        as_json({"error": "Workspace access is not enabled for this key"}, status=403),
        as_json({"users": None}),
        as_json({"users": [{"displayName": "nameless"}]}),
    ],
)
async def test_an_unreadable_list_of_users_still_reports_the_owner(users: Response, clock: ManualClock) -> None:
    async with (
        running(workspace({None: [ROW]}, users=users)) as server,
        connected(source(POSTPOST, server, users="all"), clock) as provider,
    ):
        report = await provider.poll()
        assert (report.outcome, report.covers_all) == (PollOutcome.PARTIAL, False)
        assert only(report).complete


async def test_an_empty_list_of_users_proves_nothing_about_users(clock: ManualClock) -> None:
    async with (
        running(workspace({None: [ROW]}, users={"users": []})) as server,
        connected(source(POSTPOST, server, users="all"), clock) as provider,
    ):
        report = await provider.poll()
        assert (report.outcome, report.covers_all) == (PollOutcome.OK, False)


async def test_a_walk_that_was_stopped_begins_with_what_it_left_over(clock: ManualClock) -> None:
    """Three unreachable scopes in a row end a walk; the next one starts with the scopes behind them."""
    down = as_json({"error": "Internal server error"}, status=500)
    names = tuple(f"65f00000000000000000010{n}" for n in range(8))
    async with (
        running(workspace({None: down, **dict.fromkeys(names, down)})) as server,
        connected(source(POSTPOST, server, users=names), clock) as provider,
    ):
        first = await provider.poll()
        asked = {request.headers.get("x-postpost-user-id") for request in server.requests}
        assert first.outcome is PollOutcome.UNREACHABLE
        assert len(first.scopes) == 9
        assert len(asked) < 6
        server.requests.clear()
        await provider.poll()
        assert server.requests[0].headers.get("x-postpost-user-id") not in asked


# --- probes ---


async def probe(
    answer: Response, clock: ManualClock, *, external_id: str = "linkedin-1", scope: str | None = None
) -> ProbeAnswer:
    async with running(lambda _: answer) as server, connected(source(POSTPOST, server), clock) as provider:
        return await provider.probe(external_id, scope=scope)


async def test_documented_probe_answers(clock: ManualClock) -> None:
    ok = await probe(as_json(fixture("postpost/documented_probe_ok.json")), clock)
    assert (ok.http_status, ok.status, ok.message, ok.token_expires_in) == (200, "ok", "Connected as John Doe", "45d 3h")
    assert ok.permissions is not None
    assert ok.permissions[0] == "w_member_social"
    failed = await probe(as_json(fixture("postpost/documented_probe_error.json")), clock)
    assert (failed.status, failed.token_expires_in, failed.permissions) == ("error", "expired", ())
    unsupported = await probe(as_json(fixture("postpost/documented_probe_unsupported.json")), clock)
    assert unsupported.message == "Unknown platform: pinterest"


@pytest.mark.parametrize(
    ("odd", "read"),
    [
        ({"status": "OK"}, {"status": "ok"}),
        ({"status": " Error "}, {"status": "error"}),
        ({"status": "Degraded"}, {"status": "Degraded"}),
        ({"message": {"message": "no"}}, {"message": "no"}),
        ({"message": ["no"]}, {"message": '["no"]'}),
        ({"message": {}}, {"message": None}),
        ({"tokenExpiresIn": -60}, {"token_expires_in": "expired"}),
        ({"tokenExpiresIn": 90_000}, {"token_expires_in": "1d 1h"}),
        ({"tokenExpiresIn": []}, {"token_expires_in": None}),
        ({"permissions": "a b,c"}, {"permissions": ("a", "b", "c")}),
        ({"permissions": ["a", {"scope": "b"}]}, {"permissions": None}),
        ({"permissions": []}, {"permissions": ()}),
        ({"username": 7}, {"username": None}),
    ],
)
async def test_N21_probe_answers_with_odd_fields(odd: dict[str, Any], read: dict[str, Any], clock: ManualClock) -> None:
    answer = await probe(as_json({"status": "ok", **odd}), clock)
    assert {name: getattr(answer, name) for name in read} == read


@pytest.mark.parametrize(("status", "said"), [(404, "Connection not found"), (400, "Invalid platformId format")])
async def test_404_and_400_of_the_probe_are_answers(status: int, said: str, clock: ManualClock) -> None:
    assert await probe(as_json({"error": said}, status=status), clock) == ProbeAnswer(http_status=status, message=said)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (as_json({"error": "Invalid API key"}, status=401), errors.ProviderUnauthorized),
        (as_json({"error": "API access is not enabled for this account"}, status=403), errors.ProviderUnauthorized),
        (as_json({"error": "User is not managed by key"}, status=403), errors.ProviderScopeRefused),
        (as_json({"error": "Invalid x-postpost-user-id"}, status=400), errors.ProviderScopeRefused),
        (as_json({"error": "Failed to test connection"}, status=500), errors.ProviderUnreachable),
        (as_json({"error": "slow down"}, status=429), errors.ProviderRateLimited),
        (Response(status=404, body=b"<html>nginx</html>", headers={"content-type": "text/html"}), errors.ProviderPayloadInvalid),
        (as_json({"success": False, "error": "no"}), errors.ProviderPayloadInvalid),
        (as_json({"message": "no status"}), errors.ProviderPayloadInvalid),
        (as_json([]), errors.ProviderPayloadInvalid),
    ],
)
async def test_what_is_no_answer_of_the_probe_is_raised(
    answer: Response, error: type[errors.ProviderError], clock: ManualClock
) -> None:
    with pytest.raises(error) as caught:
        await probe(answer, clock, scope=ONE)
    assert type(caught.value) is error or error is errors.ProviderPayloadInvalid


@pytest.mark.parametrize(
    ("external_id", "path"),
    [
        ("telegram--1001234567890", "telegram--1001234567890"),
        ("bluesky-did:plc:abc123", "bluesky-did:plc:abc123"),
        ("Twitter-1", "Twitter-1"),
        ("x-../admin", "x-..%2Fadmin"),
        ("x-%2e%2e", "x-%252e%252e"),
        ("x-a b?c#d&é~", "x-a%20b%3Fc%23d%26%C3%A9~"),
    ],
)
async def test_S09_an_id_is_one_path_segment(external_id: str, path: str, clock: ManualClock) -> None:
    async with (
        running(lambda _: as_json(fixture("postpost/documented_probe_ok.json"))) as server,
        connected(source(POSTPOST, server), clock) as provider,
    ):
        await provider.probe(external_id, scope=ONE)
        (request,) = server.requests
        assert (request.method, request.target, request.body) == ("POST", f"/api/v1/test-connection/{path}", b"")
        assert request.headers["x-postpost-user-id"] == ONE
        assert request.headers["content-length"] == "0"


@pytest.mark.parametrize("external_id", ["", ".", "..", "...", "x-\n", "x-\x00", "x-\ud800", "x" * 300])
async def test_S09_an_id_that_cannot_be_sent_is_not_sent(external_id: str, clock: ManualClock) -> None:
    async with running(lambda _: as_json({})) as server, connected(source(POSTPOST, server), clock) as provider:
        answer = await provider.probe(external_id, scope=None)
        assert (answer.http_status, server.requests) == (400, [])


async def test_probes_at_once_are_bounded(clock: ManualClock) -> None:
    async with (
        running(lambda _: as_json(fixture("postpost/documented_probe_ok.json"))) as server,
        connected(source(POSTPOST, server, requests_per_minute=600), clock) as provider,
    ):
        server.delay = 0.01
        await asyncio.gather(*(provider.probe(f"a-{n}", scope=None) for n in range(8)))
        assert (len(server.requests), server.most_at_once) == (8, 2)


def of_user(request: Request) -> str | None:
    return request.headers.get("x-postpost-user-id")


def two_clients(request: Request) -> Response:
    """The second client's list decides what "unknown" means in the first one's: a Mastodon account is valid without a date."""
    if request.path.endswith("/workspace/users"):
        return as_json({"users": [{"_id": ONE}, {"_id": TWO}]}, Date=DATE)
    rows: dict[str | None, list[dict[str, Any]]] = {
        ONE: [{"platformId": "linkedin-1", "tokenStatus": "unknown"}],
        TWO: [{"platformId": "mastodon-2", "tokenStatus": "valid"}],
    }
    return as_json({"success": True, "connections": rows.get(of_user(request), [])}, Date=DATE)


async def test_one_users_list_alone_is_read_as_all_lists_together_are(clock: ManualClock) -> None:
    async with running(two_clients) as server, connected(source(POSTPOST, server, users="all"), clock) as provider:
        whole = await provider.poll()
        before = len(server.requests)
        alone = await provider.poll_scopes([ONE])
        assert [of_user(each) for each in server.requests[before:]] == [ONE]
    assert by_id(whole, ONE)["linkedin-1"].reported is ReportedStatus.UNKNOWN
    assert (alone.outcome, [scope.scope for scope in alone.scopes], alone.covers_all) == (PollOutcome.OK, [ONE], False)
    assert by_id(alone, ONE) == by_id(whole, ONE)


async def test_without_a_poll_before_all_lists_are_read_where_one_alone_could_be_misread(clock: ManualClock) -> None:
    async with running(two_clients) as server, connected(source(POSTPOST, server, users="all"), clock) as provider:
        alone = await provider.poll_scopes([ONE])
        assert ([scope.scope for scope in alone.scopes], alone.covers_all) == ([ONE], False)
        assert by_id(alone, ONE)["linkedin-1"].reported is ReportedStatus.UNKNOWN
    async with running(two_clients) as server, connected(source(POSTPOST, server, users="all"), clock) as provider:
        assert by_id(await provider.poll_scopes([TWO]), TWO)["mastodon-2"].reported is ReportedStatus.VALID
        assert len(server.requests) == 1, "its own rows are decisive"
