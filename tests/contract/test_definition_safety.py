"""Requests of a definition stay on their host and carry values as data only; responses are bounded; secrets stay secret."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from monitor.config import SourceConfig
from monitor.config.load import load
from monitor.domain import PollOutcome, PollReport, ProbeFinding, Snapshot
from monitor.domain.errors import ConfigError
from monitor.domain.records import replace
from monitor.providers import HttpLimits
from monitor.providers.declarative import pages
from tests.contract.defined import BY_NAME, KEY, Service
from tests.contract.loopback import BASE, QUICK, Request, Response, as_json, connected, running, wire
from tests.support import canary
from tests.support.fakes import ManualClock

OWN_SECRET = canary.secret("own-secret")
ROW = 'row = { id = "id", name = "name" }\n'


@pytest.fixture(autouse=True)
def _no_secret_in_the_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    yield
    canary.assert_absent(caplog.text, "the log")


def custom(folder: Path, text: str, *, port: int = 9) -> SourceConfig:
    """A custom source with these keys."""
    file = folder / "config.toml"
    head = '[[sources]]\nname = "agency"\nprovider = "custom"\napi_key = { env = "KEY" }\n'
    head += f'base_url = "http://127.0.0.1:{port}{BASE}"\n'
    file.write_text('[database]\nurl = "sqlite:///monitor.db"\n' + head + text, "utf-8")
    env = {"HOME": str(folder), "KEY": KEY, "OWN": OWN_SECRET}
    return replace(load(file, env).config.sources[0], requests_per_minute=60_000)


async def polled(
    text: str, folder: Path, clock: ManualClock, answer: Any, *, limits: HttpLimits = QUICK
) -> tuple[PollReport, list[Request]]:
    """The report of one poll of a custom source, and the requests that it sent."""
    async with (
        running(answer) as server,
        connected(custom(folder, text, port=server.port), clock, limits=limits) as provider,
    ):
        report = await provider.poll()
    canary.assert_absent(repr(report), "the report")
    return report, server.requests


def rows_of(report: PollReport) -> list[Snapshot]:
    return [row for scope in report.scopes for row in scope.snapshots]


# --- secrets in addresses


@pytest.mark.parametrize(
    "text",
    [
        'list = { get = "/x", query = { key = "{secret.own}" } }\n',
        'list = { get = "/x/{secret.own}" }\nsecret_in_query = true\n',
        'list = { get = "/x" }\neach = { get = "/y/{secret.own}" }\nsecret_in_query = true\n',
        'list = { get = "/x" }\n[sources.test]\nget = "/{id}"\nquery = { key = "{secret.own}" }\nstatus = [{ is = "ok" }]\n',
    ],
    ids=["query", "path", "scopes", "test"],
)
def test_a_secret_in_an_address_is_a_mistake(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        custom(tmp_path, ROW + 'secrets = { own = { env = "OWN" } }\n' + text)
    assert "inserts a secret into" in str(caught.value)
    canary.assert_absent(str(caught.value), "the error")


async def test_a_secret_in_the_query_must_be_requested(tmp_path: Path, clock: ManualClock) -> None:
    text = (
        ROW
        + 'secret_in_query = true\nsecrets = { own = { env = "OWN" } }\nlist = { get = "/x", query = { key = "{secret.own}" } }\n'
    )
    report, (request,) = await polled(text, tmp_path, clock, lambda _: as_json([]))
    assert (report.outcome, request.query) == (PollOutcome.OK, {"key": OWN_SECRET})


FAULTS = {
    "reset": wire(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n[", then_reset=True),
    "no http": wire(b"what is this\r\n\r\n"),
    "redirect": Response(status=302, headers={"location": "http://127.0.0.1:9/elsewhere"}),
    "error": as_json({"error": "no"}, status=500),
    "unknown": as_json({"error": "no"}, status=418),
    "header": wire(b"HTTP/1.1 200 OK\r\nx-big: " + b"a" * 100_000 + b"\r\n\r\n[]"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_no_failure_shows_an_address_with_a_secret(fault: str, tmp_path: Path, clock: ManualClock) -> None:
    """Errors of the HTTP library contain the address; Meta's contains two tokens."""
    service = BY_NAME["meta"]
    async with (
        running(lambda _: FAULTS[fault]) as server,
        connected(service.source(tmp_path, server.port), clock, limits=QUICK) as provider,
    ):
        report = await provider.poll()
        server.answer = lambda _: Response(body=b'{"error": "' + server.requests[-1].target.encode() + b'"}', status=400)
        echoed = await provider.poll()
    assert server.requests[0].query["input_token"] == service.token("page-acme")
    for each in (report, echoed):
        assert each.outcome in (PollOutcome.INVALID, PollOutcome.UNREACHABLE)
        canary.assert_absent(repr(each), "the report")


