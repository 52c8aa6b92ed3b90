"""One connection's state as a row of the table, and back."""

from __future__ import annotations

from typing import Any

from monitor.model import (
    ConnectionState,
    LastError,
    ProbeFinding,
    ProbeState,
    ProbeStatus,
    Refresh,
    Snapshot,
    Status,
    TokenState,
    Verdict,
    Word,
)
from monitor.rules.schedule import cohort_of

# A dict lookup costs a tenth of calling the Enum class, and every row needs four.
STATUS = {each.value: each for each in Status}
WORD = {each.value: each for each in Word}
PROBE = {each.value: each for each in ProbeStatus}
FINDING: dict[str | None, ProbeFinding | None] = {None: None, **{each.value: each for each in ProbeFinding}}


def encode_state(state: ConnectionState) -> dict[str, Any]:
    """Every column that a state decides. The column types do the rest."""
    return {
        **_encode_key(state.snapshot),
        **_encode_rest(state),
        **_encode_verdict(state.verdict),
        **_encode_token(state.token),
        **_encode_probe(state.probe),
        **_encode_snapshot(state.snapshot),
    }


def encode_change(before: ConnectionState, after: ConnectionState) -> dict[str, Any]:
    """The columns in which two states of a connection differ: an index over the others is then left alone."""
    changed = _differing(_encode_rest(before), _encode_rest(after))
    if after.verdict != before.verdict:
        changed |= _differing(_encode_verdict(before.verdict), _encode_verdict(after.verdict))
    if after.token != before.token:
        changed |= _differing(_encode_token(before.token), _encode_token(after.token))
    if after.probe != before.probe:
        changed |= _differing(_encode_probe(before.probe), _encode_probe(after.probe))
    if after.snapshot != before.snapshot:
        changed |= _differing(_encode_snapshot(before.snapshot), _encode_snapshot(after.snapshot))
        if (after.snapshot.scope, after.snapshot.external_id) != (before.snapshot.scope, before.snapshot.external_id):
            changed |= _encode_key(after.snapshot)
    return changed


def _differing(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in after.items() if value != before[name]}


def _encode_key(snapshot: Snapshot) -> dict[str, Any]:
    cohort = cohort_of(snapshot.scope, snapshot.external_id)
    return {"scope": snapshot.scope or "", "external_id": snapshot.external_id, "cohort": cohort}


def _encode_rest(state: ConnectionState) -> dict[str, Any]:
    return {
        "missing": state.missing,
        "recheck_at": state.recheck_at,
        "next_change_at": state.next_change_at,
        "stage": state.stage,
    }


def _encode_verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "status": verdict.status,
        "reason": verdict.reason,
        "message": verdict.message,
        "since": verdict.since,
        "flags": verdict.flags,
    }


def _encode_token(token: TokenState) -> dict[str, Any]:
    return {
        "token_status": token.status,
        "token_reason": token.reason,
        "token_message": token.message,
        "token_expires_at": token.expires_at,
        "token_crossed_at": token.crossed_at,
        "token_issued_at": token.issued_at,
        "token_refresh_failures": token.refresh_failures,
        "token_flags": token.flags,
    }


def _encode_probe(probe: ProbeState) -> dict[str, Any]:
    return {
        "probe_status": probe.status,
        "probe_finding": probe.finding,
        "probe_refusals": probe.refusals,
        "probe_message": probe.message,
        "probe_at": probe.at,
        "probe_ever_ok": probe.ever_ok,
    }


def _encode_snapshot(snapshot: Snapshot) -> dict[str, Any]:
    refresh, error = snapshot.refresh or _NO_REFRESH, snapshot.last_error
    return {
        "platform": snapshot.platform,
        "word": snapshot.word,
        "raw_word": snapshot.raw_word,
        "expires_at": snapshot.expires_at,
        "expires_before": snapshot.expires_before,
        "refresh_reported": snapshot.refresh is not None,
        "refresh_connected_at": refresh.connected_at,
        "refresh_last_at": refresh.last_refreshed_at,
        "refresh_attempt_at": refresh.last_attempt_at,
        "refresh_error": refresh.error,
        "refresh_error_status": refresh.error_status,
        "account": snapshot.account,
        "username": snapshot.username,
        "display_name": snapshot.display_name,
        "profile_url": snapshot.profile_url,
        "scopes": snapshot.scopes,
        "last_successful_post_at": snapshot.last_successful_post_at,
        "last_error_message": None if error is None else error.message,
        "last_error_at": None if error is None else error.occurred_at,
        "snapshot_flags": snapshot.flags,
    }


_NO_REFRESH = Refresh()


def decode_state(row: Any) -> ConnectionState:
    """The state in a row that has every column of the table."""
    token = TokenState(
        status=STATUS[row.token_status],
        reason=row.token_reason,
        message=row.token_message,
        expires_at=row.token_expires_at,
        crossed_at=row.token_crossed_at,
        issued_at=row.token_issued_at,
        refresh_failures=row.token_refresh_failures,
        flags=row.token_flags,
    )
    probe = ProbeState(
        status=PROBE[row.probe_status],
        finding=FINDING[row.probe_finding],
        refusals=row.probe_refusals,
        message=row.probe_message,
        at=row.probe_at,
        ever_ok=row.probe_ever_ok,
    )
    return ConnectionState(
        snapshot=_decode_snapshot(row),
        token=token,
        probe=probe,
        verdict=Verdict(status=STATUS[row.status], reason=row.reason, message=row.message, since=row.since, flags=row.flags),
        stage=row.stage,
        missing=row.missing,
        next_change_at=row.next_change_at,
        recheck_at=row.recheck_at,
    )


def _decode_snapshot(row: Any) -> Snapshot:
    refresh = error = None
    if row.refresh_reported:
        refresh = Refresh(
            connected_at=row.refresh_connected_at,
            last_refreshed_at=row.refresh_last_at,
            last_attempt_at=row.refresh_attempt_at,
            error=row.refresh_error,
            error_status=row.refresh_error_status,
        )
    if row.last_error_message is not None:
        error = LastError(message=row.last_error_message, occurred_at=row.last_error_at)
    return Snapshot(
        external_id=row.external_id,
        scope=row.scope or None,
        platform=row.platform,
        word=WORD[row.word],
        raw_word=row.raw_word,
        expires_at=row.expires_at,
        expires_before=row.expires_before,
        refresh=refresh,
        account=row.account,
        username=row.username,
        display_name=row.display_name,
        profile_url=row.profile_url,
        scopes=row.scopes,
        last_successful_post_at=row.last_successful_post_at,
        last_error=error,
        flags=row.snapshot_flags,
    )
