"""Resolution of `[[channels]]` tables, and checks of their filters against the configured sources."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.config import urls
from monitor.config.error_text import describe, suggestion
from monitor.config.policies import platform_filter
from monitor.config.resolve import Loc, Resolver, checked_timezone
from monitor.config.schema import ChannelTable, Document
from monitor.config.secrets import UNREAD, Secret
from monitor.config.settings import ChannelConfig
from monitor.config.source_schema import SourceTable
from monitor.config.sources import reject_repeated_names
from monitor.config.templates import resolve_templates
from monitor.domain.providers import provider_info
from monitor.domain.records import replace
from monitor.domain.rules.globs import matches, matches_any
from monitor.domain.rules.labels import CLIENT


def resolve_channels(resolver: Resolver, document: Document) -> tuple[ChannelConfig, ...]:
    """Return every channel that has no mistake in its required keys; record the mistakes."""
    if not document.channels and ("channels",) not in resolver.rejected:
        resolver.problems.warning((), "there is no [[channels]] table, so no alert will be sent.")
    resolved = [_resolve(resolver, document, number) for number in range(len(document.channels))]
    reject_repeated_names(resolver, "channels", [channel.name for channel in document.channels])
    if document.channels and all(channel.after is not None or channel.fallback for channel in document.channels):
        resolver.problems.warning(
            (), "every channel has after or fallback, so no alert is sent immediately: leave one channel without them."
        )
    _warn_about_copies(resolver, resolved)
    return tuple(channel for channel in resolved if channel is not None)


def _warn_about_copies(resolver: Resolver, channels: Sequence[ChannelConfig | None]) -> None:
    """Warn about each channel that differs from an earlier one only in its name."""
    earlier: dict[Secret, list[ChannelConfig]] = {}
    for number, channel in enumerate(channels):
        if channel is None or channel.url in (Secret(""), UNREAD):
            continue
        alike = earlier.setdefault(channel.url, [])
        copied = next((other.name for other in alike if replace(other, name=channel.name) == channel), None)
        if copied is None:
            alike.append(channel)
        else:
            same = f"has the URL and the settings of the channel {copied}"
            resolver.problems.warning(("channels", number), f"{same}, so every alert is sent there twice: remove one of them.")


def _resolve(resolver: Resolver, document: Document, number: int) -> ChannelConfig | None:
    loc: Loc = ("channels", number)
    raw = document.channels[number]
    resolver.required_value((*loc, "name"), raw.name, hint="choose a short name of lowercase letters, digits, _ and -.")
    resolver.required_value(
        (*loc, "url"), raw.url, hint='set an Apprise URL or one of { env = "…" }, { file = "…" }, { credential = "…" }.'
    )
    url = resolver.secret((*loc, "url"), raw.url, strict=False, shape=urls.channel_url)
    for warning in urls.channel_warnings(url.reveal()) if url else ():
        resolver.problems.warning((*loc, "url"), warning)
    ca_file = resolver.certificate_file((*loc, "ca_file"), raw.ca_file)
    proxy = resolver.secret(
        (*loc, "proxy"), raw.proxy, strict=False, shape=urls.channel_proxy_url, hides=lambda proxy: "@" in proxy
    )
    known = [source.name for source in document.sources if source.name]
    _reject_unknown_sources(resolver, (*loc, "sources"), raw.sources, known)
    if raw.report is not None:
        _reject_unknown_sources(resolver, (*loc, "report"), raw.report.sources, known)
        platform_filter(resolver, (*loc, "report"), raw.report.platforms)
    _warn_about_unmatched_labels(resolver, loc, raw, document)
    platforms = platform_filter(resolver, (*loc, "platforms"), raw.platforms)
    templates = resolve_templates(resolver, loc, every=raw.template, by_event=raw.templates)
    for position, window in enumerate(raw.quiet_hours):
        checked_timezone(resolver, (*loc, "quiet_hours", position, "timezone"), window.timezone or "UTC")
    if raw.name is None:
        return None
    return ChannelConfig(
        name=raw.name,
        url=url or Secret(""),
        ca_file=ca_file,
        proxy=proxy,
        events=raw.events,
        severity=raw.severity,
        sources=raw.sources,
        platforms=platforms,
        labels=raw.labels,
        group_by=raw.group_by or document.group_by,
        group_wait=raw.group_wait,
        after=raw.after,
        fallback=raw.fallback,
        remind_every=raw.remind_every if "remind_every" in raw.model_fields_set else "inherit",
        quiet_hours=raw.quiet_hours,
        templates=templates,
        attachments=raw.attachments,
        actions=raw.actions,
        drill_every=raw.drill_every,
        report=raw.report,
    )


def _reject_unknown_sources(resolver: Resolver, loc: Loc, wanted: Sequence[str] | None, names: Sequence[str]) -> None:
    for name in wanted or ():
        if names and not any(matches(each, name) for each in names):
            end = suggestion(name, names, otherwise="the sources are")
            resolver.problems.error(loc, f"contains {describe(name)}, which is not a source{end}")


def _warn_about_unmatched_labels(resolver: Resolver, loc: Loc, raw: ChannelTable, document: Document) -> None:
    """Warn about a label that no source and no rule sets: the channel would receive no alert about a connection."""
    for key, patterns in raw.labels.items():
        values = {each.labels[key] for each in document.sources if key in each.labels}
        values |= {each.set[key] for each in document.labels if key in each.set}
        from_services = key == CLIENT and any(_names_clients(source) for source in document.sources)
        if document.sources and not from_services and not any(matches_any(value, patterns) for value in values):
            end = f"no source and no [[labels]] rule sets {key}" + (f" to {' or '.join(patterns)}" if values else "")
            resolver.problems.warning(
                (*loc, "labels"), f"matches nothing, because {end}: no alert about a connection is sent here."
            )


def _names_clients(source: SourceTable) -> bool:
    """Return True if the names of managed users or workspaces become the clients of a source's connections."""
    if source.provider is None:
        return True
    info = provider_info(source.provider)
    return (info.has_users and source.users not in (None, "none")) or info.has_workspaces
