"""Unreachable sources: whose fault it is, and which alerts follow."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from monitor.domain import PollOutcome, SourceStatus
from monitor.domain.rules.alerting import AlertReason
from monitor.domain.rules.source_reach import (
    NETWORK_PATIENCE,
    NetworkAlert,
    Peer,
    ReachDecision,
    SourcePoll,
    Unmonitored,
    decide_reach,
)
from tests.support.factories import NOW

OK, FAILING, UNAUTHORIZED = SourceStatus.OK, SourceStatus.FAILING, SourceStatus.UNAUTHORIZED
SINCE = NOW - timedelta(minutes=20)
FIRST = ReachDecision(source_alert=AlertReason.FIRST)
NETWORK_DOWN = ReachDecision(network_alert=NetworkAlert.PROBLEM)
OTHERS_FIRST = ReachDecision(poll_others=True)
NOTHING = ReachDecision()


def peer(host: str = "b", *, polled_after: bool = True, read_after: bool = False) -> Peer:
    """Another source, polled or read since the trouble began, or before it."""
    before, after = SINCE - timedelta(minutes=5), SINCE + timedelta(minutes=5)
    return Peer(
        host=host,
        unreachable=not read_after,
        last_poll_at=after if polled_after else before,
        last_success_at=after if read_after else before,
    )


def poll(outcome: PollOutcome = PollOutcome.UNREACHABLE, **known: Any) -> SourcePoll:
    facts: dict[str, Any] = {
        "outcome": outcome,
        "before": OK,
        "after": FAILING,
        "host": "a",
        "source_incident": False,
        "network_incident": False,
        "failing_since": SINCE,
        "now": NOW,
    }
    return SourcePoll(**{**facts, **known})


@pytest.mark.parametrize(
    ("made", "decision"),
    [
        (poll(peers=[]), FIRST),
        (poll(peers=[peer("a")]), FIRST),
        (poll(peers=[peer(read_after=True), peer("c")]), FIRST),
        (poll(peers=[peer(), peer("c")]), NETWORK_DOWN),
        (poll(peers=[peer(), peer("c", polled_after=False)]), OTHERS_FIRST),
        (poll(peers=[peer(polled_after=False)], now=SINCE + NETWORK_PATIENCE), FIRST),
        (poll(network_incident=True), NOTHING),
        (poll(network_incident=True, before=FAILING), NOTHING),
        (poll(before=FAILING, source_incident=True), NOTHING),
        (poll(before=FAILING, peers=[peer(read_after=True)]), FIRST),
        (poll(after=OK), NOTHING),
        (poll(PollOutcome.INVALID, before=FAILING), FIRST),
        (poll(PollOutcome.INVALID, before=FAILING, source_incident=True), NOTHING),
        (poll(PollOutcome.UNAUTHORIZED, after=UNAUTHORIZED), FIRST),
        (poll(PollOutcome.OK, after=OK), NOTHING),
        (poll(PollOutcome.OK, before=FAILING, after=OK), ReachDecision(source_alert=AlertReason.RECOVERED)),
        (poll(PollOutcome.OK, after=OK, network_incident=True), ReachDecision(network_alert=NetworkAlert.RECOVERED)),
        (
            poll(PollOutcome.INVALID, network_incident=True),
            ReachDecision(source_alert=AlertReason.FIRST, network_alert=NetworkAlert.RECOVERED),
        ),
    ],
)
def test_the_decision(made: SourcePoll, decision: ReachDecision) -> None:
    assert decide_reach(made) == decision


def test_the_others_are_only_needed_where_nothing_explains_the_failure() -> None:
    assert poll().needs_peers
    assert not poll(network_incident=True).needs_peers
    assert not poll(source_incident=True).needs_peers
    assert not poll(PollOutcome.OK, after=OK).needs_peers


@pytest.mark.parametrize(
    ("unmonitored", "cause", "text"),
    [
        (Unmonitored(12, NOW), "HTTP 503", f"HTTP 503. 12 connections have not been monitored since {NOW:%Y-%m-%d %H:%M} UTC."),
        (Unmonitored(1, NOW), "It is down.", f"It is down. 1 connection has not been monitored since {NOW:%Y-%m-%d %H:%M} UTC."),
        (Unmonitored(2, None), "Why?", "Why? 2 connections have not been monitored yet."),
        (Unmonitored(0, None), "HTTP 503", "HTTP 503"),
        (Unmonitored(2, NOW), "", f"2 connections have not been monitored since {NOW:%Y-%m-%d %H:%M} UTC."),
    ],
)
def test_a_source_that_cannot_be_read_states_what_is_not_monitored(unmonitored: Unmonitored, cause: str, text: str) -> None:
    assert unmonitored.explain(cause) == text


def test_a_long_cause_never_hides_the_number_of_unmonitored_connections() -> None:
    assert len(Unmonitored(100_000, NOW).explain("x" * 1000)) <= 256
