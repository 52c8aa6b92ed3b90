"""The configuration and store of a command, and the name of its user."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

import typer

from monitor.cli.startup import Options
from monitor.config import REFERENCE_KINDS, UNREAD, Config, Loaded, LogFormat, Secret, SecretKind, load
from monitor.domain.clock import SystemClock
from monitor.domain.errors import StoreError
from monitor.store import Connection, Store
from monitor.telemetry import logs


def who() -> str:
    """The login name (of whoever called sudo, where that was used), else that somebody used the command line."""
    called = os.environ.get("SUDO_USER", "").strip()
    if called:
        return called
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user id without a name, as in many a container
        return "somebody on the command line"


def options(ctx: typer.Context) -> Options:
    """The options before the command."""
    found = ctx.find_object(Options)
    return found or Options()


def loaded(
    ctx: typer.Context, *, quiet: bool = True, log_format: LogFormat | None = None, unread_kinds: Iterable[SecretKind] = ()
) -> Loaded:
    """The configuration, read anew; its secrets will be in no line of the log. Raises ConfigError.

    `quiet` keeps the log, which goes to stderr, to warnings: cron mails whatever a command says there.
    `log_format` outranks what the file says; secrets by the references in `elsewhere` need not be readable here.
    """
    found = load(options(ctx).config, os.environ, unread_kinds=unread_kinds)
    if log_format is not None:
        found = replace(found, config=replace(found.config, logging=replace(found.config.logging, format=log_format)))
    logs.register_secret(*_secrets(found.config))
    level = found.config.logging.level
    logs.configure(level="warning" if quiet and level == "info" else level, format=found.config.logging.format)
    return found


def local(ctx: typer.Context) -> Config:
    """The configuration for what needs the database alone: API keys and channels' URLs may be only where the daemon runs."""
    return loaded(ctx, unread_kinds=REFERENCE_KINDS).config


def now() -> datetime:
    """The one instant of a command."""
    return SystemClock().now()


@contextmanager
def opened(config: Config) -> Iterator[Store]:
    """The store, as it is: never made and never upgraded here. Raises StoreError where there is nothing in it yet."""
    with Store(config.database.url.reveal()) as store:
        if store.current() is None:
            raise StoreError(
                f"{store.name} holds nothing yet: run `token-monitor check` once, or `token-monitor run` to keep watch."
            )
        store.require_current()
        yield store


@contextmanager
def reading(config: Config) -> Iterator[Connection]:
    """One consistent look at the store, which cannot write. Errors as with opened()."""
    with opened(config) as store, store.begin_read() as conn:
        yield conn


def _secrets(config: Config) -> Iterator[str]:
    """Every secret that was read."""
    return (each.reveal() for each in _stated(config) if each is not UNREAD)


def _stated(config: Config) -> Iterator[Secret]:
    if not config.database.url.reveal().startswith("sqlite"):
        yield config.database.url
    for secret in (config.web.token, config.heartbeat.url if config.heartbeat else None):
        if secret is not None:
            yield secret
    for source in config.sources:
        yield source.api_key
        if source.proxy is not None:
            yield source.proxy
    for channel in config.channels:
        yield channel.url
