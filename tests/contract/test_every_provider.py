"""One suite for all four APIs: what goes wrong between us and any of them (FAILURES, network and payload)."""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import json
import time
import tracemalloc
import zlib
from typing import Any

import pytest

from monitor.config import Secret
from monitor.domain import PollOutcome, PollReport, ReportedStatus
from monitor.domain.errors import ProviderRateLimited
from monitor.domain.providers import coded_names
from monitor.domain.records import replace
from monitor.providers import HttpLimits, HttpSessions, RequestBudget, build_provider
from tests.contract.loopback import KEY, QUICK, Request, Response, as_json, connected, make_source, running, source, wire
from tests.support import canary
from tests.support.fakes import ManualClock

KINDS = coded_names()
HTML = b"<!doctype html><title>Log in to the network</title>"


@pytest.fixture(params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def listing(kind: str, count: int = 1, **over: Any) -> Any:
    """A healthy list of that API."""
    if kind == "postbreeze":
        return [
            {"id": f"soc_{n}", "workspaceId": "ws", "platform": "X", "status": "ACTIVE", "displayName": "n", **over}
            for n in range(count)
        ]
    if kind == "postpeer":
        rows = [{"id": f"i{n}", "platform": "twitter", "displayName": "n", **over} for n in range(count)]
        return {"success": True, "total": count, "integrations": rows}
    rows = [{"platformId": f"threads-{n}", "tokenStatus": "valid", "displayName": "n", **over} for n in range(count)]
    return {"success": True, "connections": rows}


def array_of(body: Any) -> list[Any]:
    """The rows of such a list."""
    return body if isinstance(body, list) else next(value for value in body.values() if isinstance(value, list))


async def poll(kind: str, response: Response, clock: ManualClock, *, limits: HttpLimits = QUICK, **over: Any) -> PollReport:
    async with (
        running(lambda _: response) as server,
        connected(source(kind, server, **over), clock, limits=limits) as provider,
    ):
        report = await provider.poll()
        assert KEY not in repr(report)
        return report


def rows_of(report: PollReport) -> list[Any]:
    return [row for scope in report.scopes for row in scope.snapshots]


def said(body: bytes, **headers: str) -> Response:
    return Response(
        body=body, headers={"content-type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
    )


async def test_a_healthy_list(kind: str, clock: ManualClock) -> None:
    async with running(lambda _: as_json(listing(kind, 3))) as server, connected(source(kind, server), clock) as provider:
        report = await provider.poll()
        assert (report.outcome, len(rows_of(report)), report.requests) == (PollOutcome.OK, 3, 1)
        assert provider.probes is (kind in ("postpost", "publora"))
        (request,) = [each for each in server.requests if "workspaces" not in each.target]  # Postbreeze: their names
        assert (request.method, request.headers["accept-encoding"]) == ("GET", "gzip")
        assert request.headers["user-agent"].startswith("token-expiry-monitor/")
        assert "cookie" not in request.headers


async def test_S09_an_address_is_asked_for_as_it_is_written(kind: str, clock: ManualClock) -> None:
    """An HTTP library that takes escapes off would ask for another place."""
    async with running(lambda _: as_json(listing(kind))) as server:
        settings = replace(source(kind, server), base_url=f"http://127.0.0.1:{server.port}/a%26b%28c%29%27")
        async with connected(settings, clock) as provider:
            await provider.poll()
    assert server.requests[0].target.startswith("/a%26b%28c%29%27/")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"7",
        b"{}",
        b'{"success": false, "message": "no"}',
        b'{"error": "no"}',
        b'{"success": false, "message": "no", "total": 0, "connections": [], "integrations": []}',
        b'{"error": "no", "total": 0, "connections": [], "integrations": []}',
        b'{"success": true, "connections": null, "integrations": null}',
        b'{"success": true, "connections": {}, "integrations": "x"}',
        b"[{",
        b'{"connections": [{}, "integrations": []}',
        b"\xff\xfe[\x00]\x00",
        HTML,
    ],
)
async def test_N11_N20_what_is_no_list_is_invalid_and_never_empty(kind: str, body: bytes, clock: ManualClock) -> None:
    report = await poll(kind, said(body), clock)
    assert (report.outcome, report.scopes[:0], rows_of(report)) == (PollOutcome.INVALID, (), [])
    assert not any(scope.complete for scope in report.scopes)
    assert report.problem


async def test_N11_a_web_page_is_named(kind: str, clock: ManualClock) -> None:
    report = await poll(kind, Response(body=HTML, headers={"content-type": "text/html"}), clock)
    assert report.outcome is PollOutcome.INVALID
    assert "web page" in (report.problem or "")
    assert "Log in" not in (report.problem or "")


