"""The probe axis: what an answer of the test-connection call means (PROVIDERS 2a), and what to remember of it.

Read PROBE_RULES from top to bottom: the first row that matches wins.
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
    """One answer with what matters around it."""

    answer: ProbeAnswer
    platform: str
    ever_ok: bool

    def says(self, pattern: re.Pattern[str]) -> bool:
        """Whether the answer's message matches."""
        return pattern.search(self.answer.message or "") is not None

    def telegram_says(self, pattern: re.Pattern[str]) -> bool:
        """Whether this is Telegram and its message matches."""
        return self.platform == "telegram" and self.says(pattern)


@dataclass(frozen=True, slots=True)
class ProbeRule:
    """One row of the table: when it applies and what it means."""

    finding: ProbeFinding
    applies: Callable[[Probe], bool]
    meaning: str


PROBE_RULES: tuple[ProbeRule, ...] = (
    ProbeRule(ProbeFinding.MISSING, lambda p: p.answer.http_status == 404, "404: the list decides whether it is gone"),
    ProbeRule(ProbeFinding.BAD_ID, lambda p: p.answer.http_status == 400, "400: the provider does not take this id"),
    ProbeRule(ProbeFinding.TRANSIENT, lambda p: p.answer.status not in ("ok", "error"), "no status word: says nothing"),
    ProbeRule(ProbeFinding.OK, lambda p: p.answer.status == "ok", "the platform takes the token"),
    ProbeRule(ProbeFinding.UNSUPPORTED, lambda p: p.says(_UNKNOWN_PLATFORM), "no validator for this platform: stop probing it"),
    ProbeRule(ProbeFinding.UNSUPPORTED, lambda p: p.telegram_says(_MTPROTO), "Telegram MTProto: publishes normally"),
    ProbeRule(ProbeFinding.REVOKED, lambda p: p.telegram_says(_BOT_TOKEN) and p.ever_ok, "a bot that once worked: token revoked"),
    ProbeRule(ProbeFinding.AMBIGUOUS, lambda p: p.telegram_says(_BOT_TOKEN), "Telegram: MTProto, or a revoked bot"),
    ProbeRule(
        ProbeFinding.FAILING, lambda p: p.telegram_says(_TELEGRAM_RIGHTS), "Telegram: rights or channel, to be mended there"
    ),
    ProbeRule(ProbeFinding.REVOKED, lambda p: p.telegram_says(_STATUS_401), "Telegram: its tokens never expire, so revoked"),
    ProbeRule(ProbeFinding.EXPIRED, lambda p: p.says(_STATUS_401) or p.says(_EXPIRED), "refused, and expiry is named"),
    ProbeRule(
        ProbeFinding.EXPIRED,
        lambda p: (p.answer.token_expires_in or "").strip().lower() == "expired",
        "tokenExpiresIn says expired",
    ),
    ProbeRule(ProbeFinding.REVOKED, lambda p: p.says(_REVOKED), "refused, and revocation is named"),
    ProbeRule(ProbeFinding.TRANSIENT, lambda p: p.says(_TRANSIENT), "rate limits, time-outs, server errors: says nothing"),
    ProbeRule(ProbeFinding.FAILING, lambda _: True, "refused for another reason"),
)


def classify(answer: ProbeAnswer, *, platform: str, ever_ok: bool) -> ProbeFinding:
    """What the answer means: the first row of PROBE_RULES that applies."""
    probe = Probe(answer, platform, ever_ok)
    return next(row.finding for row in PROBE_RULES if row.applies(probe))


_SEVERITY = {ProbeFinding.FAILING: 1, ProbeFinding.EXPIRED: 2, ProbeFinding.REVOKED: 3}


def advance(state: ProbeState, answer: ProbeAnswer, *, platform: str, now: datetime, confirm: int) -> ProbeState:
    """The probe axis after one more answer.

    An ok ends all refusals. Refusals in a row count up to `confirm` and keep the worst that was named, with its words.
    What says nothing about the token (transient, no validator, a 404 that the list must confirm, a refused id) takes no
    refusal back.
    """
    finding = classify(answer, platform=platform, ever_ok=state.ever_ok)
    return _after(state, finding, answer.message, now=now, confirm=confirm)


def is_change(state: ProbeState, finding: ProbeFinding, *, confirm: int) -> bool:
    """Whether an answer of this finding moves the probe axis by more than its time and words; of `state` neither is read."""
    if finding is ProbeFinding.OK:  # nearly all answers, nearly always after one like it
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
    """One refusal more."""
    if state.refusals and state.finding is not None and _SEVERITY.get(state.finding, 0) > _SEVERITY[finding]:
        finding, message = state.finding, state.message
    refusals = min(state.refusals + 1, max(confirm, 1))
    return ProbeState(
        status=ProbeStatus.FAILING, finding=finding, refusals=refusals, message=message, at=now, ever_ok=state.ever_ok
    )
