"""Whatever a service sends to a definition: a report, nothing unmapped in it, and `valid` only if it is stated."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.config import SourceConfig
from monitor.domain import PollOutcome, PollReport, ProbeFinding, ReportedStatus
from monitor.domain.errors import ProviderError
from monitor.providers.declarative.provider import DeclarativeProvider
from monitor.providers.declarative.requests import RequestBuilder
from monitor.providers.transport import Bounds, HttpResponse
from tests.answers.offline import OfflineApi, Raw
from tests.answers.shapes import JSON
from tests.contract.defined import ACCESS, ONLINE, SERVICES, Service
from tests.support import canary

UNMAPPED = canary.secret("unmapped")

TRUE, TEXT = (True,), str
VALID_NEEDS: dict[str, dict[str, Any]] = {
    "zernio": {"status": ("healthy", "warning")},
    "relayapi": {"healthy": TRUE},
    "outstand": {"isActive": (1, True, 1.0)},
    "ayrshare": {"platform": object},
    "buffer": {"isDisconnected": (False,)},
    "bundle": {"deleteOn": object},
    "nango": {"errors": list, "connection_id": object},
    "composio": {"status": ("ACTIVE",)},
    "pipedream": {"healthy": TRUE},
    "unified": {"last_healthy_at": (str, int, float)},
    "meta": {"is_valid": TRUE},
    "linkedin": {"active": TRUE},
    "github": {"login": object},
    "gitlab": {"active": TRUE},
    "vault": {"creation_time": object},
    "slack": {"ok": TRUE},
    "cloudflare": {"status": ("active",)},
    "introspect": {"active": TRUE},
}
"""The fields, in one object, without which no connection may be valid: their values, or their types."""
TEST_NEEDS = {"outstand": "healthy", "bundle": "success"}
"""The field that must be true for a test to be passed."""


class OneAnswer(OfflineApi):
    """Gives one answer to every request for a list; the requests before it succeed."""

    async def _exchange(self, request: httpx.Request, bounds: Bounds) -> HttpResponse:
        if request.url.path.endswith("/oauth/token"):
            return await self._exchanged(Raw(body=json.dumps({"access_token": ACCESS}).encode()), bounds)
        if request.url.path.endswith("/workspaces"):
            return await self._exchanged(Raw(body=b'[{"id": "w1", "name": "W"}]'), bounds)
        return await super()._exchange(request, bounds)


@cache
def source_of(service: Service) -> SourceConfig:
    with TemporaryDirectory() as folder:
        return service.source(Path(folder))


def polled(service: Service, raw: Raw) -> PollReport:
    source = source_of(service)

    async def poll() -> PollReport:
        provider = DeclarativeProvider(source, api=OneAnswer(source, raw))
        report = await provider.poll()
        if report.outcome is PollOutcome.OK:
            again = await provider.poll()
            assert [list(scope.snapshots) for scope in again.scopes] == [list(scope.snapshots) for scope in report.scopes]
        return report

    return asyncio.run(poll())


def objects_in(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects_in(item)


def has(found: dict[str, Any], needs: dict[str, Any]) -> bool:
    """True if an object has all these fields, with such values."""
    return all(name in found and fits(found[name], wanted) for name, wanted in needs.items())


def fits(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, type) or (isinstance(wanted, tuple) and isinstance(wanted[0], type)):
        return isinstance(value, wanted)
    return any(type(value) is type(each) and value == each for each in wanted)


def places_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places_in(item, (*path, key))


@st.composite
def spoilt(draw: st.DrawFn, service: Service) -> Any:
    """A body of the sample in which a few values are something else, or are missing."""
    answers = service.sample["answers"]
    body = copy.deepcopy(answers[draw(st.sampled_from(sorted(answers)))]["body"])
    for _ in range(draw(st.integers(0, 4))):
        places = list(places_in(body))
        if not places:
            break
        *outer, last = draw(st.sampled_from(places))
        here = body
        for key in outer:
            here = here[key]
        if isinstance(here, dict) and draw(st.booleans()):
            del here[last]
        else:
            here[last] = draw(JSON | st.sampled_from([None, True, False, 0, 1, "true", [], {}, "valid", "2026-11-01"]))
    for each in list(objects_in(body)):
        each["unmapped"] = UNMAPPED
    return body


STATUSES = st.sampled_from([200] * 6 + [201, 400, 401, 403, 404, 418, 429, 500])
each_service: Callable[..., Any] = pytest.mark.parametrize("service", ONLINE, ids=lambda service: service.name)


def check(service: Service, status: int, body: Any) -> None:
    report = polled(service, Raw(status=status, body=json.dumps(body).encode()))
    rows = [row for scope in report.scopes for row in scope.snapshots]
    canary.assert_absent(repr((report, rows)), "the report")
    valid = [row for row in rows if row.reported is ReportedStatus.VALID]
    needs = VALID_NEEDS.get(service.name)
    stated = 0 if needs is None else sum(has(each, needs) for each in objects_in(body))
    # every token of a source gets the same body
    assert len(valid) <= stated * (len(service.keys) if service.checks_tokens else 1), body


@each_service
@given(data=st.data())
@settings(max_examples=30)
def test_a_spoilt_sample_gives_no_valid_that_it_does_not_state(service: Service, data: st.DataObject) -> None:
    check(service, data.draw(STATUSES), data.draw(spoilt(service)))


@each_service
@given(status=STATUSES, body=JSON)
@settings(max_examples=20)
def test_any_json_gives_no_valid_that_it_does_not_state(service: Service, status: int, body: Any) -> None:
    check(service, status, body)


@each_service
@given(body=st.binary(max_size=200))
@settings(max_examples=10)
def test_any_bytes_give_a_report(service: Service, body: bytes) -> None:
    report = polled(service, Raw(body=body))
    assert not [row for scope in report.scopes for row in scope.snapshots if row.reported is ReportedStatus.VALID]


@pytest.mark.parametrize("service", [each for each in SERVICES if each.name in TEST_NEEDS], ids=lambda service: service.name)
@given(status=STATUSES, body=JSON | st.dictionaries(st.sampled_from(["data", "healthy", "success", "errorCode"]), JSON))
def test_a_connection_passes_its_test_only_if_it_is_stated(service: Service, status: int, body: Any) -> None:
    source = source_of(service)

    async def probe() -> ProbeFinding | None:
        item = service.sample["expected"][0]["id"]
        provider = DeclarativeProvider(
            source, api=OneAnswer(source, Raw(body=json.dumps(service.sample["answers"][""]["body"]).encode()))
        )
        await provider.poll()
        api = OneAnswer(source, Raw(status=status, body=json.dumps(body).encode()))
        provider._api, provider._requests = api, RequestBuilder(source, api)
        try:
            return (await provider.probe(item, scope=None)).finding
        except ProviderError:
            return None

    if asyncio.run(probe()) is ProbeFinding.OK:
        assert any(has(each, {TEST_NEEDS[service.name]: TRUE}) for each in objects_in(body))
