"""Postbreeze against a real server: its rows, its workspaces."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from monitor.domain import PollOutcome, PollReport, Refresh, ReportedStatus, ScopeReport, errors
from tests.contract.loopback import KEY, Request, Response, as_json, connected, fixture, running, source
from tests.support.fakes import ManualClock

KIND = "postbreeze"


async def poll(body: Any, clock: ManualClock, **over: Any) -> PollReport:
    async with running(lambda _: as_json(body)) as server, connected(source(KIND, server, **over), clock) as provider:
        report = await provider.poll()
        assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {KEY}"}
        return report


def scope(report: PollReport, name: str) -> ScopeReport:
    (found,) = [part for part in report.scopes if part.scope == name]
    return found


async def test_the_documented_row_lacks_platform_and_status(clock: ManualClock) -> None:
    report = await poll(fixture("postbreeze/documented_list.json"), clock)
    (row,) = scope(report, "<string>").snapshots
    assert (row.external_id, row.platform, row.reported, row.account) == ("<string>", "unknown", ReportedStatus.UNSTATED, None)
    assert row.flags == {"platform_missing"}
    assert row.refresh == Refresh(
        connected_at=datetime(2023, 11, 7, 5, 31, 56, tzinfo=UTC),
        last_refreshed_at=datetime(2023, 11, 7, 5, 31, 56, tzinfo=UTC),
        last_attempt_at=datetime(2023, 11, 7, 5, 31, 56, tzinfo=UTC),
        error="<string>",
        error_status=123,
    )
    assert row.scopes == ("<string>",)


async def test_one_call_covers_every_workspace(clock: ManualClock) -> None:
    report = await poll(fixture("postbreeze/quirks_list.json"), clock)
    assert (report.outcome, report.covers_all, report.requests) == (PollOutcome.OK, True, 1)
    assert [(part.scope, part.complete, len(part.snapshots)) for part in report.scopes] == [("ws_1", True, 2), ("ws_2", True, 3)]
    twitter, facebook = scope(report, "ws_1").snapshots
    assert (twitter.platform, twitter.reported, twitter.account) == ("twitter", ReportedStatus.VALID, "x:9")
    assert twitter.expires_at == datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert twitter.scopes == ("tweet.write", "offline.access")
    assert (facebook.platform, facebook.reported, facebook.account) == ("facebook", ReportedStatus.EXPIRED, "facebook_page:8")
    revoked, paused, gone = scope(report, "ws_2").snapshots
    assert (revoked.platform, revoked.reported) == ("linkedin", ReportedStatus.REVOKED)
    assert (paused.platform, paused.reported, paused.raw_status) == ("mastodon_next", ReportedStatus.UNRECOGNISED, "PAUSED")
    assert gone.reported is ReportedStatus.DISCONNECTED


async def test_an_empty_list_covers_all(clock: ManualClock) -> None:
    report = await poll([], clock)
    assert (report.outcome, report.scopes, report.covers_all) == (PollOutcome.OK, (), True)


async def test_a_row_that_names_no_workspace_makes_all_incomplete(clock: ManualClock) -> None:
    report = await poll([*fixture("postbreeze/quirks_list.json"), {"id": 5}], clock)
    assert (report.outcome, report.covers_all) == (PollOutcome.PARTIAL, False)
    assert not any(part.complete for part in report.scopes)


async def test_an_unreadable_row_stays_in_its_workspace(clock: ManualClock) -> None:
    report = await poll([{"id": "soc_1", "workspaceId": "ws_1", "status": 4}, {"id": "soc_2", "workspaceId": "ws_2"}], clock)
    assert [lost.external_id for lost in scope(report, "ws_1").unreadable] == ["soc_1"]
    assert (scope(report, "ws_1").complete, scope(report, "ws_2").complete) == (True, True)


async def test_an_active_row_whose_date_cannot_be_read_is_unreadable(clock: ManualClock) -> None:
    """Without its date it would read as a token that does not expire."""
    report = await poll([{"id": "soc_1", "workspaceId": "ws_1", "status": "ACTIVE", "tokenExpiresAt": "soon"}], clock)
    assert (scope(report, "ws_1").snapshots, scope(report, "ws_1").unreadable[0].external_id) == ((), "soc_1")


def named(request: Request) -> Response:
    rows = {"ws_1": [{"id": "soc_1", "workspaceId": "ws_1", "platform": "X", "status": "ACTIVE"}], "ws_2": []}
    name = request.query["workspaceId"]
    if name not in rows:
        error = {"statusCode": 404, "code": "WORKSPACE_NOT_FOUND", "message": "Workspace not found", "requestId": "r1"}
        return as_json(error, status=404)
    return as_json(rows[name])


async def test_named_workspaces_are_asked_one_by_one(clock: ManualClock) -> None:
    async with running(named) as server, connected(source(KIND, server, workspaces=("ws_1", "ws_2")), clock) as provider:
        report = await provider.poll()
        assert (report.outcome, report.covers_all, report.requests) == (PollOutcome.OK, False, 2)
        assert [(part.scope, len(part.snapshots), part.complete) for part in report.scopes] == [
            ("ws_1", 1, True),
            ("ws_2", 0, True),
        ]


async def test_a_workspace_that_is_not_ours_is_gone(clock: ManualClock) -> None:
    async with running(named) as server, connected(source(KIND, server, workspaces=("ws_1", "ws_9")), clock) as provider:
        report = await provider.poll()
        assert (report.outcome, scope(report, "ws_9").gone, scope(report, "ws_1").complete) == (PollOutcome.PARTIAL, True, True)
        assert "Workspace not found (WORKSPACE_NOT_FOUND) [request r1]" in (scope(report, "ws_9").problem or "")


async def test_rows_of_other_workspaces_are_not_taken_for_the_named_one(clock: ManualClock) -> None:
    report = await poll(fixture("postbreeze/quirks_list.json"), clock, workspaces=("ws_1",))
    assert [row.external_id for row in scope(report, "ws_1").snapshots] == ["soc_01", "soc_02"]


async def test_there_is_no_probe(clock: ManualClock) -> None:
    async with running(lambda _: as_json([])) as server, connected(source(KIND, server), clock) as provider:
        assert not provider.probes
        with pytest.raises(errors.ProviderPayloadInvalid):
            await provider.probe("soc_1", scope="ws_1")
        assert server.requests == []
