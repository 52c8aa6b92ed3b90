"""Requests that go ahead of others, inside the request budget."""

from __future__ import annotations

import asyncio
import time
from contextlib import nullcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.domain.errors import ProviderRateLimited
from monitor.providers import RequestBudget, ahead_of_others
from monitor.providers.rate_limit import DayLimit


async def spend(budget: RequestBudget, name: str, sent: list[str]) -> None:
    async with budget.request("GET"):
        sent.append(name)


@pytest.mark.parametrize("per_minute", [600, 3000])
async def test_a_request_ahead_of_others_is_sent_with_the_next_burst(per_minute: int) -> None:
    budget, sent = RequestBudget(per_minute), list[str]()
    async with asyncio.TaskGroup() as group:
        for number in range(3 * budget.burst):
            group.create_task(spend(budget, f"poll {number}", sent))
        await asyncio.sleep(budget.period / 2)
        assert len(sent) == budget.burst
        with ahead_of_others():
            group.create_task(spend(budget, "recheck", sent))
    assert "recheck" in sent[budget.burst : 2 * budget.burst]
    assert len(sent) == 3 * budget.burst + 1


async def test_requests_ahead_of_others_count_towards_the_budget() -> None:
    budget, sent = RequestBudget(600), list[str]()
    begun = time.monotonic()
    with ahead_of_others():
        await asyncio.gather(*(spend(budget, str(number), sent) for number in range(2 * budget.burst + 1)))
    assert time.monotonic() - begun > 1.9 * budget.period


async def test_a_budget_of_one_request_per_burst_serves_both() -> None:
    budget, sent = RequestBudget(59), list[str]()
    budget.period = 0.05
    async with asyncio.TaskGroup() as group:
        for number in range(6):
            group.create_task(spend(budget, f"poll {number}", sent))
        await asyncio.sleep(0.01)
        with ahead_of_others():
            for number in range(2):
                group.create_task(spend(budget, f"recheck {number}", sent))
    assert sent[0] == "poll 0"
    assert set(sent[1:3]) == {"recheck 0", "recheck 1"}
    assert len(sent) == 8


async def test_a_cancelled_request_ahead_of_others_reserves_nothing() -> None:
    budget, sent = RequestBudget(600), list[str]()
    budget.period = 0.05
    for _ in range(budget.burst):
        await budget.take()
    with ahead_of_others():
        waiting = asyncio.create_task(spend(budget, "recheck", sent))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await asyncio.wait_for(asyncio.gather(*(spend(budget, str(each), sent) for each in range(budget.burst))), 1)
    assert len(sent) == budget.burst


@settings(max_examples=25, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=40), st.sampled_from([30_000, 59_999, 60_000]))
def test_no_mixture_of_requests_exceeds_the_budget_or_waits_forever(ahead: list[bool], per_minute: int) -> None:
    async def run() -> None:
        budget, sent = RequestBudget(per_minute), list[float]()

        async def one() -> None:
            await budget.take()
            sent.append(time.monotonic())

        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            for each in ahead:
                with ahead_of_others() if each else nullcontext():
                    group.create_task(one())
        assert len(sent) == len(ahead)
        # The end of a wait is not exact, so that a request is compared with the one two bursts before it.
        apart = 2 * budget.burst
        assert all(sent[at + apart] - sent[at] > budget.period * 0.9 for at in range(len(sent) - apart))

    asyncio.run(run())


async def test_the_requests_of_a_day_are_limited_and_return_with_time() -> None:
    now = 0.0
    day = DayLimit(3, spent=[(23 * 3600.0, 1), (25 * 3600.0, 5)], monotonic=lambda: now)
    budget = RequestBudget(60_000, day=day)
    await budget.take()
    await budget.take()
    with pytest.raises(ProviderRateLimited) as refused:
        await budget.take()
    assert "3 requests in 24 hours" in str(refused.value)
    assert refused.value.retry_after == pytest.approx(3600)
    now = 3600.0
    await budget.take()
    with pytest.raises(ProviderRateLimited):
        await budget.take()
    now = 25 * 3600.0
    for _ in range(3):
        await budget.take()
    with pytest.raises(ProviderRateLimited):
        await budget.take()
