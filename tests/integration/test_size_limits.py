"""Messages within the limits of the service itself: a stand-in for ntfy refuses what ntfy refuses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from monitor.store import Store
from tests.support.delivery import channel, queue, running, states, until
from tests.support.factories import make_alert
from tests.support.fakes import ManualClock
from tests.support.ntfy import NtfyReceiver


@pytest.fixture
def ntfy() -> Iterator[NtfyReceiver]:
    with NtfyReceiver() as receiver:
        yield receiver


@pytest.mark.parametrize(
    ("name", "count"),
    [("Kunde {:03} Bäckerei Müller & Söhne GmbH", 60), ("株式会社 東京デザイン研究所 {:03}", 40), ("👨‍👩‍👧 {:03} Café ☕", 60)],
    ids=["umlauts", "Japanese", "emoji"],
)
async def test_A09_ntfy_takes_every_name_in_every_script(
    name: str, count: int, store: Store, clock: ManualClock, ntfy: NtfyReceiver
) -> None:
    made = [
        make_alert(id=f"alert-{number:05}", external_id=f"linkedin-{number:05}", label=name.format(number))
        for number in range(count)
    ]
    queue(store, made)
    async with running(store, clock, channel(ntfy.apprise_url("/alerts", schema="ntfy"))):
        await until(lambda: states(store) == {"sent": count})
    assert ntfy.refused == []
    assert all(f"linkedin-{number:05}" in ntfy.texts for number in range(count))
    assert len(ntfy.accepted) <= 3
