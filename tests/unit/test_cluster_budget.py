"""A source's request budget in the hands of several processes, one after the other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.domain.errors import LeaseLost, ProviderRateLimited
from monitor.providers import RequestBudget, rate_limit
from monitor.providers.rate_limit import DAY, DayLimit

PER_MINUTE = 120
BURST, PERIOD = 2, 1.0
"""Of a budget of 120 requests a minute."""


@dataclass(kw_only=True)
class Timeline:
    """The time of all machines, which only passes while something waits for it."""

    now: float = 5000.0

    def monotonic(self) -> float:
        """Return it."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let it pass."""
        self.now += max(seconds, 0.0)


class FakeTime:
    """What rate_limit.py uses of `time` and `asyncio`, by a timeline."""

    def __init__(self, line: Timeline) -> None:
        self.monotonic, self.sleep = line.monotonic, line.sleep
        self.Lock, self.Semaphore = asyncio.Lock, asyncio.Semaphore


@dataclass(kw_only=True)
class Holders:
    """Processes that pass the lease of one source around, over JSON as the database does."""

    line: Timeline
    budgets: list[RequestBudget]
    sent: list[float] = field(default_factory=list)
    left: str = "{}"
    left_at: float = 0.0

    def take_over(self, who: int, *, lapsed: float | None = None) -> None:
        """Give the lease to a process."""
        handover: Mapping[str, Any] = json.loads(self.left)
        self.budgets[who].resume(handover, age=self.line.now - self.left_at, lapsed=lapsed)

    async def send(self, who: int, count: int) -> None:
        """Let its holder send requests as soon as it may."""
        for _ in range(count):
            await self.budgets[who].take()
            self.sent.append(self.line.now)

    def release(self, who: int) -> None:
        """Let it leave what the next one must know."""
        self.left, self.left_at = json.dumps(self.budgets[who].handover()), self.line.now


STEPS = st.lists(
    st.tuples(
        st.integers(min_value=0, max_value=2),  # the process that gets the lease
        st.integers(min_value=0, max_value=7),  # requests that it sends
        st.sampled_from([0.0, 0.001, 0.3, 0.999, 1.0, 2.5]),  # seconds until the next process has the lease
        st.booleans(),  # True: it is killed, and the lease ends some time later
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=300)
@given(steps=STEPS)
def test_no_series_of_holders_exceeds_the_budget(steps: list[tuple[int, int, float, bool]]) -> None:
    line = Timeline()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rate_limit, "time", FakeTime(line))
        patch.setattr(rate_limit, "asyncio", FakeTime(line))
        held = Holders(line=line, budgets=[RequestBudget(PER_MINUTE, monotonic=line.monotonic) for _ in range(3)])

        async def run() -> None:
            lapsed = None
            for who, count, pause, is_killed in steps:
                held.take_over(who, lapsed=lapsed)
                await held.send(who, count)
                lapsed = None
                if is_killed:  # the lease ends 20 s after its last renewal, and nothing is sent in the last 5 of them
                    line.now += 5.0 + pause
                    lapsed = pause
                else:
                    held.release(who)
                    line.now += pause

        asyncio.run(run())
    apart = BURST
    for first, later in zip(held.sent, held.sent[apart:], strict=False):
        assert later - first >= PERIOD - 0.002, held.sent


@given(
    pause=st.floats(min_value=1, max_value=3600),
    hops=st.lists(st.floats(min_value=0, max_value=900), min_size=1, max_size=6),
)
def test_a_pause_that_the_api_demands_holds_for_every_later_holder_until_its_end(pause: float, hops: list[float]) -> None:
    line = Timeline()
    held = Holders(line=line, budgets=[RequestBudget(PER_MINUTE, monotonic=line.monotonic) for _ in range(3)])
    held.budgets[0].wait(pause)
    ends = line.now + pause
    held.release(0)
    for number, hop in enumerate(hops):
        line.now += hop
        who = (number + 1) % 3
        held.take_over(who)
        if line.now < ends - 0.1:
            with pytest.raises(ProviderRateLimited) as refused:
                held.budgets[who].require_open()
            assert refused.value.retry_after == pytest.approx(ends - line.now, abs=0.1)
        elif line.now > ends + 0.1:
            held.budgets[who].require_open()
        held.release(who)


async def test_the_guard_is_asked_before_every_request_and_after_every_wait() -> None:
    budget, allowed = RequestBudget(6000), [True]

    def guard() -> None:
        if not allowed[0]:
            raise LeaseLost

    budget.guard = guard
    async with budget.request("GET"):
        pass
    for _ in range(budget.burst - 1):
        await budget.take()
    waiting = asyncio.create_task(budget.take())
    await asyncio.sleep(0)
    allowed[0] = False
    with pytest.raises(LeaseLost):
        await waiting
    with pytest.raises(LeaseLost):
        async with budget.request("POST"):
            pytest.fail("a request was allowed")


def test_a_pause_is_saved_when_it_begins() -> None:
    budget, saved = RequestBudget(60), list[dict[str, Any]]()
    budget.paused = lambda: saved.append(budget.handover())
    budget.wait(30)
    assert [round(each["pause"]) for each in saved] == [30]


@settings(max_examples=200)
@given(
    hops=st.lists(
        st.tuples(st.integers(min_value=0, max_value=4), st.sampled_from([0.0, 1.0, 59.0, 61.0, 840.0, 3600.0, 40_000.0])),
        min_size=1,
        max_size=40,
    )
)
def test_the_requests_of_a_day_are_neither_forgotten_nor_kept_longer_by_handovers(hops: list[tuple[int, float]]) -> None:
    """However often the lease changes hands, requests count for 24 hours (and the minute in which they are counted)."""
    most = 20
    line, sent = Timeline(), list[float]()
    days = [DayLimit(most, monotonic=line.monotonic) for _ in range(3)]
    left: list[tuple[float, int]] = []
    for number, (count, pause) in enumerate(hops):
        day = days[number % 3]
        day.resume(left)
        for _ in range(count):
            recent = sum(line.now - at < DAY - 65 for at in sent)
            kept = sum(line.now - at < DAY + 65 for at in sent)
            try:
                day.take()
            except ProviderRateLimited:
                assert kept >= most
            else:
                assert recent < most
                sent.append(line.now)
        left = [(ago + pause, each) for ago, each in json.loads(json.dumps(day.spent()))]
        line.now += pause


def test_the_day_of_requests_goes_with_the_budget() -> None:
    line = Timeline()
    one, two = (RequestBudget(60, day=DayLimit(3, monotonic=line.monotonic), monotonic=line.monotonic) for _ in range(2))
    asyncio.run(one.take())
    two.resume(json.loads(json.dumps(one.handover())), age=0, lapsed=None)
    assert two.handover()["day"] == [(0.0, 1)]
