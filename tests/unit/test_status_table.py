"""Shortening of names and ids to the width of a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.cli.output import cell_width
from monitor.cli.status_table import shorten, shorten_middle


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("agency/linkedin-1", 17, "agency/linkedin-1"),
        ("agency/linkedin-1", 12, "agenc…edin-1"),
        ("abc", 1, "…"),
        ("東京カフェ", 6, "東…ェ"),
    ],
)
def test_an_id_keeps_its_beginning_and_its_end(text: str, width: int, expected: str) -> None:
    assert shorten_middle(text, width) == expected


def test_a_name_keeps_its_beginning() -> None:
    assert shorten("Casa Verde Living", 11) == "Casa Verde…"


@given(text=st.text(st.characters(exclude_categories=("C", "M")), max_size=60), width=st.integers(1, 40))
def test_no_text_is_wider_than_its_column(text: str, width: int) -> None:
    for shortened in (shorten(text, width), shorten_middle(text, width)):
        assert cell_width(shortened) <= width
        assert shortened == text or "…" in shortened
