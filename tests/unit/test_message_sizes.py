"""The units in which services count, and cuts that leave displayed characters whole."""

from __future__ import annotations

import json

import pytest

from monitor.notify.messages.sizes import (
    Size,
    characters,
    clip,
    json_bytes,
    ntfy_bytes,
    push_bytes,
    utf8_bytes,
    utf16_units,
)

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
FLAG = "\U0001f1e9\U0001f1ea"


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("abc", (3, 3, 3, 3, 3)),
        ("ü", (1, 2, 1, 6, 2)),
        ("東", (1, 3, 1, 6, 3)),
        ("🥐", (1, 4, 2, 12, 4)),
        ('"', (1, 1, 1, 2, 2)),
        ("\n", (1, 1, 1, 2, 2)),
        ("&", (1, 1, 1, 1, 6)),
    ],
)
def test_a_text_has_a_size_in_each_unit(text: str, sizes: tuple[int, ...]) -> None:
    assert tuple(size(text) for size in (characters, utf8_bytes, utf16_units, json_bytes, push_bytes)) == sizes


@pytest.mark.parametrize("text", ["ü" * 100, "東" * 100, "🥐" * 100, '"' * 100, "a" * 100])
def test_ntfy_counts_the_message_in_bytes_and_its_json_up_to_twice_as_many(text: str) -> None:
    assert ntfy_bytes(text) >= len(text.encode())
    assert 2 * ntfy_bytes(text) >= len(json.dumps(text)) - 2


@pytest.mark.parametrize("cluster", ["e\u0301", FAMILY, FLAG, "👍🏽", "❤\ufe0f", "1\ufe0f\u20e3", "का"])
@pytest.mark.parametrize("size", [characters, utf8_bytes, utf16_units, json_bytes])
def test_a_cut_leaves_displayed_characters_whole(cluster: str, size: Size) -> None:
    text = f"ab{cluster * 6}"
    for room in range(size(text) + 1):
        cut = clip(text, room, size)
        assert size(cut) <= room
        whole = cut.rstrip(".")
        assert whole in {
            f"ab{cluster * count}"[: len(whole)] for count in range(7) if len(f"ab{cluster * count}") == len(whole)
        } | {
            "",
            "a",
            "ab",
        }


def test_a_name_of_nothing_but_marks_is_cut_all_the_same() -> None:
    text = "a" + "\u0301" * 500
    assert 3 < len(clip(text, 100)) <= 100
