"""Deliveries of services, by real HTTP: whatever is signed causes a poll soon, and nothing else happens."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from structlog.testing import capture_logs

from monitor.config import Config, load
from monitor.domain import PollOutcome, PollReport, ReportedStatus, ScopeReport, Snapshot
from monitor.engine import config_sync
from monitor.engine import intake as intakes
from monitor.engine.intake import Intake
from monitor.engine.recording.polls import Poll, record_poll
from monitor.store import Store, sources, web_sessions
from monitor.telemetry.metrics import Metrics
from monitor.telemetry.progress import Progress
from monitor.views.sources import source_views
from monitor.web.hooks import LARGEST_DELIVERY, build_app
from monitor.web.server import WebServer, address_of, take_port
from monitor.web.site import Site
from tests.support.fakes import ManualClock
from tests.support.poll_cycle import CHANNEL

SECRET, OLD = "secret-of-the-hook-1234567890", "the-secret-before-it-1234567890"
STANDARD = "whsec_" + base64.b64encode(b"a-key-of-standard-webhooks").decode()
BODY = json.dumps({"event": "account.disconnected", "token": "live-token-in-the-body"}).encode()
CUSTOM = """
base_url = "https://api.example.com"
api_key = "key-of-the-service-123456"
list = { get = "/accounts", items = "data" }
row = { id = "id" }
"""

Sign = Callable[[bytes, datetime, str], dict[str, str]]


def _hex(key: bytes, message: bytes) -> str:
    return hmac.new(key, message, hashlib.sha256).hexdigest()


def _b64(key: bytes, message: bytes) -> str:
    return base64.b64encode(hmac.new(key, message, hashlib.sha256).digest()).decode()


def plain(body: bytes, _: datetime, secret: str) -> dict[str, str]:
    return {"X-Signature": _hex(secret.encode(), body)}


def prefixed(body: bytes, _: datetime, secret: str) -> dict[str, str]:
    return {"X-Signature": "sha256=" + _hex(secret.encode(), body)}


def in_base64(body: bytes, _: datetime, secret: str) -> dict[str, str]:
    return {"X-Signature": _b64(secret.encode(), body)}


def timestamped(body: bytes, at: datetime, secret: str) -> dict[str, str]:
    seconds = str(int(at.timestamp()))
    return {"X-Signature": f"t={seconds},v1={'0' * 64},v1={_hex(secret.encode(), f'{seconds}.'.encode() + body)}"}


def standard(body: bytes, at: datetime, secret: str) -> dict[str, str]:
    key = base64.b64decode(secret.removeprefix("whsec_")) if secret.startswith("whsec_") else secret.encode()
    seconds = str(int(at.timestamp()))
    signature = _b64(key, f"msg_1.{seconds}.".encode() + body)
    return {"webhook-id": "msg_1", "webhook-timestamp": seconds, "webhook-signature": f"v1,AAAA v1,{signature}"}


def shared(_: bytes, __: datetime, secret: str) -> dict[str, str]:
    return {"X-Signature": secret}


def with_time(body: bytes, at: datetime, secret: str) -> dict[str, str]:
    return {**plain(body, at, secret), "X-Time": str(int(at.timestamp() * 1000))}


class Scheme(NamedTuple):
    signature: str
    sign: Sign
    secret: str


SCHEMES = [
    Scheme('{ scheme = "hmac-sha256-hex", header = "X-Signature" }', plain, SECRET),
    Scheme('{ scheme = "hmac-sha256-hex", header = "x-signature", prefix = "sha256=" }', prefixed, SECRET),
    Scheme('{ scheme = "hmac-sha256-hex", header = "X-Signature", timestamp = "X-Time" }', with_time, SECRET),
    Scheme('{ scheme = "hmac-sha256-base64", header = "X-Signature" }', in_base64, SECRET),
    Scheme('{ scheme = "timestamped-hmac-sha256-hex", header = "X-Signature" }', timestamped, SECRET),
    Scheme('{ scheme = "standard-webhooks" }', standard, STANDARD),
    Scheme('{ scheme = "shared-secret", header = "X-Signature" }', shared, SECRET),
]
TIMED = [each for each in SCHEMES if each.sign in (with_time, timestamped, standard)]


@dataclass(kw_only=True)
class Hooks:
    """The listener, and the store behind it."""

    url: str
    client: httpx.AsyncClient
    store: Store
    clock: ManualClock
    config: Config
    intake: Intake
    metrics: Metrics

    async def deliver(self, headers: dict[str, Any], body: bytes = BODY, *, source: str = "agency") -> httpx.Response:
        return await self.client.post(f"{self.url}/hooks/{source}", content=body, headers=headers)

    def source(self) -> sources.SourceRow:
        with self.store.begin_read() as conn:
            row = sources.find_source(conn, "agency")
        assert row is not None
        return row

    def poll(self, *listed: Snapshot, started_at: datetime | None = None) -> None:
        """Record a poll that read these rows, or no list at all."""
        scopes = (ScopeReport(scope=None, complete=True, snapshots=listed),) if listed else ()
        report, now = PollReport(outcome=PollOutcome.OK, requests=1, scopes=scopes), self.clock.now()
        poll = Poll(report=report, started_at=started_at or now, now=now)
        with self.store.begin_write() as conn:
            record_poll(conn, self.config.sources[0], poll, channels=self.config.channels)

    async def is_due(self) -> bool:
        """Wait for what a delivery causes; return True if a poll is due."""
        for _ in range(100):
            if (self.source().next_poll_at or self.clock.now()) <= self.clock.now():
                return True
            await asyncio.sleep(0.01)
        return False


Listen = Callable[[str], AbstractAsyncContextManager[Hooks]]


@asynccontextmanager
async def listening(store: Store, clock: ManualClock, folder: Path, source: str) -> AsyncIterator[Hooks]:
    path = folder / "config.toml"
    path.touch(mode=0o600)
    path.write_text(f'{CHANNEL}\n[[sources]]\nname = "agency"\n{source}', encoding="utf-8")
    config = load(path, {"HOME": str(folder)}).config
    with store.begin_write() as conn:
        config_sync.sync(conn, config, clock.now())
        key = web_sessions.signing_key(conn)
    intake, metrics = Intake(store=store, clock=clock), Metrics()
    intake.open(config, recorded=lambda _: None)
    taken = await take_port("127.0.0.1:0")
    url = address_of(taken).rstrip("/")
    site = Site(
        store=store, signing_key=key, clock=clock, config=lambda: config, metrics=metrics, progress=Progress(), intake=intake
    )
    server = WebServer(taken, build_app(site), streams=site.streams)
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            await server.start()
            made = Hooks(url=url, client=client, store=store, clock=clock, config=config, intake=intake, metrics=metrics)
            made.poll()
            clock.advance(timedelta(seconds=1))
            yield made
    finally:
        await server.stop()
        intake.close()


@pytest.fixture
def listen(store: Store, clock: ManualClock, tmp_path: Path) -> Listen:
    """Opens the listener for a source with these settings."""
    return partial(listening, store, clock, tmp_path)


def custom(signature: str, secret: str = SECRET, on: str = "") -> str:
    listed = json.dumps([OLD, secret])
    return f'provider = "custom"\n{CUSTOM}\n[sources.hook]\nsecret = {listed}\nsignature = {signature}\n{on}'


@pytest.mark.parametrize("scheme", SCHEMES, ids=[each.sign.__name__ for each in SCHEMES])
async def test_each_scheme_accepts_its_signature_and_no_other(listen: Listen, clock: ManualClock, scheme: Scheme) -> None:
    async with listen(custom(scheme.signature, scheme.secret)) as hooks:
        sign, secret = scheme.sign, scheme.secret
        good: dict[str, Any] = sign(BODY, clock.now(), secret)
        wrong: list[dict[str, Any]] = [
            {},
            sign(BODY, clock.now(), "another-secret-1234567890"),
            dict.fromkeys(good, ""),
            {**good, next(reversed(good)): b"\xff"},
        ]
        if sign is not shared:
            wrong.append(sign(BODY + b" ", clock.now(), secret))
        for headers in wrong:
            answer = await hooks.deliver(headers)
            assert answer.status_code == 401, headers
        assert not (await hooks.is_due())
        answer = await hooks.deliver(good)
        assert (answer.status_code, answer.content) == (204, b"")
        assert await hooks.is_due()
        assert (await hooks.deliver(sign(BODY, clock.now(), OLD))).status_code == 204, "the secret before still counts"
        assert hooks.metrics.hooks() == {("agency", "refused"): len(wrong), ("agency", "accepted"): 2}


@pytest.mark.parametrize("scheme", TIMED, ids=[each.sign.__name__ for each in TIMED])
@pytest.mark.parametrize("off", [timedelta(minutes=-6), timedelta(minutes=6)])
async def test_a_signature_of_another_time_is_refused(listen: Listen, clock: ManualClock, scheme: Scheme, off: timedelta) -> None:
    async with listen(custom(scheme.signature, scheme.secret)) as hooks:
        assert (await hooks.deliver(scheme.sign(BODY, clock.now() + off, scheme.secret))).status_code == 401
        assert (await hooks.deliver(scheme.sign(BODY, clock.now() + off * 0.8, scheme.secret))).status_code == 204


async def test_an_unknown_source_is_answered_like_a_wrong_signature(listen: Listen, clock: ManualClock) -> None:
    async with listen(custom(SCHEMES[0][0])) as hooks:
        answers = [
            await hooks.deliver(plain(BODY, clock.now(), "wrong")),
            await hooks.deliver(plain(BODY, clock.now(), SECRET), source="nothing"),
        ]
        assert {(each.status_code, each.text) for each in answers} == {(401, answers[0].text)}
        assert hooks.metrics.hooks() == {("agency", "refused"): 1, ("", "refused"): 1}


async def test_only_deliveries_that_count_cause_a_poll_and_no_body_is_kept_or_logged(listen: Listen, clock: ManualClock) -> None:
    on = "on = [{ when = \"event == 'account.disconnected'\" }]"
    async with listen(custom(SCHEMES[0][0], on=on)) as hooks:
        with capture_logs() as logs:
            for body in (
                b'{"event": "post.published", "token": "live-token-in-the-body"}',
                b"[]",
                b"not json",
                b"[" * 100_000,
                b"",
            ):
                assert (await hooks.deliver(plain(body, clock.now(), SECRET), body)).status_code == 204
            assert not (await hooks.is_due())
            assert (await hooks.deliver(plain(BODY, clock.now(), SECRET))).status_code == 204
            assert await hooks.is_due()
            assert (await hooks.deliver({}, BODY)).status_code == 401
        assert "live-token" not in repr(logs)
        if hooks.store.path is not None:
            assert b"live-token" not in b"".join(each.read_bytes() for each in hooks.store.path.parent.glob("monitor.db*"))
        assert hooks.metrics.hooks()["agency", "ignored"] == 5


async def test_the_answer_is_fast_and_the_poll_follows(listen: Listen, clock: ManualClock) -> None:
    async with listen(custom(SCHEMES[0][0])) as hooks:
        body = BODY + b" " * (LARGEST_DELIVERY - len(BODY))
        headers = plain(body, clock.now(), SECRET)
        await hooks.deliver(headers, body)
        lasted = []
        for _ in range(5):
            begun = time.perf_counter()
            assert (await hooks.deliver(headers, body)).status_code == 204
            lasted.append(time.perf_counter() - begun)
        assert min(lasted) < 0.1
        assert (await hooks.deliver(headers, body + b" ")).status_code == 413


async def test_deliveries_within_ten_seconds_share_a_poll(
    listen: Listen, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intakes, "POLL_AGAIN_AFTER", timedelta(seconds=1))
    async with listen(custom(SCHEMES[0][0])) as hooks:
        headers = plain(BODY, clock.now(), SECRET)
        await asyncio.gather(*(hooks.deliver(headers) for _ in range(20)))
        assert await hooks.is_due()
        hooks.poll()
        clock.advance(timedelta(seconds=5))
        for _ in range(5):
            assert (await hooks.deliver(headers)).status_code == 204
        await asyncio.sleep(0.3)
        row = hooks.source()
        assert row.next_poll_at is not None
        assert row.next_poll_at > clock.now(), "not yet"
        await asyncio.sleep(0.8)
        assert await hooks.is_due(), "what arrived meanwhile is not lost"


async def test_a_delivery_during_a_poll_causes_another_one(listen: Listen, clock: ManualClock) -> None:
    async with listen(custom(SCHEMES[0][0])) as hooks:
        began = clock.now()
        await hooks.deliver(plain(BODY, began, SECRET))
        assert await hooks.is_due()
        clock.advance(timedelta(seconds=2))
        hooks.poll(started_at=began - timedelta(seconds=1))
        assert await hooks.is_due()
        hooks.poll()
        assert not (await hooks.is_due())


async def test_the_listener_serves_nothing_else(listen: Listen, clock: ManualClock) -> None:
    async with listen(custom(SCHEMES[0][0])) as hooks:
        for path in ("/", "/metrics", "/healthz", "/api/v1/connections", "/api/v1/openapi.json", "/hooks/", "/static/page.css"):
            assert (await hooks.client.get(hooks.url + path)).status_code == 404, path
        assert (await hooks.client.get(f"{hooks.url}/hooks/agency")).status_code == 405
        answer = await hooks.client.post(
            f"{hooks.url}/api/v1/push/agency", json={"id": "a"}, headers={"authorization": "Bearer x"}
        )
        assert answer.status_code == 401
        hooks.intake.close()
        assert (await hooks.deliver(plain(BODY, clock.now(), SECRET))).status_code == 503


CODED: list[tuple[str, bytes, Sign]] = [
    ("postpost", b'{"event": "post.failed"}', lambda body, _, key: {"X-PostPost-Signature": _hex(key.encode(), body)}),
    ("publora", b'{"event": "post.failed"}', lambda body, _, key: {"X-Publora-Signature": _hex(key.encode(), body)}),
    ("postbreeze", b"{}", lambda body, at, key: {"X-Postbreeze-Signature": timestamped(body, at, key)["X-Signature"]}),
]


@pytest.mark.parametrize("coded", CODED, ids=[each[0] for each in CODED])
async def test_services_with_code_of_their_own_announce_changes_too(
    listen: Listen, clock: ManualClock, coded: tuple[str, bytes, Sign]
) -> None:
    provider, body, sign = coded
    source = f'provider = "{provider}"\napi_key = "key-of-the-service-123456"\n[sources.hook]\nsecret = "{SECRET}"\n'
    async with listen(source) as hooks:
        assert (await hooks.deliver(sign(body, clock.now(), "wrong"), body)).status_code == 401
        assert (await hooks.deliver(sign(body, clock.now(), SECRET), body)).status_code == 204
        assert await hooks.is_due()


async def test_polls_that_deliveries_cause_use_half_of_what_is_left_of_the_day(
    listen: Listen, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intakes, "POLL_AGAIN_AFTER", timedelta(0))
    limited = custom(SCHEMES[0][0]).replace("[sources.hook]", "requests_per_day = 9\n[sources.hook]")
    async with listen(limited) as hooks:  # one poll was made: 8 requests are left, so 4 of them for deliveries
        polled = []
        for _ in range(6):
            await hooks.deliver(plain(BODY, clock.now(), SECRET))
            polled.append(await hooks.is_due())
            clock.advance(timedelta(seconds=1))
            if polled[-1]:
                hooks.poll()
            clock.advance(timedelta(seconds=1))
        assert polled == [True] * 4 + [False] * 2
        with hooks.store.begin_read() as conn:
            spent = sources.requests_since(conn, "agency", clock.now() - timedelta(days=1))
        assert sorted(by_hook for _, _, by_hook in spent) == [False] + [True] * 4
        clock.advance(timedelta(days=1))
        hooks.poll()
        clock.advance(timedelta(seconds=1))
        await hooks.deliver(plain(BODY, clock.now(), SECRET))
        assert await hooks.is_due(), "the next day"


async def test_changes_that_no_delivery_announces_flag_the_source_until_one_does(listen: Listen, clock: ManualClock) -> None:
    async with listen(custom(SCHEMES[0][0])) as hooks:

        def flags() -> list[str]:
            with hooks.store.begin_read() as conn:
                (view,) = source_views(conn, hooks.config, now=clock.now())
            assert bool(view.flags) == any("no hook announced" in each for each in view.problems())
            return view.json().flags

        def changes(*statuses: ReportedStatus) -> None:
            for status in statuses:
                clock.advance(timedelta(minutes=15))
                hooks.poll(Snapshot(external_id="a", platform="x", reported=status))

        changes(ReportedStatus.VALID, ReportedStatus.REVOKED)
        assert flags() == []
        changes(ReportedStatus.REVOKED, ReportedStatus.REVOKED, ReportedStatus.VALID)
        assert flags() == ["hook_silent"]
        await hooks.deliver(plain(BODY, clock.now(), SECRET))
        assert await hooks.is_due()
        changes(ReportedStatus.REVOKED)
        assert flags() == []


async def test_wrong_tokens_of_pushed_reports_are_counted_for_the_client_of_a_trusted_proxy(
    store: Store, clock: ManualClock, tmp_path: Path
) -> None:
    source = f"""provider = "push"
token = "{SECRET}"
stale_after = "1d"
[web]
trusted_proxies = ["127.0.0.1"]
"""

    async with listening(store, clock, tmp_path, source) as made:

        async def status(client: str) -> int:
            headers = {"authorization": "Bearer wrong", "x-forwarded-for": client}
            answer = await made.client.post(
                f"{made.url}/api/v1/push/agency", json={"id": "a", "status": "valid"}, headers=headers
            )
            return answer.status_code

        first = [await status("192.0.2.7") for _ in range(30)]
        assert (first[0], first[-1]) == (401, 429)
        assert await status("192.0.2.8") == 401, "another client of the same proxy"
