"""What `config check` says before the start: how long a full round takes at each source's request budget."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from monitor.cli import session
from monitor.cli.output import say
from monitor.config import Config, SourceConfig
from monitor.domain.errors import StoreError
from monitor.domain.rules.pacing import full_round, poll_requests
from monitor.domain.text import clean
from monitor.domain.timefmt import span
from monitor.store import scopes as stored_scopes
from monitor.store import sources as stored_sources

MOST = 20
"""With more sources only those are named whose budget is too small."""


def say_rounds(config: Config) -> None:
    """One line per source. Connections are those of its last list; before the first, it is said what there is room for."""
    for line in round_lines(config, *_listed(config)):
        say(line)


def round_lines(config: Config, connections: dict[str, int], scopes: dict[str, int]) -> Iterator[str]:
    """What each source's budget comes to, given how many connections and scopes each listed last."""
    for source in config.sources:
        line, too_slow = _round(source, connections.get(source.name), scopes.get(source.name, 1))
        if too_slow or len(config.sources) <= MOST:
            yield f"{clean(source.name)}: {line}"


def _round(source: SourceConfig, connections: int | None, scopes: int) -> tuple[str, bool]:
    """What to say of one source (no connections: it was never listed), and whether its budget is too small."""
    pace = full_round(
        connections or 0,
        requests_per_minute=source.requests_per_minute,
        probes=source.probe,
        probe_every=source.probe_every,
        polling=poll_requests(source.provider, connections=connections or 0, scopes=scopes),
    )
    budget = f"{pace.requests_per_minute:,} requests a minute"
    every = "" if pace.probe_every is None else f"every {span(pace.probe_every)}."
    if connections is None:
        return f"{budget}." if pace.room is None else f"{budget}, enough to probe {pace.room:,} connections {every}", False
    listed = f"{connections:,} connection{'' if connections == 1 else 's'}"
    if pace.probe_every is None:
        return f"{budget}; a poll of its {listed} takes {_takes(pace.polled)}.", False
    line = f"{budget}; polling and probing its {listed} takes {_takes(pace.lasts)}, {every}"
    if pace.too_slow:
        line += " That is longer than probe_every: raise requests_per_minute, or probe less often."
    return line, pace.too_slow


def _takes(length: timedelta) -> str:
    return span(max(length, timedelta(seconds=1)))


def _listed(config: Config) -> tuple[dict[str, int], dict[str, int]]:
    """Connections and scopes by source, of those that were ever listed; nothing where there is no store."""
    try:
        with session.reading(config) as conn:
            rows = stored_sources.all_sources(conn)
            return {row.name: row.connections for row in rows if row.last_success_at is not None}, stored_scopes.counts(conn)
    except StoreError:
        return {}, {}  # `config check` is about the configuration, and may well come first
