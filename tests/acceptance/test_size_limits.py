"""Lists of connections that ntfy accepts, from the poll to the phone: one `check` beside the simulated world."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from monitor.demo.world import World
from tests.acceptance.daemon import setting
from tests.support.ntfy import NtfyReceiver


@pytest.mark.parametrize(
    ("name", "count"),
    [("Kunde {:03} Bäckerei Müller & Söhne GmbH", 24), ("株式会社 東京デザイン研究所 {:03}", 30)],
    ids=["umlauts", "Japanese"],
)
def test_A09_a_check_delivers_every_expiring_account_to_ntfy(name: str, count: int, tmp_path: Path) -> None:
    world = World()
    world.add_source("agency", "postpost")
    for number in range(count):
        label = name.format(number)
        world.connect("agency", "linkedin", account=f"a{number:03}", display_name=label, lifetime=timedelta(days=2, hours=1))
    with NtfyReceiver() as ntfy:
        second = f'[[channels]]\nname = "phone"\nurl = "{ntfy.apprise_url("/alerts", schema="ntfy")}"\n'
        with setting(tmp_path, world, database=f"sqlite:///{tmp_path}/monitor.db", channel=second) as made:
            done = made.call("check")
        assert ntfy.refused == []
        assert all(name.format(number) in ntfy.texts for number in range(count))
        assert "Not delivered yet" not in done.stdout + done.stderr
