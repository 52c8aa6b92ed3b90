"""The configuration, the store and the user of a command."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime

import typer

from monitor.cli.startup import Options
from monitor.config import REFERENCE_KINDS, UNREAD, Config, Loaded, LogFormat, Secret, SecretKind, load
from monitor.domain.clock import SystemClock
from monitor.domain.errors import StoreError
from monitor.domain.records import replace
from monitor.store import Connection, Store
from monitor.telemetry import logs


def author() -> str:
    """Return the author of changes: the command line, with the login name of the user, or of the user who called sudo."""
    user = os.environ.get("SUDO_USER", "").strip()
    if not user:
        try:
            user = getpass.getuser()
        except (OSError, KeyError, ImportError):  # a user id without a name, as in many containers
            return "command line"
    return f"command line ({user})"


def options(ctx: typer.Context) -> Options:
    """Return the options before the command."""
    found = ctx.find_object(Options)
    return found or Options()


def loaded(
    ctx: typer.Context, *, quiet: bool = True, log_format: LogFormat | None = None, unread_kinds: Iterable[SecretKind] = ()
) -> Loaded:
    """Read and return the configuration; register its secrets so that the log redacts them. Raises ConfigError.

    `quiet` limits the log, which goes to stderr, to warnings: cron mails everything that a command writes there.
    `log_format` overrides the file; secrets of these `unread_kinds` of reference need not be readable here.
    """
    found = load(options(ctx).config, os.environ, unread_kinds=unread_kinds)
    if log_format is not None:
        found = replace(found, config=replace(found.config, logging=replace(found.config.logging, format=log_format)))
    logs.register_secret(*_secrets(found.config))
    level = found.config.logging.level
    logs.configure(level="warning" if quiet and level == "info" else level, format=found.config.logging.format)
    return found


def local(ctx: typer.Context) -> Config:
    """Return the configuration for commands that need the database only: other secrets may be readable by the daemon only."""
    return loaded(ctx, unread_kinds=REFERENCE_KINDS).config


def now() -> datetime:
    """Return the current time; a command reads it once."""
    return SystemClock().now()


@contextmanager
def opened(config: Config, *, any_revision: bool = False) -> Iterator[Store]:
    """Yield the existing store, without creating or upgrading it. Raises StoreError if it is empty.

    `any_revision` allows the schema of another version.
    """
    with Store(config.database.url.reveal()) as store:
        revision = store.current()
        if revision is None:
            raise StoreError(
                f"{store.name} is empty. Run `token-monitor check` for one cycle, or `token-monitor run` to start the daemon."
            )
        if not any_revision:
            store.check_revision(revision)
        yield store


@contextmanager
def reading(config: Config, *, any_revision: bool = False) -> Iterator[Connection]:
    """Yield a read-only connection to one consistent state of the store. Arguments and errors as for opened()."""
    with opened(config, any_revision=any_revision) as store, store.begin_read() as conn:
        yield conn


def _secrets(config: Config) -> Iterator[str]:
    """Yield every secret that was read."""
    return (each.reveal() for each in _stated(config) if each is not UNREAD)


def _stated(config: Config) -> Iterator[Secret]:
    if not config.database.url.reveal().startswith("sqlite"):
        yield config.database.url
    for secret in (config.web.token, config.heartbeat.url if config.heartbeat else None):
        if secret is not None:
            yield secret
    yield from (user.token for user in config.web.users)
    for source in config.sources:
        yield from (source.api_key, *source.secrets.values(), *(token.secret for token in source.tokens), *source.hook_secrets)
        yield from (each for each in (source.proxy, source.client_secret, source.push_token) if each is not None)
    for channel in config.channels:
        if channel.url.reveal().partition("://")[2]:  # a URL such as dbus:// is a scheme alone, which messages show
            yield channel.url