async def test_a_refused_connection_shows_no_address_with_a_secret(tmp_path: Path, clock: ManualClock) -> None:
    async with running(lambda _: as_json([])) as server:
        source = BY_NAME["meta"].source(tmp_path, server.port)
    async with connected(source, clock) as provider:
        report = await provider.poll()
    assert report.outcome is PollOutcome.UNREACHABLE
    canary.assert_absent(repr(report), "the report")


async def test_an_encoded_secret_is_removed_too(tmp_path: Path, clock: ManualClock) -> None:
    """App tokens of Meta contain "|", which an address contains as "%7C"."""
    service = BY_NAME["meta"]
    async with running(lambda request: as_json({"error": request.target}, status=400)) as server:
        source = replace(service.source(tmp_path, server.port))
        odd = f"12345|{OWN_SECRET}/+ x"
        source = replace(source, secrets={"app": type(source.api_key)(odd)})
        async with connected(source, clock) as provider:
            report = await provider.poll()
    assert "%7C" in server.requests[0].target
    assert "12345" not in repr(report)


async def test_only_what_a_test_inserts_is_kept_of_a_row(tmp_path: Path, clock: ManualClock) -> None:
    """The sample's rows hold a token."""
    service = BY_NAME["bundle"]
    async with running(service.answer) as server, connected(service.source(tmp_path, server.port), clock) as provider:
        await provider.poll()
        kept = vars(provider)["_raw"]
    assert kept[None, "x1"] == {"_platform": "tiktok", "type": "TIKTOK", "parent": {"id": "t1"}}
    canary.assert_absent(repr(kept), "the rows that are kept")


# --- other hosts


@pytest.mark.parametrize("service", [BY_NAME["gitlab"], BY_NAME["entra"]], ids=["header", "body"])
@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:@PORT@/api/v1/next",
        "//127.0.0.1:@PORT@/api/v1/next",
        "http://key@127.0.0.1:@OWN@/api/v1/next",
        "https://127.0.0.1:@OWN@/api/v1/next",
        "http://127.0.0.1:@OWN@\\@127.0.0.1:@PORT@/next",
        "http://127.0.0.1:@OWN@.example/next",
        "ftp://127.0.0.1:@OWN@/next",
        "next?page=2",
        "http://[::1",
    ],
)
async def test_the_next_page_is_on_the_same_host(service: Service, address: str, tmp_path: Path, clock: ManualClock) -> None:
    async with running(lambda _: as_json([])) as other, running(lambda _: as_json([])) as server:
        target = address.replace("@PORT@", str(other.port)).replace("@OWN@", str(server.port))

        def answer(request: Request) -> Response:
            if (own := service.own_answer(request)) is not None:
                return own
            if service.name == "gitlab":
                return as_json(service.items_of(), link=f'<{target}>; rel="next"')
            return as_json({**service.body_of(service.items_of()), "@odata.nextLink": target})

        server.answer = answer
        async with connected(service.source(tmp_path, server.port), clock) as provider:
            report = await provider.poll()
    assert (report.outcome, rows_of(report)) == (PollOutcome.INVALID, [])
    assert "not on the host" in (report.problem or "")
    assert other.requests == []
    assert len([request for request in server.requests if service.own_answer(request) is None]) == 1


async def test_the_next_page_may_be_a_path(tmp_path: Path, clock: ManualClock) -> None:
    service = BY_NAME["gitlab"]

    def answer(request: Request) -> Response:
        if "page=2" in request.target:
            return as_json([{**service.items_of()[0], "id": 101}])
        return as_json(service.items_of()[:1], link=f'<{BASE}/personal_access_tokens?page=2>; rel="next"')

    async with running(answer) as server, connected(service.source(tmp_path, server.port), clock) as provider:
        report = await provider.poll()
    assert (report.outcome, len(rows_of(report)), len(server.requests)) == (PollOutcome.OK, 2, 2)
    assert server.requests[1].headers["private-token"] == KEY


