"""At a start and a reload the store follows the configuration: sources, scopes, policies, probing and pace.

What was decided under other settings is judged again; what is no longer watched leaves quietly; a due instant that lies
too far ahead (a clock that was wrong, a longer interval) is pulled back.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from hashlib import blake2b
from typing import NamedTuple
from urllib.parse import urlsplit

import structlog

from monitor.config import ChannelConfig, Config, SourceConfig
from monitor.domain import IncidentSubject
from monitor.domain.rules import schedule
from monitor.engine import applied_config
from monitor.engine.recording import close_without_alert, record_source_incident
from monitor.store import Connection, connections, incidents, maintenance, meta, probes, sources

log = structlog.get_logger(__name__)

_SCHEDULED = "scheduled"


def sync(conn: Connection, config: Config, now: datetime) -> None:
    """Make the store follow the configuration, in the caller's transaction."""
    _follow_names(conn, config, now)
    sources.sync_sources(conn, [(each.name, each.provider, host_of(each)) for each in config.sources], now)
    for source in config.sources:
        _retire_unwatched_scopes(conn, source, now)
        _plan_probing(conn, source, now)
        _judge_by(conn, source, config.channels, now)
    limit_due_times(conn, config.sources, now)
    maintenance.not_ahead(conn, now)
    applied_config.remember(conn, config, now)


def _follow_names(conn: Connection, config: Config, now: datetime) -> None:
    """What only has another name keeps its history, its incidents and what waits for it."""
    before = applied_config.recall(conn)
    if before is None:
        return
    renamed = applied_config.find_renamed(conn, before, config)
    for old, new in renamed.sources.items():
        if maintenance.rename_source(conn, old, new, now):
            log.info("source.renamed", source=new, before=old)
    for old, new in renamed.channels.items():
        if maintenance.rename_channel(conn, old, new):
            log.info("channel.renamed", channel=new, before=old)


def limit_due_times(conn: Connection, configured: Sequence[SourceConfig], now: datetime) -> None:
    """No poll and no probe waits longer than its interval allows: a clock may have been ahead when it was planned."""
    for source in configured:
        sources.cap_next_poll(conn, source.name, now, latest=schedule.latest(now, source.poll_every))
        if source.probes_on_schedule and source.probe_every is not None:
            probes.cap_next_probes(conn, source.name, now, latest=schedule.latest(now, source.probe_every))


def host_of(source: SourceConfig) -> str:
    """Host and port of a source's API, to tell one API's outage from our own network's."""
    parts = urlsplit(source.base_url)
    return f"{parts.hostname or ''}:{parts.port}" if parts.port else parts.hostname or ""


def _retire_unwatched_scopes(conn: Connection, source: SourceConfig, now: datetime) -> None:
    """Connections of managed users or workspaces that the configuration no longer names leave without an alert."""
    if source.users == "all" and source.workspaces is None:
        return
    if source.workspaces is not None:
        watched: set[str | None] = set(source.workspaces)
    elif source.info.has_users:
        watched = {None} if isinstance(source.users, str) else {None, *source.users}
    else:
        return
    for row in sources.all_scopes(conn, source.name):
        if row.scope not in watched:
            retired = connections.retire_scope(conn, source.name, row.scope, now)
            incidents.close_many(conn, [found.id for found in incidents.find_open(conn, retired).values()], now)
            close_without_alert(conn, source.name, IncidentSubject.MISSING.of(row.scope or ""), now)
            sources.forget(conn, source.name, row.scope)


def _plan_probing(conn: Connection, source: SourceConfig, now: datetime) -> None:
    """Every cohort has its place where probing is on, and none where it is off."""
    if not source.probes_on_schedule or source.probe_every is None:
        probes.drop_cohorts(conn, source.name)
        return
    due = {
        cohort: schedule.next_cohort_probe(now, source.probe_every, source=source.name, cohort=cohort, jitter=source.jitter)
        for cohort in probes.live_cohorts(conn, source.name)
    }
    probes.ensure_cohorts(conn, source.name, due)


class _Settings(NamedTuple):
    """What decides about a source's connections, as it is remembered from one start or reload to the next."""

    judging: str = ""
    """A digest of what judges them, as the other two that follow."""
    reading: str = ""
    """Of how the source is read."""
    naming: str = ""
    """Of what silences look at."""
    probing: str = ""
    """scheduled, asked (by `check` alone) or never."""


def _judge_by(conn: Connection, source: SourceConfig, channels: Sequence[ChannelConfig], now: datetime) -> None:
    """What was decided about the source's connections under other settings is decided again."""
    key = f"settings:{source.name}"
    told = (meta.get(conn, key) or "").split(" ")  # fewer by an older version
    before, after = _Settings._make([*told, "", "", ""][: len(_Settings._fields)]), _settings(source)
    if before == after:
        return
    meta.set(conn, key, " ".join(after))
    unprobed = after.probing not in (_SCHEDULED, before.probing)
    if unprobed:
        _forget_probes(conn, source, channels, now)
    if unprobed or before.judging != after.judging:
        connections.judge_again(conn, source.name, now)
    if unprobed or before[:2] != after[:2]:
        sources.poll_now(conn, source.name, now)
    if (before.judging, before.naming) != (after.judging, after.naming):
        incidents.review_all(conn, now, source=source.name)  # what held them back may not hold any more


def _settings(source: SourceConfig) -> _Settings:
    judging = (
        sorted((name, repr(policy)) for name, policy in source.policies.items()),
        repr(source.policy),
        source.probes_on_schedule,
    )
    reading = source.poll_every, source.base_url, blake2b(source.api_key.reveal().encode(), digest_size=8).hexdigest()
    naming = source.name, sorted(source.labels.items())
    digests = (blake2b(repr(part).encode(), digest_size=12).hexdigest() for part in (judging, reading, naming))
    return _Settings._make([*digests, _SCHEDULED if source.probes_on_schedule else "asked" if source.probe else "never"])


def _forget_probes(conn: Connection, source: SourceConfig, channels: Sequence[ChannelConfig], now: datetime) -> None:
    """What probes found must not outlive probing: nothing could ever take it back.

    Only once, when it ends: what `check` finds afterwards, the next `check` takes back.
    """
    connections.forget_probes(conn, source.name)
    for platform in IncidentSubject.OUTAGE.names_in(incidents.open_subjects(conn, source.name)):
        record_source_incident(
            conn,
            source,
            subject=IncidentSubject.OUTAGE.of(platform),
            problem=False,
            reason="platform_outage",
            status="ok",
            message=f"Probing is off: whether {platform} connections are refused is not looked at any more.",
            channels=channels,
            now=now,
            platform=platform,
        )
