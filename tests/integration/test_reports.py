"""What a report states, read from the store: uptime by client, recoveries, sources that are not read, and its forms."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from monitor.config.time_windows import ReportPlan, WeeklyTime
from monitor.domain import Event, EventKind, Status, Verdict, utc_text
from monitor.domain.filters import ConnectionFilter
from monitor.domain.records import replace
from monitor.domain.rules.labels import ConnectionLabels
from monitor.notify.messages.report import Report, report_lines
from monitor.notify.messages.report_files import report_csv, report_html
from monitor.notify.report_data import ReportScope, read_report, scope_of
from monitor.store import Store, connections, history, label_sets, sources
from monitor.store.schema import connections as connection_table
from tests.integration.test_reporter import source
from tests.support.command_line import add_source
from tests.support.delivery import channel
from tests.support.factories import NOW, make_state

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WEEK = 7 * DAY
AGENCY, STUDIO = replace(source("agency", client="own")), source("studio", client="globex")
LONG_AGO = NOW - 100 * DAY


def add(
    store: Store, names: Sequence[tuple[str, Status, str | None]], *, name: str = "agency", at: datetime = LONG_AGO
) -> dict[str, int]:
    """Connections of a source with their status now and their client; row ids by name."""
    states = [
        make_state(
            external_id=f"linkedin-{each}",
            display_name=each,
            expires_at=NOW + 90 * DAY,
            verdict=Verdict(status=status, reason="stated", message="", since=NOW - DAY),
        )
        for each, status, _ in names
    ]
    keys = add_source(store, name, states, now=at)
    with store.begin_write() as conn:
        row = sources.find_source(conn, name)
        assert row is not None
        sources.save_source(conn, replace(row, last_success_at=NOW, last_poll_at=NOW))
        for key, (_, _, client) in zip(keys, names, strict=True):
            if client is not None:
                label = label_sets.key_of(ConnectionLabels({"client": client, "team": client[0]}))
                stored = label_sets.ids_of(conn, [label])[label]
                conn.execute(connection_table.update().where(connection_table.c.id == key).values(label_set=stored))
    return {each: key for (each, _, _), key in zip(names, keys, strict=True)}


def change(store: Store, key: int, at: datetime, old: Status, new: Status) -> None:
    with store.begin_write() as conn:
        history.append(conn, "agency", key, [Event(kind=EventKind.STATUS_CHANGED, at=at, old=old, new=new)])


def read(store: Store, scope: ReportScope | None = None, *, lines: bool = False) -> Report:
    with store.begin_read() as conn:
        return read_report(conn, scope or ReportScope(), [AGENCY, STUDIO], now=NOW, with_lines=lines)


def text(store: Store, scope: ReportScope | None = None) -> list[str]:
    return report_lines(read(store, scope), (), zone=ZoneInfo("UTC"))


def test_uptime_is_counted_by_client_and_compared_with_the_period_before(store: Store) -> None:
    keys = add(
        store,
        [
            ("A1", Status.VALID, "acme"),
            ("A2", Status.EXPIRED, "acme"),
            ("B1", Status.EXPIRING_SOON, "brava"),
            ("Own", Status.VALID, None),
        ],
    )
    change(store, keys["A2"], NOW - WEEK + 42 * HOUR, Status.VALID, Status.EXPIRED)
    change(store, keys["A1"], NOW - WEEK - 84 * HOUR, Status.VALID, Status.FAILING)
    change(store, keys["A1"], NOW - WEEK, Status.FAILING, Status.VALID)
    found = read(store)
    assert [(group.name, group.connections) for group in found.groups] == [("acme", 2), ("brava", 1), ("own", 1)]
    acme, brava, own = found.groups
    assert acme.hours.uptime == pytest.approx((168 + 42) / 336)
    assert acme.before.uptime == pytest.approx((168 + 84) / 336)
    assert (brava.hours.uptime, own.hours.uptime) == (1.0, 1.0)
    assert found.hours.uptime == pytest.approx((3 * 168 + 42) / (4 * 168))
    lines = text(store)
    assert "Uptime in the last 7 days: 81.2 %, 87.5 % in the period before." in lines
    assert "Uptime by client, the lowest first: acme 62.5 %, brava 100 %, own 100 %." in lines
    assert lines[2] == "Now (1 expired): acme, 1 on LinkedIn at agency: A2 (since 9 Mar)."


def test_connections_count_from_when_they_were_added_until_they_were_retired(store: Store) -> None:
    add(store, [("Old", Status.VALID, "acme")])
    late = add(store, [("New", Status.FAILING, "acme"), ("Gone", Status.FAILING, "acme")], name="agency", at=NOW - 24 * HOUR)
    with store.begin_write() as conn:
        connections.retire(conn, late["Gone"], NOW - 14 * HOUR)
    (acme,) = read(store).groups
    assert (acme.connections, acme.hours.working, acme.hours.trouble) == (2, 168 * HOUR, 34 * HOUR)
    assert acme.before.total == 168 * HOUR


def test_the_time_for_which_a_connection_was_retired_counts_neither_way(store: Store) -> None:
    """It was retired while it was revoked, and was added again when it worked: no change of status states that."""
    keys = add(store, [("A1", Status.VALID, "acme"), ("A2", Status.VALID, "acme")])
    change(store, keys["A1"], NOW - 100 * HOUR, Status.VALID, Status.REVOKED)
    with store.begin_write() as conn:
        for key, retired, added in ((keys["A1"], 60, 20), (keys["A2"], 2 * 168 + 5, 68)):
            entries = [
                Event(kind=EventKind.RETIRED, at=NOW - retired * HOUR, old=Status.REVOKED),
                Event(kind=EventKind.APPEARED, at=NOW - added * HOUR, new=Status.VALID),
            ]
            history.append(conn, "agency", key, entries)
    report = read(store)
    (acme,) = report.groups
    assert (acme.hours.working, acme.hours.trouble, acme.hours.unknown) == ((68 + 20 + 68) * HOUR, 40 * HOUR, 140 * HOUR)
    assert (acme.before.working, acme.before.unknown) == (168 * HOUR, 168 * HOUR)
    assert report.recovered == 1


def test_time_without_observation_counts_neither_way(store: Store) -> None:
    keys = add(store, [("A1", Status.VALID, "acme"), ("A2", Status.UNKNOWN, "acme")])
    change(store, keys["A2"], NOW - 48 * HOUR, Status.VALID, Status.UNKNOWN)
    with store.begin_write() as conn:
        ended = NOW - 100 * HOUR
        gap = Event(kind=EventKind.GAP, at=ended, old=utc_text(ended - 8 * HOUR), new=utc_text(ended), reason="not_polled")
        history.append(conn, "agency", None, [gap])
        row = sources.find_source(conn, "agency")
        assert row is not None
        sources.save_source(conn, replace(row, last_success_at=NOW - 10 * HOUR))
    found = read(store)
    assert found.hours.unknown == (8 + 8 + 48 + 10) * HOUR
    assert (found.hours.trouble, found.hours.uptime) == (timedelta(0), 1.0)
    assert [(each.name, each.since) for each in found.unread] == [("agency", NOW - 10 * HOUR)]
    lines = text(store)
    assert "agency has not been read since Tue 10 Mar 2026 02:00 UTC: its connections are not monitored." in lines
    assert any("22.0 % of the time was not observed and is not counted." in line for line in lines)


def test_recoveries_take_from_the_first_failure_even_if_that_is_older_than_the_period(store: Store) -> None:
    keys = add(store, [(name, Status.VALID, "acme") for name in ("A1", "A2", "A3", "A4")])
    for name, began, status, ended in (
        ("A1", 30 * HOUR, Status.FAILING, 28 * HOUR),
        ("A2", 50 * DAY, Status.EXPIRED, 3 * DAY),
        ("A3", 20 * HOUR, Status.REVOKED, 10 * HOUR),
        ("A4", 13 * DAY, Status.REVOKED, 12 * DAY),
    ):
        change(store, keys[name], NOW - began, Status.VALID, status)
        change(store, keys[name], NOW - ended, status, Status.VALID)
    found = read(store)
    assert found.recovered == 3, "one recovered before the period"
    assert found.recovery is not None
    assert (found.recovery.number, found.recovery.median, found.recovery.worst) == (3, 10 * HOUR, 47 * DAY)
    assert "3 recoveries in the last 7 days, after 10 hours (median), 47 days at worst." in text(store)


def test_a_filter_limits_the_whole_report(store: Store) -> None:
    keys = add(store, [("A1", Status.EXPIRED, "acme"), ("B1", Status.REVOKED, "brava")])
    add(store, [("S1", Status.FAILING, "globex")], name="studio")
    change(store, keys["B1"], NOW - 84 * HOUR, Status.VALID, Status.REVOKED)
    with store.begin_read() as conn:
        ops = channel("json://127.0.0.1", labels={"client": ("acme", "br*")}, sources=("agency",))
        everything = scope_of(conn, ops, [AGENCY, STUDIO])
        plan = ReportPlan(at=WeeklyTime(weekday=0, time=NOW.time()), days=30, labels={"team": ("b",)})
        brava = scope_of(conn, replace(ops, report=plan), [AGENCY, STUDIO])
        only = scope_of(conn, ops, [AGENCY, STUDIO], also=ConnectionFilter(sources=["studio"]))
    assert {group.name for group in read(store, everything).groups} == {"acme", "brava"}
    found = read(store, brava)
    assert (found.days, [group.name for group in found.groups]) == (30, ["brava"])
    shown = "\n".join(text(store, brava)) + report_html(found, zone=None) + report_csv(read(store, brava, lines=True))
    assert "brava" in shown
    for other in ("A1", "acme", "globex", "S1", "studio"):
        assert other not in shown
    assert read(store, only).groups == ()


def test_the_table_has_one_row_for_each_connection_and_no_formula(store: Store) -> None:
    names = ["=1+1", "+1", "-1", "@SUM(A1)", 'Fine, "quoted"']
    add(store, [(name, Status.VALID, "=cmd|' /C calc'!A0") for name in names])
    rows = list(csv.DictReader(io.StringIO(report_csv(read(store, lines=True)))))
    assert sorted(row["name"] for row in rows) == sorted(["'=1+1", "'+1", "'-1", "'@SUM(A1)", 'Fine, "quoted"'])
    assert {row["group"] for row in rows} == {"'=cmd|' /C calc'!A0"}
    for row in rows:
        assert not any(value[:1] in tuple("=+-@\t\r") for value in row.values())
        assert (row["hours_working"], row["uptime_percent"], row["status"]) == ("168.00", "100.000", "valid")


def test_the_page_escapes_every_name_and_loads_nothing(store: Store) -> None:
    add(store, [("<script>alert(1)</script>", Status.EXPIRED, "<b>acme</b>"), ("<i>", Status.VALID, "x")])
    page = report_html(read(store), zone=None)
    assert "<script" not in page
    assert "<b>acme" not in page
    assert "<i>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    for word in ("http:", "https:", "src=", "href=", "url("):
        assert word not in page


def test_an_empty_store_has_a_report(store: Store) -> None:
    lines = text(store)
    assert lines == [
        "No connection needs action in the next 30 days.",
        "All connections: none.",
        "No connection recovered in the last 7 days.",
        "Uptime in the last 7 days: no data.",
    ]
    assert "None." in report_html(read(store), zone=None)
    assert report_csv(read(store, lines=True)).count("\n") == 1
