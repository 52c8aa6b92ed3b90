"""History, incidents and alerts, and what is forgotten of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from monitor.domain import Alert, AlertEvent, Event, EventKind, PollOutcome, Severity, Status
from monitor.domain.errors import StoreError
from monitor.domain.filters import ConnectionFilter
from monitor.domain.providers import provider_names
from monitor.domain.records import replace
from monitor.store import Store, alerts, connection_queries, connections, history, incidents, maintenance, outbox, probes, sources
from monitor.store.alert_codec import decode_alert, encode_alert
from monitor.store.connections import NewConnection
from monitor.store.incidents import NewIncident
from monitor.store.sources import sync_sources
from tests.support.factories import NOW, make_alert, make_notified, make_state
from tests.support.incidents import all_open, open_incident

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def key(store: Store) -> int:
    """A connection of the source agency."""
    with store.begin_write() as conn:
        sync_sources(conn, [("agency", "postpost", "a.test")], NOW)
        return connect(conn, "linkedin-123")


def connect(conn: Connection, external_id: str) -> int:
    row = NewConnection(state=make_state(external_id=external_id), fingerprint="m")
    return connections.insert(conn, source="agency", provider="postpost", rows=[row], now=NOW)[0]


def entry(days: int, kind: EventKind = EventKind.STATUS_CHANGED, **over: Any) -> Event:
    return Event(kind=kind, at=NOW + days * DAY, **over)


def test_history_comes_back_oldest_first(store: Store, key: int) -> None:
    first = entry(0, EventKind.APPEARED)
    second = entry(1, old="valid", new="expired", reason="stated", message="It ran out.")
    with store.begin_write() as conn:
        history.append(conn, "agency", key, [second])
        history.append(conn, "agency", key, [first, replace(first, kind=EventKind.RENAMED)])
        history.append(conn, "agency", None, [entry(2)])
        history.append(conn, "agency", key, [])
        found = history.history_of(conn, key)
        assert history.history_of(conn, key, limit=1) == [second]
        newest = history.events_before(conn, ConnectionFilter(sources=["agency"]), before=None, limit=2)
    assert found == [first, replace(first, kind=EventKind.RENAMED), second]
    assert [(each.connection_id, each.entry.at) for each, _ in newest] == [(None, NOW + 2 * DAY), (key, NOW)]


def test_an_incident_remembers_what_it_notified(store: Store, key: int) -> None:
    said = make_notified(status=Status.EXPIRING_SOON, stage=7 * DAY)
    later = make_notified(status=Status.EXPIRED, at=NOW + DAY, reminders=2)
    with store.begin_write() as conn:
        opened = open_incident(conn, source="agency", connection_id=key, last_notified=said, now=NOW)
        assert incidents.find_open(conn, [key, 999]) == {
            key: incidents.Incident(id=opened, source="agency", connection_id=key, opened_at=NOW, last_notified=said)
        }
        incidents.save_last_notified(conn, [(opened, later, None)])
        assert incidents.find_open(conn, [key])[key].last_notified == later
        assert [each.id for each in all_open(conn)] == [opened]


def test_closed_incident_is_no_longer_open_and_makes_room_for_the_next(store: Store, key: int) -> None:
    with store.begin_write() as conn:
        first = open_incident(conn, source="agency", connection_id=key, last_notified=make_notified(), now=NOW)
        incidents.close(conn, first, NOW + DAY)
        incidents.close(conn, first, NOW + 2 * DAY)
        assert incidents.find_open(conn, [key]) == {}
        second = open_incident(conn, source="agency", connection_id=key, last_notified=make_notified(), now=NOW + DAY)
        assert second != first
        closed = incidents.find_incident(conn, first)
        assert closed is not None
        assert closed.closed_at == NOW + DAY


def test_connection_has_one_open_incident_at_most(store: Store, key: int) -> None:
    """The database itself refuses a second one, should two daemons ever run."""
    rows = [NewIncident(source="agency", connection_id=key, last_notified=make_notified())] * 2
    with pytest.raises(StoreError), store.begin_write() as conn:
        incidents.open_incidents(conn, rows, NOW)


def test_source_has_one_open_incident_at_most_beside_those_of_its_connections(store: Store, key: int) -> None:
    with store.begin_write() as conn:
        open_incident(conn, source="agency", connection_id=key, last_notified=make_notified(), now=NOW)
        assert incidents.find_open_source(conn, "agency") is None
        opened = open_incident(conn, source="agency", connection_id=None, last_notified=make_notified(), now=NOW)
        found = incidents.find_open_source(conn, "agency")
        assert found is not None
        assert found.id == opened
    with pytest.raises(StoreError), store.begin_write() as conn:
        open_incident(conn, source="agency", connection_id=None, last_notified=make_notified(), now=NOW)


def put(conn: Connection, *given: Alert, key: int | None = None, note: str | None = None) -> None:
    alerts.add_alerts(conn, [(alert, key, note) for alert in given])


def test_alerts_are_listed_newest_first_and_filtered(store: Store, key: int) -> None:
    with store.begin_write() as conn:
        put(conn, make_alert(id="a1"), key=key, note="No channel takes it.")
        put(conn, make_alert(id="a2", at=NOW + DAY, event=AlertEvent.RECOVERED, platform="tiktok", source="studio"))
        put(conn)
        rows = alerts.list_alerts(conn)
        assert [(row.alert.id, row.connection_id, row.note) for row in rows] == [
            ("a2", None, None),
            ("a1", key, "No channel takes it."),
        ]

        def ids(**filters: Any) -> list[str]:
            return [row.alert.id for row in alerts.list_alerts(conn, **filters)]

        assert (
            ids(source="agency")
            == ids(platform=["linkedin"])
            == ids(event=AlertEvent.EXPIRED)
            == ids(connection_id=key)
            == ["a1"]
        )
        assert ids(since=NOW + DAY) == ids(limit=1) == ["a2"]
        assert {row.alert.event for row in alerts.list_alerts(conn)} == {AlertEvent.EXPIRED, AlertEvent.RECOVERED}


def test_alert_is_found_by_the_beginning_of_its_id(store: Store) -> None:
    with store.begin_write() as conn:
        put(conn, make_alert(id="abc1"), make_alert(id="abc2"), make_alert(id="ab"), make_alert(id="a%"))

        def found(text: str) -> str | None:
            row = alerts.find_alert(conn, text)
            return row.alert.id if row else None

        assert [found(text) for text in ("abc1", "ab", "a%", "c2", "%")] == ["abc1", "ab", "a%", "abc2", "a%"]
        assert [found(text) for text in ("zz", "")] == [None, None]
        with pytest.raises(alerts.NotOneAlert, match="More than one alert has abc in its id") as several:
            found("abc")
        assert [each.id for each in several.value.candidates] == ["abc2", "abc1"]


TEXTS = st.text(max_size=20)
INSTANTS = st.datetimes(timezones=st.just(UTC))
ALERTS = st.builds(
    Alert,
    id=TEXTS,
    incident=TEXTS,
    event=st.sampled_from(AlertEvent),
    reason=TEXTS,
    severity=st.sampled_from(Severity),
    at=INSTANTS,
    source=TEXTS,
    provider=st.sampled_from(provider_names()),
    scope=st.none() | TEXTS,
    connection=st.none() | TEXTS,
    external_id=st.none() | TEXTS,
    platform=st.none() | TEXTS,
    label=st.none() | TEXTS,
    status=TEXTS,
    verdict_reason=TEXTS,
    message=TEXTS,
    since=st.none() | INSTANTS,
    opened_at=st.none() | INSTANTS,
    expires_at=st.none() | INSTANTS,
    previous=st.none() | TEXTS,
    stage=st.none() | st.timedeltas(),
    link=st.none() | TEXTS,
    labels=st.dictionaries(TEXTS, TEXTS, max_size=3),
)


@given(ALERTS)
def test_any_alert_comes_back_from_its_text_as_it_was(alert: Alert) -> None:
    text = encode_alert(alert)
    assert decode_alert(text) == alert
    assert text.isascii()
    assert "\x00" not in text


def test_alert_of_another_version_is_read_as_far_as_it_is_known() -> None:
    """After a downgrade the queue must still go out."""
    text = encode_alert(make_alert()).replace("{", '{"invented_later":1,', 1)
    assert decode_alert(text) == make_alert()


def fill(conn: Connection, key: int, *, sent: bool, closed: bool) -> None:
    """One old incident with its alert and delivery."""
    opened = open_incident(conn, source="agency", connection_id=key, last_notified=make_notified(), now=NOW)
    put(conn, make_alert(id=f"alert-{key}", incident=opened), key=key)
    outbox.add_deliveries(conn, [(f"alert-{key}", "ops", NOW)], NOW)
    history.append(conn, "agency", key, [entry(0)])
    if sent:
        claimed = outbox.claim(conn, channel="ops", owner="w", now=NOW, lease=DAY, limit=9)
        outbox.mark_sent(conn, [each.delivery_id for each in claimed], "w", NOW)
    if closed:
        incidents.close(conn, opened, NOW)


def test_prune_forgets_what_is_old_and_over(store: Store, key: int) -> None:
    with store.begin_write() as conn:
        fill(conn, key, sent=True, closed=True)
        history.append(conn, "agency", key, [entry(100)])
        sources.record_polls(conn, [sources.PollRow(source="agency", at=NOW, duration_ms=1, outcome=PollOutcome.OK)])
        probes.add_rollup(conn, "agency", NOW, "ok", count=1, total_ms=1)
        gone = maintenance.prune(conn, NOW + 100 * DAY, history=90 * DAY, polls_kept=30 * DAY)
        assert gone == maintenance.Pruned(events=1, alerts=1, incidents=1, connections=0, polls=1, rollups=1)
        assert history.history_of(conn, key) == [entry(100)]
        assert connection_queries.get_connection(conn, key) is not None
        nothing = maintenance.prune(conn, NOW + 100 * DAY, history=90 * DAY, polls_kept=30 * DAY)
        assert nothing == maintenance.Pruned(events=0, alerts=0, incidents=0, connections=0, polls=0, rollups=0)


def test_prune_keeps_open_incidents_and_unsent_deliveries(store: Store, key: int) -> None:
    with store.begin_write() as conn:
        other = connect(conn, "linkedin-456")
        fill(conn, key, sent=True, closed=False)
        fill(conn, other, sent=False, closed=True)
        gone = maintenance.prune(conn, NOW + 1000 * DAY, history=DAY, polls_kept=DAY)
        assert (gone.alerts, gone.incidents) == (0, 0)
        assert incidents.find_open(conn, [key]).keys() == {key}
        assert outbox.pending_counts(conn) == {"ops": 1}
        assert {row.alert.id for row in alerts.list_alerts(conn)} == {f"alert-{key}", f"alert-{other}"}


def test_prune_takes_a_retired_connection_with_the_last_of_its_history(store: Store, key: int) -> None:
    with store.begin_write() as conn:
        fill(conn, key, sent=True, closed=True)
        connections.retire(conn, key, NOW)
        history.append(conn, "agency", key, [entry(50, EventKind.RETIRED)])
        kept = maintenance.prune(conn, NOW + 100 * DAY, history=90 * DAY, polls_kept=DAY)
        assert kept.connections == 0
        gone = maintenance.prune(conn, NOW + 200 * DAY, history=90 * DAY, polls_kept=DAY)
        assert gone.connections == 1
        assert connection_queries.get_connection(conn, key) is None


def test_early_instants_are_as_good_as_any(store: Store, key: int) -> None:
    """Providers state nonsense dates; they must not cost the transaction."""
    with store.begin_write() as conn:
        history.append(conn, "agency", key, [Event(kind=EventKind.RENEWED, at=datetime(1, 1, 2, tzinfo=UTC))])
        assert history.history_of(conn, key)[0].at == datetime(1, 1, 2, tzinfo=UTC)
