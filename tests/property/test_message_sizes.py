"""Whatever names services send, in whatever script, no message is larger than its service accepts."""

from __future__ import annotations

import json
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.config import Secret
from monitor.notify.apprise import Channel
from monitor.notify.messages import ChannelProfile, Dispatch, Part, compose, fit
from tests.support.factories import NOW, make_alert

URLS = {
    "ntfy": "ntfy://localhost/alerts",
    "wecombot": "wecombot://botkey1234",
    "dingtalk": "dingtalk://token1234/",
    "feishu": "feishu://token1234",
    "bark": "bark://localhost/device",
    "telegram": "tgram://123456789:abcdefg_hijklmnop/12315544/",
    "discord": "discord://1234567890123456789/abcdefghijABCDEFGHIJ",
    "nextcloud": "ncloud://localhost/admin",
    "json": "json://localhost/hook",
}
SCRIPTS = st.sampled_from(
    ["ü", "東京", "🥐", "👨\u200d👩\u200d👧", "e\u0301", "का", "🇩🇪", "Ä&<>", '"\\', "a b", "العربية", "x" * 40]
)
NAMES = st.lists(SCRIPTS, min_size=1, max_size=40).map("".join)


@cache
def profile(service: str) -> ChannelProfile:
    return Channel("ops", Secret(URLS[service])).profile


def message(part: Part) -> str:
    """The text as it counts where the title is part of it."""
    return f"{part.title}\n\n{part.body}"


FITS = {
    "ntfy": lambda part: len(part.body.encode()) < 4096 and len(json.dumps(message(part))) <= 8000 - 150,
    "wecombot": lambda part: len(message(part).encode()) <= 2048,
    "dingtalk": lambda part: len(json.dumps(message(part))) <= 20_000 - 500,
    "feishu": lambda part: len(json.dumps(message(part))) <= 20_000 - 100,
    "bark": lambda part: len(json.dumps(message(part), ensure_ascii=False).encode()) <= 4096 - 400,
    "telegram": lambda part: len(message(part).encode("utf-16-le")) // 2 <= 4096,
    "discord": lambda part: len(message(part).encode("utf-16-le")) // 2 <= 2000,
    "nextcloud": lambda part: len(part.body.encode()) <= 4000 and len(part.title.encode()) <= 255,
    "json": lambda part: len(part.body) <= 32_768,
}


@pytest.mark.parametrize("service", list(URLS))
@given(names=st.lists(NAMES, min_size=1, max_size=30), count=st.integers(1, 120))
def test_A09_A18_no_part_is_larger_than_the_service_accepts(service: str, names: list[str], count: int) -> None:
    alerts = [
        make_alert(id=f"alert-{number:05}", external_id=f"linkedin-{number:05}", label=names[number % len(names)])
        for number in range(count)
    ]
    parts = fit(compose([Dispatch(alert=alert) for alert in alerts], timezone="UTC", now=NOW), profile(service))
    assert all(FITS[service](part) for part in parts)
    assert len(parts) <= 3
    assert sorted(alert_id for part in parts for alert_id in part.alert_ids) == [alert.id for alert in alerts]
