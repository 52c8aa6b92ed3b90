"""A few thousand generated answers, each judged by the oracle; `python -m tests.answers` makes a hundred thousand."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain import PollOutcome, PollReport, ProbeAnswer, ProbeFinding, ScopeReport, Status, Unreadable
from monitor.domain.providers import coded_names
from monitor.providers import json_chunks, payload
from tests.answers import bulk, generator, oracle, shapes
from tests.answers.bulk import Tally, World
from tests.answers.case import POSTBREEZE, POSTPEER, POSTPOST, TWINS, SampleSource
from tests.answers.generator import Payload
from tests.answers.offline import Raw, provider
from tests.answers.oracle import Judged

MIB = 1024 * 1024
FINE = PollReport(outcome=PollOutcome.OK)


async def test_N12_N17_N18_N21_N22_N23_three_thousand_generated_answers() -> None:
    """No exception, no verdict that an answer does not justify, and no memory that grows with them."""
    tally = await bulk.run(payloads=3000, seed=2)
    assert tally.crashes == []
    assert tally.wrong == []
    assert tally.grown < 32 * MIB
    assert tally.payloads == 3000
    assert (
        min(tally.outcomes[outcome] for outcome in PollOutcome if outcome is not PollOutcome.PUSH_STALE) > 10
    )  # of pushed reports only
    assert {Status.VALID, Status.EXPIRED, Status.UNKNOWN, Status.EXPIRING_SOON} <= set(tally.verdicts)
    assert tally.rows > 1000
    assert tally.unreadable > 100


def test_a_number_is_always_the_same_answer() -> None:
    assert [generator.payload(7, number) for number in (0, 41)] == [generator.payload(7, number) for number in (0, 41)]
    assert generator.payload(7, 0) != generator.payload(8, 0)


@given(st.sampled_from(coded_names()).flatmap(lambda kind: st.tuples(st.just(kind), shapes.lists(kind))), shapes.heads)
def test_N21_any_answer_to_a_poll_justifies_what_follows(answer: tuple[str, Any], head: tuple[int, Any]) -> None:
    kind, listed = answer
    status, headers = head
    body = listed if isinstance(listed, bytes) else json.dumps(listed).encode()
    assert look(Payload(number=0, kind=kind, probe=False, raw=Raw(status=status, headers=headers, body=body))) == []


@given(st.sampled_from(TWINS), shapes.probe_answers, shapes.heads)
def test_N21_any_answer_to_a_probe_justifies_what_follows(kind: str, answer: Any, head: tuple[int, Any]) -> None:
    status, headers = head
    raw = Raw(status=status, headers=headers, body=json.dumps(answer).encode())
    assert look(Payload(number=0, kind=kind, probe=True, raw=raw)) == []


def look(answer: Payload) -> list[str]:
    """What is wrong with what an answer comes to."""

    async def see() -> list[str]:
        return await bulk.look(answer, await World.begin(), Tally())

    return asyncio.run(see())


# --- The oracle itself: what it must see, it sees. ---


def listed(kind: str, *rows: dict[str, Any] | str) -> Payload:
    """A list of these rows, those that are texts written as they are."""
    texts = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    array = f"[{','.join(texts)}]"
    name = "integrations" if kind == POSTPEER else "connections"
    body = array if kind == POSTBREEZE else f'{{"success":true,"{name}":{array}}}'
    return Payload(number=0, kind=kind, probe=False, raw=Raw(body=body.encode()))


def seen(answer: Payload, external_id: str, before: Status | None, after: Status) -> list[str]:
    judged = [Judged(external_id=external_id, before=before, after=after)]
    return list(oracle.complaints(answer, FINE, judged, []))


def test_the_oracle_sees_a_false_recovery_and_a_false_alarm() -> None:
    for kind in (POSTPOST, POSTBREEZE):
        well, ill = SampleSource(kind=kind), SampleSource(kind=kind, well=False)
        key = well.id_of(0)
        assert seen(listed(kind, well.row(0)), key, Status.EXPIRED, Status.VALID) == []
        assert seen(listed(kind, ill.row(0)), key, Status.VALID, Status.EXPIRED) == []
        assert "FALSE VALID" in str(seen(listed(kind, ill.row(0)), key, Status.EXPIRED, Status.VALID))
        assert "FALSE EXPIRED" in str(seen(listed(kind, well.row(0)), key, Status.VALID, Status.EXPIRED))
        assert "FALSE REVOKED" in str(seen(listed(kind, well.row(0)), key, Status.VALID, Status.REVOKED))
        assert "FALSE FAILING" in str(seen(listed(kind, well.row(0)), key, Status.VALID, Status.FAILING))
        assert "MISSED" in str(seen(listed(kind, ill.row(0)), key, Status.VALID, Status.VALID))
        assert "forgotten" in str(seen(listed(kind, well.row(0)), key, Status.EXPIRED, Status.UNKNOWN))
        assert "nowhere" in str(seen(listed(kind, well.row(1)), key, None, Status.VALID))


def test_the_oracle_sees_what_is_stated_twice() -> None:
    text = json.dumps(SampleSource(kind=POSTPOST, well=False).row(0))
    twice = listed(POSTPOST, text[:-1] + ',"tokenStatus":"valid"}')
    assert "FALSE VALID" in str(seen(twice, "linkedin-000a", Status.EXPIRED, Status.VALID))


def test_the_oracle_sees_a_stated_death_that_was_not_read() -> None:
    """A name or a link of another type hides no status; a status of another type, or a repeated one, is not certain."""
    for kind in (POSTPOST, POSTBREEZE):
        ill = SampleSource(kind=kind, well=False)
        lost = Unreadable(external_id=ill.id_of(0), why="no")
        report = PollReport(outcome=PollOutcome.OK, scopes=(ScopeReport(scope=None, complete=True, unreadable=(lost,)),))
        hidden = [
            list(oracle.complaints(listed(kind, ill.row(0) | over), report, [], []))
            for over in ({}, {"displayName": 7}, {"tokenExpiresIn": -3600}, {"lastRefreshErrorStatus": "400"}, {ill.word: 7})
        ]
        assert [len(each) for each in hidden] == [1, 1, 1, 1, 0]
        assert "HIDDEN" in hidden[1][0]


def test_the_oracle_sees_an_absence_that_is_none_and_an_error_taken_for_a_list() -> None:
    answer = listed(POSTPOST, SampleSource(kind=POSTPOST).row(0))
    assert "counted as missing" in str(list(oracle.complaints(answer, FINE, [], ["linkedin-000a"])))
    refused = Payload(number=0, kind=POSTPOST, probe=False, raw=Raw(status=500, body=answer.raw.body))
    assert "HTTP 500" in str(list(oracle.complaints(refused, FINE, [], [])))


def test_the_oracle_sees_a_probe_misread() -> None:
    payload_ = Payload(number=0, kind=POSTPOST, probe=True, raw=Raw(body=b'{"status":"error","status":"ok"}'))
    answer = ProbeAnswer(http_status=200, status="ok")
    assert "FALSE OK" in str(list(oracle.probe_complaints(payload_, answer, ProbeFinding.OK)))
    assert "FALSE EXPIRED" in str(list(oracle.probe_complaints(payload_, answer, ProbeFinding.EXPIRED)))


async def test_without_its_guards_the_parser_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser that believes the last of two contradicting words is found out by generated answers alone."""
    monkeypatch.setattr(payload, "states_twice", lambda *_: False)
    monkeypatch.setattr(payload, "escapes_a_key", lambda _: False)
    monkeypatch.setattr(json_chunks.ChunkReader, "_restates", lambda *_: False)
    tally = await bulk.run(payloads=700, seed=2)
    assert any("FALSE" in text for text in tally.wrong)


async def test_the_offline_adapters_read_as_the_real_ones_do() -> None:
    for kind in coded_names():
        report = await provider(kind, Raw(body=SampleSource(kind=kind).text())).poll()
        assert (report.outcome, report.listed) == (PollOutcome.OK, 50)
