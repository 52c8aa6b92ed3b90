"""The probe axis: the meaning of a test-connection response (PROVIDERS 2a), and the state that follows from it.

PROBE_RULES is the specification: the first rule that applies decides. docs/statuses.md is generated from it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from monitor.domain import ProbeAnswer, ProbeFinding, ProbeState, ProbeStatus
from monitor.domain.records import Record, replace

_UNKNOWN_PLATFORM = re.compile(r"^\s*unknown platform\b", re.IGNORECASE)
_MTPROTO = re.compile(r"invalid bot connection", re.IGNORECASE)
_BOT_TOKEN = re.compile(r"invalid bot token", re.IGNORECASE)
_TELEGRAM_RIGHTS = re.compile(r"administrator posting rights|channel is unavailable|status code (?:403|400)\b", re.IGNORECASE)
_STATUS_401 = re.compile(r"status code 401\b", re.IGNORECASE)
_EXPIRED = re.compile(r"expired|session has expired|invalid_grant", re.IGNORECASE)
_REVOKED = re.compile(r"revoked|not authorized|has not authorized|deauthorized|app not installed", re.IGNORECASE)
_TRANSIENT = re.compile(r"rate[ -]?limit|\b429\b|timed?[ -]?out|\bECONN|\b5\d\d\b|temporar", re.IGNORECASE)


class Probe(Record, frozen=True):
    """One response, with the circumstances that matter for its meaning."""

    answer: ProbeAnswer
    platform: str
    ever_ok: bool

    def mentions(self, pattern: re.Pattern[str]) -> bool:
        """Return True if the message of the response matches."""
        return pattern.search(self.answer.message or "") is not None

    def telegram_mentions(self, pattern: re.Pattern[str]) -> bool:
        """Return True if the platform is Telegram and the message matches."""
        return self.platform == "telegram" and self.mentions(pattern)


@dataclass(frozen=True, slots=True)
class ProbeRule:
    """One row of the table: its condition and its meaning."""

    finding: ProbeFinding
    applies: Callable[[Probe], bool]
    meaning: str


PROBE_RULES: tuple[ProbeRule, ...] = (
    ProbeRule(ProbeFinding.MISSING, lambda p: p.answer.http_status == 404, "404: the list decides about the connection"),
    ProbeRule(ProbeFinding.BAD_ID, lambda p: p.answer.http_status == 400, "400: the provider does not accept this id"),
    ProbeRule(ProbeFinding.TRANSIENT, lambda p: p.answer.status not in ("ok", "error"), "no status: no evidence"),
    ProbeRule(ProbeFinding.OK, lambda p: p.answer.status == "ok", "the platform accepts the token"),
    ProbeRule(
        ProbeFinding.UNSUPPORTED,
        lambda p: p.mentions(_UNKNOWN_PLATFORM),
        "the provider cannot test the platform",
    ),
    ProbeRule(ProbeFinding.UNSUPPORTED, lambda p: p.telegram_mentions(_MTPROTO), "Telegram MTProto: publishing works normally"),
    ProbeRule(
        ProbeFinding.REVOKED,
        lambda p: p.telegram_mentions(_BOT_TOKEN) and p.ever_ok,
        "Telegram: it worked before, so revoked",
    ),
    ProbeRule(ProbeFinding.AMBIGUOUS, lambda p: p.telegram_mentions(_BOT_TOKEN), "Telegram: MTProto, or a revoked bot"),
    ProbeRule(
        ProbeFinding.FAILING,
        lambda p: p.telegram_mentions(_TELEGRAM_RIGHTS),
        "Telegram: missing rights or channel",
    ),
    ProbeRule(ProbeFinding.REVOKED, lambda p: p.telegram_mentions(_STATUS_401), "Telegram: tokens never expire, so revoked"),
    ProbeRule(ProbeFinding.EXPIRED, lambda p: p.mentions(_STATUS_401) or p.mentions(_EXPIRED), "rejected, naming expiry"),
    ProbeRule(
        ProbeFinding.EXPIRED,
        lambda p: (p.answer.token_expires_in or "").strip().lower() == "expired",
        "tokenExpiresIn is expired",
    ),
    ProbeRule(ProbeFinding.REVOKED, lambda p: p.mentions(_REVOKED), "rejected, naming revocation"),
    ProbeRule(ProbeFinding.TRANSIENT, lambda p: p.mentions(_TRANSIENT), "rate limit, timeout, server error: no evidence"),
    ProbeRule(ProbeFinding.FAILING, lambda _: True, "rejected for another reason"),
)


def classify(answer: ProbeAnswer, *, platform: str, ever_ok: bool) -> ProbeFinding:
    """Return the meaning of the response: the first rule of PROBE_RULES that applies."""
    probe = Probe(answer, platform, ever_ok)
    return next(rule.finding for rule in PROBE_RULES if rule.applies(probe))


_SEVERITY = {ProbeFinding.FAILING: 1, ProbeFinding.EXPIRED: 2, ProbeFinding.REVOKED: 3}


def advance(state: ProbeState, answer: ProbeAnswer, *, platform: str, now: datetime, confirm: int) -> ProbeState:
    """Return the probe axis after one more response.

    An ok ends all refusals. Refusals in a row are counted up to `confirm` and keep the worst finding, with its message.
    A response without evidence about the token (transient, no validator, a 404 that the list must confirm, a rejected id)
    clears no refusal.
    """
    finding = classify(answer, platform=platform, ever_ok=state.ever_ok)
    return _after(state, finding, answer.message, now=now, confirm=confirm)


def is_change(state: ProbeState, finding: ProbeFinding, *, confirm: int) -> bool:
    """Return True if a response with this finding changes more of the probe axis than its time and message.

    Neither time nor message of `state` is read.
    """
    if finding is ProbeFinding.OK:  # nearly all responses, nearly always after another ok
        return state.finding is not ProbeFinding.OK or state.status is not ProbeStatus.OK or state.refusals > 0
    after = _after(state, finding, None, now=state.at, confirm=confirm)
    return (after.status, after.finding, after.refusals) != (state.status, state.finding, state.refusals)


def _after(state: ProbeState, finding: ProbeFinding, message: str | None, *, now: datetime | None, confirm: int) -> ProbeState:
    if finding is ProbeFinding.TRANSIENT:
        return state
    if finding is ProbeFinding.OK:
        return ProbeState(status=ProbeStatus.OK, finding=finding, message=message, at=now, ever_ok=True)
    if finding.is_refusal:
        return _refused(state, finding, message, now=now, confirm=confirm)
    if state.refusals:
        return replace(state, at=now)
    if finding in (ProbeFinding.UNSUPPORTED, ProbeFinding.AMBIGUOUS):
        return ProbeState(status=ProbeStatus.UNSUPPORTED, finding=finding, message=message, at=now, ever_ok=state.ever_ok)
    return replace(state, finding=finding, at=now)


def _refused(state: ProbeState, finding: ProbeFinding, message: str | None, *, now: datetime | None, confirm: int) -> ProbeState:
    """Add one refusal."""
    if state.refusals and state.finding is not None and _SEVERITY.get(state.finding, 0) > _SEVERITY[finding]:
        finding, message = state.finding, state.message
    refusals = min(state.refusals + 1, max(confirm, 1))
    return ProbeState(
        status=ProbeStatus.FAILING, finding=finding, refusals=refusals, message=message, at=now, ever_ok=state.ever_ok
    )
