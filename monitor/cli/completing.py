"""What the shell offers when Tab is pressed: names from the configuration, ids from the store. Never an error."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from sqlalchemy import Connection

from monitor.config import REFERENCES, Config, load
from monitor.domain.errors import MonitorError
from monitor.store import Store, connection_queries, revisions

MOST = 200
"""Ids that are offered at once; who types on gets fewer."""


def complete_source(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of sources."""
    return _offered(ctx, lambda config: (source.name for source in config.sources), incomplete)


def complete_channel(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of channels."""
    return _offered(ctx, lambda config: (channel.name for channel in config.channels), incomplete)


def complete_label(ctx: typer.Context, incomplete: str) -> list[str]:
    """Labels of sources, as KEY=VALUE."""
    return _offered(
        ctx,
        lambda config: {f"{key}={value}" for source in config.sources for key, value in source.labels.items()},
        incomplete,
    )


def complete_platform(ctx: typer.Context, incomplete: str) -> list[str]:
    """Platforms that connections are on."""

    def stored(config: Config) -> Iterable[str]:
        with _looking(config) as conn:
            return connection_queries.platforms(conn)

    return _offered(ctx, stored, incomplete)


def complete_connection(ctx: typer.Context, incomplete: str) -> list[str]:
    """Ids of connections; a part from the middle of an id is no beginning, so it offers nothing."""

    def stored(config: Config) -> Iterable[str]:
        with _looking(config) as conn:
            return connection_queries.public_ids(conn, incomplete, limit=MOST)

    return _offered(ctx, stored, incomplete)


def _offered(ctx: typer.Context, names: Callable[[Config], Iterable[str]], incomplete: str) -> list[str]:
    """What begins so. A configuration or a database that cannot be read offers nothing: the prompt is no place for that."""
    given = ctx.find_root().params.get("config")
    try:
        config = load(Path(given) if given else None, os.environ, elsewhere=REFERENCES).config
        return sorted(name for name in names(config) if name.startswith(incomplete) and name.isprintable())
    except MonitorError:
        return []


@contextmanager
def _looking(config: Config) -> Iterator[Connection]:
    with Store(config.database.url.reveal()) as store:
        if store.current() != revisions.HEAD:
            raise MonitorError("There is nothing to look at.")
        with store.read() as conn:
            yield conn
