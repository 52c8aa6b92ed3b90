"""Run inside a mount namespace: daemons whose DNS server never responds, and what they do then.

Arguments: a folder and the address for the server. Prints the results as JSON. `localhost` is in /etc/hosts, every other name
is asked of the server.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

from monitor.demo.world import World
from tests.acceptance.daemon import Setting, eventually, setting

INTERVAL = 4
OBSERVED = 24
"""Seconds during which the polls of the healthy source are timed."""


def block_dns(folder: Path, address: str) -> socket.socket:
    """Make every lookup in DNS go to a server that never responds."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 53))
    for name, text in (("resolv.conf", f"nameserver {address}\n"), ("nsswitch.conf", "hosts: files dns\n")):
        file = folder / name
        file.write_text(text, "utf-8")
        subprocess.run(["mount", "--bind", file, Path("/etc") / name], check=True, timeout=10)
    return server


def configure(made: Setting, names: int) -> None:
    """Address the healthy source by name, and add sources whose names DNS does not answer."""
    text = made.config.read_text("utf-8").replace('base_url = "http://127.0.0.1:', 'base_url = "http://localhost:')
    for number in range(names):
        text += f"""
[[sources]]
name = "silent-{number}"
provider = "publora"
api_key = "sk_silent_key_{number}"
base_url = "https://api-{number}.silent.example/api/v1"
"""
    made.config.write_text(text, "utf-8")


def daemon(folder: Path, names: int) -> dict[str, object]:
    """Run a daemon with this number of unanswered names, and stop it while they are looked up."""
    world = World()
    world.add_source("agency", "postpost")
    world.connect("agency", "threads", account="th", username="Lumen", display_name="Lumen", lifetime=timedelta(days=20))
    folder.mkdir()
    top = f'[schedule]\npoll_every = "{INTERVAL}s"\nprobe_every = "off"\nrequests_per_minute = 6000\n'
    with setting(folder, world, database=f"sqlite:///{folder / 'monitor.db'}", top=top) as made:
        configure(made, names)
        process = made.start()
        made.await_polls(1)
        gaps = longest_gap(made) if names == 12 else None
        time.sleep(0.5)
        begun = time.monotonic()
        status = made.stop(process)
        log = made.log()
        return {
            "status": status,
            "seconds": time.monotonic() - begun,
            "gap": gaps,
            "healthy": sorted({line.partition("outcome=")[2].split()[0] for line in log.splitlines() if "=agency " in line}),
            "causes": sorted({line.partition("problem=")[2] for line in log.splitlines() if "source=silent-0 " in line}),
            "traceback": "Traceback" in log,
        }


def longest_gap(made: Setting) -> float:
    """Return the longest time between two requests for the healthy source's list."""
    calls, seen = made.world.sources["agency"].calls, []
    end = time.monotonic() + OBSERVED
    while time.monotonic() < end:
        count = calls["list"]
        eventually(lambda before=count: calls["list"] > before, within=OBSERVED)  # type: ignore[misc]  # a default of a lambda
        seen.append(time.monotonic())
    return max(later - earlier for earlier, later in pairwise(seen))


def main() -> None:
    """Print the result of each daemon by its number of silent names."""
    folder, address = Path(sys.argv[1]), sys.argv[2]
    with block_dns(folder, address):
        results = {names: daemon(folder / str(names), names) for names in (1, 4, 12, 15, 100)}
    sys.stdout.write(json.dumps(results))


if __name__ == "__main__":
    main()
