"""The heartbeat at servers that answer as the services do: at the start, in progress, in a standstill and afterwards."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import structlog.testing

from monitor.config import HeartbeatConfig, HeartbeatKind, Secret
from monitor.config.urls import heartbeat_kind
from monitor.daemon.health_reporting import HeartbeatPinger
from monitor.providers import HttpSessions
from monitor.providers.heartbeat import Signal, calls_for
from monitor.telemetry.progress import SCHEDULER, Progress
from tests.support import canary
from tests.support.command_line import token_monitor, write_config
from tests.support.delivery import until
from tests.support.fakes import Passing
from tests.support.receivers import Received, Reply, WebhookReceiver

TOKEN = "AbCdEf1234"
STALLED = "The scheduler has not checked for due work for 10 minutes."
LINE = "monitoring 2 connections"
Event = tuple[str, str]
"""The state and the text that a service recorded."""


class Service(WebhookReceiver):
    """A heartbeat service: its routes are those of its documentation or source, and it records what it understood."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []

    def take(self, request: Received) -> Reply:
        super().take(request)
        parts = urlsplit(request.path)
        return self.answer(request, parts.path, dict(parse_qsl(parts.query, keep_blank_values=True)))

    def answer(self, request: Received, path: str, query: dict[str, str]) -> Reply:
        """Record an event, if this is one, and return the response."""
        raise NotImplementedError


class Kuma(Service):
    """Uptime Kuma 1.23: `router.get("/api/push/:pushToken")`, so that Express knows no route for POST."""

    methods: tuple[str, ...] = ("GET",)
    unknown = 404

    def answer(self, request: Received, path: str, query: dict[str, str]) -> Reply:
        if request.method not in self.methods or not path.startswith("/api/push/") or path.count("/") != 3:
            return Reply(status=404, body=f"<pre>Cannot {request.method} {path}</pre>".encode())
        if path != f"/api/push/{TOKEN}":
            body = {"ok": False, "msg": "Monitor not found or not active."}
            return Reply(status=self.unknown, body=json.dumps(body).encode())
        self.events.append(("up" if (query.get("status") or "up") == "up" else "down", query.get("msg") or "OK"))
        return Reply(body=b'{"ok":true}')


class Kuma2(Kuma):
    """Uptime Kuma 2: `router.all`, and 500 for an unknown token."""

    methods = ("GET", "POST")
    unknown = 500


class Healthchecks(Service):
    """A Healthchecks instance: HEAD, GET and POST on the check and its suffixes, 404 for anything else."""

    unknown = Reply(status=404, body=b"not found")

    def answer(self, request: Received, path: str, query: dict[str, str]) -> Reply:
        known, _, action = path.removeprefix("/ping/").partition("/")
        if known != TOKEN or action not in ("", "start", "fail", "log"):
            return self.unknown
        self.events.append((action or "success", request.body.decode()))
        return Reply(body=b"OK")


class Hosted(Healthchecks):
    """healthchecks.io: 200 for an unknown check, which only the body reports."""

    unknown = Reply(body=b"OK (not found)")


class Cronitor(Service):
    """Cronitor's Telemetry API: 200 for every call, and an event if the key is right."""

    def answer(self, request: Received, path: str, query: dict[str, str]) -> Reply:
        if path == f"/p/{TOKEN}/token-monitor":
            self.events.append((query.get("state", "tick"), query.get("message", "")))
        return Reply(body=b"OK")


class BetterStack(Service):
    """A Better Stack heartbeat: GET and POST on its URL, failures at /fail, 404 for anything else."""

    def answer(self, request: Received, path: str, query: dict[str, str]) -> Reply:
        known, _, action = path.removeprefix("/api/v1/heartbeat/").partition("/")
        if known != TOKEN or action not in ("", "fail"):
            return Reply(status=404)
        self.events.append((action or "success", request.body.decode()))
        return Reply()


class OnlyGet(Service):
    """A service that takes GET requests on exactly one path."""

    refusal = 405

    def answer(self, request: Received, path: str, query: dict[str, str]) -> Reply:
        if path != f"/{TOKEN}":
            return Reply(status=404)
        if request.method != "GET":
            return Reply(status=self.refusal)
        self.events.append(("success", query.get("m", "")))
        return Reply(status=202)


class OnlyGet501(OnlyGet):
    """The same, as Python's own server answers an unknown method."""

    refusal = 501


@contextmanager
def running(service: Callable[[], Service]) -> Iterator[Service]:
    with service() as made:
        yield made


@pytest.fixture
async def sessions() -> AsyncIterator[HttpSessions]:
    async with HttpSessions() as made:
        yield made


async def describe() -> str:
    return LINE


