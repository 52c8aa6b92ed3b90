"""The words that services use for the status of a connection, in one table for all adapters (PROVIDERS 2a)."""

from __future__ import annotations

import re

from monitor.domain import ReportedStatus

_LONGEST = 64
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_SEPARATORS = re.compile(r"[ _-]+")

_WORDS_BY_STATUS = {
    ReportedStatus.UNSTATED: ("",),
    ReportedStatus.UNKNOWN: ("unknown",),
    ReportedStatus.VALID: ("valid", "active", "connected", "healthy", "ok"),
    ReportedStatus.EXPIRING_SOON: ("expiring_soon", "expiring", "expires_soon"),
    ReportedStatus.EXPIRED: (
        "expired",
        "token_expired",
        "invalid",
        "token_invalid",
        "invalid_token",
        "needs_reauth",
        "needs_reconnect",
        "needs_reauthorization",
        "needs_reauthentication",
        "reauth_required",
        "reconnect_required",
        "reauthorization_required",
        "reauthentication_required",
    ),
    ReportedStatus.REVOKED: ("revoked", "token_revoked", "access_revoked", "deauthorized", "deauthorised"),
    ReportedStatus.DISCONNECTED: ("disconnected", "removed"),
}
"""Unambiguous words only. "error", "failed" or "inactive" can have other meanings: they stay unrecognised."""

_STATUS_BY_WORD = {
    written: status for status, words in _WORDS_BY_STATUS.items() for word in words for written in (word, word.upper())
}
"""The usual spellings, found without normalisation."""


def reported_status(word: str | None) -> ReportedStatus:
    """Return the meaning of a status word: UNSTATED for null and blanks, UNRECOGNISED for a word that is not in the table.

    Case, surrounding blanks and the separator (blank, hyphen, underscore or a capital, as in "needsReauth") do not matter.
    """
    if word is None:
        return ReportedStatus.UNSTATED
    status = _STATUS_BY_WORD.get(word)
    if status is None and len(word) <= _LONGEST:
        written = _SEPARATORS.sub("_", _HUMP.sub("_", word.strip())).casefold()
        status = _STATUS_BY_WORD.get(written)
    return status or ReportedStatus.UNRECOGNISED
