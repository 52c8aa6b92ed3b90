"""Sources, scopes, polls and the plan of probes."""

from __future__ import annotations

from datetime import timedelta

from monitor.domain import PollOutcome, ProbeFinding, ProbeState, SourceStatus
from monitor.domain.records import replace
from monitor.domain.rules import schedule
from monitor.store import Store, connections, due_work, meta, probes, sources
from monitor.store.connections import NewConnection
from tests.support.factories import NOW, make_state

HOUR = timedelta(hours=1)
AGENCY = ("agency", "postpost", "a.test")
STUDIO = ("studio", "postbreeze", "b.test")


def test_new_source_is_pending_and_due_at_once(store: Store) -> None:
    with store.begin_write() as conn:
        sources.sync_sources(conn, [AGENCY], NOW)
        (source,) = sources.all_sources(conn)
        assert due_work.read(conn, NOW).polls == ["agency"]
        assert sources.next_poll_due(conn) == NOW
    assert (source.status, source.provider, source.host) == (SourceStatus.PENDING, "postpost", "a.test")
    assert (source.since, source.added_at, source.removed_at) == (NOW, NOW, None)


def test_source_comes_back_as_it_was_saved(store: Store) -> None:
    with store.begin_write() as conn:
        sources.sync_sources(conn, [AGENCY, STUDIO], NOW)
        before = sources.find_source(conn, "agency")
        assert before is not None
        after = replace(
            before,
            status=SourceStatus.FAILING,
            reason="unreachable",
            message="It cannot be reached.",
            since=NOW + HOUR,
            failures=2,
            last_poll_at=NOW + HOUR,
            last_success_at=NOW,
            next_poll_at=NOW + 2 * HOUR,
            connections=7,
            clock_skew=-1.5,
        )
        sources.save_source(conn, after)
        assert sources.find_source(conn, "agency") == after
        other = sources.find_source(conn, "studio")
        assert other is not None
        assert other.status is SourceStatus.PENDING
        assert sources.find_source(conn, "nobody") is None


def test_restart_with_the_same_configuration_changes_nothing(store: Store) -> None:
    """Otherwise every restart would poll everything at once."""
    with store.begin_write() as conn:
        sources.sync_sources(conn, [AGENCY], NOW)
        before = sources.find_source(conn, "agency")
        assert before is not None
        sources.save_source(conn, replace(before, status=SourceStatus.OK, next_poll_at=NOW + HOUR))
        sources.sync_sources(conn, [AGENCY], NOW + timedelta(minutes=1))
        assert sources.find_source(conn, "agency") == replace(before, status=SourceStatus.OK, next_poll_at=NOW + HOUR)
        sources.sync_sources(conn, [("agency", "postpost", "new.test")], NOW + timedelta(minutes=1))
        assert [(row.host, row.next_poll_at) for row in sources.all_sources(conn)] == [("new.test", NOW + HOUR)]


def test_source_that_is_no_longer_named_is_kept_aside_and_returns(store: Store) -> None:
    with store.begin_write() as conn:
        sources.sync_sources(conn, [AGENCY, STUDIO], NOW)
        sources.sync_sources(conn, [STUDIO], NOW + HOUR)
        assert [row.name for row in sources.all_sources(conn)] == ["studio"]
        removed = {row.name: row.removed_at for row in sources.all_sources(conn, include_removed=True)}
        assert removed == {"agency": NOW + HOUR, "studio": None}
        assert due_work.read(conn, NOW + 2 * HOUR).polls == ["studio"]
        sources.sync_sources(conn, [AGENCY, STUDIO], NOW + 3 * HOUR)
        back = sources.find_source(conn, "agency")
        assert back is not None
        assert (back.removed_at, back.next_poll_at, back.added_at) == (None, NOW + 3 * HOUR, NOW)


def test_due_sources_come_longest_waiting_first(store: Store) -> None:
    with store.begin_write() as conn:
        sources.sync_sources(conn, [AGENCY, STUDIO], NOW)
        for name, at in (("agency", NOW + HOUR), ("studio", NOW + HOUR / 2)):
            row = sources.find_source(conn, name)
            assert row is not None
            sources.save_source(conn, replace(row, next_poll_at=at))
        assert due_work.read(conn, NOW + HOUR).polls == ["studio", "agency"]
        assert due_work.read(conn, NOW + HOUR / 2).polls == ["studio"]
        assert sources.next_poll_due(conn) == NOW + HOUR / 2