async def test_N20_a_bom_and_a_wrong_charset_label_are_read(kind: str, clock: ManualClock) -> None:
    body = b"\xef\xbb\xbf \n" + json.dumps(listing(kind, displayName="Zoë"), ensure_ascii=False).encode()
    report = await poll(kind, Response(body=body, headers={"content-type": "text/plain; charset=utf-16"}), clock)
    assert [row.display_name for row in rows_of(report)] == ["Zoë"]


async def test_N20_204_is_no_empty_list(kind: str, clock: ManualClock) -> None:
    report = await poll(kind, wire(b"HTTP/1.1 204 No Content\r\n\r\n"), clock)
    assert report.outcome is PollOutcome.INVALID


async def test_N02_refused(kind: str, clock: ManualClock) -> None:
    async with running(lambda _: as_json([])) as server:
        settings = source(kind, server)
    async with connected(settings, clock) as provider:
        report = await provider.poll()
    assert (report.outcome, report.requests) == (PollOutcome.UNREACHABLE, 3)
    assert "refused" in (report.problem or "")


async def test_N04_reset_in_the_body(kind: str, clock: ManualClock) -> None:
    cut = wire(b'HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n[{"id"', then_reset=True)
    assert (await poll(kind, cut, clock)).outcome is PollOutcome.UNREACHABLE


