"""Filter options, shell completion and the CONNECTION argument."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.values import one_of, shown
from monitor.config import REFERENCE_KINDS, Config, load
from monitor.config.error_text import nearest
from monitor.domain import SourceStatus, Status
from monitor.domain.errors import MonitorError
from monitor.domain.filters import ConnectionFilter
from monitor.domain.rules.advice import PLATFORM_NAMES
from monitor.domain.rules.labels import has_labels
from monitor.domain.rules.platforms import canonical
from monitor.domain.text import clean
from monitor.store import Connection, Store, connection_queries, revisions
from monitor.store.connection_queries import ConnectionRow
from monitor.views.label_filter import labels_in_use, resolve_labels

MOST = 200
"""Maximum number of ids that completion offers; a longer prefix reduces them."""


def complete_source(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return names of sources."""
    return _offered(ctx, lambda config: (source.name for source in config.sources), incomplete)


def complete_channel(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return names of channels."""
    return _offered(ctx, lambda config: (channel.name for channel in config.channels), incomplete)


def complete_label(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return labels in use, as KEY=VALUE."""

    def stored(config: Config) -> Iterable[str]:
        with _reading(config) as conn:
            return [f"{key}={value}" for key, value in labels_in_use(conn, config)]

    return _offered(ctx, stored, incomplete)


def complete_platform(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the platforms of connections."""

    def stored(config: Config) -> Iterable[str]:
        with _reading(config) as conn:
            return connection_queries.platforms(conn)

    return _offered(ctx, stored, incomplete)


def complete_connection(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return ids of connections that begin with the text; a part from the middle of an id matches none."""

    def stored(config: Config) -> Iterable[str]:
        with _reading(config) as conn:
            return connection_queries.public_ids(conn, incomplete, limit=MOST)

    return _offered(ctx, stored, incomplete)


def _offered(ctx: typer.Context, names: Callable[[Config], Iterable[str]], incomplete: str) -> list[str]:
    """Return the names that begin with the text; none if the configuration or the database cannot be read.

    A shell prompt is no place for an error message.
    """
    given = ctx.find_root().params.get("config")
    try:
        config = load(Path(given) if given else None, os.environ, unread_kinds=REFERENCE_KINDS).config
        return sorted(name for name in names(config) if name.startswith(incomplete) and name.isprintable())
    except MonitorError:
        return []


@contextmanager
def _reading(config: Config) -> Iterator[Connection]:
    with Store(config.database.url.reveal()) as store:
        if store.current() != revisions.HEAD:
            raise MonitorError("The database is empty or has another schema.")
        with store.begin_read() as conn:
            yield conn


HELP = "Id of a connection, or a unique part of its id or name."
WhichConnection = Annotated[
    str,
    typer.Argument(metavar="CONNECTION", help=HELP, autocompletion=complete_connection),
]
_LISTED = 20


class NotOneConnectionError(MonitorError):
    """No connection, or more than one, matches the text."""


def one_connection(
    conn: Connection, config: Config, text: str, *, filters: ConnectionFilter | None = None, retired: bool = True
) -> ConnectionRow:
    """Return the connection that matches the text by its id, else by its name. Raises NotOneConnectionError with the candidates.

    A monitored connection takes precedence over retired ones of the same id; without `retired` those are ignored.
    """

    def candidates_of(rows: list[ConnectionRow]) -> list[ConnectionRow]:
        chosen = rows if filters is None else [row for row in rows if _matches(row, resolve_labels(conn, filters, config))]
        live = [row for row in chosen if row.retired_at is None]
        return chosen if retired and not live else live

    by_id = candidates_of(connection_queries.find_connections(conn, text))
    candidates = by_id or candidates_of(connection_queries.find_by_name(conn, text))
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        everything = "`token-monitor status --all` lists all connections"
        raise NotOneConnectionError(f"No connection has {clean(text)} in its id or name; {everything}.")
    where = "ids" if by_id else "names"
    lines = [f"{len(candidates)} connections have {clean(text)} in their {where}. Use a longer part of one of them:"]
    lines += [f"{clean(row.public_id, limit=400)} ({clean(row.state.snapshot.label)})" for row in candidates[:_LISTED]]
    if len(candidates) > _LISTED:
        lines.append(f"and {len(candidates) - _LISTED:,} more")
    raise NotOneConnectionError("\n".join(lines))


def _matches(row: ConnectionRow, filters: ConnectionFilter) -> bool:
    labels = filters.stored_labels is None or filters.stored_labels.includes(row.label_set, row.source)
    return labels and filters.matches(source=row.source, platform=row.state.snapshot.platform, status=row.state.verdict.status)


AsJson = Annotated[bool, typer.Option("--json", help="Write one JSON object.")]
SourceFilter = Annotated[
    list[str] | None,
    typer.Option("--source", metavar="NAME", help="Only this source. Repeatable.", autocompletion=complete_source),
]
PlatformFilter = Annotated[
    list[str] | None,
    typer.Option("--platform", metavar="NAME", help="Only this platform. Repeatable.", autocompletion=complete_platform),
]
StatusFilter = Annotated[
    list[Status] | None,
    typer.Option(
        "--status",
        metavar="STATUS",
        help=f"Only this status. Repeatable. One of {', '.join(Status)}.",
        parser=one_of("status", Status),
        autocompletion=lambda: list(Status),
    ),
]
SourceStatusFilter = Annotated[
    list[SourceStatus] | None,
    typer.Option(
        "--status",
        metavar="STATUS",
        help=f"Only this status. Repeatable. One of {', '.join(SourceStatus)}.",
        parser=one_of("status", SourceStatus),
        autocompletion=lambda: list(SourceStatus),
    ),
]
LabelFilter = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="KEY=VALUE",
        help="Only connections with this label; the value may be a pattern. Repeatable; all must match.",
        autocompletion=complete_label,
    ),
]


