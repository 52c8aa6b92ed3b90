"""Pages of connections and alerts, filtered and sorted by either database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import ColumnElement, event, select, update

from monitor.config.load import load
from monitor.domain import ConnectionState, DeliveryState, Refresh, Status, provider_info
from monitor.domain.filters import ConnectionFilter
from monitor.domain.records import replace
from monitor.domain.rules.forecast import need_of
from monitor.domain.rules.labels import ConnectionLabels
from monitor.store import (
    Store,
    alerts,
    connection_conditions,
    connection_pages,
    connection_queries,
    connections,
    label_sets,
    reconnects,
)
from monitor.store import schema as tables
from monitor.store.alerts import WantedAlerts
from monitor.store.connection_pages import Order
from monitor.store.connection_queries import ConnectionRow
from monitor.views.forecast import forecast_reader, needs
from tests.support.command_line import add_source
from tests.support.factories import NOW, make_snapshot, make_state
from tests.support.web_world import KINDS, fill

SOURCES = sorted(KINDS)


def page(store: Store, filters: ConnectionFilter, *, order: Order = Order.WORST, limit: int = 500, offset: int = 0) -> list[str]:
    with store.begin_read() as conn:
        return [row.public_id for row in connection_pages.list_page(conn, filters, order=order, limit=limit, offset=offset)]


def rows_of(store: Store) -> list[ConnectionRow]:
    with store.begin_read() as conn:
        return list(connection_queries.list_connections(conn))


def test_filters_are_anded_on_either_database(store: Store) -> None:
    fill(store, NOW)
    rows = rows_of(store)
    cases: list[tuple[ConnectionFilter, Callable[[ConnectionRow], bool]]] = [
        (ConnectionFilter(sources=SOURCES), lambda _: True),
        (ConnectionFilter(sources=["agency", "nobody"]), lambda row: row.source == "agency"),
        (ConnectionFilter(sources=[]), lambda _: False),
        (ConnectionFilter(sources=SOURCES, statuses=[]), lambda _: False),
        (
            ConnectionFilter(sources=SOURCES, platforms=["linkedin", "threads"]),
            lambda row: row.state.snapshot.platform in ("linkedin", "threads"),
        ),
        (
            ConnectionFilter(sources=SOURCES, statuses=[Status.EXPIRED, Status.REVOKED]),
            lambda row: row.state.verdict.status in ("expired", "revoked"),
        ),
        (ConnectionFilter(sources=SOURCES, text="nOrDlIcHt"), lambda row: "Nordlicht" in row.state.snapshot.label),
        (ConnectionFilter(sources=SOURCES, text="agency/linkedin"), lambda row: row.public_id.startswith("agency/linkedin")),
        (ConnectionFilter(sources=SOURCES, text="%"), lambda _: False),
        (ConnectionFilter(sources=SOURCES, text="\\"), lambda _: False),
        (
            ConnectionFilter(sources=["south"], platforms=["bluesky"], statuses=[Status.UNKNOWN], text="sky"),
            lambda row: row.source == "south" and row.state.snapshot.platform == "bluesky",
        ),
    ]
    for filters, expected in cases:
        found = [row.public_id for row in rows if expected(row)]
        for order in Order:
            assert sorted(page(store, filters, order=order)) == sorted(found), (filters, order)
        with store.begin_read() as conn:
            assert sum(connection_queries.count_by_status(conn, filters).values()) == len(found)


@pytest.mark.parametrize("order", list(Order))
def test_pages_hold_everything_once_and_in_order(store: Store, order: Order) -> None:
    states = [make_state(external_id=f"c{number:03}", expires_at=NOW + timedelta(days=number % 7 + 10)) for number in range(70)]
    states += [make_state(external_id=f"n{number:03}", expires_at=None, status=Status.UNKNOWN) for number in range(20)]
    states += [make_state(external_id=f"e{number:03}", status=Status.EXPIRED) for number in range(30)]
    add_source(store, "agency", states, now=NOW)
    filters = ConnectionFilter(sources=["agency"])
    whole = page(store, filters, order=order)
    parts = [each for offset in range(0, 140, 17) for each in page(store, filters, order=order, limit=17, offset=offset)]
    assert parts == whole
    assert len(set(whole)) == 120
    ranks = {row.public_id: row for row in rows_of(store)}
    far = NOW + timedelta(days=9999)
    keys: dict[Order, Callable[[str], object]] = {
        Order.WORST: lambda name: (-ranks[name].state.verdict.status.rank, ranks[name].state.token.expires_at or far),
        Order.EXPIRY: lambda name: ranks[name].state.token.expires_at or far,
        Order.SINCE: lambda name: -ranks[name].state.verdict.since.timestamp(),
        Order.NAME: lambda name: ranks[name].state.snapshot.label,
    }
    # One source, one platform and no client: these orders are the worst first.
    keys |= dict.fromkeys((Order.CLIENT, Order.PLATFORM, Order.SOURCE), keys[Order.WORST])
    assert [keys[order](name) for name in whole] == sorted(keys[order](name) for name in whole)  # type: ignore[type-var]


@pytest.mark.parametrize("order", list(Order))
@pytest.mark.parametrize("filters", [ConnectionFilter(), ConnectionFilter(statuses=[Status.VALID]), ConnectionFilter(text="a")])
def test_neighbours_are_those_of_the_list(store: Store, order: Order, filters: ConnectionFilter) -> None:
    fill(store, NOW)
    keys = {row.public_id: row.id for row in rows_of(store)}
    whole = page(store, filters, order=order)
    with store.begin_read() as conn:
        for before, name, after in zip([None, *whole], whole, [*whole[1:], None], strict=False):
            found = connection_pages.neighbours(conn, filters, order=order, of=keys[name])
            shown = [each and each.public_id for each in found]
            assert shown == [before, after], name
        for name in sorted(set(keys) - set(whole)):
            assert connection_pages.neighbours(conn, filters, order=order, of=keys[name]) == (None, None)


def test_clients_platforms_and_sources_sort(store: Store) -> None:
    fill(store, NOW)
    with store.begin_write() as conn:
        for client, start in (("Zebra", "agency/"), ("acme", "south/"), ("", "north/")):
            values = ConnectionLabels({"client": client} if client else {"team": "red"}, named_by_service=False)
            [key] = label_sets.ids_of(conn, [label_sets.key_of(values)]).values()
            ids = [row.id for row in connection_queries.list_connections(conn) if row.public_id.startswith(start)]
            conn.execute(update(tables.connections).where(tables.connections.c.id.in_(ids)).values(label_set=key))
    rows = {row.public_id: row for row in rows_of(store)}
    by_client = [(rows[each].labels or {}).get("client") for each in page(store, ConnectionFilter(), order=Order.CLIENT)]
    assert [key for key, _ in groupby(by_client)] == ["acme", "Zebra", None]
    by_platform = [rows[each].state.snapshot.platform for each in page(store, ConnectionFilter(), order=Order.PLATFORM)]
    assert by_platform == sorted(by_platform)
    by_source = [rows[each].source for each in page(store, ConnectionFilter(), order=Order.SOURCE)]
    assert by_source == sorted(by_source)


def test_counts_are_of_every_combination(store: Store) -> None:
    fill(store, NOW)
    with store.begin_read() as conn:
        counted = connection_queries.count_groups(conn, ConnectionFilter(sources=["agency", "south"]))
    expected: dict[tuple[str, str, str], int] = {}
    for row in rows_of(store):
        if row.source in ("agency", "south"):
            key = row.source, row.state.snapshot.platform, row.state.verdict.status.value
            expected[key] = expected.get(key, 0) + 1
    assert {(each.source, each.platform, each.status.value): each.number for each in counted} == expected


def test_retired_connections_are_on_no_page_and_in_no_count(store: Store) -> None:
    keys = add_source(store, "agency", [make_state(external_id="a"), make_state(external_id="b")], now=NOW)
    with store.begin_write() as conn:
        connections.retire(conn, keys[0], NOW)
    filters = ConnectionFilter(sources=["agency"])
    assert page(store, filters) == ["agency/b"]
    with store.begin_read() as conn:
        assert [each.number for each in connection_queries.count_groups(conn, filters)] == [1]
        expiring = reconnects.count_expiring(conn, filters, now=NOW, until=NOW + timedelta(days=90))
        assert sum(each.number for each in expiring) == 1
        found = connection_queries.find_by_public_id(conn, "agency/a")
    assert found is not None
    assert found.retired_at == NOW


def refreshed(hours: float) -> Refresh:
    return Refresh(connected_at=NOW - timedelta(days=9), last_refreshed_at=NOW - timedelta(hours=hours))


def test_what_is_coming_is_what_the_forecast_needs(store: Store) -> None:
    """The database's condition and the rule say the same of every combination."""
    until = NOW + timedelta(days=90)
    dates: list[datetime | None] = [
        None,
        NOW - timedelta(hours=1),
        NOW + timedelta(hours=30),
        NOW + timedelta(days=20, hours=5),
        until + timedelta(hours=1),
    ]
    refreshes = [None, Refresh(), refreshed(1), Refresh(connected_at=NOW - timedelta(days=30))]
    for provider in ("postpost", "publora", "postbreeze"):
        states: list[ConnectionState] = []
        for platform in ("linkedin", "tiktok", "facebook", "twitter"):
            for instant in dates:
                for refresh in refreshes:
                    for status in (Status.VALID, Status.UNKNOWN, Status.EXPIRING_SOON, Status.EXPIRED):
                        name = f"{platform}{len(states)}"
                        states.append(
                            make_state(external_id=name, platform=platform, expires_at=instant, refresh=refresh, status=status)
                        )
        add_source(store, provider, states, now=NOW, provider=provider)
        expected: dict[tuple[str, date], int] = {}
        for state in states:
            need = need_of(state, connection="x", source=provider, provider=provider_info(provider), now=NOW, within=until - NOW)
            # A date that has passed while nobody was told moves the verdict first: the timeline shows what is to come.
            if need is None or need.overdue or (need.by <= NOW and state.verdict.status is not Status.EXPIRING_SOON):
                continue
            key = state.snapshot.platform, need.by.date()
            expected[key] = expected.get(key, 0) + 1
        with store.begin_read() as conn:
            found = reconnects.count_expiring(conn, ConnectionFilter(sources=[provider]), now=NOW, until=until)
        assert {(each.platform, each.first.date()): each.number for each in found} == expected
        assert all(each.first <= each.last and each.first.tzinfo is not None for each in found)