CRONITOR = f"/p/{TOKEN}/token-monitor"
KUMA = f"/api/push/{TOKEN}?status=up&msg=OK&ping="
CASES: list[tuple[type[Service], HeartbeatKind | None, str, list[Event], list[Event], list[Event]]] = [
    (Kuma, None, KUMA, [("up", "OK")], [("down", STALLED)], [("up", "OK")]),
    (Kuma, "uptime-kuma", KUMA, [("up", "OK")], [("down", STALLED)], [("up", "OK")]),
    (Kuma, None, f"/api/push/{TOKEN}", [("up", LINE)], [("down", STALLED)], [("up", LINE)]),
    (
        Kuma,
        None,
        f"/api/push/{TOKEN}?msg=prod%201",
        [("up", "prod 1")],
        [("down", f"prod 1: {STALLED}")],
        [("up", "prod 1")],
    ),
    (Kuma2, None, KUMA, [("up", "OK")], [("down", STALLED)], [("up", "OK")]),
    (Healthchecks, None, f"/ping/{TOKEN}", [("start", LINE), ("success", LINE)], [("fail", STALLED)], [("success", LINE)]),
    (Healthchecks, None, f"/ping/{TOKEN}/?rid=1", [("start", LINE)], [("fail", STALLED)], []),
    (Hosted, "healthchecks", f"/ping/{TOKEN}", [("start", LINE), ("success", LINE)], [("fail", STALLED)], [("success", LINE)]),
    (
        Cronitor,
        "cronitor",
        f"/p/{TOKEN}/token-monitor",
        [("run", LINE), ("complete", LINE)],
        [("fail", STALLED)],
        [("complete", LINE)],
    ),
    (
        Cronitor,
        "cronitor",
        f"{CRONITOR}?env=a&message=b",
        [("run", "b")],
        [("fail", f"b: {STALLED}")],
        [("complete", "b")],
    ),
    (BetterStack, None, f"/api/v1/heartbeat/{TOKEN}", [("success", LINE)], [("fail", STALLED)], [("success", LINE)]),
    (BetterStack, "plain", f"/api/v1/heartbeat/{TOKEN}", [("success", LINE)], [], [("success", LINE)]),
    (OnlyGet, None, f"/{TOKEN}", [("success", "")], [], [("success", "")]),
    (OnlyGet, "plain", f"/{TOKEN}?m=mine", [("success", "mine")], [], [("success", "mine")]),
    (OnlyGet501, None, f"/{TOKEN}?m=mine", [("success", "mine")], [], [("success", "mine")]),
]


@pytest.mark.parametrize(("service", "kind", "path", "well", "stalled", "again"), CASES)
async def test_A20_each_service_gets_success_and_failure_in_its_own_way(
    *,
    service: type[Service],
    kind: HeartbeatKind | None,
    path: str,
    well: list[Event],
    stalled: list[Event],
    again: list[Event],
    sessions: HttpSessions,
) -> None:
    passing = Passing()
    progress = Progress(monotonic=passing)
    progress.note(SCHEDULER)
    with running(service) as server, structlog.testing.capture_logs() as logged:
        url = f"http://{server.address}{path}"
        config = HeartbeatConfig(url=Secret(url), kind=kind or heartbeat_kind(url), every=timedelta(milliseconds=30))
        pinger = HeartbeatPinger(sessions=sessions, progress=progress, describe=describe)
        pinger.configure(config)
        await until(lambda: len(server.events) > len(well))
        assert server.events[: len(well)] == well
        assert logged == [], "a service that takes the calls is not reported as failing"
        passing.now += 600
        if stalled:
            await until(lambda: server.events[-1:] == stalled)
        await until(lambda: not stalled or server.events.count(stalled[0]) >= 2)
        progress.note(SCHEDULER)
        before = len(server.events)
        await until(lambda: len(server.events) > before + 1)
        pinger.stop()
        assert not again or server.events[-1:] == again
        assert [line for line in logged if TOKEN in str(line)] == []


async def test_A20_a_server_without_post_gets_get_from_then_on(sessions: HttpSessions) -> None:
    with running(OnlyGet) as server:
        config = HeartbeatConfig(url=Secret(f"http://{server.address}/{TOKEN}"), kind="plain", every=timedelta(milliseconds=30))
        pinger = HeartbeatPinger(sessions=sessions, progress=Progress(), describe=describe)
        pinger.configure(config)
        await until(lambda: len(server.events) >= 4)
        pinger.stop()
        assert [request.method for request in server.received][:5] == ["POST", "GET", "GET", "GET", "GET"]


