"""Makes channels whole, and holds their filters against the sources there are."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.config import urls
from monitor.config.error_text import found, suggestion
from monitor.config.policies import platform_filter
from monitor.config.resolve import Loc, Resolver, checked_timezone
from monitor.config.schema import ChannelTable, Document
from monitor.config.secrets import Secret
from monitor.config.settings import ChannelConfig
from monitor.config.sources import note_repeated_names
from monitor.config.templates import resolve_templates


def resolve_channels(reading: Resolver, document: Document) -> tuple[ChannelConfig, ...]:
    """Every channel that is whole; what keeps the others from it is noted."""
    if not document.channels and ("channels",) not in reading.broken:
        reading.findings.warning((), "there is no [[channels]] table, so nobody will be told anything.")
    resolved = [_resolve(reading, document, number) for number in range(len(document.channels))]
    note_repeated_names(reading, "channels", [channel.name for channel in document.channels])
    if document.channels and all(channel.after is not None or channel.fallback for channel in document.channels):
        reading.findings.warning((), "every channel has after or fallback, so nothing is said at once: leave one without them.")
    return tuple(channel for channel in resolved if channel is not None)


def _resolve(reading: Resolver, document: Document, number: int) -> ChannelConfig | None:
    loc: Loc = ("channels", number)
    raw = document.channels[number]
    reading.needed((*loc, "name"), raw.name, hint="give it a short name of small letters, digits, _ and -.")
    reading.needed(
        (*loc, "url"), raw.url, hint='give it an Apprise URL or one of { env = "…" }, { file = "…" }, { credential = "…" }.'
    )
    url = reading.secret((*loc, "url"), raw.url, strict=False, shape=urls.channel_url)
    for doubt in urls.channel_doubts(url.reveal()) if url else ():
        reading.findings.warning((*loc, "url"), doubt)
    _note_unknown_sources(reading, loc, raw, [source.name for source in document.sources if source.name])
    _note_idle_labels(reading, loc, raw, document)
    platforms = platform_filter(reading, (*loc, "platforms"), raw.platforms)
    templates = resolve_templates(reading, loc, every=raw.template, by_event=raw.templates)
    for place, window in enumerate(raw.quiet_hours):
        checked_timezone(reading, (*loc, "quiet_hours", place, "timezone"), window.timezone or "UTC")
    if raw.name is None:
        return None
    return ChannelConfig(
        name=raw.name,
        url=url or Secret(""),
        events=raw.events,
        severity=raw.severity,
        sources=frozenset(raw.sources) if raw.sources is not None else None,
        platforms=platforms,
        labels=raw.labels,
        group_wait=raw.group_wait,
        after=raw.after,
        fallback=raw.fallback,
        remind_every=raw.remind_every if "remind_every" in raw.model_fields_set else "inherit",
        quiet_hours=raw.quiet_hours,
        templates=templates,
        attachments=raw.attachments,
        drill_every=raw.drill_every,
        report=raw.report,
    )


def _note_unknown_sources(reading: Resolver, loc: Loc, raw: ChannelTable, names: Sequence[str]) -> None:
    for name in raw.sources or ():
        if name not in names and names:
            end = suggestion(name, names, otherwise="the sources are")
            reading.findings.error((*loc, "sources"), f"holds {found(name)}, which is no source{end}")


def _note_idle_labels(reading: Resolver, loc: Loc, raw: ChannelTable, document: Document) -> None:
    """Note a label filter that no source can pass: the channel would stay silent."""
    wanted = raw.labels.items()
    if wanted and document.sources and not any(wanted <= source.labels.items() for source in document.sources):
        reading.findings.warning((*loc, "labels"), "fits no source: nothing about a connection will be said here.")