def test_a_connection_is_found_by_its_whole_id_alone(store: Store) -> None:
    names = ("same", "a/b", "user1/same", "%", "Same")
    states = [make_state(external_id=name) for name in names]
    states.append(make_state(snapshot=make_snapshot(external_id="same", scope="user1")))
    add_source(store, "agency", states, now=NOW)
    add_source(
        store,
        "south",
        [make_state(snapshot=make_snapshot(external_id="same", scope="ws_1"))],
        now=NOW,
        provider="postbreeze",
    )
    with store.begin_read() as conn:
        found = {
            name: connection_queries.find_by_public_id(conn, name)
            for name in ("agency/same", "agency/a/b", "agency/%", "agency/Same", "south/same")
        }
        assert {name: row and row.public_id for name, row in found.items()} == {name: name for name in found}
        for name in ("", "agency", "agency/", "/same", "agency/sam", "south/ws_1/same", "nobody/same", "agency/user2/same"):
            assert connection_queries.find_by_public_id(conn, name) is None, name


def test_alerts_are_paged_and_filtered(store: Store) -> None:
    fill(store, NOW)
    with store.begin_read() as conn:
        everything = alerts.list_page(conn, WantedAlerts(), limit=100)
        assert [row.alert.at for row in everything] == sorted((row.alert.at for row in everything), reverse=True)
        parts = [
            row.alert.id for offset in range(0, 15, 4) for row in alerts.list_page(conn, WantedAlerts(), limit=4, offset=offset)
        ]
        assert parts == [row.alert.id for row in everything]
        for filters, expected in (
            (WantedAlerts(), 11),
            (WantedAlerts(events=["expired"]), 2),
            (WantedAlerts(events=[]), 0),
            (WantedAlerts(states=[DeliveryState.DEAD]), 2),
            (WantedAlerts(sources=["agency"], platforms=["linkedin"]), 1),
        ):
            assert alerts.count_matching(conn, filters) == expected
            assert len(alerts.list_page(conn, filters, limit=100)) == expected
        assert "linkedin" in alerts.known_platforms(conn)