def select(
    config: Config,
    *,
    known: Collection[str],
    sources: Sequence[str] | None,
    platforms: Sequence[str] | None = None,
    statuses: Sequence[Status] | Sequence[SourceStatus] | None = None,
    labels: Sequence[str] | None = None,
    listed: Callable[[], Collection[str]] | None = None,
    conn: Connection | None = None,
) -> ConnectionFilter:
    """Return the filters of one call. `known` are the names of stored sources, `listed` returns the platforms of connections.

    An unknown source, platform or label is a usage error: a typo must not return an empty result. Labels are checked only with a
    connection to the database.
    """
    require_known("source", sources or (), {source.name for source in config.sources} | set(known))
    slugs = [canonical(name) for name in platforms or ()]
    if listed is not None and not PLATFORM_NAMES.keys() >= set(slugs):
        require_known("platform", slugs, PLATFORM_NAMES.keys() | set(listed()))
    filters = ConnectionFilter(
        sources=frozenset(sources) if sources else None,
        platforms=frozenset(slugs) if slugs else None,
        statuses=frozenset(str(status) for status in statuses) if statuses else None,
        labels=_labels(labels or ()),
    )
    if conn is not None:
        _require_labels(labels_in_use(conn, config), filters.labels)
    return filters


def _require_labels(in_use: Collection[tuple[str, str]], wanted: Mapping[str, str]) -> None:
    """Raise a usage error that suggests the nearest label, if no connection has one of these labels."""
    for key, pattern in wanted.items():
        if not any(has_labels({name: value}, {key: pattern}) for name, value in in_use):
            known = [f"{name}={value}" for name, value in in_use]
            pair = f"{key}={pattern}"
            raise typer.BadParameter(f"No connection has the label {shown(pair)}; {nearest_known(pair, known)}")


def require_known(kind: str, names: Iterable[str], allowed: Iterable[str]) -> None:
    """Raise a usage error that suggests the nearest known name, if one of the names is not known."""
    known = sorted(allowed)
    for name in names:
        if name in known:
            continue
        raise typer.BadParameter(f"Unknown {kind} {shown(name)}; {nearest_known(name, known)}")


def nearest_known(typed: str, known: Sequence[str]) -> str:
    """Return a hint with the nearest known name, else with the known names."""
    near = nearest(typed, known)
    some = f"{', '.join(known[:_LISTED])}{f' and {len(known) - _LISTED:,} more' if len(known) > _LISTED else ''}"
    return f"did you mean {shown(near)}?" if near else f"known: {clean(some) or 'none'}."


def _labels(pairs: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        key, mark, value = pair.partition("=")
        if not mark or not key:
            raise typer.BadParameter(f"A label must have the form KEY=VALUE: {shown(pair)}.")
        if found.get(key, value) != value:
            raise typer.BadParameter(
                f"The label {shown(key)} is given with two values, but a connection has only one value for a label."
            )
        found[key] = value
    return found
