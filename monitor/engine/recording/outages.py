"""A platform's outage: many of its connections are refused at once, which is one alert and not one per connection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection

from monitor.config import SourceConfig
from monitor.domain.rules import inhibition, suppression
from monitor.engine.recording import OUTAGE, Change, ChannelSettings, Recorded, record_changes, record_source_incident
from monitor.store import connections, incidents

ASKED_AGAIN_WITHIN = timedelta(minutes=65)
"""A refused connection is probed hourly."""


def record_with_outages(
    conn: Connection, source: SourceConfig, changes: Sequence[Change], *, channels: Sequence[ChannelSettings], now: datetime
) -> Recorded:
    """Write what probes changed; where most of a platform is refused at once, say that instead of each connection's trouble."""
    known = {subject.removeprefix(OUTAGE) for subject in incidents.open_subjects(conn, source.name) if subject.startswith(OUTAGE)}
    shift = _shift(changes)
    recorded = Recorded()
    if not known and not any(count > 0 for count in shift.values()):
        return record_changes(conn, source, changes, channels=channels, now=now)
    stand = connections.count_refused(conn, source.name)
    for platform in sorted(known | set(shift)):
        refused, of = stand.get(platform, (0, 0))
        refused += shift[platform]
        is_outage = inhibition.is_mass(refused, max(of, refused))
        if is_outage is (platform in known):
            continue
        recorded.add(_say(conn, source, platform, refused, of, problem=is_outage, channels=channels, now=now))
        if not is_outage:
            # Most of them were only not asked again yet: those that are refused after that speak for themselves, whether
            # they did before the outage or not. It held back what got worse and reminders as well as first words.
            incidents.look_at_platform(conn, now + ASKED_AGAIN_WITHIN, source=source.name, platform=platform)
    recorded.add(record_changes(conn, source, changes, channels=channels, now=now))
    return recorded


def _shift(changes: Sequence[Change]) -> Counter[str]:
    """How these changes move each platform's number of refused connections."""
    moved: Counter[str] = Counter()
    for change in changes:
        was = change.before is not None and suppression.is_outage_symptom(change.before)
        moved[change.after.snapshot.platform] += suppression.is_outage_symptom(change.after) - was
    return moved


def _say(
    conn: Connection,
    source: SourceConfig,
    platform: str,
    refused: int,
    of: int,
    *,
    problem: bool,
    channels: Sequence[ChannelSettings],
    now: datetime,
) -> Recorded:
    trouble = f"{refused} of {of} {platform} connections are refused at once: the platform or the provider has trouble."
    return record_source_incident(
        conn,
        source,
        subject=f"{OUTAGE}{platform}",
        problem=problem,
        reason="platform_outage",
        status="platform_outage" if problem else "ok",
        message=trouble if problem else f"Most {platform} connections are taken again.",
        channels=channels,
        now=now,
        platform=platform,
        count=max(refused, 1),
    )
