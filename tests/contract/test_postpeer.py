"""PostPeer against a real server: its rows, and a walk over pages while rows come and go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from monitor.domain import PollOutcome, PollReport, ReportedStatus
from tests.contract.loopback import KEY, Request, Response, as_json, connected, fixture, running, source
from tests.support.fakes import ManualClock

KIND = "postpeer"


def row(n: int) -> dict[str, Any]:
    return {"id": f"id{n:04}", "platform": "twitter", "platformUserId": str(n), "createdAt": "2026-03-28T10:00:00Z"}


class Api:
    """The list as the documents describe it, over rows that a test may change between two requests."""

    def __init__(self, count: int, *, on_page: Callable[[Api, int], None] | None = None, page_cap: int = 100) -> None:
        self.rows = [row(n) for n in range(count)]
        self.pages = 0
        self.on_page = on_page
        self.page_cap = page_cap
        self.health = as_json({"ok": True})

    def __call__(self, request: Request) -> Response:
        if request.path == "/health/auth":
            return self.health
        assert request.query["sort"] == "asc"
        self.pages += 1
        if self.on_page:
            self.on_page(self, self.pages)
        offset, limit = int(request.query["offset"]), min(int(request.query["limit"]), self.page_cap)
        page = self.rows[offset : offset + limit]
        return as_json({"success": True, "total": len(self.rows), "integrations": page})


async def poll(api: Callable[[Request], Response], clock: ManualClock) -> tuple[PollReport, list[Request]]:
    async with running(api) as server, connected(source(KIND, server), clock) as provider:
        report = await provider.poll()
        assert {request.headers["x-access-key"] for request in server.requests} == {KEY}
        return report, server.requests


async def test_documented_list(clock: ManualClock) -> None:
    report, requests = await poll(lambda _: as_json(fixture("postpeer/documented_list.json")), clock)
    assert (report.outcome, len(requests)) == (PollOutcome.OK, 1)
    first, second = report.scopes[0].snapshots
    assert (first.external_id, first.platform, first.reported, first.account) == (
        "abc123",
        "twitter",
        ReportedStatus.NO_HEALTH,
        "twitter:123456789",
    )
    assert (second.display_name, second.expires_at, second.raw_status) == ("My Channel", None, None)


@pytest.mark.parametrize(
    ("count", "page_cap", "requests"), [(1, 100, 1), (99, 100, 1), (250, 100, 3), (100, 100, 2), (45, 20, 3)]
)
async def test_every_page_is_read(count: int, page_cap: int, requests: int, clock: ManualClock) -> None:
    report, asked = await poll(Api(count, page_cap=page_cap), clock)
    assert (report.outcome, len(report.scopes[0].snapshots), len(asked)) == (PollOutcome.OK, count, requests)
    assert report.scopes[0].complete


async def test_N29_a_row_that_goes_meanwhile_repeats_the_walk_once(clock: ManualClock) -> None:
    """Its going shifts one row over the page's edge: the first walk would have missed it."""

    def drop(api: Api, page: int) -> None:
        if page == 2:
            del api.rows[5]

    report, asked = await poll(Api(250, on_page=drop), clock)
    assert (report.outcome, len(report.scopes[0].snapshots), len(asked)) == (PollOutcome.OK, 249, 6)


async def test_N29_a_list_that_never_stands_still_is_incomplete(clock: ManualClock) -> None:
    def drop(api: Api, page: int) -> None:
        del api.rows[page]

    report, _ = await poll(Api(250, on_page=drop), clock)
    assert (report.outcome, report.scopes[0].complete) == (PollOutcome.PARTIAL, False)
    assert len(report.scopes[0].snapshots) > 200


async def test_N29_a_page_that_is_missing_is_incomplete(clock: ManualClock) -> None:
    body = {"success": True, "total": 3, "integrations": [row(1), row(2)]}
    report, asked = await poll(
        lambda request: as_json(body if request.query["offset"] == "0" else {**body, "integrations": []}), clock
    )
    assert (report.scopes[0].complete, len(asked)) == (False, 4)
    assert "announced 3 rows but contained 2" in (report.problem or "")


async def test_N29_a_page_that_repeats_for_ever_ends(clock: ManualClock) -> None:
    body = {"success": True, "total": 900, "integrations": [row(n) for n in range(100)]}
    report, asked = await poll(lambda _: as_json(body), clock)
    assert (report.scopes[0].complete, len(asked)) == (False, 4)


async def test_an_empty_list_is_believed_from_a_good_key(clock: ManualClock) -> None:
    report, asked = await poll(Api(0), clock)
    assert [request.path for request in asked] == ["/connect/integrations", "/health/auth"]
    assert (report.outcome, report.scopes[0].complete, report.scopes[0].snapshots) == (PollOutcome.OK, True, ())


@pytest.mark.parametrize(
    ("health", "outcome"),
    [
        (as_json({"success": False, "message": "bad key"}, status=401), PollOutcome.UNAUTHORIZED),
        (as_json({"error": "bad key"}, status=403), PollOutcome.UNAUTHORIZED),
        (as_json({"ok": False}), PollOutcome.INVALID),
        (as_json({"error": "not here"}, status=404), PollOutcome.INVALID),
    ],
)
async def test_an_empty_list_is_no_evidence_without_a_good_key(
    health: Response, outcome: PollOutcome, clock: ManualClock
) -> None:
    api = Api(0)
    api.health = health
    report, _ = await poll(api, clock)
    assert (report.outcome, report.scopes) == (outcome, ())


@pytest.mark.parametrize("total", [-1, "2", True, 1.5])
async def test_a_total_that_is_no_count_is_invalid(total: Any, clock: ManualClock) -> None:
    report, _ = await poll(lambda _: as_json({"success": True, "total": total, "integrations": []}), clock)
    assert report.outcome is PollOutcome.INVALID
