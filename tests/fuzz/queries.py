"""What callers of the site's API send: filters, limits and cursors, of all lists, up to the database."""

from __future__ import annotations

import atexit
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request

from monitor.config import load
from monitor.engine import config_sync
from monitor.store import Store
from monitor.views import pages
from monitor.web import query_params
from monitor.web.auth import ANYONE, Access, Visit, record_visit
from monitor.web.query_params import ApiParams
from tests.fuzz.target import Target, must
from tests.support.factories import NOW

_FOLDER = tempfile.TemporaryDirectory(prefix="token-monitor-fuzz-")
atexit.register(_FOLDER.cleanup)
_CONFIG_TEXT = '[[sources]]\nname = "agency"\nprovider = "postpost"\napi_key = "sk_canary_key"\nlabels = { client = "acme" }\n'


def _opened() -> Store:
    path = Path(_FOLDER.name) / "config.toml"
    path.touch(mode=0o600)
    path.write_text(_CONFIG_TEXT, encoding="utf-8")
    store = Store(f"sqlite:///{Path(_FOLDER.name) / 'monitor.db'}")
    store.upgrade()
    return store


_STORE = _opened()
atexit.register(_STORE.close)
_CONFIG = load(Path(_FOLDER.name) / "config.toml", {"HOME": _FOLDER.name}).config
with _STORE.begin_write() as _conn:
    config_sync.sync(_conn, _CONFIG, NOW)

_LISTS = (
    (query_params.CONNECTIONS, pages.connection_page),
    (query_params.SOURCES, pages.source_page),
    (query_params.EVENTS, pages.event_page),
    (query_params.ALERTS, pages.alert_page),
    (
        query_params.FORECAST,
        lambda conn, config, wanted, *, now: pages.forecast_page(conn, config, wanted, now=now, within=timedelta(30)),
    ),
)


def _request(query: bytes) -> Request:
    """A request of the operator with this query."""
    scope = {"type": "http", "query_string": query}
    access = Access((), b"")
    record_visit(scope, Visit(user=ANYONE, visitor="", csrf="", theme="auto", access=access))
    return Request(scope)


def _query(octets: bytes) -> None:
    """The first byte chooses the list; the rest is the query of its address. Answered, or refused with a 400 or 404."""
    parameters, page = _LISTS[octets[0] % len(_LISTS)] if octets else _LISTS[0]
    try:
        given = ApiParams.read(_request(octets[1:]), parameters)
        with _STORE.begin_read() as conn:
            found = page(conn, _CONFIG, given.page(conn, _CONFIG), now=NOW)
    except HTTPException as refusal:
        must(refusal.status_code in (400, 404) and refusal.detail, refusal.detail)
        return
    must(found.json()["generated_at"], "no answer")


def _seeds() -> Sequence[bytes]:
    texts = (
        b"source=agency&platform=linkedin&status=expired&limit=5&cursor=7",
        b"label=client%3Dacme&q=a%25_b&limit=1000",
        b"connection=agency%2Flinkedin-1&cursor=123456789012345",
        b"cursor=1773144000000000.alert-1&status=recovered",
        b"cursor=2.1773144000000000.agency.linkedin&days=3650",
        b"source=nobody",
    )
    return [bytes([number]) + text for number in range(len(_LISTS)) for text in texts]


TARGETS = (Target(name="query", one=_query, seeds=_seeds, largest=600),)