@pytest.mark.parametrize("name", ["zernio", "slack", "entra", "meta"])
async def test_a_redirect_to_another_host_is_not_followed(name: str, tmp_path: Path, clock: ManualClock) -> None:
    service = BY_NAME[name]
    async with running(lambda _: as_json([])) as other:
        moved = Response(status=307, headers={"location": f"http://127.0.0.1:{other.port}/api/v1/list"})
        async with (
            running(lambda request: service.own_answer(request) or moved) as server,
            connected(service.source(tmp_path, server.port), clock) as provider,
        ):
            report = await provider.poll()
    assert (report.outcome, other.requests) == (PollOutcome.INVALID, [])
    assert "redirect" in (report.problem or "")


async def test_a_redirected_token_request_sends_the_client_secret_nowhere(tmp_path: Path, clock: ManualClock) -> None:
    service = BY_NAME["pipedream"]
    async with running(lambda _: as_json({"access_token": "x" * 20})) as other:
        moved = Response(status=307, headers={"location": f"http://127.0.0.1:{other.port}/oauth/token"})
        async with running(lambda _: moved) as server, connected(service.source(tmp_path, server.port), clock) as provider:
            report = await provider.poll()
    assert (report.outcome, other.requests, len(server.requests)) == (PollOutcome.INVALID, [], 1)


async def test_an_access_token_that_ended_early_is_renewed_within_the_poll(tmp_path: Path, clock: ManualClock) -> None:
    """It is no refusal of the source. A new one that is refused is."""
    service = BY_NAME["pipedream"]
    issued: list[str] = []
    refused: set[str] = set()

    def answer(request: Request) -> Response:
        if request.path == "/oauth/token":
            issued.append(f"Bearer {canary.secret(f'issued-{len(issued)}')}")
            return as_json({"access_token": issued[-1].removeprefix("Bearer "), "expires_in": 3600})
        sent = request.headers["authorization"]
        return as_json({"error": sent}, status=401) if sent in refused else as_json(service.sample["answers"][""]["body"])

    async with running(answer) as server, connected(service.source(tmp_path, server.port), clock) as provider:
        assert (await provider.poll()).outcome is PollOutcome.OK
        refused.add(issued[0])
        assert ((await provider.poll()).outcome, len(issued)) == (PollOutcome.OK, 2)
        server.answer = lambda request: answer(request) if request.path == "/oauth/token" else as_json({}, status=401)
        report = await provider.poll()
        assert (report.outcome, len(issued)) == (PollOutcome.UNAUTHORIZED, 3)
    canary.assert_absent(repr(report), "the report")


# --- values of the service are data


@pytest.mark.parametrize("key", ["w\r\nX-Evil: 1", "w\x00", "w\u2028", "", "..", {"a": 1}, None, "x" * 300])
async def test_an_id_that_is_not_usable_names_no_scope(key: Any, tmp_path: Path, clock: ManualClock) -> None:
    service = BY_NAME["publer"]
    async with (
        running(lambda _: as_json([{"id": key, "name": "W"}])) as server,
        connected(service.source(tmp_path, server.port), clock) as provider,
    ):
        report = await provider.poll()
    assert (report.outcome, len(server.requests)) == (PollOutcome.INVALID, 1)


async def test_an_id_that_is_no_header_costs_its_scope(tmp_path: Path, clock: ManualClock) -> None:
    service = BY_NAME["publer"]

    def answer(request: Request) -> Response:
        if request.path == "/workspaces":
            return as_json([{"id": "wé", "name": "W"}, {"id": "w1", "name": "V"}])
        return service.answer(request)

    async with running(answer) as server, connected(service.source(tmp_path, server.port), clock) as provider:
        report = await provider.poll()
    assert report.outcome is PollOutcome.PARTIAL
    assert [row.scope for row in rows_of(report)] == ["w1"]


