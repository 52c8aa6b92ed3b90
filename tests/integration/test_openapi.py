"""The OpenAPI document: true to what the API gives, and proof against schemathesis at the running site."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from monitor.config import Config, load
from monitor.domain import LastError, ProbeState, ProbeStatus, Status
from monitor.store import Store, alerts, channel_states, outbox
from monitor.web.openapi import document
from tests.support.command_line import add_source, make_world, write_config
from tests.support.factories import make_alert, make_notified, make_state
from tests.support.fakes import ManualClock
from tests.support.hostile_names import HOSTILE
from tests.support.incidents import open_incident
from tests.support.web_client import Served, serving

CONFIG = """
[checks]
# What is well formed and makes no sense all the same (a date that is over, a silence of nothing) is 422, as the document says.
positive_data_acceptance.expected-statuses = ["2xx", "304", "404", "409", "422"]
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load(write_config(tmp_path), {}).config


@pytest.fixture
async def api(store: Store, config: Config, clock: ManualClock, now: datetime) -> AsyncIterator[Served]:
    """A world with everything in it: hostile names, an incident, alerts with deliveries, a broken channel."""
    ids = make_world(store, now)
    extra = make_state(
        external_id="linkedin-odd",
        scope="user-7",
        scopes=("read", "write"),
        last_error=LastError(message="No.", occurred_at=now),
        last_successful_post_at=now,
        probe=ProbeState(status=ProbeStatus.OK, at=now),
    )
    named = [make_state(external_id=f"linkedin-n{n}", display_name=name) for n, name in enumerate(HOSTILE[:40])]
    add_source(store, "agency", [extra, *named], now=now)
    with store.begin_write() as conn:
        open_incident(conn, source="agency", connection_id=ids[Status.EXPIRED], last_notified=make_notified(), now=now)
        both = [make_alert(), make_alert(id="alert-2", connection=None, external_id=None, provider=None, source="")]
        alerts.add_alerts(conn, [(both[0], ids[Status.EXPIRED], None), (both[1], None, "no channel takes it")])
        outbox.add_deliveries(conn, [("alert-1", "ops", now)], now)
        outbox.claim(conn, channel="ops", owner="me", now=now, lease=timedelta(minutes=1), limit=1)
        channel_states.record_failure(conn, "ops", now, problem="410 Gone", broken=True)
    async with serving(store, config, clock) as served:
        yield served


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document()["paths"].items():
        if "get" in methods and not path.endswith("/stream"):
            yield path, methods["get"]


def strict(schema: Any) -> Any:
    """The same without room for members that it does not name."""
    if isinstance(schema, dict):
        closed = {key: strict(value) for key, value in schema.items()}
        return {"additionalProperties": False, **closed} if "properties" in schema else closed
    return [strict(each) for each in schema] if isinstance(schema, list) else schema


async def test_every_response_matches_its_schema_and_has_no_other_members(api: Served) -> None:
    """Every member is described and always there: required, and none beside them."""
    await api.post("/api/v1/silences", {"sources": ["agency"], "comment": "x"})
    asked = await api.post("/api/v1/recheck", {"sources": ["agency"]})
    number = asked.json()["rechecks"][0]["id"]
    schemas = strict(document()["components"]["schemas"])
    for path, operation in operations():
        found = await api.json(path.format(number=number))
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        whole = {**schema, "components": {"schemas": schemas}}
        jsonschema_rs.Draft202012Validator(whole, validate_formats=True).validate(found)
        lists = [value for value in found.values() if isinstance(value, list)]
        assert path.endswith(("openapi.json", "{number}")) or any(lists), f"{path} lists nothing"


async def test_problems_are_as_described(api: Served) -> None:
    schema = strict(document()["components"]["schemas"]["Problem"])
    for path in ("/api/v1/connections?limit=x", "/api/v1/connections?source=nobody", "/api/v1/nowhere"):
        jsonschema_rs.Draft202012Validator(schema).validate((await api.get(path)).json())


async def test_the_document_is_served_with_a_stable_etag(api: Served) -> None:
    answer = await api.get("/api/v1/openapi.json")
    assert answer.json() == {**document(), "servers": [{"url": "/"}]}
    again = await api.get("/api/v1/openapi.json", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304


def test_the_document_names_every_address_of_the_interface() -> None:
    paths = document()["paths"]
    for name in ("connections", "sources", "events", "alerts", "forecast", "stream", "openapi.json"):
        assert f"/api/v1/{name}" in paths
    assert document()["openapi"].startswith("3.1")
    names = [method["operationId"] for methods in paths.values() for method in methods.values()]
    assert len(names) == len(set(names))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1])
async def test_the_document_survives_schemathesis(api: Served, tmp_path: Path, seed: int) -> None:
    """A thousand calls, well formed and not, from the document alone: no failure of ours, no answer that it does not describe."""
    settings = tmp_path / "schemathesis.toml"
    settings.write_text(CONFIG, encoding="utf-8")
    command = [
        str(Path(sys.executable).parent / "schemathesis"),
        *("--config-file", str(settings), "run", f"{api.url}/api/v1/openapi.json", "--checks", "all"),
        *("--exclude-path", "/api/v1/stream"),  # its response does not end; test_web_stream reads it
        *("--exclude-path", "/api/v1/push/{source}"),  # it takes only tokens of sources; test_push sends them
        *("--max-examples", "10", "--seed", str(seed), "--no-color", "--max-failures", "5"),
        *("--suppress-health-check", "all", "--generation-database", "none"),
    ]
    running = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONUTF8": "1", "COLUMNS": "120"},
    )
    out, _ = await running.communicate()
    output = out.decode()
    assert running.returncode == 0, output[-6000:]
    assert "12 selected / 15 total" in output
    assert (await api.get("/api/v1/connections")).status_code == 200