async def test_N05_slow_loris_meets_the_deadline_of_the_whole_exchange(kind: str, clock: ManualClock) -> None:
    limits = dataclasses.replace(QUICK, list_timeout=0.3, attempts=1)
    slow = wire(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n" + b"[" * 400, pause=0.02)
    report = await poll(kind, slow, clock, limits=limits)
    assert report.outcome is PollOutcome.UNREACHABLE
    assert "timeout" in (report.problem or "")


async def test_a_passing_fault_is_tried_again(kind: str, clock: ManualClock) -> None:
    answers = [as_json({"error": "Internal server error"}, status=500), as_json({}, status=503), as_json(listing(kind))]
    async with running(lambda _: answers.pop(0)) as server, connected(source(kind, server), clock) as provider:
        report = await provider.poll()
        assert (report.outcome, report.requests) == (PollOutcome.OK, 3)


async def test_N09_server_errors_are_unreachable(kind: str, clock: ManualClock) -> None:
    report = await poll(kind, as_json({"error": "Failed to fetch platform connections"}, status=500), clock)
    assert (report.outcome, report.requests) == (PollOutcome.UNREACHABLE, 3)
    assert "Failed to fetch" in (report.problem or "")


@pytest.mark.parametrize("status", [401, 403])
async def test_N10_the_key_is_refused_without_hammering(kind: str, status: int, clock: ManualClock) -> None:
    report = await poll(kind, as_json({"error": "Invalid API key"}, status=status), clock)
    assert (report.outcome, report.requests) == (PollOutcome.UNAUTHORIZED, 1)
    assert "Invalid API key" in (report.problem or "")
    assert ("plan may not include API access" in (report.problem or "")) is (status == 403)


async def test_N10_a_refusal_whose_text_is_cut_off_is_a_refusal(kind: str, clock: ManualClock) -> None:
    report = await poll(kind, wire(b"HTTP/1.1 401 No\r\ncontent-length: 500\r\n\r\n{"), clock)
    assert report.outcome is PollOutcome.UNAUTHORIZED


async def test_N08_retry_after_is_obeyed_without_sleeping(kind: str, clock: ManualClock) -> None:
    async with (
        running(lambda _: as_json({"error": "slow down"}, status=429, Retry_After="45")) as server,
        connected(source(kind, server), clock) as provider,
    ):
        first, second = await provider.poll(), await provider.poll()
        assert (first.outcome, first.retry_after, len(server.requests)) == (PollOutcome.RATE_LIMITED, 45.0, 1)
        assert (second.outcome, second.requests) == (PollOutcome.RATE_LIMITED, 0)
        assert second.retry_after is not None
        assert 40 < second.retry_after <= 45


async def test_N08_a_429_without_a_hint_closes_the_budget_too(kind: str, clock: ManualClock) -> None:
    async with running(lambda _: as_json({}, status=429)) as server, connected(source(kind, server), clock) as provider:
        first, _ = await provider.poll(), await provider.poll()
        assert (first.outcome, first.retry_after, len(server.requests)) == (PollOutcome.RATE_LIMITED, None, 1)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n[    \r\n",
        b'HTTP/1.0 200 OK\r\n\r\n[{"id": "soc_',
        b"",
    ],
    ids=["content-length", "chunked", "closed", "nothing"],
)
async def test_N12_a_truncated_answer_is_no_evidence(kind: str, raw: bytes, clock: ManualClock) -> None:
    report = await poll(kind, wire(raw), clock)
    assert report.outcome in (PollOutcome.UNREACHABLE, PollOutcome.INVALID)
    assert not any(scope.complete for scope in report.scopes)


@pytest.mark.parametrize("announced", [True, False])
async def test_N13_a_huge_body_is_given_up_early(kind: str, announced: bool, clock: ManualClock) -> None:
    limits = dataclasses.replace(QUICK, list_bytes=4096)
    head = b"content-length: 99999999999999999" if announced else b"connection: close"
    report = await poll(kind, wire(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + b" " * 100_000), clock, limits=limits)
    assert report.outcome is PollOutcome.INVALID
    assert "larger than" in (report.problem or "")


async def test_N13_an_answer_announced_as_huge_is_not_read(kind: str, clock: ManualClock) -> None:
    """Nothing of it ever comes: only who goes by what is announced can tell."""
    limits = dataclasses.replace(QUICK, list_bytes=4096)
    report = await poll(kind, wire(b"HTTP/1.1 200 OK\r\ncontent-length: 4097\r\n\r\n"), clock, limits=limits)
    assert report.outcome is PollOutcome.INVALID
    assert "larger than" in (report.problem or "")


async def test_gzip_and_deflate_are_decoded(kind: str, clock: ManualClock) -> None:
    body = json.dumps(listing(kind)).encode()
    bare = zlib.compressobj(wbits=-15)
    for encoding, packed in [
        ("gzip", gzip.compress(body)),
        ("deflate", zlib.compress(body)),
        ("deflate", bare.compress(body) + bare.flush()),
        ("identity", body),
    ]:
        report = await poll(kind, said(packed, content_encoding=encoding), clock)
        assert (encoding, report.outcome) == (encoding, PollOutcome.OK)


async def test_N14_a_gzip_bomb_is_not_unpacked(kind: str, clock: ManualClock) -> None:
    bomb = gzip.compress(b" " * (200 * 1024 * 1024), compresslevel=1)
    tracemalloc.start()
    try:
        report = await poll(kind, said(bomb, content_encoding="gzip"), clock)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert report.outcome is PollOutcome.INVALID
    assert peak < 150 * 1024 * 1024


@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress(gzip.compress(b"[]")),
        gzip.compress(b"[" + b" " * 50_000 + b"]"),
        b"no gzip at all",
        gzip.compress(b"[]")[:-6],
    ],
    ids=["twice", "inflates", "bad", "cut"],
)
async def test_N14_N15_compressed_nonsense_is_invalid(kind: str, packed: bytes, clock: ManualClock) -> None:
    report = await poll(kind, said(packed, content_encoding="gzip"), clock)
    assert report.outcome is PollOutcome.INVALID


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nx-big: " + b"a" * 200_000 + b"\r\n\r\n[]",
        b"what is this\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n[]",
    ],
    ids=["header", "status line", "two lengths"],
)
async def test_N15_what_is_no_http_is_no_evidence(kind: str, raw: bytes, clock: ManualClock) -> None:
    report = await poll(kind, wire(raw), clock)
    assert report.outcome in (PollOutcome.INVALID, PollOutcome.UNREACHABLE)
    assert KEY not in (report.problem or "")
    assert len(report.problem or "") < 400


async def test_N16_nesting_of_any_depth_is_survived(kind: str, clock: ManualClock) -> None:
    body = json.dumps(listing(kind, extra="@")).encode().replace(b'"@"', b"[" * 100_000 + b"]" * 100_000)
    assert (await poll(kind, said(body), clock)).outcome is PollOutcome.INVALID


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "9" * 5000])
async def test_N17_numbers_that_are_none_cost_their_field_at_most(kind: str, number: str, clock: ManualClock) -> None:
    body = json.dumps(listing(kind, 2)).replace('"n"', number, 1).encode()
    report = await poll(kind, said(body), clock)
    assert [row for scope in report.scopes for row in scope.unreadable] == []
    assert [(row.display_name, row.flags) for row in rows_of(report)] == [(None, {"field_ignored"}), ("n", frozenset())]


@pytest.mark.parametrize("escape", ["\\ud800", "\\u0000", "\\u202e"])
async def test_N19_strange_characters_are_replaced(kind: str, escape: str, clock: ManualClock) -> None:
    body = json.dumps(listing(kind)).replace('"n"', f'"n{escape}"').encode()
    (row,) = rows_of(await poll(kind, said(body), clock))
    assert row.display_name == "n\ufffd"
    row.display_name.encode()


