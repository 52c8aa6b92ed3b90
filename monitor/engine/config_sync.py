"""Apply the configuration to the store at a start and a reload: sources, scopes, policies, probing and intervals.

Connections that were judged under other settings are judged again. Scopes that are no longer monitored are retired without an
alert. Due times that lie too far ahead (the clock was wrong, the interval was longer) are brought forward.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import structlog

from monitor.config import SHORTEST_TOKEN, ChannelConfig, Config, SourceConfig, suggested_token
from monitor.config.shared_keys import reject_new_overlaps
from monitor.domain import IncidentReason, IncidentSubject
from monitor.domain.rules import schedule
from monitor.engine import applied_config
from monitor.engine.recording import close_without_alert, record_monitor_alert, record_source_incident
from monitor.engine.recording.empty_filters import end_empty_filters
from monitor.engine.recording.labelling import relabel
from monitor.engine.recording.silent_probes import SWITCHED_OFF, end_silent_probes
from monitor.engine.recording.unrecognised_statuses import close_removed, record_all_unrecognised
from monitor.store import Connection, connections, incidents, label_sets, maintenance, meta, probes, sources

log = structlog.get_logger(__name__)

_SCHEDULED = "scheduled"
_SETTINGS = "settings:"


def sync(conn: Connection, config: Config, now: datetime) -> None:
    """Apply the configuration to the store, in the caller's transaction.

    maintenance.observations_not_ahead() must follow before anything is recorded. Raise ConfigError if two sources read the same
    connections with the same API key, and neither is from before version 0.2.
    """
    _apply_renames(conn, config, now)
    reject_new_overlaps(config.sources, maintenance.early_sources(conn))
    sources.sync_sources(conn, [(each.name, each.provider, host_of(each)) for each in config.sources], now)
    _retire_unmonitored_scopes(conn, config.sources, now)
    _plan_probing(conn, config.sources, now)
    _apply_settings(conn, config, now)
    record_all_unrecognised(conn, config.sources, channels=config.channels, now=now)
    _report_page(conn, config, now)
    close_removed(conn, [source.name for source in config.sources], now)
    limit_due_times(conn, config.sources, now)
    maintenance.alerts_not_ahead(conn, now)
    label_sets.prune(conn)
    applied_config.save_applied(conn, config, now)
    end_empty_filters(conn, channels=config.channels, now=now)


def _report_page(conn: Connection, config: Config, now: datetime) -> None:
    """Alert once if the status page is not served because of a short token, and notify the recovery when it is served."""
    short = config.web.token_too_short
    message = (
        f"The status page is not served, because web.token is shorter than {SHORTEST_TOKEN} characters and other machines could "
        f"guess it. Monitoring continues. Set a random token and reload, for example {suggested_token()}"
        if short
        else "web.token is long enough for its address now."
    )
    record_monitor_alert(
        conn,
        subject=IncidentSubject.STATUS_PAGE,
        problem=short,
        reason=IncidentReason.TOKEN_TOO_SHORT,
        message=message,
        channels=config.channels,
        now=now,
    )


def _apply_renames(conn: Connection, config: Config, now: datetime) -> None:
    """Rename sources and channels in the store, so that they keep their history, incidents and deliveries."""
    before = applied_config.load_applied(conn)
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
    """Limit the due times of polls and probes to what their intervals allow: the clock may have been wrong."""
    polled, probed = defaultdict(list), defaultdict(list)
    for source in configured:
        polled[source.poll_every].append(source.name)
        if source.probes_on_schedule and source.probe_every is not None:
            probed[source.probe_every].append(source.name)
    for intervals, cap in ((polled, sources.cap_next_polls), (probed, probes.cap_next_probes)):
        for every, names in intervals.items():
            cap(conn, names, now, latest=schedule.latest(now, every))


def host_of(source: SourceConfig) -> str:
    """Return host and port of a source's API, to distinguish its outage from one of the monitor's own network."""
    parts = urlsplit(source.base_url)
    return f"{parts.hostname or ''}:{parts.port}" if parts.port else parts.hostname or ""


def _retire_unmonitored_scopes(conn: Connection, configured: Sequence[SourceConfig], now: datetime) -> None:
    """Retire, without an alert, the connections of managed users or workspaces that the configuration no longer names."""
    known = defaultdict(list)
    for row in sources.all_scopes(conn):
        known[row.source].append(row.scope)
    for source in configured:
        _retire_scopes(conn, source, known[source.name], now)


def _retire_scopes(conn: Connection, source: SourceConfig, known: Sequence[str | None], now: datetime) -> None:
    if source.users == "all" and source.workspaces is None:
        return
    if source.workspaces is not None:
        monitored: set[str | None] = set(source.workspaces)
    elif source.info.has_users:
        monitored = {None} if isinstance(source.users, str) else {None, *source.users}
    else:
        return
    for scope in known:
        if scope not in monitored:
            retired = connections.retire_scope(conn, source.name, scope, now)
            incidents.close_many(conn, [found.id for found in incidents.find_open(conn, retired).values()], now)
            for subject in (IncidentSubject.MISSING, IncidentSubject.UNREADABLE):
                close_without_alert(conn, source.name, subject.of(scope or ""), now)
            sources.delete_scope(conn, source.name, scope)


def _plan_probing(conn: Connection, configured: Sequence[SourceConfig], now: datetime) -> None:
    """Plan the probes of every cohort of sources whose probing is on, and of none whose probing is off."""
    probes.drop_cohorts(conn, [source.name for source in configured if not source.probes_on_schedule])
    unplanned = probes.unplanned_cohorts(conn)
    for source in configured:
        every = source.probe_every
        if every is not None and source.probes_on_schedule and source.name in unplanned:
            due = {
                cohort: schedule.next_cohort_probe(now, every, source=source.name, cohort=cohort, jitter=source.jitter)
                for cohort in unplanned[source.name]
            }
            probes.ensure_cohorts(conn, source.name, due)


class _Settings(NamedTuple):
    """The settings that decide about a source's connections, as stored from one start or reload to the next."""

    judging: str = ""
    """Digest of the policies. The next two are digests as well."""
    reading: str = ""
    """Digest of how the source is read."""
    naming: str = ""
    """Digest of what silences match by."""
    probing: str = ""
    """scheduled, asked (only by the command `check`) or never."""