@pytest.mark.parametrize("order", list(Order))
@pytest.mark.parametrize(
    "filters", [ConnectionFilter(), ConnectionFilter(statuses=["valid"]), ConnectionFilter(platforms=["linkedin"])]
)
def test_far_pages_of_large_groups_are_those_of_the_whole_list(
    store: Store, order: Order, filters: ConnectionFilter, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, NOW)
    whole = page(store, filters, order=order)
    monkeypatch.setattr(connection_pages, "_MANY", 1)
    monkeypatch.setattr(connection_pages, "_FAR", 1)
    assert len(whole) > 5
    offsets = range(0, len(whole), 3)
    assert [name for at in offsets for name in page(store, filters, order=order, limit=3, offset=at)] == whole


def test_stale_connections_are_those_that_were_last_observed_before_their_limit(store: Store) -> None:
    fill(store, NOW)
    old, scopes = NOW - timedelta(days=3), tables.scopes.c
    with store.begin_write() as conn:
        for number, row in enumerate(list(connection_queries.list_connections(conn))):
            seen = (None, old, NOW)[number % 3]
            values = {"missing": int(number % 4 == 0), "last_seen_at": seen}
            conn.execute(update(tables.connections).where(tables.connections.c.id == row.id).values(values))
        for source, complete, read in (("agency", None, NOW), ("studio", old, old), ("north", NOW, old), ("south", NOW, NOW)):
            conn.execute(update(tables.scopes).where(scopes.source == source).values(last_complete_at=complete))
            conn.execute(update(tables.sources).where(tables.sources.c.name == source).values(last_success_at=read))
    read_at = {"agency": NOW, "studio": old, "north": old, "south": NOW}
    for before in (NOW - timedelta(days=1), NOW - timedelta(days=9), NOW + timedelta(days=1)):
        limits = {name: before + timedelta(minutes=number) for number, name in enumerate(SOURCES)}

        def is_stale(row: ConnectionRow) -> bool:
            at = read_at[row.source] if row.state.missing else row.last_seen_at
            return at is None or at < limits[row.source]  # noqa: B023 - called in this turn of the loop

        wanted = sorted(row.public_id for row in rows_of(store) if is_stale(row))
        assert sorted(page(store, ConnectionFilter(read_before=limits))) == wanted