async def test_N18_a_status_stated_twice_is_not_believed(clock: ManualClock) -> None:
    for twice in ('"tokenStatus": "expired", "tokenStatus"', '"tokenStatus": "expired", "token\\u0053tatus"'):
        body = json.dumps(listing("postpost", 2)).replace('"tokenStatus"', twice, 1).encode()
        report = await poll("postpost", said(body), clock)
        assert [row.reported for row in rows_of(report)] == [ReportedStatus.VALID]
        assert report.scopes[0].unreadable[0].external_id == "threads-0"


async def test_N18_a_list_stated_twice_is_not_believed(clock: ManualClock) -> None:
    body = b'{"connections": [{"platformId": "threads-1"}], "connections": []}'
    assert (await poll("postpost", said(body), clock)).outcome is PollOutcome.INVALID


@pytest.mark.parametrize("mutation", [7, [], {}, True, "@missing"])
async def test_N21_a_row_without_id_or_status_costs_that_row_only(kind: str, mutation: Any, clock: ManualClock) -> None:
    """PostPeer states no status: only an id is needed. A missing status is none that cannot be read."""
    for name in ("platformId", "id", "tokenStatus", "status"):
        body = listing(kind, 3)
        rows = array_of(body)
        if name not in rows[1] or (mutation == "@missing" and "tatus" in name):
            continue
        rows[1][name] = mutation
        if mutation == "@missing":
            del rows[1][name]
        report = await poll(kind, as_json(body), clock)
        (lost,) = [row for scope in report.scopes for row in scope.unreadable]
        assert (len(rows_of(report)), lost.external_id is None) == (2, name in ("id", "platformId"))
        assert lost.why
        assert report.outcome is (PollOutcome.PARTIAL if lost.external_id is None else PollOutcome.OK)


@pytest.mark.parametrize("mutation", [7, [], {}, True])
async def test_N21_a_wrong_type_costs_that_field_only(kind: str, mutation: Any, clock: ManualClock) -> None:
    body = listing(kind, 3)
    array_of(body)[1]["displayName"] = mutation
    report = await poll(kind, as_json(body), clock)
    assert [row.display_name for row in rows_of(report)] == ["n", None, "n"]
    assert [sorted(row.flags) for row in rows_of(report)] == [[], ["field_ignored"], []]
    assert len({row.reported for row in rows_of(report)}) == 1
    assert (report.outcome, report.scopes[0].unreadable) == (PollOutcome.OK, ())


@pytest.mark.parametrize("mutation", [None, 7, [], {}, True])
async def test_N21_a_row_of_a_wrong_type_makes_the_list_incomplete(kind: str, mutation: Any, clock: ManualClock) -> None:
    body = listing(kind, 2)
    array_of(body).append(mutation)
    if isinstance(body, dict) and "total" in body:
        body["total"] = 3
    report = await poll(kind, as_json(body), clock)
    assert len(rows_of(report)) == 2
    (lost,) = [row for scope in report.scopes for row in scope.unreadable]
    assert (lost.external_id, report.outcome, report.listed) == (None, PollOutcome.PARTIAL, 3)


async def test_N21_every_unreadable_row_is_reported_when_all_are(kind: str, clock: ManualClock) -> None:
    """Nothing is known of them yet, and they count: a source whose rows cannot be read is no empty source."""
    body = listing(kind, 4)
    for number, row in enumerate(array_of(body)):
        row[next(iter(row))] = [number]
    report = await poll(kind, as_json(body), clock)
    lost = [row for scope in report.scopes for row in scope.unreadable]
    assert (len(rows_of(report)), len(lost), report.listed) == (0, 4, 4)
    assert all("is not as documented" in row.why for row in lost)


async def test_S18_more_rows_than_the_cap_are_incomplete(kind: str, clock: ManualClock) -> None:
    report = await poll(kind, as_json(listing(kind, 6)), clock, limits=dataclasses.replace(QUICK, rows=5))
    assert (report.outcome, report.scopes[0].complete) == (PollOutcome.PARTIAL, False)
    assert "more than 5 rows" in (report.problem or "")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_N07_a_redirect_to_another_host_is_not_followed(kind: str, status: int, clock: ManualClock) -> None:
    async with running(lambda _: as_json(listing(kind))) as other:
        report = await poll(kind, Response(status=status, headers={"location": f"http://localhost:{other.port}/api/v1"}), clock)
        assert (report.outcome, other.requests) == (PollOutcome.INVALID, [])
        assert "redirect" in (report.problem or "")


