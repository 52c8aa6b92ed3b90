"""The words with which services state a status: what a person understands, and nothing that may mean something else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain import ReportedStatus
from monitor.providers.status_words import reported_status

PLAIN = {
    "valid": ReportedStatus.VALID,
    "ACTIVE": ReportedStatus.VALID,
    "Connected": ReportedStatus.VALID,
    "healthy": ReportedStatus.VALID,
    "OK": ReportedStatus.VALID,
    "expiring_soon": ReportedStatus.EXPIRING_SOON,
    "expiring": ReportedStatus.EXPIRING_SOON,
    "expiringSoon": ReportedStatus.EXPIRING_SOON,
    "expired": ReportedStatus.EXPIRED,
    "EXPIRED": ReportedStatus.EXPIRED,
    "TOKEN_EXPIRED": ReportedStatus.EXPIRED,
    "tokenExpired": ReportedStatus.EXPIRED,
    "token expired": ReportedStatus.EXPIRED,
    "invalid": ReportedStatus.EXPIRED,
    "needs_reauth": ReportedStatus.EXPIRED,
    "needs-reconnect": ReportedStatus.EXPIRED,
    "RECONNECT_REQUIRED": ReportedStatus.EXPIRED,
    "Reauth Required": ReportedStatus.EXPIRED,
    "revoked": ReportedStatus.REVOKED,
    "deauthorized": ReportedStatus.REVOKED,
    "DISCONNECTED": ReportedStatus.DISCONNECTED,
    "removed": ReportedStatus.DISCONNECTED,
    "unknown": ReportedStatus.UNKNOWN,
    "": ReportedStatus.UNSTATED,
    " ": ReportedStatus.UNSTATED,
    None: ReportedStatus.UNSTATED,
}

DOUBTFUL = (
    *("error", "failed", "failing", "unhealthy", "inactive", "disabled", "paused", "pending", "suspended", "limited"),
    *("not_valid", "not expired", "invalidated soon", "valid until further notice", "revoke_pending", "disconnecting"),
    *(
        "val\nid",
        "val\u200bid",
        "v\u0430lid",
        "valid\x00",
        "EXP\u0130RED",
        "\uff56\uff41\uff4c\uff49\uff44",
        "val id",
        "valid" * 1000,
    ),
)


@pytest.mark.parametrize(("word", "status"), PLAIN.items())
def test_N22_plain_words_are_understood(word: str | None, status: ReportedStatus) -> None:
    assert reported_status(word) is status


@pytest.mark.parametrize("word", DOUBTFUL)
def test_N22_doubtful_words_are_not_guessed(word: str) -> None:
    assert reported_status(word) is ReportedStatus.UNRECOGNISED


@given(
    st.sampled_from([word for word in PLAIN if word]),
    st.sampled_from([str.upper, str.lower, str.title]),
    st.sampled_from("_- "),
    st.sampled_from(["", " ", "\t", "\n "]),
)
def test_N22_case_blanks_and_separators_do_not_matter(word: str, spelling: object, separator: str, around: str) -> None:
    plain = {"expiringSoon": "expiring_soon", "tokenExpired": "token_expired"}.get(word, word)
    written = around + spelling(plain.replace("_", separator)) + around  # type: ignore[operator]
    assert reported_status(written) is PLAIN[word]


@given(st.text())
def test_N22_no_text_raises(word: str) -> None:
    assert isinstance(reported_status(word), ReportedStatus)
