"""The units in which services count, and cuts that leave displayed characters whole."""

from __future__ import annotations

import json

import pytest

from monitor.notify.messages import ChannelLimits, ChannelProfile, Dispatch, Markup, compose, fit
from monitor.notify.messages.shortening import shorter
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
from tests.support.factories import NOW, make_alert

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


def test_a_name_of_combining_marks_alone_is_cut() -> None:
    text = "a" + "\u0301" * 500
    assert 3 < len(clip(text, 100)) <= 100


@pytest.mark.parametrize("markup", list(Markup))
@pytest.mark.parametrize("title", [0, 250])
@pytest.mark.parametrize("count", [1, 2, 30, 500])
def test_A09_a_shorter_form_of_a_message_is_shorter_and_settles_every_alert(markup: Markup, title: int, count: int) -> None:
    made = [
        make_alert(id=f"alert-{number:05}", external_id=f"linkedin-{number:05}", label=f"Customer {number} & Söhne")
        for number in range(count)
    ]
    message = compose([Dispatch(alert=alert) for alert in made], timezone="UTC", now=NOW)
    profile = ChannelProfile(limits=ChannelLimits(body=30_000, title=title, size=utf8_bytes), markup=markup, files=True)
    whole = fit(message, profile)
    for form, most_parts in ((1, 3), (2, 1)):
        parts = fit(message, shorter(profile, form, whole))
        assert len(parts) <= most_parts
        assert not any(part.files for part in parts)
        assert sorted(alert_id for part in parts for alert_id in part.alert_ids) == [alert.id for alert in made]
        if markup is not Markup.MAIL:  # a mail has a frame of its own, and no limit; only its rows become fewer
            largest = max(utf8_bytes(part.body) + utf8_bytes(part.title) for part in whole)
            beside_file = any(part.files for part in whole)  # first repeated without the file: not every server takes files
            room = {1: profile.limits.body if beside_file else largest // 2, 2: min(largest // 3, 700)}[form]
            assert all(utf8_bytes(part.body) <= max(room, 120) for part in parts)
