"""Large populations for benchmarks: many connections in one list, or many sources of a few."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from monitor.demo.connection import POSTBREEZE_PLATFORMS, SCOPES, SimConnection
from monitor.demo.source import SimSource
from monitor.demo.world import DEFAULT_WORKSPACE, World, new_id

_MIX = ("linkedin", "instagram", "threads", "tiktok", "twitter", "facebook", "youtube", "bluesky")
"""Platforms in turn; the first four have dates."""
_DATED = 4


def crowd(world: World, n: int, *, source: str = "crowd", kind: str = "postpost") -> SimSource:
    """Add one source that lists n healthy connections, with dates 30 to 89 days ahead.

    All dates fall on the same half hour, so that what is stated changes at most once an hour and not all the time.
    The same n always gives the same ids: platformId `linkedin-1000000`, `instagram-1000001`, … at PostPost.
    """
    crowded = world.add_source(source, kind)
    for connection in _people(kind, n, world.clock.now()):
        crowded.put(connection)
    return crowded


def many_sources(
    world: World,
    sources: int,
    each: int,
    *,
    kind: str = "postpost",
    prefix: str = "source",
    latency_ms: float = 0.0,
) -> list[SimSource]:
    """Add sources named source-0, source-1, … with `each` connections; the keys are demo-key-source-0 and so on."""
    made = [crowd(world, each, source=f"{prefix}-{number}", kind=kind) for number in range(sources)]
    for source in made:
        source.latency = timedelta(milliseconds=latency_ms)
    return made


def _people(kind: str, n: int, now: datetime) -> Iterator[SimConnection]:
    noon = now.replace(minute=30, second=0, microsecond=0)
    for number in range(n):
        platform, account = _MIX[number % len(_MIX)], str(1_000_000 + number)
        dated = number % len(_MIX) < _DATED
        yield SimConnection(
            external_id=new_id(kind, platform, account=account, number=number),
            platform=POSTBREEZE_PLATFORMS[platform] if kind == "postbreeze" else platform,
            account=account,
            scope=DEFAULT_WORKSPACE if kind == "postbreeze" else None,
            username=f"@person{number}",
            display_name=f"Person {number}",
            profile_url=f"https://{platform}.example/person{number}",
            image_url=f"https://images.example/{number}.jpg",
            connected_at=noon - timedelta(days=30) + timedelta(milliseconds=number),
            expires_at=noon + timedelta(days=30 + number % 60) if dated else None,
            refreshed_at=noon - timedelta(days=1) if dated else None,
            refresh_attempt_at=noon - timedelta(days=1) if dated else None,
            permissions=SCOPES.get(platform, ()),
            last_post_at=noon - timedelta(hours=5),
        )
