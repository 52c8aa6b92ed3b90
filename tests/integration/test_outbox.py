"""The outbox: every delivery is sent by exactly one worker, and none is lost by a crash."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from monitor.domain import DeliveryState
from monitor.domain.errors import StoreError
from monitor.store import Store, alerts, incidents, open_store, outbox, schema, sources
from monitor.store.outbox import Claimed
from tests.support.factories import NOW, make_alert, make_notified
from tests.support.incidents import open_incident

LEASE = timedelta(minutes=2)
MINUTE = timedelta(minutes=1)


def queue(store: Store, names: Sequence[str], *, channels: Sequence[str] = ("ops",)) -> None:
    """Alerts of these ids with one delivery per channel, due now."""
    with store.begin_write() as conn:
        sources.sync_sources(conn, [("agency", "postpost", "api.test")], NOW)
        said = make_notified()
        incident = incidents.find_open_source(conn, "agency")
        key = incident.id if incident else open_incident(conn, source="agency", connection_id=None, last_notified=said, now=NOW)
        alerts.add_alerts(conn, [(make_alert(id=name, incident=key), None, None) for name in names])
        outbox.add_deliveries(conn, [(name, channel, NOW) for name in names for channel in channels], NOW)


def claim(
    store: Store, *, owner: str = "w1", channel: str = "ops", late: timedelta = timedelta(0), limit: int = 100
) -> list[Claimed]:
    with store.begin_write() as conn:
        return outbox.claim(conn, channel=channel, owner=owner, now=NOW + late, lease=LEASE, limit=limit)


def names(claimed: Sequence[Claimed]) -> list[str]:
    return [each.alert.id for each in claimed]


def ids(claimed: Sequence[Claimed]) -> list[int]:
    return [each.delivery_id for each in claimed]


def test_claim_hands_out_the_oldest_first_with_the_whole_alert(store: Store) -> None:
    queue(store, ["a", "b", "c"])
    first = claim(store, limit=2)
    assert names(first) == ["a", "b"]
    assert first[0].alert.label == "Acme Ltd"
    assert [(each.attempt, each.uncertain, each.created_at) for each in first] == [(1, False, NOW), (1, False, NOW)]
    assert names(claim(store)) == ["c"]
    assert claim(store) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"id": "a"}', '{"event": "no such event"}'])
def test_an_alert_with_damaged_text_is_still_sent_and_blocks_no_other(store: Store, text: str) -> None:
    queue(store, ["a", "b"])
    with store.begin_write() as conn:
        conn.execute(update(schema.alerts).where(schema.alerts.c.id == "a").values(payload=text))
    damaged, whole = (each.alert for each in claim(store))
    assert (damaged.id, damaged.source, damaged.event, damaged.severity) == ("a", whole.source, whole.event, whole.severity)
    assert (damaged.incident, damaged.at) == (whole.incident, whole.at)
    assert "is damaged" in damaged.message
    assert whole.label == "Acme Ltd"


def test_claim_leaves_what_is_not_due_and_other_channels(store: Store) -> None:
    queue(store, ["a"], channels=["ops", "mail"])
    with store.begin_write() as conn:
        alerts.add_alerts(conn, [(make_alert(id="later", incident="none"), None, None)])
        outbox.add_deliveries(conn, [("later", "ops", NOW + MINUTE)], NOW)
    assert names(claim(store)) == ["a"]
    assert names(claim(store, late=MINUTE)) == ["later"]
    assert names(claim(store, channel="mail")) == ["a"]


def test_sent_delivery_is_over(store: Store) -> None:
    queue(store, ["a"])
    taken = claim(store)
    with store.begin_write() as conn:
        assert outbox.mark_sent(conn, ids(taken), "w1", NOW + MINUTE, detail="204") == ids(taken)
    assert claim(store, late=timedelta(days=30)) == []
    with store.begin_read() as conn:
        (delivery,) = outbox.deliveries_of(conn, "a")
        assert outbox.next_delivery_due(conn) is None
        assert outbox.pending_counts(conn) == {}
    assert (delivery.state, delivery.sent_at, delivery.next_attempt_at) == (DeliveryState.SENT, NOW + MINUTE, None)
    (attempt,) = delivery.attempts
    assert (attempt.number, attempt.started_at, attempt.finished_at) == (1, NOW, NOW + MINUTE)
    assert (attempt.outcome, attempt.detail) == ("sent", "204")


def test_failed_delivery_comes_again_when_it_is_due(store: Store) -> None:
    queue(store, ["a"])
    taken = claim(store)
    with store.begin_write() as conn:
        outbox.mark_failed(conn, ids(taken), "w1", NOW, next_attempt_at=NOW + MINUTE, detail="connection refused")
    assert claim(store) == []
    (again,) = claim(store, late=MINUTE)
    assert (again.attempt, again.uncertain) == (2, False)
    with store.begin_read() as conn:
        (delivery,) = outbox.deliveries_of(conn, "a")
    assert delivery.last_error == "connection refused"
    assert [attempt.outcome for attempt in delivery.attempts] == ["failed", None]


@pytest.mark.parametrize(("permanent", "outcome"), [(True, "rejected"), (False, "failed")])
def test_delivery_is_dead_after_a_refusal_for_good_or_when_time_is_up(store: Store, permanent: bool, outcome: str) -> None:
    queue(store, ["a"])
    taken = claim(store)
    again = NOW + MINUTE if permanent else None
    with store.begin_write() as conn:
        outbox.mark_failed(conn, ids(taken), "w1", NOW, next_attempt_at=again, detail="gone", permanent=permanent)
    assert claim(store, late=timedelta(days=30)) == []
    with store.begin_read() as conn:
        (delivery,) = outbox.deliveries_of(conn, "a")
        assert outbox.state_counts(conn) == {("ops", DeliveryState.DEAD): 1}
    assert delivery.state is DeliveryState.DEAD
    assert delivery.attempts[0].outcome == outcome


def test_retry_makes_a_dead_delivery_due_with_a_fresh_allowance(store: Store) -> None:
    queue(store, ["a"], channels=["mail", "ops"])
    taken = claim(store)
    mailed = claim(store, channel="mail")
    with store.begin_write() as conn:
        outbox.mark_failed(conn, ids(taken), "w1", NOW, next_attempt_at=None, detail="gone")
        outbox.mark_sent(conn, ids(mailed), "w1", NOW)
    with store.begin_write() as conn:
        assert outbox.retry(conn, "a", NOW + 5 * MINUTE) == 1
    (again,) = claim(store, late=5 * MINUTE)
    assert (again.attempt, again.created_at) == (2, NOW + 5 * MINUTE)
    assert claim(store, channel="mail", late=5 * MINUTE) == []


def test_lease_that_ran_out_is_taken_back_and_is_uncertain(store: Store) -> None:
    """The first worker hung or died between sending and marking."""
    queue(store, ["a"])
    claim(store)
    assert claim(store, owner="w2", late=LEASE - timedelta(seconds=1)) == []
    (again,) = claim(store, owner="w2", late=LEASE)
    assert (again.attempt, again.uncertain) == (2, True)
    with store.begin_read() as conn:
        (delivery,) = outbox.deliveries_of(conn, "a")
    assert [attempt.outcome for attempt in delivery.attempts] == ["unknown", None]


def test_worker_that_lost_its_lease_changes_nothing(store: Store) -> None:
    queue(store, ["a"])
    taken = claim(store)
    claim(store, owner="w2", late=LEASE)
    with store.begin_write() as conn:
        assert outbox.mark_failed(conn, ids(taken), "w1", NOW, next_attempt_at=None, detail="too late") == []
        assert outbox.mark_sent(conn, ids(taken), "w1", NOW) == []
    with store.begin_read() as conn:
        (delivery,) = outbox.deliveries_of(conn, "a")
    assert delivery.state is DeliveryState.SENDING
    assert [attempt.outcome for attempt in delivery.attempts] == ["unknown", None]


def test_uncertainty_stays_until_it_is_sent(store: Store) -> None:
    """A later attempt that fails does not unsay that the first one may have arrived."""
    queue(store, ["a"])
    claim(store)
    taken = claim(store, owner="w2", late=LEASE)
    with store.begin_write() as conn:
        outbox.mark_failed(conn, ids(taken), "w2", NOW + LEASE, next_attempt_at=NOW + 2 * LEASE, detail="refused")
    (again,) = claim(store, late=2 * LEASE)
    assert again.uncertain is True


@pytest.mark.parametrize("uncertain", [False, True])
def test_a_failure_that_leaves_a_doubt_is_remembered_with_the_delivery(store: Store, uncertain: bool) -> None:
    queue(store, ["one"])
    for doubt in (uncertain, False):  # what may have arrived once may have arrived, whatever comes later
        (claimed,) = claim(store)
        with store.begin_write() as conn:
            outbox.mark_failed(conn, [claimed.delivery_id], "w1", NOW, next_attempt_at=NOW, detail="No answer.", uncertain=doubt)
    (again,) = claim(store)
    assert again.uncertain is uncertain


def test_release_at_start_frees_what_a_dead_daemon_was_sending(store: Store) -> None:
    queue(store, ["a", "b", "c"])
    claim(store, limit=2)
    with store.begin_write() as conn:
        assert outbox.release_uncertain(conn, NOW + MINUTE) == 2
    again = claim(store, owner="w2", late=MINUTE)
    assert [(each.alert.id, each.uncertain) for each in again] == [("a", True), ("b", True), ("c", False)]
    with store.begin_write() as conn:
        assert outbox.release_uncertain(conn, NOW + MINUTE) == 3


def test_next_due_is_the_earliest_of_due_times_and_lease_ends(store: Store) -> None:
    queue(store, ["a"])
    with store.begin_write() as conn:
        alerts.add_alerts(conn, [(make_alert(id="b", incident="none"), None, None)])
        outbox.add_deliveries(conn, [("b", "mail", NOW + 5 * MINUTE)], NOW)
    with store.begin_read() as conn:
        assert outbox.next_delivery_due(conn) == NOW
        assert outbox.channels_due(conn, NOW) == ["ops"]
        assert outbox.channels_due(conn, NOW + 5 * MINUTE) == ["mail", "ops"]
        assert outbox.pending_counts(conn) == {"mail": 1, "ops": 1}
        assert outbox.oldest_pending(conn) == NOW
    claim(store)
    with store.begin_read() as conn:
        assert outbox.next_delivery_due(conn) == NOW + LEASE
        assert outbox.next_delivery_due(conn, channel="mail") == NOW + 5 * MINUTE


def test_delivery_is_queued_in_the_same_transaction_as_its_alert_or_not_at_all(store: Store) -> None:
    def crash() -> None:
        with store.begin_write() as conn:
            alerts.add_alerts(conn, [(make_alert(id="a", incident="none"), None, None)])
            outbox.add_deliveries(conn, [("a", "ops", NOW)], NOW)
            raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        crash()
    with store.begin_read() as conn:
        assert alerts.find_alert(conn, "a") is None
        assert outbox.deliveries_of(conn, "a") == []


def test_one_alert_goes_to_one_channel_once(store: Store) -> None:
    queue(store, ["a"])
    with pytest.raises(StoreError) as caught, store.begin_write() as conn:
        outbox.add_deliveries(conn, [("a", "ops", NOW)], NOW)
    assert isinstance(caught.value.__cause__, IntegrityError)


def test_P27_claimers_in_threads_never_get_the_same_delivery(store: Store, database_url: str) -> None:
    """Each thread has a store of its own, as another process would."""
    wanted = [f"a{number:03}" for number in range(120)]
    queue(store, wanted)

    def work(owner: str) -> list[str]:
        taken: list[str] = []
        with Store(database_url) as own:
            while batch := claim(own, owner=owner, limit=7):
                taken += names(batch)
                with own.begin_write() as conn:
                    outbox.mark_sent(conn, ids(batch), owner, NOW)
        return taken

    with ThreadPoolExecutor(4) as pool:
        got = [name for each in pool.map(work, ["w1", "w2", "w3", "w4"]) for name in each]
    assert Counter(got) == Counter(wanted)


WORKER = """
import os, signal, sys
from datetime import timedelta
from monitor.store import Store, outbox
from tests.support.factories import NOW