def test_scopes_remember_their_last_complete_list(store: Store) -> None:
    with store.begin_write() as conn:
        sources.sync_sources(conn, [AGENCY, STUDIO], NOW)
        sources.save_readings(conn, sources.readings("agency", [(None, NOW, None, 3), ("u1", NOW, None, 1)]))
        sources.save_readings(conn, sources.readings("agency", [(None, NOW + HOUR, None, 4), ("u1", None, "It timed out.", 1)]))
        sources.save_readings(conn, sources.readings("studio", []))
        rows = sources.all_scopes(conn, "agency")
        assert sources.all_scopes(conn) == rows
    assert [(row.scope, row.last_complete_at, row.problem, row.connections) for row in rows] == [
        (None, NOW + HOUR, None, 4),
        ("u1", NOW, "It timed out.", 1),
    ]


def test_polls_are_recorded_and_the_old_ones_forgotten(store: Store) -> None:
    with store.begin_write() as conn:
        for hours in range(3):
            sources.record_polls(
                conn,
                [
                    sources.PollRow(
                        source="agency",
                        at=NOW + hours * HOUR,
                        duration_ms=120,
                        outcome=PollOutcome.OK if hours else PollOutcome.UNREACHABLE,
                        problem=None if hours else "Connection refused.",
                        requests=2,
                        connections=40,
                        changed=hours,
                    )
                ],
            )
        sources.record_polls(conn, [sources.PollRow(source="studio", at=NOW, duration_ms=1, outcome=PollOutcome.PARTIAL)])
        assert [row.changed for row in sources.last_polls(conn, "agency", limit=2)] == [2, 1]
        latest = {name: sources.last_polls(conn, name)[0] for name in ("agency", "studio")}
        assert {name: (row.at, row.outcome) for name, row in latest.items()} == {
            "agency": (NOW + 2 * HOUR, PollOutcome.OK),
            "studio": (NOW, PollOutcome.PARTIAL),
        }
        assert sources.prune(conn, NOW + HOUR) == 2
        assert [row.changed for row in sources.last_polls(conn, "agency", limit=9)] == [2, 1]


def test_cohorts_are_planned_once_and_marked_when_probed(store: Store) -> None:
    with store.begin_write() as conn:
        sources.sync_sources(conn, [AGENCY], NOW)
        probes.ensure_cohorts(conn, "agency", {1: NOW + HOUR, 2: NOW})
        probes.ensure_cohorts(conn, "agency", {1: NOW, 3: NOW + 2 * HOUR})
        assert probes.due_cohorts(conn, "agency", NOW) == [2]
        assert probes.due_cohorts(conn, "agency", NOW + HOUR) == [2, 1]
        assert probes.due_cohorts(conn, "studio", NOW + HOUR) == []
        probes.mark_cohort(conn, "agency", 2, probed_at=NOW, next_probe_at=NOW + 6 * HOUR)
        assert probes.next_probes(conn) == {"agency": NOW + HOUR}
        assert probes.next_probes(conn, only={"agency", "other"}) == {"agency": NOW + HOUR}
        assert probes.next_probes(conn, only={"other"}) == {}
        probes.drop_cohorts(conn, ["agency"])
        assert probes.next_probes(conn) == {}


def test_cohorts_due_soon_come_along_with_one_that_is_due(store: Store) -> None:
    """Many small bursts would cost a connection, a transaction and a wake-up each."""
    with store.begin_write() as conn:
        sources.sync_sources(conn, [AGENCY], NOW)
        probes.ensure_cohorts(conn, "agency", {1: NOW + HOUR, 2: NOW + 2 * HOUR, 3: NOW + 4 * HOUR})
        assert probes.due_cohorts(conn, "agency", NOW, lead=2 * HOUR) == []
        assert probes.due_cohorts(conn, "agency", NOW + HOUR, lead=2 * HOUR) == [1, 2]


