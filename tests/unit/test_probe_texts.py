"""The classes of the texts with which platforms refuse a probe (tests/data/probe_texts).

`reported.tsv`: texts that users of posting services reported. `documented.tsv`: texts of the platforms' documents, with their
source. `unseen.tsv`: further documented texts, collected apart from the rules. `kinds.tsv`: further texts of each kind.
Classes: T passes without action, E expired, R revoked, C one of the two, F needs a person for another reason.
"""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.domain import ProbeAnswer, ProbeFinding
from monitor.domain.rules import probe_answers

FEW = settings(max_examples=150, deadline=None)
FOLDER = Path(__file__).parents[1] / "data" / "probe_texts"
FINDINGS = {
    "T": {ProbeFinding.TRANSIENT},
    "E": {ProbeFinding.EXPIRED},
    "R": {ProbeFinding.REVOKED},
    "C": {ProbeFinding.EXPIRED, ProbeFinding.REVOKED},
    "F": {ProbeFinding.PERMISSION, ProbeFinding.FAILING},
}


class Text(NamedTuple):
    """One row of a table."""

    kind: str
    platform: str
    message: str


def table(name: str) -> list[Text]:
    """Return the rows of a table."""
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [Text(row["class"], row["platform"], row["message"]) for row in rows]


REPORTED, DOCUMENTED, UNSEEN, KINDS = table("reported.tsv"), table("documented.tsv"), table("unseen.tsv"), table("kinds.tsv")
TEXTS = [*REPORTED, *DOCUMENTED, *UNSEEN, *KINDS]


def classify(message: str, platform: str = "facebook", *, date_trusted: bool = True) -> ProbeFinding:
    answer = ProbeAnswer(http_status=200, status="error", message=message)
    return probe_answers.classify(answer, platform=platform, date_trusted=date_trusted)


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: f"{text.kind}-{text.platform}-{text.message[:60]}")
def test_every_text_is_in_its_class(text: Text) -> None:
    assert classify(text.message, text.platform) in FINDINGS[text.kind]


def test_the_tables_are_whole() -> None:
    assert (len(REPORTED), len(DOCUMENTED), len(UNSEEN)) == (42, 40, 20)
    assert len(KINDS) > 250
    assert {text.kind for text in TEXTS} == set(FINDINGS)


PERMISSIONS = [
    "(#10) Application does not have permission for this action",
    "(#200) Requires pages_manage_posts permission",
    "(#283) Requires pages_read_engagement permission to manage the object",
    "Not enough permissions to access: POST /ugcPosts",
    "scope_not_authorized",
    "insufficient_scope",
    "Request had insufficient authentication scopes.",
    "Bot needs channel administrator posting rights",
    "Application cannot perform write actions.",
    "The user hasn't authorized the application to perform this action",
]
UNCLEAR = [
    "certificate has expired",
    "Your PostPost subscription has expired",
    "Request failed with status code 403",
    "Organization 512 not found",
    "(#368) You're temporarily blocked for policies violations",
    "Unsupported get request. Object with ID '503' does not exist, cannot be loaded due to missing permissions",
    "invalid_client: The OAuth client was not found.",
    "Something else",
]


@pytest.mark.parametrize("message", PERMISSIONS)
def test_a_missing_permission_is_named(message: str) -> None:
    assert classify(message) is ProbeFinding.PERMISSION


@pytest.mark.parametrize("message", UNCLEAR)
def test_other_refusals_name_no_permission(message: str) -> None:
    assert classify(message) is ProbeFinding.FAILING


@FEW
@given(
    text=st.sampled_from(TEXTS),
    change=st.sampled_from([str.upper, str.lower, str.title, str.swapcase]),
    before=st.text(" \t\n\r", max_size=4),
    after=st.text(" \t\n\r", max_size=4),
)
def test_case_and_surrounding_blanks_never_change_the_class(text: Text, change: object, before: str, after: str) -> None:
    assert callable(change)
    assert classify(before + change(text.message) + after, text.platform) is classify(text.message, text.platform)


STATES = ["locked", "suspended", "blocked", "disabled", "restricted", "banned", "deactivated", "under review"]
PASSING = [
    "Try again later.",
    "Service unavailable.",
    "Rate limit exceeded.",
    "Request failed with status code 503",
    "timeout",
    "",
]


@FEW
@given(
    how=st.sampled_from(["", "temporarily ", "permanently "]),
    state=st.sampled_from(STATES),
    before=st.sampled_from(PASSING),
    after=st.sampled_from(PASSING),
    platform=st.sampled_from(["facebook", "twitter", "tiktok", "telegram", "mastodon"]),
)
def test_a_blocked_account_is_never_a_temporary_error(how: str, state: str, before: str, after: str, platform: str) -> None:
    assert classify(f"{before} Your account is {how}{state}. {after}", platform) is ProbeFinding.FAILING


@FEW
@given(number=st.integers(0, 999), what=st.sampled_from(["Object", "Page", "Organization", "User", "urn:li:share:", "Channel #"]))
def test_the_number_of_an_object_is_no_status(number: int, what: str) -> None:
    assert classify(f"{what} {number} does not exist") is ProbeFinding.FAILING
    assert classify(f"{what}{number} was refused") is ProbeFinding.FAILING


@FEW
@given(status=st.sampled_from([408, 425, 429, *range(500, 505), 520, 522, 529]), form=st.integers(0, 8))
def test_a_temporary_http_status_is_no_evidence(status: int, form: int) -> None:
    forms = ["Request failed with status code {}", "HTTP {}", "HTTP/1.1 {}", "{}", "{}: oops", "Error {}", "returned a {}"]
    forms += ['{{"status":{}}}', "error code: {}"]
    assert classify(forms[form].format(status), "linkedin") is ProbeFinding.TRANSIENT


@pytest.mark.parametrize("noun", ["token", "session", "credential", "access token", "login"])
@pytest.mark.parametrize("form", ["The {} has expired", "Expired {}", "{} expired", "Your {}, issued in May, is expired"])
def test_expiry_counts_beside_what_can_expire(noun: str, form: str) -> None:
    assert classify(form.format(noun)) is ProbeFinding.EXPIRED


@pytest.mark.parametrize("noun", ["certificate", "subscription", "trial", "upload link", "coupon", "story"])
def test_the_expiry_of_something_else_is_not_the_tokens(noun: str) -> None:
    assert classify(f"The {noun} has expired") is ProbeFinding.FAILING


HOSTILE = [
    "x",
    " ",
    "token ",
    "session",
    "account ",
    "expired",
    "reached a ",
    "limit ",
    "(#",
    "oauthexception ",
    "bad ",
    ".;",
    "not ",
]


@pytest.mark.parametrize("part", HOSTILE)
@pytest.mark.parametrize("end", ["", "!", "expired", "\n"])
def test_long_hostile_texts_are_classified_in_milliseconds(part: str, end: str) -> None:
    message = (part * (200_000 // len(part))) + end
    started = time.process_time()
    classify(message, "telegram")
    assert time.process_time() - started < 0.1


@FEW
@given(message=st.text(max_size=400), platform=st.sampled_from(["facebook", "telegram", "x"]), trusted=st.booleans())
def test_every_text_has_a_class(message: str, platform: str, trusted: bool) -> None:
    assert classify(message, platform, date_trusted=trusted) in ProbeFinding
