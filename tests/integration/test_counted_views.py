"""What pages count and list by narrow queries is what the connections, read as a whole, give."""

from __future__ import annotations

import heapq
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path

import pytest
from sqlalchemy import select

from monitor.config import Config, load
from monitor.domain import Ack, LastNotified, Refresh, Status
from monitor.domain.filters import ConnectionFilter
from monitor.store import Store, connection_conditions, connection_queries, incidents
from monitor.store import schema as tables
from monitor.store.connection_queries import ConnectionRow
from monitor.views.connections import Reader, Suppressions, count_acked
from monitor.views.forecast import Needed, first_needs, forecast_reader, needs
from tests.support.command_line import add_source
from tests.support.factories import NOW, make_state
from tests.support.incidents import open_incident
from tests.support.web_world import KINDS, fill

DAY = timedelta(days=1)
ODD_IDS = ("B", "a", "é", "É", "-", "_", "~", "\U0001f600", "\uffee", "10", "9", " x")
"""In another order by the rules of a language than by code points."""
FILTERS = [
    ConnectionFilter(),
    ConnectionFilter(sources=["agency"]),
    ConnectionFilter(platforms=["linkedin", "threads"]),
    ConnectionFilter(labels={"client": "acme"}),
    ConnectionFilter(text="É"),
    ConnectionFilter(text="nothing like it"),
    *(ConnectionFilter(statuses=[status]) for status in Status),
    ConnectionFilter(statuses=[Status.EXPIRED, Status.VALID], sources=["agency", "south"]),
    ConnectionFilter(statuses=[]),
]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "config.toml"
    path.touch(mode=0o600)
    labels = {"agency": '{ client = "acme" }'}
    path.write_text(
        "".join(
            f'[[sources]]\nname = "{name}"\nprovider = "{kind}"\napi_key = "key-of-{name}"\nlabels = {labels.get(name, "{}")}\n'
            for name, kind in KINDS.items()
        )
    )
    return load(path, {"HOME": str(tmp_path)}).config


@pytest.fixture
def filled(store: Store) -> Store:
    """Connections that expire or broke at the same instant, dates that do not count, and states that time changes."""
    fill(store, NOW)
    alike = [make_state(external_id=f"soon-{name}", expires_at=NOW + 5 * DAY) for name in ODD_IDS]
    alike += [make_state(external_id=f"broken-{name}", status=Status.REVOKED) for name in ODD_IDS]
    spread = [make_state(external_id=f"valid-{days}", expires_at=NOW + days * DAY) for days in range(-3, 90, 4)]
    refreshed = Refresh(last_refreshed_at=NOW - timedelta(minutes=5))
    spread += [make_state(external_id="hourly", expires_at=NOW + timedelta(minutes=55), refresh=refreshed)]
    spread += [make_state(external_id=f"dateless-{status}", status=status, expires_at=None) for status in Status]
    spread += [make_state(external_id="unknown", status=Status.UNKNOWN, expires_at=NOW + 20 * DAY)]
    spread += [
        make_state(external_id=f"due-{days}", expires_at=NOW + days * DAY, next_change_at=NOW + days * DAY) for days in (1, 8, 20)
    ]
    add_source(store, "agency", [*alike, *spread], now=NOW)
    return store


def urgency(each: Needed) -> tuple[bool, datetime, str]:
    return not each.need.overdue, each.need.by, each.need.connection


def test_the_most_urgent_needs_are_the_first_of_all(filled: Store, config: Config) -> None:
    with filled.begin_read() as conn:
        for later, days, filters in product((0, 9, 200), (0, 30, 400), FILTERS):
            reader = forecast_reader(conn, config, NOW + later * DAY)
            within = days * DAY
            every = needs(conn, config, reader, within=within, filters=filters)
            every = [each for each in every if each.has_text(filters.text)]
            for most in (5, 500):
                found = first_needs(conn, config, reader, within=within, filters=filters, most=most)
                assert found.needs == heapq.nsmallest(most, every, key=urgency), (later, days, filters, most)
                assert found.number == len(every), (later, days, filters)
                assert found.overdue == sum(each.need.overdue for each in every), (later, days, filters)
            assert every or days < 30 or later == 200 or filters.text == "nothing like it" or filters.statuses == [], filters


def test_acknowledgements_in_force_are_those_of_every_connection(filled: Store, config: Config) -> None:
    acknowledge_many(filled)
    filters = [each for each in FILTERS if not each.labels]
    with filled.begin_read() as conn:
        for later, chosen, most in product((0, 9, 200), filters, (3, 30, 1000)):
            now = NOW + later * DAY
            every = forecast_reader(conn, config, now).sources
            reader = Reader(config, every, now=now, suppressions=Suppressions.read(conn, now))
            keys = sorted(reader.suppressions.acks)[:most]
            expected = sum(reader.view(row).acked for row in connection_queries.list_among(conn, keys, chosen))
            assert count_acked(conn, reader, chosen, most=most) == expected, (later, chosen, most)
            assert expected or most == 3 or chosen != ConnectionFilter()
    assert len(keys) > 30


TEXTS = (
    "a",
    "PERSON",
    "nordlicht",
    "agency",
    "SOUTH",
    "agency/",
    "/li",
    "south/l",
    "%",
    "_",
    "/",
    "//",
    "\\",
    "é",
    "-",
    "casa",
    "/casa/",
    "n",
    "x",
)


def test_a_text_is_found_in_ids_and_names(filled: Store) -> None:
    add_source(
        filled, "scoped", [make_state(external_id=f"n{each}", scope="Casa_%") for each in range(3)], now=NOW, provider="publora"
    )
    add_source(filled, "plain", [make_state(external_id="q", scope="zebra")], now=NOW)  # its ids are without the scope
    with filled.begin_read() as conn:
        rows = list(connection_queries.list_connections(conn))
        assert any("/Casa_%/" in row.public_id for row in rows)
        for text in TEXTS:
            filters = ConnectionFilter(text=text)
            found = {row.public_id for row in connection_queries.list_connections(conn, filters)}
            assert found == {row.public_id for row in rows if has_text(row, text)}, text
            resolved = connection_conditions.resolve_text(conn, filters)
            assert resolved.text is None
            assert {row.public_id for row in connection_queries.list_connections(conn, resolved)} == found, text


def has_text(row: ConnectionRow, text: str) -> bool:
    """Compare as both databases do in the locale C: without the case of ASCII letters."""
    snapshot = row.state.snapshot
    names = row.public_id, snapshot.display_name or "", snapshot.username or ""
    return any(ascii_lower(text) in ascii_lower(name) for name in names)


def ascii_lower(text: str) -> str:
    return "".join(each.lower() if each.isascii() else each for each in text)


def acknowledge_many(store: Store) -> None:
    """Acknowledge the connections of a source for different statuses, stages and times."""
    stages = (None, timedelta(days=1), timedelta(days=30))
    with store.begin_write() as conn:
        rows = list(connection_queries.list_connections(conn, ConnectionFilter(sources=["agency"]), worst_first=False))
        taken = set(conn.scalars(select(tables.incidents.c.connection_id)))
        for number, row in enumerate(row for row in rows if row.id not in taken):
            notified = LastNotified(status=row.state.verdict.status, at=NOW)
            opened = open_incident(conn, source=row.source, connection_id=row.id, last_notified=notified, now=NOW)
            until = None if number % 4 else NOW + (number % 12) * DAY
            ack = Ack(status=list(Status)[number % 7], stage=stages[number % 3], at=NOW, until=until)
            incidents.acknowledge(conn, opened, ack)