def test_many_cohorts_are_marked_at_once(store: Store) -> None:
    with store.begin_write() as conn:
        sources.sync_sources(conn, [AGENCY], NOW)
        probes.mark_cohorts(conn, "agency", {}, probed_at=NOW)
        probes.mark_cohorts(conn, "agency", {1: NOW + HOUR, 2: None}, probed_at=NOW)
        probes.mark_cohorts(conn, "agency", {2: NOW + 2 * HOUR}, probed_at=None)
        assert probes.due_cohorts(conn, "agency", NOW + 3 * HOUR) == [1, 2]
        assert conn.exec_driver_sql("SELECT count(*) FROM cohorts WHERE probed_at IS NOT NULL").scalar_one() == 2


def test_postponed_cohort_keeps_when_it_was_probed(store: Store) -> None:
    with store.begin_write() as conn:
        sources.sync_sources(conn, [AGENCY], NOW)
        probes.mark_cohort(conn, "agency", 2, probed_at=NOW, next_probe_at=NOW)
        probes.mark_cohort(conn, "agency", 2, probed_at=None, next_probe_at=NOW + HOUR)
        assert conn.exec_driver_sql("SELECT count(*) FROM cohorts WHERE probed_at IS NOT NULL").scalar_one() == 1
        assert probes.next_probes(conn) == {"agency": NOW + HOUR}


def test_probe_before_its_cohort_is_due_on_its_own(store: Store) -> None:
    """The first probe of a connection, and the confirmation of a refusal within 60 seconds."""
    with store.begin_write() as conn:
        sources.sync_sources(conn, [AGENCY], NOW)
        rows = [
            NewConnection(state=make_state(external_id="x-1", scope="u1"), fingerprint="m", next_probe_at=NOW + HOUR),
            NewConnection(state=make_state(external_id="x-2"), fingerprint="m", next_probe_at=NOW),
            NewConnection(state=make_state(external_id="x-3"), fingerprint="m"),
        ]
        first, second, third = connections.insert(conn, source="agency", provider="postpost", rows=rows, now=NOW)
        due = probes.individually_due(conn, "agency", NOW + HOUR, 10)
        assert due == [
            probes.Target(second, "x-2", None, "linkedin", ProbeState(), individual=True),
            probes.Target(first, "x-1", "u1", "linkedin", ProbeState(), individual=True),
        ]
        assert probes.next_probes(conn) == {"agency": NOW}
        cohort = schedule.cohort_of(None, "x-3")
        assert (
            probes.Target(third, "x-3", None, "linkedin", ProbeState()) in probes.cohort_targets(conn, "agency", [cohort])[cohort]
        )
        expected = sorted({schedule.cohort_of("u1", "x-1"), schedule.cohort_of(None, "x-2"), cohort})
        assert probes.live_cohorts(conn, "agency") == expected


def test_probes_are_counted_by_hour(store: Store) -> None:
    with store.begin_write() as conn:
        probes.add_rollup(conn, "agency", NOW, ProbeFinding.OK, count=3, total_ms=300)
        probes.add_rollup(conn, "agency", NOW, ProbeFinding.OK, count=2, total_ms=100)
        probes.add_rollup(conn, "agency", NOW, "unreachable", count=1, total_ms=5000)
        probes.add_rollup(conn, "agency", NOW + HOUR, ProbeFinding.OK, count=1, total_ms=10)
        rows = probes.rollups(conn, source="agency")
        assert [(row.hour, row.finding, row.count, row.total_ms) for row in rows] == [
            (NOW, "ok", 5, 400),
            (NOW, "unreachable", 1, 5000),
            (NOW + HOUR, "ok", 1, 10),
        ]
        assert len(probes.rollups(conn, since=NOW + HOUR)) == 1


def test_cohort_of_a_connection_never_changes(store: Store) -> None:
    """It is stored in every row: another function would move connections between groups."""
    assert schedule.cohort_of(None, "linkedin-123") == 120
    assert schedule.cohort_of("u1", "linkedin-123") == 248
    assert 0 <= schedule.cohort_of("ü", "\ud800") < schedule.COHORTS


def test_meta_keeps_single_facts(store: Store) -> None:
    with store.begin_write() as conn:
        assert meta.get(conn, "a") is None
        meta.set(conn, "a", "1")
        meta.set(conn, "a", "2")
        assert meta.get(conn, "a") == "2"