@pytest.mark.parametrize("order", [Order.CLIENT, Order.PLATFORM, Order.SOURCE])
def test_pages_of_many_small_groups_hold_everything_once_and_in_order(store: Store, order: Order) -> None:
    fill(store, NOW)
    with store.begin_write() as conn:
        keys = [label_sets.key_of(ConnectionLabels({"client": name}, named_by_service=False)) for name in ("b", "A", "a", "C")]
        ids = label_sets.ids_of(conn, keys)
        for number, row in enumerate(list(connection_queries.list_connections(conn))):
            key = None if number % 5 == 0 else ids[keys[number % len(keys)]]
            conn.execute(update(tables.connections).where(tables.connections.c.id == row.id).values(label_set=key))
    rows = {row.public_id: row for row in rows_of(store)}

    def lead(row: ConnectionRow) -> object:
        client = (row.labels or {}).get("client")
        by_order = {Order.CLIENT: (client is None, (client or "").lower()), Order.PLATFORM: row.state.snapshot.platform}
        return by_order.get(order, row.source)

    def place(row: ConnectionRow) -> tuple[object, ...]:
        state = row.state
        by = state.token.expires_at or state.snapshot.expires_at or state.snapshot.expires_before
        return lead(row), -state.verdict.status.rank, by is None, by or NOW, row.id

    expected = sorted(rows, key=lambda name: place(rows[name]))
    for limit in (1, 3, 20, 500):
        offsets = range(0, len(expected), limit)
        assert [
            name for at in offsets for name in page(store, ConnectionFilter(), order=order, limit=limit, offset=at)
        ] == expected


