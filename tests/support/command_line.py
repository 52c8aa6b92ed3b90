"""The program as a user starts it, and databases for it to look at."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from monitor.domain import ConnectionState, Event, EventKind, SourceStatus, Status
from monitor.domain.records import replace
from monitor.store import Store, connections, history, sources
from monitor.store.connections import NewConnection
from tests.support import canary, launcher
from tests.support.factories import make_state

ROOT = launcher.ROOT
OPS_URL = canary.channel_url("127.0.0.1:9")

CONFIG = f"""\
[database]
url = "{{url}}"

[[sources]]
name = "agency"
provider = "postpost"
api_key = "{canary.POSTPOST_KEY}"
base_url = "http://127.0.0.1:9/api/v1"
labels = {{{{ client = "acme" }}}}

[[sources]]
name = "studio"
provider = "postpeer"
api_key = "{canary.POSTPEER_KEY}"
base_url = "http://127.0.0.1:9/v1"
labels = {{{{ client = "globex" }}}}

[[channels]]
name = "ops"
url = "{OPS_URL}"

[[channels]]
name = "night"
url = "json://127.0.0.1:9/night"
severity = "critical"
sources = ["studio"]
group_wait = "0s"

[web]
listen = "off"
"""


def write_config(folder: Path, *, url: str = "sqlite:///monitor.db", text: str = CONFIG) -> Path:
    """A configuration of two sources and two channels that nothing listens at."""
    path = folder / "config.toml"
    path.write_text(text.format(url=url), encoding="utf-8")
    path.chmod(0o600)
    return path


@dataclass(frozen=True, slots=True)
class Done:
    """The output and exit status of a command."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The answer of a command with --json."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


def token_monitor(
    *arguments: str, config: Path | None = None, env: Mapping[str, str] | None = None, folder: Path | None = None
) -> Done:
    """Run the program to its end, as a process of its own with an environment of its own."""
    chosen = ["--config", str(config)] if config else []
    done = launcher.run(*chosen, *arguments, env=environment(env), cwd=folder or ROOT)
    assert "Traceback" not in done.stderr, done.stderr
    canary.assert_absent(done.stdout + done.stderr, f"token-monitor {' '.join(arguments)}")
    return Done(done.returncode, done.stdout, done.stderr)


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment with nothing of the developer's own but the search path, in which no certificate is trusted."""
    plain = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": "/nonexistent", "PYTHONUTF8": "1"}
    return {**plain, "SSL_CERT_FILE": os.devnull, **(more or {})}


def real_now() -> datetime:
    """The program in its own process reads the real clock, so its data must lie around it."""
    return datetime.now(UTC).replace(microsecond=0)


def add_source(
    store: Store,
    name: str,
    states: Sequence[ConnectionState] = (),
    *,
    now: datetime,
    provider: str = "postpost",
    status: SourceStatus = SourceStatus.OK,
    polled_at: datetime | None = None,
) -> list[int]:
    """A source that was polled just now (or at `polled_at`) and listed these connections; their row ids."""
    seen = polled_at or now
    with store.begin_write() as conn:
        others = [(row.name, row.provider, row.host) for row in sources.all_sources(conn) if row.name != name]
        sources.sync_sources(conn, [*others, (name, provider, "127.0.0.1:9")], seen)
        row = sources.find_source(conn, name)
        assert row is not None
        values: dict[str, Any] = {"last_poll_at": seen, "last_success_at": seen, "next_poll_at": seen + timedelta(minutes=15)}
        sources.save_source(conn, replace(row, status=status, reason=status, message="", connections=len(states), **values))
        new = [NewConnection(state=state, fingerprint="") for state in states]
        ids = connections.insert(conn, source=name, provider=provider, rows=new, now=seen)
        sources.save_readings(
            conn, sources.readings(name, [(scope, seen, None, 1) for scope in {state.snapshot.scope for state in states}])
        )
        for key, state in zip(ids, states, strict=True):
            entry = Event(kind=EventKind.APPEARED, at=seen, new=state.verdict.status, message="Reported by the provider.")
            history.append(conn, name, key, [entry])
    return ids


def make_world(store: Store, now: datetime) -> dict[str, int]:
    """Two sources with one connection of several statuses; row ids by status."""
    statuses = (Status.VALID, Status.EXPIRING_SOON, Status.EXPIRED, Status.REVOKED)
    days = {Status.VALID: 60, Status.EXPIRING_SOON: 5, Status.EXPIRED: -1, Status.REVOKED: 30}
    states = [
        make_state(
            status=status,
            external_id=f"linkedin-{status}",
            display_name=f"Person {number}",
            expires_at=now + timedelta(days=days[status]),
        )
        for number, status in enumerate(statuses)
    ]
    ids = add_source(store, "agency", states, now=now)
    lone = make_state(external_id="65f0", platform="youtube", display_name="Studio", expires_at=None)
    ids += add_source(store, "studio", [lone], now=now, provider="postpeer")
    return dict(zip([*statuses, "studio"], ids, strict=True))