@pytest.mark.parametrize("key", ["../../admin", "a?b=c#d", "a/b", "%2e%2e", "a b&c=d", "ä"])
async def test_S09_an_id_is_one_segment_of_the_path(key: str, tmp_path: Path, clock: ManualClock) -> None:
    service = BY_NAME["outstand"]

    def answer(request: Request) -> Response:
        if request.target.endswith("/health"):
            return as_json({"data": {"healthy": True}})
        return as_json({"data": [{"id": key, "network": "x", "isActive": 1}]})

    async with running(answer) as server, connected(service.source(tmp_path, server.port), clock) as provider:
        (row,) = rows_of(await provider.poll())
        found = await provider.probe(row.external_id, scope=None)
    segment = server.requests[-1].target.removeprefix(f"{BASE}/social-accounts/").removesuffix("/health")
    assert found.finding is ProbeFinding.OK
    assert not set(segment) & set("/?#& ")


async def test_a_value_in_json_stays_a_value(tmp_path: Path, clock: ManualClock) -> None:
    service = BY_NAME["bundle"]
    odd = 'TIKTOK", "teamId": "other'
    team = {"id": "t1", "socialAccounts": [{**service.items_of()[0]["socialAccounts"][0], "type": odd}]}

    def answer(request: Request) -> Response:
        return as_json({"success": False, "message": "lost"} if request.method == "POST" else service.body_of([team]))

    async with running(answer) as server, connected(service.source(tmp_path, server.port), clock) as provider:
        await provider.poll()
        found = await provider.probe("x1", scope=None)
    assert json.loads(server.requests[-1].body) == {"type": odd, "teamId": "t1"}
    assert (found.finding, found.message) == (ProbeFinding.FAILING, "lost")


async def test_a_value_in_a_form_or_a_query_stays_a_value(tmp_path: Path, clock: ManualClock) -> None:
    text = (
        ROW + 'each = { values = ["a&b=c"] }\nlist = { post = "/x", form = { f = "{scope.id}" }, query = { q = "{scope.id}" } }\n'
    )
    _, (request,) = await polled(text, tmp_path, clock, lambda _: as_json([]))
    assert parse_qs(request.body.decode()) == {"f": ["a&b=c"]}
    assert request.query == {"q": "a&b=c"}


async def test_a_cursor_is_a_value(tmp_path: Path, clock: ManualClock) -> None:
    odd = "c&admin=1#\r\nX-Evil: 1"
    text = ROW + '[sources.list]\nget = "/x"\nitems = "data"\npaging = { kind = "cursor", param = "after", next = "next" }\n'

    def answer(request: Request) -> Response:
        more = {} if request.query else {"next": odd}
        return as_json({"data": [{"id": "b" if request.query else "a"}], **more})

    report, requests = await polled(text, tmp_path, clock, answer)
    assert (report.outcome, requests[1].query) == (PollOutcome.OK, {"after": odd})
    assert "x-evil" not in requests[1].headers


# --- bounds


LIST = ROW + 'list = { get = "/x", items = "data" }\n'
CURSOR = ROW + '[sources.list]\nget = "/x"\nitems = "data"\npaging = { kind = "cursor", param = "after", next = "next" }\n'


@pytest.mark.parametrize("announced", [True, False])
async def test_N13_a_huge_body_is_given_up_early(announced: bool, tmp_path: Path, clock: ManualClock) -> None:
    head = b"content-length: 99999999999999999" if announced else b"connection: close"
    huge = wire(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + b" " * 100_000)
    report, _ = await polled(LIST, tmp_path, clock, lambda _: huge, limits=dataclasses.replace(QUICK, list_bytes=4096))
    assert report.outcome is PollOutcome.INVALID
    assert "larger than" in (report.problem or "")


async def test_N05_slow_loris_meets_the_deadline_of_the_whole_exchange(tmp_path: Path, clock: ManualClock) -> None:
    slow = wire(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n" + b"{" * 400, pause=0.02)
    limits = dataclasses.replace(QUICK, list_timeout=0.3, attempts=1)
    report, _ = await polled(LIST, tmp_path, clock, lambda _: slow, limits=limits)
    assert report.outcome is PollOutcome.UNREACHABLE
    assert "timeout" in (report.problem or "")


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (wire(b'HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{"da', then_reset=True), PollOutcome.UNREACHABLE),
        (wire(b"what is this\r\n\r\n"), PollOutcome.INVALID),
    ],
    ids=["reset", "no HTTP"],
)
async def test_N04_N15_an_exchange_that_breaks_off_is_a_failed_poll(
    answer: Response, outcome: PollOutcome, tmp_path: Path, clock: ManualClock
) -> None:
    report, _ = await polled(LIST, tmp_path, clock, lambda _: answer)
    assert report.outcome is outcome