@pytest.mark.parametrize(
    ("service", "path", "problem"),
    [
        (Kuma, "/api/push/wrong", "returned HTTP 404: the push monitor does not exist, or is paused."),
        (Kuma2, "/api/push/wrong", "returned HTTP 500: the push monitor does not exist, or is paused."),
        (Healthchecks, "/ping/wrong", "returned HTTP 404: the check does not exist."),
        (Hosted, "/ping/wrong", "did not accept the call: not found."),
        (OnlyGet, "/wrong", "returned HTTP 404."),
    ],
)
async def test_A20_a_wrong_token_is_reported_once_and_not_shown(
    service: type[Service], path: str, problem: str, sessions: HttpSessions
) -> None:
    with running(service) as server, structlog.testing.capture_logs() as logged:
        url = f"http://{server.address}{path}"
        config = HeartbeatConfig(url=Secret(url), kind=heartbeat_kind(url), every=timedelta(milliseconds=30))
        pinger = HeartbeatPinger(sessions=sessions, progress=Progress(), describe=describe)
        pinger.configure(config)
        await until(lambda: len(server.received) >= 6)
        pinger.stop()
        assert server.events == []
    assert [line["problem"] for line in logged] == [f"The heartbeat URL at 127.0.0.1 {problem}"]


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("https://hc-ping.com/5f0c", "healthchecks"),
        ("https://hc-ping.com/key/slug?create=1", "healthchecks"),
        ("https://checks.example.com/ping/5f0c", "healthchecks"),
        ("https://kuma.example.com/api/push/x?status=up&msg=OK&ping=", "uptime-kuma"),
        ("https://example.com/kuma/api/push/x", "uptime-kuma"),
        ("https://cronitor.link/p/key/monitor", "cronitor"),
        ("https://CRONITOR.link/p/key/monitor?state=ok", "cronitor"),
        ("https://nosnch.in/abc", None),
        ("https://nosnch.in/abc?m=x", "plain"),
        ("https://example.com/hook?to=/api/push/", "plain"),
        ("https://notcronitor.link/p/key", None),
    ],
)
def test_A20_the_service_is_recognised_from_the_url(url: str, kind: HeartbeatKind | None) -> None:
    assert heartbeat_kind(url) == kind


@pytest.mark.parametrize("kind", ["uptime-kuma", "cronitor", "plain", "healthchecks", None])
@pytest.mark.parametrize("signal", Signal)
def test_A20_what_the_user_wrote_in_the_query_stays(kind: HeartbeatKind | None, signal: Signal) -> None:
    """Unusual spelling, repeated names and escapes; of these only the state and the message change, at a failure."""
    query = "a=1&a=2&%C3%A4=%2F+x&flag&msg=m%26n&message=m%26n"
    for call in calls_for(kind, f"https://h/api/push/t?{query}", signal, "text & more"):
        sent = urlsplit(call.url).query.split("&")
        assert [item for item in query.split("&") if item.startswith(("a=", "%C3", "flag"))] == sent[:4]
        assert dict(parse_qsl(urlsplit(call.url).query))["msg"].startswith("m&n")


LIVE = f"""\
[database]
url = "sqlite:///monitor.db"
[web]
listen = "off"
[[sources]]
name = "agency"
provider = "postpost"
api_key = "{canary.POSTPOST_KEY}"
base_url = "http://127.0.0.1:9/api/v1"
[heartbeat]
url = "{{url}}"
{{more}}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("service", "path", "kind", "line", "events"),
    [
        (Kuma, KUMA, None, "ok      heartbeat 127.0.0.1: accepted the call (uptime-kuma)", [("up", "OK")]),
        (
            Kuma,
            "/api/push/wrong",
            None,
            "FAILED  heartbeat 127.0.0.1: The heartbeat URL at 127.0.0.1 returned HTTP 404: the push",
            [],
        ),
        (Healthchecks, f"/ping/{TOKEN}", None, "ok      heartbeat 127.0.0.1: accepted the call (healthchecks)", ["log"]),
        (Cronitor, CRONITOR, "cronitor", "(cronitor); Cronitor accepts any key", ["complete"]),
        (OnlyGet, f"/{TOKEN}", None, "accepted the call (service of unknown kind)", ["success"]),
    ],
)
def test_A20_a_live_check_tries_the_heartbeat(
    *, service: type[Service], path: str, kind: str | None, line: str, events: list[Any], tmp_path: Path
) -> None:
    with running(service) as server:
        more = f'kind = "{kind}"' if kind else ""
        config = write_config(tmp_path, text=LIVE.format(url=f"http://{server.address}{path}", more=more))
        done = token_monitor("config", "check", "--live", config=config)
        assert line in done.out
        assert TOKEN not in done.out + done.err
        assert [
            event if isinstance(wanted, tuple) else event[0] for event, wanted in zip(server.events, events, strict=True)
        ] == events


@pytest.mark.slow
def test_A20_a_live_check_names_the_cause_of_an_unreachable_heartbeat(tmp_path: Path) -> None:
    config = write_config(tmp_path, text=LIVE.format(url=f"http://127.0.0.1:9/ping/{TOKEN}", more=""))
    done = token_monitor("config", "check", "--live", config=config)
    expected = "FAILED  heartbeat 127.0.0.1: The heartbeat URL at 127.0.0.1 could not be reached: the connection was refused."
    assert expected in done.out
    assert (done.status, TOKEN in done.out + done.err) == (1, False)
