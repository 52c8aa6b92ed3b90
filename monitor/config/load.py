"""Loading: from a file and an environment to the effective configuration, or to the list of all mistakes."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from monitor.config import database_urls, urls
from monitor.config.channels import resolve_channels
from monitor.config.environment import Environment
from monitor.config.file import TomlFile, find_config
from monitor.config.labels import resolve_label_rules
from monitor.config.policies import global_policies
from monitor.config.resolve import ConfigProblems, Resolver, checked_timezone
from monitor.config.schema import Document
from monitor.config.secrets import (
    ResolveContext,
    Secret,
    SecretKind,
    SecretSource,
    readable_by_others,
)
from monitor.config.settings import (
    ClusterConfig,
    Config,
    DatabaseConfig,
    HeartbeatConfig,
    LoggingConfig,
    RetentionConfig,
    ScheduleConfig,
)
from monitor.config.sources import resolve_sources
from monitor.config.validate import parse_document
from monitor.config.web import resolve_hooks, resolve_web
from monitor.domain.errors import ConfigError
from monitor.domain.records import Record, replace

MOST_SHOWN = 100
"""The number of mistakes that are reported one by one."""


class Loaded(Record, frozen=True):
    """A usable configuration."""

    config: Config
    path: Path
    """The file, absolute."""
    warnings: tuple[str, ...]
    """Settings that are allowed but probably unintended, one sentence each."""


def load(path: Path | None, env: Mapping[str, str], *, unread_kinds: Iterable[SecretKind] = ()) -> Loaded:
    """Return the configuration with overrides applied and secrets read. Secrets are read again on every call.

    Secrets of the kinds in `unread_kinds` may be unreadable: they become UNREAD, and the result serves only commands that
    need none of them. The database URL must always be readable.

    Raises ConfigError with the mistakes, one sentence each; beyond MOST_SHOWN they are counted. No sentence contains a secret.
    """
    config, problems, warnings = _read(path, env, frozenset(unread_kinds))
    if problems.errors:
        left = len(problems.errors) - MOST_SHOWN
        raise ConfigError([*problems.errors[:MOST_SHOWN], *([f"{problems.label}: {left:,} more errors."] if left > 0 else [])])
    return Loaded(config, config.path, (*warnings, *problems.warnings))


def load_channels(path: Path | None, env: Mapping[str, str]) -> Config:
    """Return the usable part of a configuration with mistakes, to report them: its valid channels, database and time zone.

    No other part of the result may be used. Raises ConfigError if there is no file, or it is not TOML.
    """
    config, _, _ = _read(path, env)
    return replace(config, channels=tuple(channel for channel in config.channels if channel.url.reveal()))


def _read(
    path: Path | None, env: Mapping[str, str], unread_kinds: frozenset[SecretKind] = frozenset()
) -> tuple[Config, ConfigProblems, tuple[str, ...]]:
    """Return the configuration (usable only without errors), the mistakes, and warnings about misspelt variables."""
    file = find_config(path, env)
    # With PYDANTIC_SETTINGS_DEBUG set it would log every value, secrets included.
    logging.getLogger("pydantic_settings").disabled = True
    content = TomlFile(file)
    environment = Environment(env, over=content())
    problems = ConfigProblems(str(file), copy.deepcopy(content() | environment()), environment.origins, environment.errors)
    document, rejected = parse_document(problems, environment=environment, file=content)
    resolver = Resolver(problems, ResolveContext(env, file.absolute().parent, unread_kinds), rejected)
    return _resolve(resolver, document, file.absolute()), problems, tuple(environment.near_misses(resolver.variables))


def _resolve(resolver: Resolver, document: Document, file: Path) -> Config:
    """Return the configuration; after a mistake it contains placeholders and must not be used."""
    policies = global_policies(resolver, document.policy)
    rules = resolve_label_rules(resolver, document)
    database = _database(resolver, document)
    config = Config(
        path=file,
        timezone=checked_timezone(resolver, ("timezone",), document.timezone),
        database=database,
        schedule=ScheduleConfig(**dict(document.schedule)),
        policy=policies.base,
        policies=policies.platforms,
        group_by=document.group_by,
        label_rules=rules,
        sources=resolve_sources(resolver, document, rules),
        channels=resolve_channels(resolver, document),
        web=(web := resolve_web(resolver, document)),
        hooks=resolve_hooks(resolver, document, web),
        cluster=_cluster(resolver, document, database),
        logging=LoggingConfig(**dict(document.logging)),
        heartbeat=_heartbeat(resolver, document),
        retention=RetentionConfig(**dict(document.retention)),
    )
    if resolver.literals and readable_by_others(file):
        places = ", ".join(resolver.problems.path_of(loc) for loc in resolver.literals)
        resolver.problems.warning((), f"other users can read this file, and it contains secrets ({places}): chmod 600 it.")
    return config


def _cluster(resolver: Resolver, document: Document, database: DatabaseConfig) -> ClusterConfig:
    """Return how the daemon shares its work. SQLite allows one daemon only."""
    raw = document.cluster
    if raw.workers and database.url.reveal().lower().startswith("sqlite"):
        resolver.problems.error(
            ("cluster", "workers"),
            f"is {raw.workers}, but the database is SQLite, which one daemon uses alone: set database.url to a postgresql:// "
            "URL, or set cluster.workers to 0.",
        )
    connections = raw.connections or min(max(raw.workers, 2), 4)
    return ClusterConfig(workers=raw.workers, queues=raw.queues, connections=connections)


def _database(resolver: Resolver, document: Document) -> DatabaseConfig:
    loc = ("database", "url")
    source = document.database.url or _default_database(resolver)
    url = resolver.secret(
        loc,
        source,
        strict=False,
        shape=lambda text: database_urls.database_url(text, resolver.context),
        hides=database_urls.holds_password,
        always_required=True,
    )
    return DatabaseConfig(url=url or Secret(""))


def _default_database(resolver: Resolver) -> SecretSource | None:
    """Return SQLite under $STATE_DIRECTORY (systemd; the first of several), else under the XDG state folder."""
    env = resolver.context.env
    state = env.get("STATE_DIRECTORY", "").split(":")[0]
    if state:
        folder = Path(state)
    elif Path(env.get("XDG_STATE_HOME", "")).is_absolute():
        folder = Path(env["XDG_STATE_HOME"]) / "token-monitor"
    elif env.get("HOME"):
        folder = Path(env["HOME"]) / ".local" / "state" / "token-monitor"
    else:
        if ("database", "url") not in resolver.rejected:
            resolver.problems.error(
                ("database", "url"), "has no default, because STATE_DIRECTORY, XDG_STATE_HOME and HOME are unset: set it."
            )
        return None
    return SecretSource("literal", database_urls.sqlite_url(folder.absolute() / "monitor.db"))


def _heartbeat(resolver: Resolver, document: Document) -> HeartbeatConfig | None:
    raw = document.heartbeat
    if raw is None or not resolver.required_value(
        ("heartbeat", "url"), raw.url, hint="set the address to call, or remove [heartbeat]."
    ):
        return None
    url = resolver.secret(("heartbeat", "url"), raw.url, strict=False, shape=urls.web_url)
    kind = raw.kind or (urls.heartbeat_kind(url.reveal()) if url is not None else None)
    return HeartbeatConfig(url=url or Secret(""), kind=kind, every=raw.every)
