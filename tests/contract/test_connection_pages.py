"""The connection pages of managed users as PostPost and Publora list them: only where they are wanted and certainly good."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from monitor.domain import ConnectionLink, PollOutcome, PollReport
from tests.contract.loopback import Request, Response, as_json, connected, running, source
from tests.support import canary
from tests.support.fakes import ManualClock

POSTPOST, PUBLORA = "postpost", "publora"
ONE, TWO = "65f000000000000000000001", "65f000000000000000000002"
DATE = "Sat, 21 Nov 2026 12:00:00 GMT"
AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
PAGE = f"https://app.example/connections?token={canary.LINK_TOKEN}"


def user(identity: str, page: object = PAGE, until: object = "2026-12-01T00:00:00Z") -> dict[str, Any]:
    return {"_id": identity, "connectionsPageUrl": page, "connectionsPageTokenExpiresAt": until}


async def poll(kind: str, listed: Any, clock: ManualClock, *, status: int = 200, **over: Any) -> PollReport:
    def answer(request: Request) -> Response:
        if request.path == "/workspace/users":
            return as_json(listed, status=status, Date=DATE)
        return as_json({"success": True, "connections": []}, Date=DATE)

    async with running(answer) as server, connected(source(kind, server, **over), clock) as provider:
        return await provider.poll()


@pytest.mark.parametrize("kind", [POSTPOST, PUBLORA])
async def test_pages_come_with_the_users_where_they_are_wanted(kind: str, clock: ManualClock) -> None:
    report = await poll(kind, {"users": [user(ONE), {"_id": TWO}]}, clock, users="all", connection_links=True)
    assert report.links == {ONE: ConnectionLink(url=PAGE, good_until=datetime(2026, 12, 1, tzinfo=UTC))}
    canary.assert_absent(repr(report), "the report")


@pytest.mark.parametrize("asked", [{"users": "all"}, {"users": "none", "connection_links": True}, {"users": "none"}])
async def test_pages_that_were_not_requested_are_not_read(asked: dict[str, Any], clock: ManualClock) -> None:
    report = await poll(POSTPOST, {"users": [user(ONE)]}, clock, **asked)
    assert (report.outcome, report.links) == (PollOutcome.OK, None)


async def test_users_that_the_configuration_names_have_pages_too(clock: ManualClock) -> None:
    report = await poll(POSTPOST, {"users": [user(ONE), user(TWO)]}, clock, users=(ONE,), connection_links=True)
    assert (report.outcome, report.requests) == (PollOutcome.OK, 3)
    assert report.links is not None
    assert ONE in report.links


async def test_pages_that_cannot_be_listed_cost_nothing_but_the_pages(clock: ManualClock) -> None:
    refused = {"error": "Workspace access is not enabled for this key"}
    report = await poll(POSTPOST, refused, clock, status=403, users=(ONE,), connection_links=True)
    assert (report.outcome, report.links) == (PollOutcome.OK, None)


@pytest.mark.parametrize(
    ("page", "until"),
    [
        (PAGE, None),  # no date: it may be dead
        (PAGE, "soon"),
        (PAGE, "2026-12-01T00:00:00"),  # whose midnight?
        (PAGE, AT.isoformat()),  # over at this very instant
        (PAGE, (AT - timedelta(days=1)).isoformat()),
        (None, "2026-12-01T00:00:00Z"),
        (7, "2026-12-01T00:00:00Z"),
        ("http://app.example/connections", "2026-12-01T00:00:00Z"),  # everybody on the way could read it
        ("javascript:alert(1)", "2026-12-01T00:00:00Z"),
        ("https://app.example/a b", "2026-12-01T00:00:00Z"),
        ("https://app.example/" + "x" * 2048, "2026-12-01T00:00:00Z"),
    ],
)
async def test_what_is_no_page_or_not_certainly_good_costs_the_page_and_not_the_user(
    page: object, until: object, clock: ManualClock
) -> None:
    report = await poll(POSTPOST, {"users": [user(ONE, page, until)]}, clock, users="all", connection_links=True)
    assert (report.outcome, report.links) == (PollOutcome.OK, {})
    assert [scope.scope for scope in report.scopes] == [None, ONE]