def _apply_settings(conn: Connection, config: Config, now: datetime) -> None:
    """Have the connections of sources polled, judged and reviewed again as far as their settings changed."""
    known, unlabelled = meta.all_with(conn, _SETTINGS), connections.unlabelled_sources(conn)
    for source in config.sources:
        stored = known.get(_SETTINGS + source.name, "").split(" ")  # an older version stored fewer
        before, after = _Settings._make([*stored, "", "", ""][: len(_Settings._fields)]), _settings(source)
        if source.name in unlabelled:
            relabel(conn, source)
        if before != after:
            meta.set(conn, _SETTINGS + source.name, " ".join(after))
            _apply_changed(conn, source, before, after, channels=config.channels, now=now)


def _apply_changed(
    conn: Connection,
    source: SourceConfig,
    before: _Settings,
    after: _Settings,
    *,
    channels: Sequence[ChannelConfig],
    now: datetime,
) -> None:
    unprobed = after.probing not in (_SCHEDULED, before.probing)
    if unprobed:
        _forget_probes(conn, source, channels, now)
    if unprobed or before.judging != after.judging:
        connections.mark_for_recheck(conn, source.name, now)
    if unprobed or before[:2] != after[:2]:
        sources.poll_now(conn, source.name, now)
    if (before.judging, before.naming) != (after.judging, after.naming):
        incidents.review_all(conn, now, source=source.name)  # a suppression may not apply any more
    if before.naming != after.naming:
        relabel(conn, source)


def _settings(source: SourceConfig) -> _Settings:
    judging: tuple[Any, ...] = (
        sorted((name, repr(policy)) for name, policy in source.policies.items()),
        repr(source.policy),
        source.probes_on_schedule,
    )
    reading = source.poll_every, source.base_url, blake2b(source.api_key.reveal().encode(), digest_size=8).hexdigest()
    naming: tuple[Any, ...] = source.name, sorted(source.labels.items())
    if source.label_rules:  # without any, the digests are those of earlier versions
        naming += (source.label_rules,)
        judging += (source.label_rules,)
    digests = (blake2b(repr(part).encode(), digest_size=12).hexdigest() for part in (judging, reading, naming))
    return _Settings._make([*digests, _SCHEDULED if source.probes_on_schedule else "asked" if source.probe else "never"])


def _forget_probes(conn: Connection, source: SourceConfig, channels: Sequence[ChannelConfig], now: datetime) -> None:
    """Forget the results of probes when probing is switched off: no later probe could correct them.

    Called only when it ends: results of later `check` commands are corrected by the next `check`.
    """
    connections.forget_probes(conn, source.name)
    end_silent_probes(conn, source, SWITCHED_OFF, channels=channels, now=now)
    for platform in IncidentSubject.OUTAGE.names_in(incidents.open_subjects(conn, source.name)):
        record_source_incident(
            conn,
            source,
            subject=IncidentSubject.OUTAGE.of(platform),
            problem=False,
            reason=IncidentReason.PLATFORM_OUTAGE,
            status="ok",
            message=f"Probing is off, so refused {platform} connections are no longer detected.",
            channels=channels,
            now=now,
            platform=platform,
        )
