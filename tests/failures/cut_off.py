"""Run inside a network namespace of its own: a daemon whose machine loses its network for a while, and what it does then.

Arguments: a folder, and the database's URL. Prints what came of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from monitor.demo.world import World
from monitor.domain import AlertEvent, PollOutcome
from monitor.store import Store, alerts, sources
from tests.acceptance.daemon import Setting, eventually, setting

DAY = timedelta(days=1)
QUICK = """[schedule]
poll_every = "1s"
probe_every = "off"
requests_per_minute = 6000
"""
NETWORK = "own_network"


def ip(*words: str) -> None:
    """Change the only network there is. Without an address on it there is no route to anywhere."""
    subprocess.run(["ip", *words, "dev", "lo"], check=True, timeout=10)


def alerts_of(database: str) -> list[tuple[str, str, str]]:
    """Every alert as (event, reason, what it is about), the oldest first."""
    with Store(database) as store, store.begin_read() as conn:
        rows = [row.alert for row in alerts.list_alerts(conn)]
    return [(str(each.event), each.verdict_reason or each.reason, each.external_id or "") for each in reversed(rows)]


def failed_polls(database: str) -> int:
    """How many polls have failed, of both sources."""
    with Store(database) as store, store.begin_read() as conn:
        found = [poll for name in ("agency", "studio") for poll in sources.last_polls(conn, name, limit=1000)]
    return sum(poll.outcome is not PollOutcome.OK for poll in found)


def is_decided(database: str, event: AlertEvent) -> bool:
    """Return True if such an alert was decided."""
    return any(found == event for found, _, _ in alerts_of(database))


def cut_off(made: Setting, database: str) -> dict[str, object]:
    """Run the daemon online, offline while a date passes, and online again."""
    process = made.start()
    for name in ("agency", "studio"):
        made.await_polls(2, name)
    before = made.status()
    made.world.change("agency", "linkedin-soon", expires_at=made.world.clock.now() + timedelta(seconds=8))
    made.await_polls(2)
    ip("address", "flush")
    eventually(lambda: is_decided(database, AlertEvent.MONITOR_PROBLEM))
    # Dates move verdicts without any network; the alert waits for the channel, which cannot be reached either.
    eventually(lambda: is_decided(database, AlertEvent.EXPIRED))
    received = len(made.messages())
    known = failed_polls(database)
    eventually(lambda: failed_polls(database) >= known + 3, within=60)  # the same problem raises no further alert
    decided = alerts_of(database)
    during = made.status()
    ip("address", "add", "127.0.0.1/8")
    eventually(lambda: is_decided(database, AlertEvent.MONITOR_RECOVERED))
    eventually(lambda: made.find_post("linkedin-soon", "expired"), within=60)
    eventually(lambda: made.find_post("can be reached"), within=60)
    made.await_polls(2, "agency")
    made.await_polls(2, "studio")
    return {
        "before": before,
        "during": during,
        "after": made.status(),
        "received while cut off": received,
        "decided while cut off": decided,
        "decided": alerts_of(database),
        "messages": [message["message"] for message in made.messages()],
        "exit": made.stop(process),
    }


def main() -> None:
    """Set up the world and print the result."""
    folder, database = Path(sys.argv[1]), sys.argv[2]
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=10)
    world = World()
    world.add_source("agency", "postpost")
    world.add_source("studio", "publora")
    for source in world.sources.values():
        source.extra_headers["Connection"] = "close"  # else a connection that is still open is waited for, for half a minute
    world.connect("agency", "linkedin", account="soon", username="Northwind", lifetime=50 * DAY)
    world.connect("agency", "threads", account="well", username="Lumen", lifetime=50 * DAY)
    world.connect("studio", "mastodon", account="well", username="Fern", lifetime=50 * DAY)
    with setting(folder, world, database=database, top=QUICK + '[policy]\nexpiring_within = "1s"\nstages = []\n') as made:
        text = made.config.read_text("utf-8")
        url = made.server.base_url("publora")
        made.config.write_text(text.replace(url, url.replace("127.0.0.1", "localhost")), "utf-8")  # another host
        print(json.dumps(cut_off(made, database)))  # noqa: T201 - read by the test


if __name__ == "__main__":
    main()
