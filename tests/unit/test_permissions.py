"""Permissions that publishing needs: which loss counts, and which does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain.rules.permissions import PUBLISHING, kept, lost

GOOD = ("pages_manage_posts", "pages_read_engagement", "read_insights")

# platform, known, granted now, lost
TABLE = [
    ("one that publishing needs", "facebook", GOOD, ("pages_read_engagement", "read_insights"), ("pages_manage_posts",)),
    ("one that it does not need", "facebook", GOOD, ("pages_manage_posts", "pages_read_engagement"), ()),
    ("another order and case", "facebook", GOOD, tuple(each.upper() for each in reversed(GOOD)), ()),
    ("never granted", "facebook", ("read_insights",), ("read_insights",), ()),
    ("an empty answer proves nothing", "facebook", GOOD, (), ()),
    ("no answer proves nothing", "facebook", GOOD, None, ()),
    ("nothing known", "facebook", None, ("read_insights",), ()),
    ("a platform without a table", "mixi", ("post", "read"), ("read",), ()),
    ("the other login's name", "instagram", ("instagram_content_publish",), ("instagram_business_content_publish",), ()),
    ("a wider one", "youtube", ("https://www.googleapis.com/auth/youtube.upload",), ("youtube", "openid"), ()),
    ("all parts of one", "mastodon", ("read", "write"), ("read", "write:media", "write:statuses"), ()),
    ("one part of one", "mastodon", ("read", "write"), ("read", "write:media"), ("write",)),
    ("a part of one", "mastodon", ("write:statuses",), ("write",), ()),
    ("LinkedIn", "linkedin", ("w_member_social", "r_basicprofile"), ("r_basicprofile",), ("w_member_social",)),
    (
        "Google's long names",
        "youtube",
        ("https://www.googleapis.com/auth/youtube.upload", "openid"),
        ("openid",),
        ("https://www.googleapis.com/auth/youtube.upload",),
    ),
]


@pytest.mark.parametrize(("platform", "known", "granted", "gone"), [case[1:] for case in TABLE], ids=[case[0] for case in TABLE])
def test_which_permissions_are_lost(
    platform: str, known: tuple[str, ...] | None, granted: tuple[str, ...] | None, gone: tuple[str, ...]
) -> None:
    assert lost(platform, known, granted) == gone


names = st.sampled_from([each for group in PUBLISHING["facebook"] for each in group] + ["read_insights", "public_profile"])
sets = st.lists(names, max_size=5, unique=True).map(tuple)


@given(sets, sets)
def test_a_lost_permission_is_remembered_until_it_is_back(known: tuple[str, ...], granted: tuple[str, ...]) -> None:
    missing = lost("facebook", known, granted)
    remembered = kept(known, granted, missing)
    assert lost("facebook", remembered, granted) == missing
    assert lost("facebook", remembered, (*granted, *known)) == ()
    assert remembered is not None
    assert set(remembered) >= set(missing)