store = Store({url!r})
sys.stdin.readline()
while True:
    with store.begin_write() as conn:
        batch = outbox.claim(conn, channel="ops", owner=str(os.getpid()), now=NOW, lease=timedelta(minutes=2), limit=3)
    if not batch:
        break
    print(*(each.alert.id for each in batch), flush=True)
    if {die}:
        os.kill(os.getpid(), signal.SIGKILL)
    with store.begin_write() as conn:
        outbox.mark_sent(conn, [each.delivery_id for each in batch], str(os.getpid()), NOW)
"""


def start_worker(url: str, *, die: bool) -> subprocess.Popen[str]:
    code = WORKER.format(url=url, die=die)
    folder = Path(__file__).parents[2]
    return subprocess.Popen([sys.executable, "-c", code], text=True, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_P27_claimers_in_processes_never_get_the_same_delivery(store: Store, database_url: str) -> None:
    wanted = [f"a{number:03}" for number in range(60)]
    queue(store, wanted)
    workers = [start_worker(database_url, die=False) for _ in range(3)]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    got = [name for worker in workers for name in worker.communicate(timeout=60)[0].split()]
    assert Counter(got) == Counter(wanted)
    with store.begin_read() as conn:
        assert outbox.pending_counts(conn) == {}


def test_P01_worker_killed_between_claim_and_mark_loses_nothing(store: Store, database_url: str) -> None:
    """What was in flight comes back and says that it may be a repeat; the rest comes as if nothing had been."""
    queue(store, ["a", "b", "c", "d"])
    worker = start_worker(database_url, die=True)
    out, _ = worker.communicate("go\n", timeout=60)
    assert worker.returncode == -signal.SIGKILL
    assert out.split() == ["a", "b", "c"]
    again = claim(store, owner="next", late=LEASE)
    assert [(each.alert.id, each.uncertain) for each in again] == [("a", True), ("b", True), ("c", True), ("d", False)]


def test_due_deliveries_are_found_by_their_index_and_not_by_reading_all(tmp_path: Path) -> None:
    """A year of sent deliveries must not slow down the next one. (PostgreSQL plans by statistics, SQLite by the index.)"""
    with open_store(f"sqlite:///{tmp_path / 'monitor.db'}") as store, store.begin_read() as conn:
        for query in (
            "SELECT id FROM deliveries WHERE channel = 'ops' AND next_attempt_at <= 'x'",
            "SELECT min(next_attempt_at) FROM deliveries WHERE next_attempt_at IS NOT NULL",
        ):
            plan = str(conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}").all())
            assert "ix_deliveries_due" in plan
