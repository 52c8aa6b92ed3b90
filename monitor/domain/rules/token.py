"""The token axis: the status of a token according to its provider's list.

TOKEN_RULES is the specification (PROVIDERS 2a and 2b): the first rule that applies decides. docs/statuses.md is generated
from it. The rules are in token_rules.py, the evidence that they judge by in token_evidence.py.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from monitor.domain import ReportedStatus, Status, TokenState, VerdictFlag, VerdictReason
from monitor.domain.rules import expiry
from monitor.domain.rules.expiry import LATER_BY
from monitor.domain.rules.token_evidence import Evidence, issued
from monitor.domain.rules.token_rules import (
    Finding,
    date_is_near,
    date_is_within_grace,
    expired_date_has_not_moved,
    expiring_date_has_not_moved,
    failing_is_unconfirmed,
    grace_has_passed,
    list_reports_disconnected,
    list_reports_expired,
    list_reports_expiring_soon,
    list_reports_failing,
    list_reports_revoked,
    list_reports_valid,
    list_states_only_a_date,
    only_date_has_passed,
    provider_reports_no_health,
    refresh_is_failing,
    refresh_was_rejected,
    renewal_is_overdue,
    renewals_have_stopped,
    renewals_stopped_before_expiry,
    renewed_date_is_ahead,
    short_lived_token_rotates,
    status_is_unknown,
    time_left_is_expired,
    token_does_not_expire,
    trusted_date_has_passed,
)

TOKEN_RULES: tuple[Callable[[Evidence], Finding | None], ...] = (
    list_reports_revoked,  # REVOKED -> revoked
    list_reports_disconnected,  # DISCONNECTED -> disconnected
    list_reports_expired,  # expired / TOKEN_EXPIRED -> expired, regardless of the date
    list_reports_failing,  # failing in confirm_failures polls in a row -> failing; a pushed one immediately
    provider_reports_no_health,  # PostPeer: listed -> unknown
    trusted_date_has_passed,  # linkedin, instagram, threads, tiktok at Publora: date reached -> expired
    expired_date_has_not_moved,  # expired by date -> expired until the date moves by more than 1 h
    refresh_was_rejected,  # Postbreeze: refresh refused with 400/401/403 -> expiring_soon; expired once its date has passed
    renewals_stopped_before_expiry,  # Postbreeze: usually renewed early, date past -> expired
    grace_has_passed,  # Postbreeze: date past beyond its grace -> expired
    renewals_have_stopped,  # Postbreeze: 1.5 times the usual gap without a renewal -> expiring_soon
    refresh_is_failing,  # Postbreeze: refresh fails with 429/5xx -> flag; near the date, or 3 attempts -> expiring_soon
    short_lived_token_rotates,  # Postbreeze: lifetime under 48 h -> valid, time alone never warns
    renewal_is_overdue,  # Postbreeze: lifetime 48 h or more, inside the window -> expiring_soon
    list_reports_expiring_soon,  # expiring_soon -> expiring_soon, unless a trusted date is outside a smaller configured window
    only_date_has_passed,  # no status and a date in the past -> expired; unknown where tokens are renewed on use
    time_left_is_expired,  # time left "expired" and no status, trusted dates -> expired
    date_is_near,  # date inside the window, trusted or first seen 48 h ahead and unmoved for 48 h -> expiring_soon
    expiring_date_has_not_moved,  # expiring_soon -> expiring_soon until the date moves by more than 1 h
    date_is_within_grace,  # Postbreeze: date past within its grace -> valid, flagged
    failing_is_unconfirmed,  # failing for the first time -> the last known status
    list_reports_valid,  # valid / ACTIVE -> valid; an untrusted past date is flagged
    token_does_not_expire,  # PostPost "unknown" without a date -> valid
    list_states_only_a_date,  # no status: a date ahead, or none -> valid, with low confidence
    renewed_date_is_ahead,  # unknown, and the date of an expired token has moved later -> valid
    status_is_unknown,  # anything else -> unknown
)


def judge(evidence: Evidence) -> Finding:
    """Return the finding of the first rule that applies; an unknown status does not replace the last known finding."""
    for rule in TOKEN_RULES:
        finding = rule(evidence)
        if finding is not None:
            return _keep_knowledge(evidence, finding)
    raise AssertionError("The last rule always applies.")


def _keep_knowledge(e: Evidence, finding: Finding) -> Finding:
    """Keep the last known finding, flagged, if the new one is unknown, or milder only because a date comes near.

    A listed connection is not disconnected, though, and what rests on a date ends when the date moves.
    """
    previous = e.previous
    if previous is None or not (finding.status is Status.UNKNOWN or _is_milder_by_date_alone(e, finding, previous)):
        return finding
    if previous.status in (Status.UNKNOWN, Status.DISCONNECTED):
        return finding
    if expiry.moved_later(previous.crossed_at, e.expires_at, LATER_BY):
        return finding
    unknown = frozenset() if VerdictFlag.FAILING_UNCONFIRMED in finding.flags else frozenset({VerdictFlag.PROVIDER_UNKNOWN})
    return Finding(previous.status, previous.reason, previous.message, finding.flags | unknown)


def _is_milder_by_date_alone(e: Evidence, finding: Finding, previous: TokenState) -> bool:
    """Return True if the status is unknown, and a date that was not renewed would make a lost token one that expires soon."""
    return (
        finding.status is Status.EXPIRING_SOON
        and e.reported in (ReportedStatus.UNKNOWN, ReportedStatus.UNRECOGNISED)
        and previous.status.severity.rank > finding.status.severity.rank
        and not (e.was_renewed or e.date_was_renewed)
    )


def next_token_state(evidence: Evidence, finding: Finding) -> TokenState:
    """Return the token state to store. An unknown status is flagged even where a date decided."""
    unknown = evidence.reported in (ReportedStatus.UNKNOWN, ReportedStatus.UNRECOGNISED)
    return TokenState(
        status=finding.status,
        reason=finding.reason,
        message=finding.message,
        expires_at=evidence.expires_at,
        crossed_at=_crossed(evidence, finding),
        issued_at=issued(evidence.previous, evidence.expires_at, evidence.context),
        refresh_failures=evidence.refresh_failures,
        failing_polls=evidence.failing_polls,
        dated_since=evidence.dated_since,
        renewal_gap=evidence.cadence.gap,
        renewal_left=evidence.cadence.left,
        renewals=evidence.cadence.renewals,
        reconnected_at=evidence.reconnected_at,
        flags=finding.flags | {VerdictFlag.PROVIDER_UNKNOWN} if unknown else finding.flags,
    )


def _crossed(e: Evidence, finding: Finding) -> datetime | None:
    """Return the date whose threshold was crossed, kept until it moves; None if no date was involved."""
    by_date = (
        VerdictReason.DATE_PASSED,
        VerdictReason.DATE_PAST,
        VerdictReason.REFRESH_OVERDUE,
        VerdictReason.REFRESH_REJECTED,
    )
    if finding.status is Status.EXPIRED and finding.reason not in by_date:
        return None
    if finding.status not in (Status.EXPIRING_SOON, Status.EXPIRED):
        return None
    kept = e.date_has_not_moved or VerdictFlag.PROVIDER_UNKNOWN in finding.flags
    if e.previous is not None and kept:
        return e.previous.crossed_at
    return e.expires_at
