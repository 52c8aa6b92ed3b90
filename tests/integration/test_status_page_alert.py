"""A status page that is not served because of a short token causes one alert, until the token is long enough."""

from __future__ import annotations

from pathlib import Path

from monitor.config import Config, load
from monitor.domain.records import replace
from monitor.engine import config_sync
from monitor.store import Store
from monitor.store.alerts import WantedAlerts, list_page
from tests.support.command_line import write_config
from tests.support.factories import NOW


def test_S21_a_short_token_is_one_alert_with_a_better_token(store: Store, tmp_path: Path) -> None:
    config = load(write_config(tmp_path), {}).config
    short = replace(config, web=replace(config.web, listen="0.0.0.0:8321", token_too_short=True))

    def alerts_after(*configs: Config) -> list[tuple[str, str, str]]:
        with store.begin_write() as conn:
            for each in configs:
                config_sync.sync(conn, each, NOW)
            rows = list_page(conn, WantedAlerts(), limit=50, offset=0)
        return [(row.alert.event.value, row.alert.reason, row.alert.message) for row in rows]

    assert alerts_after(config) == []
    [(event, reason, text)] = alerts_after(short, short, short)
    assert (event, reason) == ("monitor_problem", "token_too_short")
    assert len(text.rsplit(" ", 1)[-1]) == 32
    assert {(event, reason) for event, reason, _ in alerts_after(config, config)} == {
        ("monitor_problem", "token_too_short"),
        ("monitor_recovered", "token_too_short"),
    }
    assert len(alerts_after(config)) == 2
