"""One verdict from presence, token and probe: the table of both axes (INTERFACE: Statuses)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from monitor.domain import (
    LastError,
    Policy,
    ProbeFinding,
    ProbeState,
    ProbeStatus,
    ReportedStatus,
    Snapshot,
    Status,
    TokenState,
    provider_info,
)
from monitor.domain.rules import verdict
from monitor.domain.rules.expiry import Context
from monitor.domain.rules.token_rules import Finding
from monitor.domain.rules.verdict import Axes, merge
from tests.support.factories import NOW

VALID, UNKNOWN, SOON, FAILING = Status.VALID, Status.UNKNOWN, Status.EXPIRING_SOON, Status.FAILING
EXPIRED, REVOKED, DISCONNECTED = Status.EXPIRED, Status.REVOKED, Status.DISCONNECTED

HOUR = timedelta(hours=1)
UNPROBED = ProbeState()
OK = ProbeState(status=ProbeStatus.OK, finding=ProbeFinding.OK, ever_ok=True, at=NOW - HOUR)
OLD_OK = ProbeState(status=ProbeStatus.OK, finding=ProbeFinding.OK, ever_ok=True, at=NOW - 19 * HOUR)
SILENT = ProbeState(
    status=ProbeStatus.OK, finding=ProbeFinding.OK, ever_ok=True, at=NOW - 20 * HOUR, ok_at=NOW - 26 * HOUR, silent_since=NOW
)
UNSUPPORTED = ProbeState(status=ProbeStatus.UNSUPPORTED, finding=ProbeFinding.UNSUPPORTED)
AMBIGUOUS = ProbeState(status=ProbeStatus.UNSUPPORTED, finding=ProbeFinding.AMBIGUOUS)
OK_THEN_404 = ProbeState(
    status=ProbeStatus.OK, finding=ProbeFinding.MISSING, ever_ok=True, at=NOW, ok_at=NOW - HOUR, silent_since=NOW
)
OK_THEN_400 = ProbeState(
    status=ProbeStatus.OK, finding=ProbeFinding.BAD_ID, ever_ok=True, at=NOW, ok_at=NOW - HOUR, silent_since=NOW
)


def refused(
    finding: ProbeFinding, times: int, *, message: str | None = None, ever_ok: bool = False, lasted: timedelta = 2 * HOUR
) -> ProbeState:
    return ProbeState(
        status=ProbeStatus.FAILING,
        finding=finding,
        refusals=times,
        message=message,
        refusal=message,
        at=NOW,
        refused_since=NOW - lasted,
        ever_ok=ever_ok,
        ok_at=NOW - 3 * HOUR if ever_ok else None,
    )


def once(finding: ProbeFinding) -> ProbeState:
    return refused(finding, 1)


def twice(finding: ProbeFinding) -> ProbeState:
    return refused(finding, 2)


def often(finding: ProbeFinding) -> ProbeState:
    return refused(finding, 3)


def axes(token: TokenState, probe: ProbeState, missing: int = 0, **over: Any) -> Axes:
    policy = Policy(**{"confirm_missing": 2, "confirm_failures": 2, **over.pop("policy", {})})
    every, skew = over.pop("probe_every", 6 * HOUR), over.pop("clock_skew", None)
    context = Context(now=NOW, provider=provider_info("publora"), policy=policy, probe_every=every, clock_skew=skew)
    row = Snapshot(external_id="linkedin-1", platform="linkedin", reported=ReportedStatus.VALID)
    values = {"snapshot": row, "lost_permissions": (), **over}
    return Axes(token=token, probe=probe, missing=missing, context=context, **values)


def judge(token: Status, probe: ProbeState, missing: int = 0, **confirm: int) -> Finding:
    state = TokenState(status=token, reason="listed", message="As listed.")
    return merge(axes(state, probe, missing, policy=confirm))


P = ProbeFinding

# token, probe, times absent, status, reason
TABLE = [
    # --- the list alone: the token axis, in every status
    *[(f"{status}, unprobed", status, UNPROBED, 0, status, "listed") for status in Status],
    *[(f"{status}, not yet confirmed missing", status, UNPROBED, 1, status, "listed") for status in Status],
    # --- absent from enough complete lists: disconnected, whatever else is known
    *[(f"{status}, missing", status, UNPROBED, 2, DISCONNECTED, "missing_from_list") for status in Status],
    ("missing, though the probe is ok", VALID, OK, 2, DISCONNECTED, "missing_from_list"),
    ("missing, and refused", VALID, twice(P.REVOKED), 2, DISCONNECTED, "missing_from_list"),
    ("missing for longer", VALID, UNPROBED, 3, DISCONNECTED, "missing_from_list"),
    # --- a probe that is ok vouches for what the list cannot tell, and clears nothing
    ("unknown, probe ok", UNKNOWN, OK, 0, VALID, "probe_ok"),
    ("valid, probe ok", VALID, OK, 0, VALID, "listed"),
    ("expiring soon, probe ok", SOON, OK, 0, SOON, "listed"),
    ("expired by the list, probe ok", EXPIRED, OK, 0, EXPIRED, "listed"),
    ("revoked by the list, probe ok", REVOKED, OK, 0, REVOKED, "listed"),
    ("disconnected by the list, probe ok", DISCONNECTED, OK, 0, DISCONNECTED, "listed"),
    # --- what says nothing about the token changes nothing: neither does it unsay an ok
    ("unknown, no validator", UNKNOWN, UNSUPPORTED, 0, UNKNOWN, "listed"),
    ("valid, no validator", VALID, UNSUPPORTED, 0, VALID, "listed"),
    ("valid, MTProto or a revoked bot", VALID, AMBIGUOUS, 0, VALID, "listed"),
    ("unknown, ok 19 hours ago, probed every 6: it proves nothing", UNKNOWN, OLD_OK, 0, UNKNOWN, "listed"),
    ("unknown, ok long ago, no evidence since", UNKNOWN, SILENT, 0, UNKNOWN, "listed"),
    ("unknown, ok once, 404 now", UNKNOWN, OK_THEN_404, 0, VALID, "probe_ok"),
    ("unknown, ok once, id refused now", UNKNOWN, OK_THEN_400, 0, VALID, "probe_ok"),
    (
        "unknown, ok once, no validator now",
        UNKNOWN,
        ProbeState(status=ProbeStatus.UNSUPPORTED, finding=P.UNSUPPORTED, ever_ok=True),
        0,
        UNKNOWN,
        "listed",
    ),
    ("unknown, ok once, refused once", UNKNOWN, refused(P.FAILING, 1, ever_ok=True), 0, UNKNOWN, "listed"),
    # --- a first refusal waits for the second
    ("valid, refused once", VALID, once(P.FAILING), 0, VALID, "listed"),
    ("valid, expiry named once", VALID, once(P.EXPIRED), 0, VALID, "listed"),
    ("valid, revocation named once", VALID, once(P.REVOKED), 0, VALID, "listed"),
    ("expiring soon, refused once", SOON, once(P.EXPIRED), 0, SOON, "listed"),
    # --- confirmed: by what was named
    ("valid, refused twice, unclear", VALID, twice(P.FAILING), 0, VALID, "listed"),
    ("valid, refused three times, unclear", VALID, often(P.FAILING), 0, FAILING, "probe_failing"),
    ("valid, unclear for less than an hour", VALID, refused(P.FAILING, 3, lasted=HOUR / 2), 0, VALID, "listed"),
    ("valid, a permission named", VALID, twice(P.PERMISSION), 0, FAILING, "probe_failing"),
    ("valid, a bot that worked", VALID, often(P.AMBIGUOUS), 0, FAILING, "probe_ambiguous"),
    ("valid, expiry named", VALID, twice(P.EXPIRED), 0, EXPIRED, "probe_expired"),
    ("valid, revocation named", VALID, twice(P.REVOKED), 0, REVOKED, "probe_revoked"),
    ("unknown, refused twice", UNKNOWN, often(P.FAILING), 0, FAILING, "probe_failing"),
    ("unknown, ok once, refused three times", UNKNOWN, refused(P.FAILING, 3, ever_ok=True), 0, FAILING, "probe_failing"),
    ("expiring soon, refused three times", SOON, often(P.FAILING), 0, FAILING, "probe_failing"),
    ("expiring soon, expiry named", SOON, twice(P.EXPIRED), 0, EXPIRED, "probe_expired"),
    # --- the list agrees: at once; it never gets milder by a probe
    ("expired by the list, revocation named once", EXPIRED, once(P.REVOKED), 0, REVOKED, "probe_revoked"),
    ("expired by the list, expiry named once", EXPIRED, once(P.EXPIRED), 0, EXPIRED, "listed"),
    ("expired by the list, refused twice", EXPIRED, twice(P.FAILING), 0, EXPIRED, "listed"),
    ("revoked by the list, expiry named", REVOKED, twice(P.EXPIRED), 0, REVOKED, "listed"),
    ("disconnected by the list, revocation named", DISCONNECTED, twice(P.REVOKED), 0, DISCONNECTED, "listed"),
]


@pytest.mark.parametrize(
    ("token", "probe", "missing", "status", "reason"), [case[1:] for case in TABLE], ids=[case[0] for case in TABLE]
)
def test_the_table(token: Status, probe: ProbeState, missing: int, status: Status, reason: str) -> None:
    finding = judge(token, probe, missing)
    assert (finding.status, finding.reason) == (status, reason)
    assert finding.message.endswith(".")


# token, probe, flags beside the verdict
FLAGS = [
    ("nothing to add", VALID, OK, set()),
    ("the list says expired, the platform takes it", EXPIRED, OK, {"conflict"}),
    ("the list says revoked, the platform takes it", REVOKED, OK, {"conflict"}),
    ("the list says disconnected, the platform takes it", DISCONNECTED, OK, {"conflict"}),
    ("the conflict outlives a 404", EXPIRED, OK_THEN_404, {"conflict", "probe_missing"}),
    ("no validator", VALID, UNSUPPORTED, {"probe_unsupported"}),
    ("MTProto or a revoked bot", UNKNOWN, AMBIGUOUS, {"mtproto_or_revoked_bot"}),
    ("404", VALID, OK_THEN_404, {"probe_missing"}),
    ("the id is refused", VALID, OK_THEN_400, {"probe_bad_id"}),
    ("one refusal, to be confirmed", VALID, once(P.FAILING), {"probe_refused"}),
    ("not yet for long enough", VALID, refused(P.FAILING, 3, lasted=HOUR / 2), {"probe_refused"}),
    ("confirmed", VALID, often(P.FAILING), set()),
    ("the list agrees", EXPIRED, once(P.REVOKED), {"probe_refused"}),
]


@pytest.mark.parametrize(("token", "probe", "flags"), [case[1:] for case in FLAGS], ids=[case[0] for case in FLAGS])
def test_flags_beside_the_verdict(token: Status, probe: ProbeState, flags: set[str]) -> None:
    assert set(judge(token, probe).flags) == flags


def test_the_platforms_own_words_are_kept() -> None:
    finding = judge(VALID, refused(P.FAILING, 3, message="Bot needs administrator posting rights"))
    assert finding.message == "The platform rejects the connection (Bot needs administrator posting rights)."


@pytest.mark.parametrize("confirm", [1, 0, -3])
def test_confirmations_of_one_or_less_mean_at_once(confirm: int) -> None:
    assert judge(VALID, once(P.EXPIRED), confirm_failures=confirm).status is EXPIRED
    assert judge(VALID, UNPROBED, 1, confirm_missing=confirm).status is DISCONNECTED


@pytest.mark.parametrize("confirm", [0, -3])
def test_without_any_evidence_no_confirmation_is_reached(confirm: int) -> None:
    assert judge(VALID, UNPROBED, 0, confirm_missing=confirm, confirm_failures=confirm).status is VALID


DATE_PASSED = TokenState(status=EXPIRED, reason="date_passed", message="The date passed.", expires_at=NOW - 2 * HOUR)
UNDATED = TokenState(status=VALID, reason="non_expiring", message="Does not expire.")
EXPIRED_ROW = Snapshot(external_id="linkedin-1", platform="linkedin", reported=ReportedStatus.EXPIRED)
UNKNOWN_ROW = Snapshot(external_id="telegram-1", platform="telegram", reported=ReportedStatus.NON_EXPIRING)
REJECTED_POST = Snapshot(
    external_id="linkedin-1",
    platform="linkedin",
    reported=ReportedStatus.VALID,
    last_successful_post_at=NOW - 9 * HOUR,
    last_error=LastError(message="Request failed: access token expired", occurred_at=NOW - HOUR),
)

JUST_PASSED = TokenState(status=EXPIRED, reason="date_passed", message="The date passed.", expires_at=NOW - HOUR / 20)
NEAR_BY_SERVER = TokenState(status=SOON, reason="expires_within", message="It expires soon.", expires_at=NOW - 2 * HOUR)
ASKED = ProbeState(ok_at=NOW - HOUR, ever_ok=True)

# what else is known, status, reason
BESIDE = [
    ("a date passed, the platform accepts the token since", axes(DATE_PASSED, OK), VALID, "probe_ok"),
    ("a date passed, accepted before it", axes(DATE_PASSED, OLD_OK), EXPIRED, "date_passed"),
    (
        "accepted before it by the server's clock, which is behind",
        axes(NEAR_BY_SERVER, OK, clock_skew=-86400.0),
        SOON,
        "expires_within",
    ),
    ("accepted after it, while the server's clock is behind", axes(DATE_PASSED, OK, clock_skew=-86400.0), VALID, "probe_ok"),
    ("accepted after it by both clocks", axes(DATE_PASSED, OK, clock_skew=-1800.0), VALID, "probe_ok"),
    ("a date has just passed, the platform is asked", axes(JUST_PASSED, ASKED), SOON, "expires_within"),
    ("a date passed, and nobody answered", axes(DATE_PASSED, ASKED), EXPIRED, "date_passed"),
    ("the list reports expired", axes(DATE_PASSED, OK, snapshot=EXPIRED_ROW), EXPIRED, "date_passed"),
    ("a permission is gone", axes(UNDATED, OK, lost_permissions=("w_member_social",)), FAILING, "permissions_lost"),
    ("a bot's token, the list knows nothing", axes(UNDATED, AMBIGUOUS, snapshot=UNKNOWN_ROW), UNKNOWN, "probe_ambiguous"),
    (
        "a post was rejected, no probes",
        axes(UNDATED, UNPROBED, snapshot=REJECTED_POST, probe_every=None),
        FAILING,
        "post_rejected",
    ),
    ("a post was rejected, no validator", axes(UNDATED, UNSUPPORTED, snapshot=REJECTED_POST), FAILING, "post_rejected"),
    ("a post was rejected, with probes", axes(UNDATED, OK, snapshot=REJECTED_POST), VALID, "non_expiring"),
]


@pytest.mark.parametrize(("given", "status", "reason"), [case[1:] for case in BESIDE], ids=[case[0] for case in BESIDE])
def test_what_else_is_known(given: Axes, status: Status, reason: str) -> None:
    finding = merge(given)
    assert (finding.status, finding.reason) == (status, reason)
    assert finding.message.endswith(".")


def test_every_rule_applies_in_some_row() -> None:
    cases = [axes(TokenState(status=case[1], reason="listed", message="As listed."), case[2], case[3]) for case in TABLE]
    cases += [case[1] for case in BESIDE]
    applied = {next((rule for rule in verdict.VERDICT_RULES if rule(each) is not None), None) for each in cases}
    assert applied == {*verdict.VERDICT_RULES, None}
