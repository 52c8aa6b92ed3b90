"""Every shipped definition against a simulated service: what its sample states, and what goes wrong between us and it."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from monitor.config.shipped_definitions import shipped_names
from monitor.domain import PollOutcome, PollReport, ReportedStatus, Snapshot
from monitor.providers.base import Provider
from tests.contract.defined import BY_NAME, KEY, LISTS, ONLINE, PAGED, SERVICES, Service, shown
from tests.contract.loopback import QUICK, Request, Response, Server, as_json, connected, running
from tests.support import canary
from tests.support.fakes import ManualClock

Answer = Callable[[Request], Response]

JUDGED = {"github": (401,), "vault": (403,), "cloudflare": (400, 401)}
"""Statuses that state something about a token. With an unknown body they state nothing: the response is invalid."""

UNRECOGNISED_ERRORS = {"slack", "cloudflare"}
"""Services whose error bodies are judged, with status 200 too: a token about which they state nothing else is unknown."""

SHRINKS_UNNOTICED = {"relayapi", "outstand", "bundle", "nango", "composio", "pipedream", "unified", "gitlab", "entra"}
"""Services whose lists announce no total: what moves to a page already read is missed, and missing is confirmed by polls."""

HTML = Response(body=b"<!doctype html><title>Log in</title>", headers={"content-type": "text/html"})
CUT = Response(body=b'{"data": [{"id": "a1", "status": "va', headers={"content-type": "application/json"})


def ids(services: tuple[Service, ...]) -> list[str]:
    return [service.name for service in services]


every = pytest.mark.parametrize("service", SERVICES, ids=ids(SERVICES))
online = pytest.mark.parametrize("service", ONLINE, ids=ids(ONLINE))
lists = pytest.mark.parametrize("service", LISTS, ids=ids(LISTS))
paged = pytest.mark.parametrize("service", PAGED, ids=ids(PAGED))


@pytest.fixture(autouse=True)
def _no_secret_in_the_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    yield
    canary.assert_absent(caplog.text, "the log")


@asynccontextmanager
async def serving(
    service: Service, folder: Path, clock: ManualClock, answer: Answer | None = None
) -> AsyncIterator[tuple[Provider, Server]]:
    """A provider for a service. `answer` responds to requests for lists."""

    def respond(request: Request) -> Response:
        own = service.own_answer(request)
        return own if own is not None else (answer or service.answer)(request)

    async with (
        running(respond) as server,
        connected(service.source(folder, server.port), clock, limits=QUICK) as provider,
    ):
        yield provider, server


async def polled(service: Service, folder: Path, clock: ManualClock, answer: Answer | None = None) -> PollReport:
    """The report of one poll, without a secret or an unmapped value."""
    async with serving(service, folder, clock, answer) as (provider, _):
        report = await provider.poll()
    canary.assert_absent(repr(report), "the report")
    return report


def rows_of(report: PollReport) -> list[Snapshot]:
    return [row for scope in report.scopes for row in scope.snapshots]


def unreadable_of(report: PollReport) -> list[str]:
    return [row.why for scope in report.scopes for row in scope.unreadable]


def judges_nothing(report: PollReport) -> bool:
    """True if no connection is judged, and none can count as missing."""
    return not rows_of(report) and not any(scope.complete for scope in report.scopes) and not report.covers_all


def test_every_shipped_definition_has_a_sample() -> None:
    assert {service.name for service in SERVICES} == set(shipped_names())


@every
async def test_the_sample_is_read_as_documented(service: Service, tmp_path: Path, clock: ManualClock) -> None:
    report = await polled(service, tmp_path, clock)
    assert (report.outcome, report.problem) == (PollOutcome.OK, None)
    assert [shown(row) for row in rows_of(report)] == service.sample["expected"]
    assert all(scope.complete for scope in report.scopes)


@every
async def test_an_unchanged_list_is_the_same(service: Service, tmp_path: Path, clock: ManualClock) -> None:
    async with serving(service, tmp_path, clock) as (provider, _):
        first, second = await provider.poll(), await provider.poll()
    assert [scope.digest for scope in second.scopes] == [scope.digest for scope in first.scopes]
    assert [shown(row) for row in rows_of(second)] == [shown(row) for row in rows_of(first)]
    assert [len(scope.snapshots) for scope in second.scopes] == [len(scope.snapshots) for scope in first.scopes]


@lists
async def test_an_empty_list_is_a_list(service: Service, tmp_path: Path, clock: ManualClock) -> None:
    report = await polled(service, tmp_path, clock, lambda request: paged_or_whole(service, [], request))
    assert (report.outcome, rows_of(report)) == (PollOutcome.OK, [])
    assert all(scope.complete for scope in report.scopes)


@lists
@pytest.mark.parametrize("bad", [7, None, {}, [], {"id": {"deep": 1}}], ids=repr)
async def test_a_bad_row_costs_only_itself(service: Service, bad: Any, tmp_path: Path, clock: ManualClock) -> None:
    """Nobody knows which connection it is: the list is incomplete, so that none counts as missing."""

    def answer(request: Request) -> Response:
        items = service.items_of(service.key_of(request))
        return paged_or_whole(service, [*items, bad], request, key=service.key_of(request))

    only = {"ayrshare": ("acme",)}.get(service.name, service.keys)
    report = await polled(
        service, tmp_path, clock, lambda request: answer(request) if service.key_of(request) in only else service.answer(request)
    )
    assert [shown(row) for row in rows_of(report)] == service.sample["expected"]
    assert len(unreadable_of(report)) == len(only)
    assert not any(scope.complete for scope in report.scopes)
    assert report.outcome is PollOutcome.PARTIAL


def paged_or_whole(service: Service, items: list[Any], request: Request, *, key: str = "") -> Response:
    body = service.body_of(items, key)
    return as_json(body) if service.pages is None else service.pages(body, items, request)


# --- pages


@paged
async def test_a_list_of_three_pages(service: Service, tmp_path: Path, clock: ManualClock) -> None:
    items = service.numbered(237)
    async with serving(service, tmp_path, clock, lambda request: paged_or_whole(service, items, request)) as (provider, server):
        report = await provider.poll()
        wanted = [request for request in server.requests if service.own_answer(request) is None]
        assert (report.outcome, report.problem) == (PollOutcome.OK, None)
        assert [row.external_id for row in rows_of(report)] == [service.public_id.format(f"n{n}") for n in range(237)]
        assert all(scope.complete for scope in report.scopes)
        # bundle.social is read by pages of 50 teams
        assert len(wanted) == {"bundle": 5}.get(service.name, 3)
        again = await provider.poll()
        assert [scope.digest for scope in again.scopes] == [scope.digest for scope in report.scopes]
        assert [row.external_id for row in rows_of(again)] == [row.external_id for row in rows_of(report)]
        items[150].update(items[150], name="changed", username="changed", user_id="changed", displayName="changed")
        changed = await provider.poll()
        assert [scope.digest for scope in changed.scopes] != [scope.digest for scope in report.scopes]
        assert len(rows_of(changed)) == 237


@paged
async def test_a_page_that_repeats_is_an_incomplete_list(service: Service, tmp_path: Path, clock: ManualClock) -> None:
    items = service.numbered(237)
    first: list[Response] = []

    def answer(request: Request) -> Response:
        first.append(paged_or_whole(service, items, request))
        return first[0]

    report = await polled(service, tmp_path, clock, answer)
    assert report.outcome is PollOutcome.PARTIAL
    assert not any(scope.complete for scope in report.scopes)
    assert "repeats" in (report.problem or "")
    assert len(first) <= 3


@paged
async def test_a_list_that_shrinks_while_it_is_read(service: Service, tmp_path: Path, clock: ManualClock) -> None:
    items = service.numbered(237)

    def answer(request: Request) -> Response:
        response = paged_or_whole(service, items, request)
        del items[:1]
        return response

    report = await polled(service, tmp_path, clock, answer)
    assert {row.reported for row in rows_of(report)} <= {ReportedStatus.VALID, ReportedStatus.UNSTATED}
    if service.name in SHRINKS_UNNOTICED:
        assert report.outcome is PollOutcome.OK
    else:
        assert judges_nothing(report)
        assert "changed while" in (report.problem or "")


@paged
async def test_a_list_that_ends_in_the_middle_is_a_failure(service: Service, tmp_path: Path, clock: ManualClock) -> None:
    items = service.numbered(237)
    asked: list[Request] = []

    def answer(request: Request) -> Response:
        asked.append(request)
        return paged_or_whole(service, items, request) if len(asked) == 1 else as_json({"error": "no"}, status=404)

    assert judges_nothing(await polled(service, tmp_path, clock, answer))


@pytest.mark.parametrize("name", ["outstand", "nango", "unified", "bundle"])
async def test_a_service_with_shorter_pages_than_requested_loses_nothing(name: str, tmp_path: Path, clock: ManualClock) -> None:
    service = BY_NAME[name]
    items = service.numbered(47)

    def answer(request: Request) -> Response:
        shorter = request.target.replace("limit=100", "limit=20").replace("limit=50", "limit=20")
        return paged_or_whole(service, items, Request(method="GET", target=shorter, headers=request.headers, body=b""))

    report = await polled(service, tmp_path, clock, answer)
    assert (report.outcome, len(rows_of(report))) == (PollOutcome.OK, 47)


@pytest.mark.parametrize("accounts", [0, 1, 3])
async def test_offsets_count_what_the_service_counts(accounts: int, tmp_path: Path, clock: ManualClock) -> None:
    """bundle.social lists teams, each with any number of accounts: the next page begins after the teams read so far."""
    service = BY_NAME["bundle"]
    teams = service.numbered(120)
    for number, team in enumerate(teams):
        team["socialAccounts"] = [{**team["socialAccounts"][0], "id": f"n{number}-{each}"} for each in range(accounts)]
    report = await polled(service, tmp_path, clock, lambda request: paged_or_whole(service, teams, request))
    assert (report.outcome, len(rows_of(report))) == (PollOutcome.OK, 120 * accounts)


# --- failures of the service


@online
async def test_401_is_the_sources_failure(service: Service, tmp_path: Path, clock: ManualClock) -> None:
    """Of the services that judge it, the body is another one than their own."""
    report = await polled(service, tmp_path, clock, lambda _: as_json({"error": "Invalid API key"}, status=401))
    judged = 401 in JUDGED.get(service.name, ())
    assert report.outcome is (PollOutcome.INVALID if judged else PollOutcome.UNAUTHORIZED)
    assert judges_nothing(report)


@online
async def test_429_is_obeyed(service: Service, tmp_path: Path, clock: ManualClock) -> None:
    async with serving(service, tmp_path, clock, lambda _: as_json({"message": "slow down"}, status=429, Retry_After="45")) as (
        provider,
        server,
    ):
        report = await provider.poll()
        assert report.outcome is PollOutcome.RATE_LIMITED
        assert report.retry_after == pytest.approx(45, abs=1)
        assert judges_nothing(report)
        asked = len(server.requests)
        assert (await provider.poll()).outcome is PollOutcome.RATE_LIMITED
        assert len(server.requests) == asked


@online
@pytest.mark.parametrize("status", [500, 502, 503])
async def test_5xx_is_an_outage(service: Service, status: int, tmp_path: Path, clock: ManualClock) -> None:
    report = await polled(service, tmp_path, clock, lambda _: as_json({"message": "down"}, status=status))
    assert report.outcome is PollOutcome.UNREACHABLE
    assert judges_nothing(report)


@online
@pytest.mark.parametrize("broken", [HTML, CUT, Response(), Response(status=204)], ids=["html", "cut", "empty", "204"])
async def test_what_is_no_json_is_invalid(service: Service, broken: Response, tmp_path: Path, clock: ManualClock) -> None:
    report = await polled(service, tmp_path, clock, lambda _: broken)
    assert report.outcome is PollOutcome.INVALID
    assert judges_nothing(report)


@online
async def test_html_with_a_judged_status_is_invalid(service: Service, tmp_path: Path, clock: ManualClock) -> None:
    """The login page of a proxy proves nothing about a token."""
    for status in JUDGED.get(service.name, (200,)):
        page = Response(status=status, body=HTML.body, headers=HTML.headers)
        report = await polled(service, tmp_path, clock, lambda _, page=page: page)  # type: ignore[misc]
        assert report.outcome is PollOutcome.INVALID
        assert judges_nothing(report)


ERRORS: tuple[Any, ...] = (
    {"error": "no"},
    {"error": {"code": 17, "message": "no"}},
    {"errors": [{"message": "no", "type": "auth"}]},
    {"success": False, "message": "no"},
    {"message": "no"},
    {"status": "error", "message": "no"},
    {"data": None, "items": None, "accounts": None, "connections": None, "value": None, "result": None},
    {"data": "x", "items": 7, "accounts": {}, "connections": True, "value": "", "result": "y"},
    {"error": "no", "data": [], "items": [], "accounts": [], "connections": [], "value": [], "profiles": [], "displayNames": []},
    {"success": False, "data": [], "items": [], "accounts": [], "connections": [], "value": [], "profiles": []},
    {},
    None,
    7,
    "x",
    True,
)


@online
async def test_an_error_with_status_200_judges_nothing(service: Service, tmp_path: Path, clock: ManualClock) -> None:
    async with running(lambda _: as_json(None)) as server, connected(service.source(tmp_path, server.port), clock) as provider:
        for body in ERRORS:
            server.answer = lambda request, body=body: service.own_answer(request) or as_json(body)  # type: ignore[misc]
            report = await provider.poll()
            if service.name in UNRECOGNISED_ERRORS:
                assert {row.reported for row in rows_of(report)} <= {ReportedStatus.UNKNOWN}
                assert rows_of(report) or report.outcome is PollOutcome.INVALID
            else:
                assert (body, report.outcome) == (body, PollOutcome.INVALID)
                assert judges_nothing(report)


@lists
async def test_a_field_stated_twice_is_not_believed(service: Service, tmp_path: Path, clock: ManualClock) -> None:
    def answer(request: Request) -> Response:
        response = paged_or_whole(service, service.items_of(service.key_of(request)), request)
        if response.body.startswith(b"["):
            return Response(body=response.body.replace(b'"id":', b'"id": "other", "id":'))
        (key,) = [
            name
            for name in ("data", "items", "accounts", "connections", "value", "profiles", "displayNames")
            if name in json.loads(response.body)
        ]
        return Response(body=b'{"%b": [], ' % key.encode() + response.body[1:])

    one = Service(name=service.name, settings=service.settings, items=service.items, pages=service.pages)
    report = await polled(
        one,
        tmp_path,
        clock,
        answer if service.name != "ayrshare" else lambda r: answer(r) if service.key_of(r) == "acme" else as_json(7),
    )
    assert not any(scope.complete for scope in report.scopes)
    assert rows_of(report) == []


# --- secrets


@online
@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 500])
async def test_a_service_that_returns_what_it_received_shows_no_secret(
    service: Service, status: int, tmp_path: Path, clock: ManualClock
) -> None:
    def echo(request: Request) -> Response:
        sent = f"{request.method} {request.target} {request.headers} {request.body.decode()}"
        return as_json({"error": sent, "message": sent, "errors": [{"message": sent}]}, status=status)

    report = await polled(service, tmp_path, clock, echo)
    canary.assert_absent(report.problem or "", "the problem")
    assert not {row.reported for row in rows_of(report)} & {ReportedStatus.VALID}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("zernio", "Acme"),
        ("gitlab", "deploy"),
        ("introspect", "p"),
        ("vault", "approle"),
        ("meta", "App"),
        ("github", "me"),
        ("slack", "Acme"),
    ],
)
async def test_a_secret_in_a_mapped_field_or_header_is_removed(name: str, text: str, tmp_path: Path, clock: ManualClock) -> None:
    service = BY_NAME[name]

    def answer(request: Request) -> Response:
        response, key = service.answer(request), service.key_of(request)
        secret = service.token(key) if key else KEY
        body = response.body.replace(f'"{text}"'.encode(), f'"{secret}"'.encode())
        return Response(status=response.status, body=body, headers={**response.headers, "x-oauth-scopes": f"a, {secret}"})

    report = await polled(service, tmp_path, clock, answer)
    assert "<secret>" in {row.display_name for row in rows_of(report)}
    if name in ("github", "slack"):
        assert ("a", "<secret>") in {row.scopes for row in rows_of(report)}


@every
def test_no_secret_is_shown_with_the_source(service: Service, tmp_path: Path) -> None:
    canary.assert_absent(repr(service.source(tmp_path)), "the source")