@pytest.mark.parametrize(
    "key", [tables.by_expiry, tables.connections.c.since.desc(), tables.by_name], ids=["expiry", "since", "name"]
)
def test_lists_are_read_in_the_order_of_an_index(store: Store, key: ColumnElement[Any]) -> None:
    fill(store, NOW)
    filters = ConnectionFilter(sources=["agency"], platforms=["linkedin"])
    with store.begin_read() as conn:
        where = connection_conditions.conditions(conn, filters, in_order=True)
        query = (
            select(tables.connections.c.id).where(*connection_conditions.live(), *where).order_by(key, tables.connections.c.id)
        )
        text = str(query.limit(5).compile(dialect=conn.dialect, compile_kwargs={"literal_binds": True})).replace("%", "%%")
        if conn.dialect.name != "sqlite":
            conn.exec_driver_sql("SET LOCAL enable_seqscan = off")
            conn.exec_driver_sql("SET LOCAL enable_bitmapscan = off")
        explain = "EXPLAIN QUERY PLAN" if conn.dialect.name == "sqlite" else "EXPLAIN"
        plan = str(conn.exec_driver_sql(f"{explain} {text}").all())
    assert "ix_connections_by_" in plan
    assert "TEMP B-TREE" not in plan
    assert "Sort" not in plan


def test_what_time_has_changed_is_found_by_its_index(store: Store) -> None:
    """Reading every row in the order of another index takes a tenth of a second for 100,000 connections."""
    fill(store, NOW)
    asked: list[str] = []
    with store.begin_read() as conn:
        event.listen(conn, "before_cursor_execute", lambda _conn, _cursor, statement, *_: asked.append(statement))
        changed = connection_queries.changed_by_time(NOW)
        list(connection_queries.list_connections(conn, worst_first=False, only=changed, limit=5))
        if conn.dialect.name == "sqlite":
            plan = str(conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked[0]}", (NOW.isoformat(), 5, 0)).all())
            assert "ix_connections_next_change_at" in plan


@pytest.mark.parametrize("text", ["nORDlicht", "agency/", "%", "nothing like it"])
def test_a_text_is_resolved_to_the_connections_that_have_it(store: Store, text: str) -> None:
    fill(store, NOW)
    filters = ConnectionFilter(text=text, statuses=[Status.EXPIRED])
    with store.begin_read() as conn:
        resolved = connection_conditions.resolve_text(conn, filters)
        assert resolved.text is None
        assert resolved.statuses == [Status.EXPIRED]
        every = [
            connection_pages.list_page(conn, replace(each, statuses=None), order=Order.NAME, limit=500)
            for each in (filters, resolved)
        ]
    assert every[0] == every[1]
    assert page(store, filters) == page(store, resolved)


def test_needs_are_those_of_every_connection_with_the_clock_applied(store: Store, tmp_path: Path) -> None:
    fill(store, NOW)
    path = tmp_path / "config.toml"
    path.touch(mode=0o600)
    path.write_text(
        "".join(f'[[sources]]\nname = "{name}"\nprovider = "{KINDS[name]}"\napi_key = "key-of-{name}"\n' for name in SOURCES)
    )
    config = load(path, {"HOME": str(tmp_path)}).config
    for later in (timedelta(0), timedelta(days=9), timedelta(days=200)):
        with store.begin_read() as conn:
            reader = forecast_reader(conn, config, NOW + later)
            found = {each.need for each in needs(conn, config, reader, within=timedelta(days=60))}
            expected = set()
            for view in map(reader.view, connection_queries.list_connections(conn)):
                info = provider_info(view.row.provider)
                source, now = view.row.source, NOW + later
                expected.add(
                    need_of(view.row.state, connection=view.id, source=source, provider=info, now=now, within=timedelta(days=60))
                )
        assert found == expected - {None}
        assert found
