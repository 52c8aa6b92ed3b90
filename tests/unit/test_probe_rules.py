"""The probe axis, row by row of the decision table (PROVIDERS 2a, the rows of the test-connection call)."""

from __future__ import annotations

from typing import Any

import pytest

from monitor.domain import ProbeAnswer, ProbeFinding
from monitor.domain.rules import probe_answers

OK, EXPIRED, REVOKED, FAILING = ProbeFinding.OK, ProbeFinding.EXPIRED, ProbeFinding.REVOKED, ProbeFinding.FAILING
PERMISSION = ProbeFinding.PERMISSION
UNSUPPORTED, AMBIGUOUS, TRANSIENT = ProbeFinding.UNSUPPORTED, ProbeFinding.AMBIGUOUS, ProbeFinding.TRANSIENT
MISSING, BAD_ID = ProbeFinding.MISSING, ProbeFinding.BAD_ID


def ok(**over: Any) -> ProbeAnswer:
    return ProbeAnswer(**{"http_status": 200, "status": "ok", **over})


def error(message: str | None, **over: Any) -> ProbeAnswer:
    return ProbeAnswer(**{"http_status": 200, "status": "error", "message": message, **over})


def classify(answer: ProbeAnswer, platform: str = "facebook", *, date_trusted: bool = False) -> ProbeFinding:
    return probe_answers.classify(answer, platform=platform, date_trusted=date_trusted)


# platform, message of a refusal, finding
REFUSALS = [
    # --- no validator for the platform: any platform, and only at the start of the text
    ("pinterest", "Unknown platform: pinterest", UNSUPPORTED),
    ("facebook", "  unknown platform: x", UNSUPPORTED),
    ("facebook", "The app runs on an unknown platform", FAILING),
    ("facebook", "Unknown platforms", FAILING),
    # --- Telegram MTProto: publishes normally
    ("telegram", "Invalid bot connection", UNSUPPORTED),
    ("facebook", "Invalid bot connection", FAILING),
    # --- Telegram: MTProto or a revoked bot, nobody can tell
    ("telegram", "Invalid bot token", AMBIGUOUS),
    ("facebook", "Invalid bot token", EXPIRED),
    ("telegram", "Invalid bot token: Request failed with status code 401", REVOKED),
    # --- Telegram: no token problem, to be mended in Telegram
    ("telegram", "Bot needs channel administrator posting rights", PERMISSION),
    ("telegram", "Channel is unavailable", FAILING),
    ("telegram", "Request failed with status code 403", FAILING),
    ("telegram", "Request failed with status code 400", FAILING),
    # --- Telegram: its tokens never expire, so a refused one was revoked
    ("telegram", "Request failed with status code 401", REVOKED),
    ("telegram", "Unauthorized", REVOKED),
    # --- Meta's codes state the kind
    ("facebook", "(#17) User request limit reached", TRANSIENT),
    ("facebook", "(#200) Requires pages_manage_posts permission", PERMISSION),
    ("facebook", "(#551) This person isn't available right now", FAILING),
    ("facebook", "(#190) This method must be called with a page's token", EXPIRED),
    ("facebook", "Error validating access token (subcode 463)", EXPIRED),
    ("facebook", "Error validating access token (subcode 460)", REVOKED),
    ("facebook", "Error validating access token (subcode 459)", FAILING),
    # --- expiry is named
    ("linkedin", "Request failed with status code 401", EXPIRED),
    ("linkedin", "Access token expired", EXPIRED),
    ("facebook", "Error validating access token: Session has expired on Saturday", EXPIRED),
    ("youtube", "invalid_grant", EXPIRED),
    ("youtube", "Error: INVALID_GRANT (Bad Request)", EXPIRED),
    # --- revocation is named
    ("linkedin", "The token was revoked by the member", REVOKED),
    ("twitter", "The app is not authorized to act for this user", REVOKED),
    ("instagram", "The user has not authorized application 1", REVOKED),
    ("instagram", "The user deauthorized the app", REVOKED),
    ("facebook", "App not installed", REVOKED),
    # --- both are named: expiry stands first in the table
    ("youtube", "Token has been expired or revoked.", EXPIRED),
    # --- what expired is no token
    ("mastodon", "certificate has expired", FAILING),
    ("linkedin", "Your subscription has expired", FAILING),
    # --- the token is not accepted, the service's own app is refused, an object is missing, a permission is missing
    ("twitter", "Could not authenticate you.", EXPIRED),
    ("twitter", "Unauthorized", EXPIRED),
    ("youtube", "unauthorized_client", FAILING),
    ("linkedin", "Organization 512 not found", FAILING),
    ("tiktok", "scope_not_authorized", PERMISSION),
    ("pinterest", "You are not authorized.", REVOKED),
    # --- passing trouble says nothing
    ("twitter", "Rate limit exceeded", TRANSIENT),
    ("twitter", "You are rate-limited", TRANSIENT),
    ("twitter", "Request failed with status code 429", TRANSIENT),
    ("twitter", "timeout of 10000ms exceeded", TRANSIENT),
    ("twitter", "connect ETIMEDOUT 192.0.2.1:443", TRANSIENT),
    ("twitter", "The request timed out", TRANSIENT),
    ("twitter", "connect ECONNREFUSED 192.0.2.1:443", TRANSIENT),
    ("twitter", "read ECONNRESET", TRANSIENT),
    ("twitter", "Request failed with status code 500", TRANSIENT),
    ("twitter", "Request failed with status code 503", TRANSIENT),
    ("twitter", "Temporarily unavailable", TRANSIENT),
    ("tiktok", "Something is wrong. Please try again later.", TRANSIENT),
    ("telegram", "Request failed with status code 502", TRANSIENT),
    # --- anything else
    ("mastodon", "The account is suspended", FAILING),
    ("facebook", "Request failed with status code 403", FAILING),
    ("facebook", "", FAILING),
    ("facebook", None, FAILING),
    # --- numbers count as whole words only
    ("facebook", "Object 14290 does not exist", FAILING),
    ("facebook", "Image is 1500 pixels wide", FAILING),
    ("facebook", "Request failed with status code 4010", FAILING),
    ("facebook", "Page 50012 is unpublished", FAILING),
]


