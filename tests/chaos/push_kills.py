"""Kills of a daemon while programs push reports: whatever was answered with 2xx is in the store."""

from __future__ import annotations

import random
import signal
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from monitor.demo.world import World
from monitor.store import Store, connection_queries
from tests.acceptance.daemon import eventually, setting
from tests.support.ports import free_port

TOKEN = "t0ken-of-the-cron-jobs-27-characters"
FIRST = datetime(2040, 1, 1, tzinfo=UTC)
PROGRAMS = 4


@dataclass(kw_only=True)
class PushKills:
    """What happened."""

    kills: int
    answered: dict[str, int] = field(default_factory=dict)
    """By id, the number of the newest report that was answered with 200."""
    lost: list[str] = field(default_factory=list)
    """Ids of which the store has an older report than the answered one, or none."""


def run_push_kills(folder: Path, database: str, *, kills: int, seed: int) -> PushKills:
    """Kill the daemon `kills` times while PROGRAMS push, and compare the answers with the store."""
    dice, found = random.Random(seed), PushKills(kills=kills)
    address = f"127.0.0.1:{free_port()}"
    top = f"""
[hooks]
listen = "{address}"
[[sources]]
name = "cron"
provider = "push"
token = "{TOKEN}"
requests_per_minute = 1000000
"""
    with setting(folder, World(), database=database, top="") as made:
        made.config.write_text(made.config.read_text("utf-8") + top, encoding="utf-8")
        for _ in range(kills):
            process = made.launch("run")
            before, ended = len(found.answered), threading.Event()
            programs = [
                threading.Thread(target=_push, args=(f"http://{address}", name, found.answered, ended))
                for name in range(PROGRAMS)
            ]
            for each in programs:
                each.start()
            eventually(lambda: len(found.answered) > before)  # noqa: B023 - it is called in this round only
            time.sleep(dice.uniform(0, 0.3))
            assert made.stop(process, signal.SIGKILL) == -signal.SIGKILL
            ended.set()
            for each in programs:
                each.join()
    with Store(database) as store, store.begin_read() as conn:
        rows = connection_queries.list_connections(conn)
        stored = {row.state.snapshot.external_id: row.state.snapshot.expires_at for row in rows}
    for key, number in found.answered.items():
        at = stored.get(key)
        if at is None or at < FIRST + timedelta(seconds=number):
            found.lost.append(key)
    return found


def _push(url: str, name: int, answered: dict[str, int], ended: threading.Event) -> None:
    """Push lists in which half of the ids are known and have a later date, until the daemon is dead."""
    headers, number = {"authorization": f"Bearer {TOKEN}"}, max(answered.values(), default=0)
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=10) as client:
        while not ended.is_set():
            number += 1
            ids = [f"{name}-{number + offset}" for offset in range(4)]
            at = (FIRST + timedelta(seconds=number)).isoformat()
            try:
                answer = client.post("/api/v1/push/cron", json=[{"id": each, "expires_at": at} for each in ids])
            except httpx.HTTPError:
                time.sleep(0.02)
                continue
            if answer.status_code == 200:
                answered.update(dict.fromkeys(ids, number))