async def test_cookies_are_never_kept(tmp_path: Path, clock: ManualClock) -> None:
    """Through a name, because aiohttp's jar refuses an address anyway."""
    async with running(lambda _: as_json({"data": []}, Set_Cookie="session=1; Path=/")) as server:
        settings = replace(custom(tmp_path, LIST), base_url=f"http://localhost:{server.port}{BASE}")
        async with connected(settings, clock) as provider:
            for _ in range(2):
                assert (await provider.poll()).outcome is PollOutcome.OK
    assert len(server.requests) == 2
    assert not any("cookie" in request.headers for request in server.requests)


async def test_S09_an_address_is_asked_for_as_it_is_written(tmp_path: Path, clock: ManualClock) -> None:
    async with running(lambda _: as_json({"data": []})) as server:
        settings = replace(custom(tmp_path, LIST), base_url=f"http://127.0.0.1:{server.port}/a%26b%28c%29%27")
        async with connected(settings, clock) as provider:
            await provider.poll()
    assert server.requests[0].target.startswith("/a%26b%28c%29%27/")


@pytest.mark.parametrize("place", ['{"data": @}', '{"data": [{"id": "a", "name": @}]}', '{"data": [], "more": @}'])
async def test_N16_nesting_of_any_depth_is_survived(place: str, tmp_path: Path, clock: ManualClock) -> None:
    body = place.encode().replace(b"@", b"[" * 100_000 + b"]" * 100_000)
    report, _ = await polled(LIST, tmp_path, clock, lambda _: Response(body=body))
    assert (report.outcome, rows_of(report)) == (PollOutcome.INVALID, [])


async def test_a_deep_value_of_a_mapped_field_is_no_value(tmp_path: Path, clock: ManualClock) -> None:
    body = b'{"data": [{"id": "a", "name": @}]}'.replace(b"@", b"[" * 400 + b"]" * 400)
    report, _ = await polled(LIST, tmp_path, clock, lambda _: Response(body=body))
    assert [(row.external_id, row.display_name) for row in rows_of(report)] == [("a", None)]


async def test_a_list_has_at_most_as_many_rows_as_the_limit(tmp_path: Path, clock: ManualClock) -> None:
    rows = as_json({"data": [{"id": f"n{number}"} for number in range(150)]})
    report, _ = await polled(LIST, tmp_path, clock, lambda _: rows, limits=dataclasses.replace(QUICK, rows=100))
    assert (report.outcome, len(rows_of(report))) == (PollOutcome.PARTIAL, 100)
    assert "more than 100 rows" in (report.problem or "")


@pytest.mark.parametrize("empty", [True, False])
async def test_a_list_without_an_end_is_incomplete(
    empty: bool, tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MOST_PAGES", 20)

    def answer(request: Request) -> Response:
        number = int(request.query.get("after", "0"))
        return as_json({"data": [] if empty else [{"id": f"n{number}"}], "next": str(number + 1)})

    report, requests = await polled(CURSOR, tmp_path, clock, answer)
    assert len(requests) == 20
    assert not any(scope.complete for scope in report.scopes)
    assert "no end" in (report.problem or "")


async def test_cursors_in_a_circle_end(tmp_path: Path, clock: ManualClock) -> None:
    following = {"": "a", "a": "b", "b": "c", "c": "a"}
    report, requests = await polled(
        CURSOR, tmp_path, clock, lambda request: as_json({"data": [], "next": following[request.query.get("after", "")]})
    )
    assert (len(requests), report.scopes[0].complete) == (4, False)
    assert "repeats a cursor" in (report.problem or "")


async def test_more_scopes_than_the_limit_are_a_failure(tmp_path: Path, clock: ManualClock) -> None:
    """Reading only some of them would let the others count as missing."""
    service = BY_NAME["publer"]
    async with (
        running(lambda _: as_json([{"id": f"w{number}", "name": "W"} for number in range(1001)])) as server,
        connected(service.source(tmp_path, server.port), clock) as provider,
    ):
        report = await provider.poll()
    assert (report.outcome, len(server.requests)) == (PollOutcome.INVALID, 1)