async def test_the_servers_clock_is_compared_with_ours(kind: str, clock: ManualClock) -> None:
    report = await poll(kind, as_json(listing(kind), Date="Sat, 21 Nov 2026 12:00:00 GMT"), clock)
    expected = clock.now().replace(year=2026, month=11, day=21, hour=12, minute=0, second=0, microsecond=0) - clock.now()
    assert report.clock_skew == expected.total_seconds()
    assert (await poll(kind, as_json(listing(kind)), clock)).clock_skew is None


async def test_S01_an_echoed_key_is_taken_out_everywhere(kind: str, clock: ManualClock) -> None:
    healthy = await poll(kind, as_json(listing(kind, displayName=f"key {KEY}")), clock)
    assert rows_of(healthy)[0].display_name == "key <secret>"
    refused = await poll(kind, as_json({"error": f"Invalid API key {KEY}" + "x" * 999}, status=401), clock)
    assert "<secret>" in (refused.problem or "")
    assert len(refused.problem or "") < 400


@pytest.mark.parametrize("key", [f"{KEY}\n", f" {KEY}", f"{KEY}ä", "", f"{KEY}\x00"])
async def test_S01_a_key_that_no_header_takes_is_not_shown(kind: str, key: str, clock: ManualClock) -> None:
    async with (
        running(lambda _: as_json([])) as server,
        connected(source(kind, server, api_key=Secret(key)), clock) as provider,
    ):
        report = await provider.poll()
        assert (report.outcome, server.requests) == (PollOutcome.UNAUTHORIZED, [])
        canary.assert_absent(repr(report), "the report")


async def test_cookies_are_never_kept(kind: str, clock: ManualClock) -> None:
    """Through a name, because aiohttp's own jar would refuse an address anyway."""
    async with (
        running(lambda _: as_json(listing(kind), Set_Cookie="session=1; Path=/")) as server,
        connected(source(kind, server, host="localhost"), clock) as provider,
    ):
        for _ in range(2):
            assert (await provider.poll()).outcome is PollOutcome.OK
        assert len([each for each in server.requests if "workspaces" not in each.target]) == 2
        assert not any("cookie" in request.headers for request in server.requests)


async def test_a_cancelled_poll_leaves_the_connections_usable(kind: str, clock: ManualClock) -> None:
    async with running(lambda _: as_json(listing(kind))) as server, connected(source(kind, server), clock) as provider:
        server.delay = 5
        for _ in range(10):
            task = asyncio.create_task(provider.poll())
            await server.asked.wait()
            server.asked.clear()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        server.delay = 0
        assert (await provider.poll()).outcome is PollOutcome.OK


@pytest.mark.parametrize(
    ("per_minute", "kind", "burst", "period"),
    [
        (600, "postpost", 10, 1.0),
        (60, "publora", 1, 1.0),
        (6000, "postpeer", 20, 0.2),
        (6000, "postbreeze", 1, 1.0),
        (7, "postpost", 1, 60 / 7),
    ],
)
async def test_the_budget_spreads_requests_in_small_bursts(
    per_minute: int, kind: str, burst: int, period: float, clock: ManualClock
) -> None:
    """Looks inside: waiting for it would take minutes. Postbreeze never gets more than the 60 it allows."""
    settings = make_source(kind, "https://api.example/v1", requests_per_minute=per_minute)
    provider: Any = build_provider(settings, sessions=HttpSessions(env={}), clock=clock)
    budget = provider._api.budget
    assert (budget.burst, budget.period) == (burst, pytest.approx(period))


async def test_what_is_beyond_a_burst_waits_for_the_next_one() -> None:
    """A lower bound: that they leave any sooner is what must not be."""
    budget = RequestBudget(6000)
    assert budget.burst == 20
    assert budget.period == pytest.approx(0.2)
    begun = time.monotonic()
    for _ in range(2 * budget.burst + 1):
        await budget.take()
    assert time.monotonic() - begun > 1.9 * budget.period


def test_the_budget_stays_closed_until_its_instant() -> None:
    now = 100.0
    budget = RequestBudget(600, monotonic=lambda: now)
    budget.wait(30)
    budget.wait(5)
    with pytest.raises(ProviderRateLimited) as caught:
        budget.require_open()
    assert caught.value.retry_after == 30
    now = 130.0
    budget.require_open()


def test_requests_are_distinguished() -> None:
    request = Request(method="GET", target="/api/v1/a%2Fb?x=1", headers={}, body=b"")
    assert (request.path, request.query) == ("/a%2Fb", {"x": "1"})
