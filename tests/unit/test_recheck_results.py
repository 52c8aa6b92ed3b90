"""The result of a recheck, from the state after it and the result of the probe."""

from __future__ import annotations

import pytest

from monitor.domain import ConnectionState, ProbeAnswer, ProbeFinding, ProbeState, ProbeStatus, Status
from monitor.engine.probe_runner import ProbeResult
from monitor.engine.rechecks import judge
from monitor.store.probes import Target
from monitor.store.rechecks import RecheckOutcome
from tests.support.factories import make_state

HEALTHY, ATTENTION = RecheckOutcome.HEALTHY, RecheckOutcome.NEEDS_ATTENTION
OK = ProbeState(status=ProbeStatus.OK)
REFUSED = ProbeState(status=ProbeStatus.FAILING, refusals=1, finding=ProbeFinding.EXPIRED, message="Token expired.")


def result_of(answer: ProbeAnswer | None) -> ProbeResult:
    target = Target(1, "linkedin-1", None, "linkedin", ProbeState())
    return ProbeResult(target, answer, None if answer is None else ProbeFinding.OK, 0.1)


ANSWERED, UNANSWERED = result_of(ProbeAnswer(http_status=200, status="ok")), result_of(None)


@pytest.mark.parametrize(
    ("status", "probe", "result", "is_listed", "probed", "outcome", "words"),
    [
        (Status.VALID, OK, ANSWERED, True, True, HEALTHY, ""),
        (Status.UNKNOWN, ProbeState(), None, True, False, HEALTHY, ""),
        (Status.VALID, OK, UNANSWERED, True, True, HEALTHY, "could not be tested"),
        (Status.VALID, OK, None, True, True, HEALTHY, "could not be tested"),
        (Status.EXPIRED, OK, None, True, True, ATTENTION, "could not be tested"),
        (Status.EXPIRING_SOON, OK, ANSWERED, True, True, ATTENTION, ""),
        (Status.VALID, REFUSED, ANSWERED, True, True, ATTENTION, "refused the test: Token expired."),
        (Status.REVOKED, REFUSED, ANSWERED, True, True, ATTENTION, ""),
        (Status.VALID, OK, ANSWERED, False, True, ATTENTION, "does not list"),
        (Status.DISCONNECTED, OK, ANSWERED, False, True, ATTENTION, ""),
    ],
)
def test_the_outcome_follows_from_the_status_the_list_and_the_probe(
    *,
    status: Status,
    probe: ProbeState,
    result: ProbeResult | None,
    is_listed: bool,
    probed: bool,
    outcome: RecheckOutcome,
    words: str,
) -> None:
    state: ConnectionState = make_state(status=status, probe=probe)
    found = judge(7, state, result, is_listed=is_listed, probed=probed)
    assert (found.id, found.outcome, found.status_after) == (7, outcome, status)
    assert words in found.message
    assert words or found.message == state.verdict.message