@pytest.mark.parametrize(("platform", "message", "finding"), REFUSALS)
def test_what_a_refusal_means(platform: str, message: str | None, finding: ProbeFinding) -> None:
    assert classify(error(message), platform) is finding


# answer, finding: what is decided by more than the message
ANSWERS = [
    ("ok", ok(), OK),
    ("ok, whatever the message", ok(message="Your token expired? No."), OK),
    ("ok, even where the span says expired: the platform takes it", ok(token_expires_in="expired"), OK),
    ("404: the list decides", error("Connection not found", http_status=404), MISSING),
    ("404 beats any body", ok(http_status=404), MISSING),
    ("400: the provider does not take the id", error("token expired", http_status=400), BAD_ID),
    ("no status word says nothing", ProbeAnswer(http_status=200), TRANSIENT),
    ("a status word nobody knows says nothing", ProbeAnswer(http_status=200, status="maybe", message="expired"), TRANSIENT),
]


@pytest.mark.parametrize(("answer", "finding"), [case[1:] for case in ANSWERS], ids=[case[0] for case in ANSWERS])
def test_what_an_answer_means(answer: ProbeAnswer, finding: ProbeFinding) -> None:
    assert classify(answer) is finding


# answer with the span "expired", finding where the platform's dates are trusted, and where they are not
SPANS = [
    (error("Nope", token_expires_in="expired"), EXPIRED, FAILING),
    (error(None, token_expires_in=" Expired "), EXPIRED, FAILING),
    (error("Nope", token_expires_in="3d 4h"), FAILING, FAILING),
    (error("The token was revoked", token_expires_in="expired"), REVOKED, REVOKED),
    (error("Request failed with status code 503", token_expires_in="expired"), TRANSIENT, TRANSIENT),
    (error("Rate limit exceeded", token_expires_in="expired"), TRANSIENT, TRANSIENT),
]


@pytest.mark.parametrize(("answer", "trusted", "untrusted"), SPANS)
def test_an_expired_span_counts_only_where_dates_are_trusted(
    answer: ProbeAnswer, trusted: ProbeFinding, untrusted: ProbeFinding
) -> None:
    assert classify(answer, date_trusted=True) is trusted
    assert classify(answer, date_trusted=False) is untrusted


def test_every_row_of_the_table_decides_some_case() -> None:
    applied = set()
    cases = [(error(message), platform) for platform, message, _ in REFUSALS]
    cases += [(answer, "facebook") for _, answer, _ in ANSWERS]
    cases += [(answer, "facebook") for answer, _, _ in SPANS]
    for answer, platform in cases:
        probe = probe_answers.Probe(answer, platform, date_trusted=True, text=probe_answers.plain(answer.message))
        applied.add(next(index for index, row in enumerate(probe_answers.PROBE_RULES) if row.applies(probe)))
    assert applied == set(range(len(probe_answers.PROBE_RULES)))
