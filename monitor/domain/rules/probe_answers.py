"""The meaning of a test-connection response (PROVIDERS 2a).

PROBE_RULES is the specification: the first rule that applies decides. docs/statuses.md is generated from it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from monitor.domain import ProbeAnswer, ProbeFinding
from monitor.domain.records import Record

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
    date_trusted: bool

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
    ProbeRule(ProbeFinding.REVOKED, lambda p: p.telegram_mentions(_STATUS_401), "Telegram: tokens never expire, so revoked"),
    ProbeRule(ProbeFinding.AMBIGUOUS, lambda p: p.telegram_mentions(_BOT_TOKEN), "Telegram: MTProto, or a revoked bot"),
    ProbeRule(
        ProbeFinding.FAILING,
        lambda p: p.telegram_mentions(_TELEGRAM_RIGHTS),
        "Telegram: missing rights or channel",
    ),
    ProbeRule(ProbeFinding.EXPIRED, lambda p: p.mentions(_STATUS_401) or p.mentions(_EXPIRED), "rejected, naming expiry"),
    ProbeRule(ProbeFinding.REVOKED, lambda p: p.mentions(_REVOKED), "rejected, naming revocation"),
    ProbeRule(ProbeFinding.TRANSIENT, lambda p: p.mentions(_TRANSIENT), "rate limit, timeout, server error: no evidence"),
    ProbeRule(
        ProbeFinding.EXPIRED,
        lambda p: p.date_trusted and (p.answer.token_expires_in or "").strip().lower() == "expired",
        "tokenExpiresIn is expired, and the platform's dates are trusted",
    ),
    ProbeRule(ProbeFinding.FAILING, lambda _: True, "rejected for another reason"),
)


def classify(answer: ProbeAnswer, *, platform: str, date_trusted: bool) -> ProbeFinding:
    """Return the meaning of the response: the first rule of PROBE_RULES that applies.

    `date_trusted` if the provider's expiry dates may move a verdict on this platform (PROVIDERS 2b, trusted dates).
    """
    probe = Probe(answer, platform, date_trusted)
    return next(rule.finding for rule in PROBE_RULES if rule.applies(probe))
