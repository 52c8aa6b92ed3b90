"""The account that is listed under a new id: which rows are the same account, and which are not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain import ReportedStatus, Snapshot
from monitor.domain.rules.same_account import handle, identity, match, profile

URL = "https://linkedin.com/in/anna"


def row(external_id: str, **facts: Any) -> Snapshot:
    return Snapshot(external_id=external_id, reported=ReportedStatus.VALID, **{"platform": "linkedin", **facts})


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        pytest.param({"account": "1"}, {"account": "1"}, True, id="the account's id on its platform"),
        pytest.param({"account": "1", "username": "anna"}, {"account": "1", "username": "eva"}, True, id="a new name"),
        pytest.param({"account": "1", "profile_url": URL}, {"account": "2", "profile_url": URL}, False, id="another account"),
        pytest.param({"account": "1", "profile_url": URL}, {"profile_url": URL}, True, id="only one states the account"),
        pytest.param(
            {"profile_url": URL}, {"profile_url": "HTTP://WWW.LinkedIn.com/in/anna/"}, True, id="the form of the address"
        ),
        pytest.param({"profile_url": URL}, {"profile_url": URL + "?locale=de"}, False, id="another query"),
        pytest.param(
            {"profile_url": "https://linkedin.com/"}, {"profile_url": "https://linkedin.com/"}, False, id="a front page"
        ),
        pytest.param(
            {"profile_url": "https://a.social/@anna", "username": "anna"},
            {"profile_url": "https://b.social/@anna", "username": "anna"},
            False,
            id="the same name at another address",
        ),
        pytest.param({"username": "@Anna"}, {"username": "anna "}, True, id="the form of the name"),
        pytest.param({"username": "anna"}, {"username": "anna", "profile_url": URL}, True, id="only one states an address"),
        pytest.param(
            {"username": "anna", "account": "1"}, {"username": "anna", "account": "2"}, False, id="a name, two accounts"
        ),
        pytest.param({"username": "anna"}, {"username": "anna", "platform": "facebook"}, False, id="another platform"),
        pytest.param({"account": "1"}, {"account": "1", "platform": "facebook"}, False, id="an id on another platform"),
        pytest.param({"username": ""}, {"username": ""}, False, id="an empty name"),
        pytest.param({"username": "@"}, {"username": "@"}, False, id="an empty name with an @"),
        pytest.param({"username": "unknown"}, {"username": "Unknown"}, False, id="a placeholder"),
        pytest.param({"display_name": "Anna"}, {"display_name": "Anna"}, False, id="a display name identifies nothing"),
        pytest.param({"account": ""}, {"account": ""}, False, id="an empty id"),
        pytest.param({}, {}, False, id="no evidence"),
    ],
)
def test_two_rows_are_the_same_account_or_not(old: dict[str, Any], new: dict[str, Any], *, same: bool) -> None:
    assert match([row("new", **new)], [row("old", **old)]) == ({"new": "old"} if same else {})
    assert match([row("old", **old)], [row("new", **new)]) == ({"old": "new"} if same else {}), "symmetric"


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        pytest.param([{"username": "anna"}, {"username": "anna"}], [{"username": "anna"}], {}, id="two candidates"),
        pytest.param([{"username": "anna"}], [{"username": "anna"}, {"username": "anna"}], {}, id="two newcomers"),
        pytest.param(
            [{"account": "1", "username": "anna"}, {"username": "anna"}],
            [{"account": "1", "username": "anna"}],
            {"n0": "o0"},
            id="the stronger evidence decides",
        ),
        pytest.param(
            [{"account": "1"}, {"account": "1"}, {"username": "anna"}],
            [{"account": "1", "username": "anna"}],
            {},
            id="two by the stronger evidence: the weaker decides nothing",
        ),
        pytest.param(
            [{"account": "1"}, {"profile_url": URL}, {"username": "eva"}],
            [{"username": "eva"}, {"account": "1"}, {"profile_url": URL}, {"username": "ida"}],
            {"n0": "o2", "n1": "o0", "n2": "o1"},
            id="each its own",
        ),
    ],
)
def test_a_match_is_the_only_one_on_both_sides(
    old: list[dict[str, Any]], new: list[dict[str, Any]], found: dict[str, str]
) -> None:
    rows = [row(f"n{at}", **facts) for at, facts in enumerate(new)]
    assert match(rows, [row(f"o{at}", **facts) for at, facts in enumerate(old)]) == found


@pytest.mark.parametrize("address", [None, "", " ", "https://x.com", "https://x.com/", "no address", "https://[bad/", "//"])
def test_an_address_that_names_no_account(address: str | None) -> None:
    assert profile(address) is None


few = {
    "platform": st.sampled_from(["linkedin", "facebook"]),
    "account": st.sampled_from([None, "", "1", "2"]),
    "profile_url": st.sampled_from([None, "", URL, URL + "/", "https://linkedin.com/", "https://x.com/eva"]),
    "username": st.sampled_from([None, "", "@", "unknown", "anna", "@Anna", "eva"]),
}
lists = st.lists(st.fixed_dictionaries(few), max_size=6)


@given(lists, lists)
def test_matches_are_pairs_in_both_directions_and_never_without_evidence(old: list[Any], new: list[Any]) -> None:
    olds = {f"o{at}": row(f"o{at}", **facts) for at, facts in enumerate(old)}
    news = {f"n{at}": row(f"n{at}", **facts) for at, facts in enumerate(new)}
    found = match(news.values(), olds.values())
    assert {b: a for a, b in match(olds.values(), news.values()).items()} == found, "symmetric"
    assert len(set(found.values())) == len(found), "at most one for each"
    for mine, theirs in found.items():
        pair = identity(news[mine]), identity(olds[theirs])
        strongest = next(both for both in zip(*pair, strict=True) if None not in both)
        assert strongest[0] == strongest[1]


@given(st.text(max_size=9))
def test_a_name_is_compared_in_one_form(text: str) -> None:
    once = handle(text)
    assert once is None or (once == handle(once) == handle(f" @{text} ") and once)
