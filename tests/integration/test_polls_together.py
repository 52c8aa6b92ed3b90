"""Polls that are recorded in one transaction have the results of polls recorded one by one. On both databases."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select

from monitor.config import Config, SourceConfig, load
from monitor.domain import PollOutcome, PollReport, ReportedStatus, ScopeReport
from monitor.engine import config_sync
from monitor.engine.recording.polls import Poll, record_poll, record_polls
from monitor.store import Store, incidents, sources
from monitor.store.schema import connections, polls, scopes
from tests.support.factories import NOW, make_snapshot

EVERY = timedelta(minutes=15)
OK, UNREACHABLE = PollOutcome.OK, PollOutcome.UNREACHABLE


class Agency:
    """Sources on hosts of their own, with two connections each."""

    def __init__(self, store: Store, folder: Path, number: int, *, together: bool) -> None:
        self.store, self.together, self.now = store, together, NOW
        self.config = _config(folder, number)
        with store.begin_write() as conn:
            config_sync.sync(conn, self.config, NOW)

    def list_of(
        self, number: int, *, status: ReportedStatus = ReportedStatus.VALID, digest: str = "same", skew: float = 0.0
    ) -> PollReport:
        rows = tuple(make_snapshot(external_id=f"{number}-{each}", reported=status, raw_status=status.value) for each in range(2))
        scope = ScopeReport(scope=None, complete=True, snapshots=rows, digest=digest)
        return PollReport(outcome=OK, scopes=(scope,), requests=1, covers_all=True, clock_skew=skew)

    def record(self, reports: Sequence[tuple[int, PollReport]]) -> list[int]:
        """Record a round of polls; return the number of alerts of each."""
        self.now += EVERY
        ended = [(self.source(number), Poll(report=report, started_at=self.now, now=self.now)) for number, report in reports]
        with self.store.begin_write() as conn:
            if self.together:
                return [each.alert_count for each in record_polls(conn, ended, channels=self.config.channels)]
            return [record_poll(conn, source, poll, channels=self.config.channels).alert_count for source, poll in ended]

    def source(self, number: int) -> SourceConfig:
        return self.config.sources[number]

    def row(self, number: int) -> sources.SourceRow:
        with self.store.begin_read() as conn:
            found = sources.find_source(conn, self.source(number).name)
        assert found is not None
        return found

    def problems(self) -> list[str]:
        with self.store.begin_read() as conn:
            return incidents.open_subjects(conn, "")


def _config(folder: Path, number: int) -> Config:
    path = folder / "config.toml"
    path.touch(mode=0o600)
    channel = '[[channels]]\nname = "ops"\nurl = "json://127.0.0.1:9/"\n'
    each = (
        '[[sources]]\nname = "s{0}"\nprovider = "postpost"\napi_key = "key-of-{0}-abcdefgh"\nbase_url = "https://h{0}.example"\n'
    )
    path.write_text(channel + "".join(each.format(each_number) for each_number in range(number)), encoding="utf-8")
    return load(path, {"HOME": str(folder)}).config


@pytest.fixture(params=[True, False], ids=["together", "one by one"])
def agency(store: Store, tmp_path: Path, request: pytest.FixtureRequest) -> Agency:
    made = Agency(store, tmp_path, 4, together=request.param)
    made.record([(number, made.list_of(number)) for number in range(4)])
    return made


def unreachable() -> PollReport:
    return PollReport(outcome=UNREACHABLE, problem="It cannot be reached.", requests=1)


def test_each_poll_of_a_mixed_batch_is_recorded(agency: Agency) -> None:
    lost = ReportedStatus.EXPIRED
    alerts = agency.record(
        [
            (0, agency.list_of(0)),
            (1, agency.list_of(1, status=lost, digest="other")),
            (2, unreachable()),
            (3, agency.list_of(3)),
        ]
    )
    assert [count > 0 for count in alerts] == [False, True, False, False]
    rows = [agency.row(number) for number in range(4)]
    assert [row.last_poll_at for row in rows] == [agency.now] * 4
    assert [row.failures for row in rows] == [0, 0, 1, 0]
    with agency.store.begin_read() as conn:
        stored = conn.execute(select(polls.c.source, polls.c.outcome, polls.c.changed).where(polls.c.at == agency.now)).all()
        read = conn.execute(select(scopes.c.source).where(scopes.c.last_complete_at == agency.now)).scalars()
        states = conn.execute(select(connections.c.source, connections.c.status).distinct()).all()
    assert [tuple(row) for row in stored] == [("s0", OK, 0), ("s1", OK, 2), ("s2", UNREACHABLE, 0), ("s3", OK, 0)]
    assert sorted(read) == ["s0", "s1", "s3"]
    assert {source for source, status in states if status == "expired"} == {"s1"}


def test_a_failing_poll_sees_what_the_polls_before_it_in_the_batch_found(agency: Agency) -> None:
    agency.record([(number, unreachable()) for number in (1, 2)])
    agency.record([(number, unreachable()) for number in (0, 3)])
    assert agency.row(0).failures == 1
    agency.record([(0, agency.list_of(0)), (1, unreachable()), (2, unreachable()), (3, unreachable())])
    assert agency.problems() == []
    assert agency.row(0).failures == 0


def test_the_end_of_a_network_outage_is_notified_once_by_a_batch(agency: Agency) -> None:
    for _ in range(4):
        agency.record([(number, unreachable()) for number in range(4)])
    assert agency.problems() == ["network"]
    alerts = agency.record([(number, agency.list_of(number)) for number in range(4)])
    assert agency.problems() == []
    assert [count > 0 for count in alerts] == [True, False, False, False]


def test_two_polls_of_one_source_in_a_batch_are_recorded_in_order(agency: Agency) -> None:
    lost = agency.list_of(0, status=ReportedStatus.EXPIRED, digest="other")
    alerts = agency.record(
        [(0, agency.list_of(0)), (0, lost), (0, agency.list_of(0, status=ReportedStatus.EXPIRED, digest="other"))]
    )
    assert [count > 0 for count in alerts] == [False, True, False]
    with agency.store.begin_read() as conn:
        found = sources.last_polls(conn, "s0", limit=3)
    assert [poll.changed for poll in found] == [0, 2, 0]


def test_unchanged_polls_share_their_statements(agency: Agency) -> None:
    seen: list[str] = []

    def note(_conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement)

    agency.record([(number, agency.list_of(number)) for number in range(4)])
    engine = agency.store._writer  # the only place where all statements pass
    event.listen(engine, "before_cursor_execute", note)
    try:
        agency.record([(number, agency.list_of(number)) for number in range(4)])
    finally:
        event.remove(engine, "before_cursor_execute", note)
    about = [text for text in seen if "sources" in text or "scopes" in text or "polls" in text or "connections" in text]
    assert len(about) == (6 if agency.together else 24)
