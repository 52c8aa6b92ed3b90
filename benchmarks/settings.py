"""The daemon's configuration for a benchmark."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rows import key_of
from benchmarks.simulated import Simulated

UNBOUNDED = 1_000_000
"""A request budget per minute that delays nothing."""

_DEFINITION = """
[sources.auth]
header = "x-api-key"
[sources.list]
get = "/platform-connections"
ok = "success"
items = "connections"
[sources.row]
id = "platformId"
platform = "split(platformId, '-')[0]"
username = "username"
name = "displayName"
last_post = "lastSuccessfulPost"
last_error = "lastError.message"
expires = { at = "accessTokenExpiresAt", trusted = ["linkedin", "instagram", "threads"] }
[[sources.status]]
when = "tokenStatus == 'expired'"
is = "expired"
because = "lastError.message"
[[sources.status]]
when = "tokenStatus == 'revoked' || tokenStatus == 'disconnected'"
is = "revoked"
[[sources.status]]
when = "tokenStatus == 'unknown'"
is = "unknown"
[[sources.status]]
when = "tokenStatus == 'valid' || tokenStatus == 'expiring_soon'"
is = "valid"
"""
"""The simulator's list as a definition describes it: eight fields and four rules a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What differs between benchmarks. Durations as in the file."""

    sources: Sequence[str] = ("population",)
    poll_every: str = "15m"
    probe_every: str = "off"
    requests_per_minute: int | None = UNBOUNDED
    per_source: dict[str, str] | None = None
    """A source's own poll_every."""
    channel: str = ""
    """The rest of the one channel's table; empty for none."""
    policy: str = ""
    custom: bool = False
    """True if the sources are read by a definition of their own, not as PostPost's."""
    web: int | None = None
    """The port of the status page; None for none."""


def write(folder: Path, settings: Settings, *, database: str, simulated: Simulated) -> Path:
    """Write the configuration file. Return its path."""
    trust = "" if simulated.certificate is None else f"ca_file = {json.dumps(str(simulated.certificate.authority))}\n"
    pace = "" if settings.requests_per_minute is None else f"requests_per_minute = {settings.requests_per_minute}\n"
    listen = "off" if settings.web is None else f"127.0.0.1:{settings.web}"
    parts = [
        f"[database]\nurl = {json.dumps(database)}\n",
        f'[schedule]\npoll_every = "{settings.poll_every}"\nprobe_every = "{settings.probe_every}"\n{pace}',
        settings.policy,
        f'[web]\nlisten = "{listen}"\n',
    ]
    if settings.channel:
        parts.append(f'[[channels]]\nname = "hook"\nurl = {json.dumps(simulated.hook)}\n{settings.channel}\n')
    for name in settings.sources:
        own = (settings.per_source or {}).get(name)
        parts.append(
            f'[[sources]]\nname = "{name}"\nprovider = "{"custom" if settings.custom else "postpost"}"\n'
            f'api_key = "{key_of(name)}"\nbase_url = "{simulated.base_url}"\n'
            + (f'poll_every = "{own}"\n' if own else "")
            + trust
            + (_DEFINITION if settings.custom else "")
        )
    folder.mkdir(exist_ok=True)
    path = folder / "config.toml"
    path.touch(mode=0o600)
    path.write_text("\n".join(parts), encoding="utf-8")
    return path
