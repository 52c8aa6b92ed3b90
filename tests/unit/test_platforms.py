"""Platform ids and names: the table of PROVIDERS 2c."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain.rules.platforms import canonical, is_usable_id, split_platform_id


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("twitter-123456789", ("twitter", "123456789")),
        ("telegram--1001234567890", ("telegram", "-1001234567890")),
        ("bluesky-did:plc:abc123", ("bluesky", "did:plc:abc123")),
        ("bluesky-did:web:a.b", ("bluesky", "did:web:a.b")),
        ("Twitter-123", ("twitter", "123")),
        ("X-1", ("twitter", "1")),
        ("pinterest-abc123", ("pinterest", "abc123")),
        ("facebook_page-1-2-3", ("facebook", "1-2-3")),
        ("newnet-Ab", ("newnet", "Ab")),
        ("telegram-", None),
        ("nodash", None),
        ("-1", None),
        ("1x-1", None),
        ("", None),
        (None, None),
        (7, None),
        ("x-\n", None),
        ("x-a\x00", None),
        ("x-\ufffd", None),
        ("é-1", None),
        ("x-" + "a" * 255, None),
    ],
)
def test_an_id_splits_at_its_first_dash(text: object, parts: tuple[str, str] | None) -> None:
    assert split_platform_id(text) == parts


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("X", "twitter"),
        ("FACEBOOK_PAGE", "facebook"),
        ("LINKEDIN_PERSON", "linkedin"),
        ("LINKEDIN_COMPANY", "linkedin"),
        ("TIKTOK_BUSINESS", "tiktok"),
        ("TIKTOK_PERSONAL", "tiktok"),
        ("google_business", "googlebusiness"),
        ("gmb", "googlebusiness"),
        ("instagram-standalone", "instagram"),
        (" Threads ", "threads"),
        ("SOMETHING_NEW", "something_new"),
    ],
)
def test_one_platform_has_one_name(name: str, slug: str) -> None:
    assert canonical(name) == slug
    assert canonical(slug) == slug


@pytest.mark.parametrize("text", ["", ".", "..", " ", " . ", "a\tb", "\u202e", "a" * 257, None, 4])
def test_ids_that_cannot_be_used(text: object) -> None:
    assert not is_usable_id(text)


@given(st.text())
def test_any_text_splits_or_does_not(text: str) -> None:
    parts = split_platform_id(text)
    if parts is not None:
        platform, raw = parts
        assert platform == canonical(platform)
        assert text.endswith("-" + raw)
        assert is_usable_id(text)
