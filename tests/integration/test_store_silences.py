"""Silences and acknowledgements as they are kept and read back, on both databases."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from monitor.config import Config, load
from monitor.domain import Ack, LastNotified, Status
from monitor.domain.rules.silences import NO_END, Silence
from monitor.store import Store, incidents, silences
from monitor.views.status import overview
from tests.support.command_line import add_source, write_config
from tests.support.factories import make_state
from tests.support.incidents import open_incident

HOUR = timedelta(hours=1)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """The sources agency (labelled client=acme) and studio."""
    return load(write_config(tmp_path), {}).config


def make_silence(now: datetime, **over: Any) -> Silence:
    return Silence(**{"starts_at": now, "comment": "why", **over})


def test_a_silence_comes_back_as_it_was_kept(store: Store, now: datetime) -> None:
    whole = make_silence(
        now,
        sources=("agency", "studio"),
        platforms=("linkedin",),
        connections=("agency/*", "ünï[!c]*"),
        labels={"client": "acme"},
        ends_at=now + 9 * HOUR,
        rrule="FREQ=DAILY",
        lasts=2 * HOUR,
        timezone="Europe/Berlin",
    )
    with store.begin_write() as conn:
        first, second = silences.add(conn, whole, now), silences.add(conn, make_silence(now), now + HOUR)
    with store.begin_read() as conn:
        found = silences.list_silences(conn)
    assert [each.id for each in found] == [first, second]
    assert found[0].created_at == now
    for name in (
        "sources",
        "platforms",
        "connections",
        "labels",
        "comment",
        "starts_at",
        "ends_at",
        "rrule",
        "lasts",
        "timezone",
    ):
        assert getattr(found[0], name) == getattr(whole, name), name
    assert (found[1].ends_at, found[1].rrule, found[1].lasts, dict(found[1].labels)) == (None, None, None, {})


def test_what_is_over_or_removed_is_not_current(store: Store, now: datetime) -> None:
    with store.begin_write() as conn:
        over = silences.add(conn, make_silence(now - 2 * HOUR, ends_at=now), now)
        coming = silences.add(conn, make_silence(now + HOUR), now)
        gone = silences.add(conn, make_silence(now), now)
        assert silences.remove(conn, gone, now + HOUR)
        assert not silences.remove(conn, gone, now + HOUR)
        assert not silences.remove(conn, 999, now)
    with store.begin_read() as conn:
        assert [each.id for each in silences.all_current(conn, now)] == [coming]
        assert [each.id for each in silences.list_silences(conn)] == [over, coming]
        assert [each.id for each in silences.list_silences(conn, include_removed=True)] == [over, coming, gone]
        removed = silences.find_silence(conn, gone)
        assert removed is not None
        assert removed.removed_at == now + HOUR
        assert silences.find_silence(conn, 999) is None


@pytest.mark.parametrize(
    "matchers", ["", "[]", "not json", '{"statuses":["expired"]}', '{"sources":"agency"}', '{"sources":[1]}', '{"labels":["a"]}']
)
def test_matchers_that_are_not_understood_silence_nothing(store: Store, now: datetime, matchers: str) -> None:
    """Half of them understood would keep back more than was meant."""
    with store.begin_write() as conn:
        silences.add(conn, make_silence(now), now)
        conn.execute(text("UPDATE silences SET matchers = :matchers"), {"matchers": matchers})
    with store.begin_read() as conn:
        assert silences.all_current(conn, now) == []


def test_an_acknowledgement_shows_until_it_got_worse_or_its_date_passed(store: Store, config: Config, now: datetime) -> None:
    def acked(later: timedelta = timedelta(0)) -> list[bool]:
        with store.begin_read() as conn:
            found = overview(conn, config, now=now + later)
        assert found.acked == sum(view.acked for view in found.connections)
        return sorted(view.acked for view in found.connections)

    worse = now + 2 * HOUR
    soon = make_state(
        external_id="a", status=Status.EXPIRING_SOON, expires_at=worse, next_change_at=worse, stage=timedelta(days=1)
    )
    broken = make_state(external_id="b", status=Status.REVOKED)
    rows = add_source(store, "agency", [soon, broken], now=now)
    with store.begin_write() as conn:
        opened = [
            open_incident(conn, source="agency", connection_id=row, last_notified=LastNotified(status=status, at=now), now=now)
            for row, status in zip(rows, (Status.EXPIRING_SOON, Status.REVOKED), strict=True)
        ]
        incidents.acknowledge(conn, opened[0], Ack(status=Status.EXPIRING_SOON, stage=timedelta(days=1), at=now))
        incidents.acknowledge(conn, opened[1], Ack(status=Status.REVOKED, at=now, until=now + 3 * HOUR))
        assert set(incidents.all_acks(conn)) == set(rows)
    assert acked() == [True, True]
    assert acked(2 * HOUR) == [False, True]  # it expired
    assert acked(3 * HOUR) == [False, False]  # and the other's date passed
    with store.begin_write() as conn:
        incidents.close(conn, opened[1], now)
        assert set(incidents.all_acks(conn)) == {rows[0]}


def test_a_silence_shows_on_what_it_matches_while_it_is_in_force(store: Store, config: Config, now: datetime) -> None:
    add_source(store, "agency", [make_state(external_id="a"), make_state(external_id="b", status=Status.EXPIRED)], now=now)
    with store.begin_write() as conn:
        silences.add(conn, make_silence(now, labels={"client": "acme"}, connections=("*/b",)), now)
        silences.add(conn, make_silence(now + HOUR, sources=("agency",), ends_at=now + 2 * HOUR), now)
    with store.begin_read() as conn:
        first, second = overview(conn, config, now=now), overview(conn, config, now=now + HOUR)
    assert {view.snapshot.external_id: view.silenced_until for view in first.connections} == {"a": None, "b": NO_END}
    assert {view.snapshot.external_id: view.silenced_until for view in second.connections} == {"a": now + 2 * HOUR, "b": NO_END}
    assert (first.silenced, second.silenced) == (1, 1)  # of those that need somebody
