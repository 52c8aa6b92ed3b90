"""From a file and an environment to the effective configuration, or to every mistake at once."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from monitor.config import urls
from monitor.config.channels import resolve_channels
from monitor.config.environment import Environment
from monitor.config.error_text import found
from monitor.config.file import TomlFile, find_config
from monitor.config.policies import global_policies
from monitor.config.resolve import ConfigProblems, Resolver, checked_timezone
from monitor.config.schema import Document
from monitor.config.secrets import Reference, ResolveContext, Secret, SecretSource, UnusableError, readable_by_others
from monitor.config.settings import (
    Config,
    DatabaseConfig,
    HeartbeatConfig,
    LoggingConfig,
    RetentionConfig,
    ScheduleConfig,
    WebConfig,
)
from monitor.config.sources import resolve_sources
from monitor.config.validate import read_shape
from monitor.domain.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that can be used."""

    config: Config
    path: Path
    """The file, absolute."""
    warnings: tuple[str, ...]
    """What is allowed but probably not meant, one sentence each."""


def load(path: Path | None, env: Mapping[str, str], *, elsewhere: Iterable[Reference] = ()) -> Loaded:
    """Read, override, resolve and judge the configuration; secrets are read anew each time.

    Secrets by the kinds of references in `elsewhere` need not be readable: what cannot be read is taken to be there, and the
    result is for what needs none of them. The database's own URL is always needed.

    Raises ConfigError with every problem found, one sentence each, none of which shows a secret.
    """
    config, findings, warnings = _read(path, env, frozenset(elsewhere))
    if findings.errors:
        raise ConfigError(findings.errors)
    return Loaded(config, config.path, (*warnings, *findings.warnings))


def load_channels(path: Path | None, env: Mapping[str, str]) -> Config:
    """What can be saved of a configuration with mistakes, to tell people of them: its channels that are whole, its database,
    its time zone. Nothing else of it may be used.

    Raises ConfigError where there is no such file, or it is no TOML.
    """
    config, _, _ = _read(path, env)
    return replace(config, channels=tuple(channel for channel in config.channels if channel.url.reveal()))


def _read(
    path: Path | None, env: Mapping[str, str], elsewhere: frozenset[Reference] = frozenset()
) -> tuple[Config, ConfigProblems, tuple[str, ...]]:
    """The configuration, usable only where no mistake was found, what was found, and near misses among the variables."""
    file = find_config(path, env)
    # with PYDANTIC_SETTINGS_DEBUG set it would log every value, secrets as well
    logging.getLogger("pydantic_settings").disabled = True
    content = TomlFile(file)
    environment = Environment(env, over=content())
    findings = ConfigProblems(str(file), copy.deepcopy(content() | environment()), environment.origins, environment.errors)
    document, broken = read_shape(findings, environment=environment, file=content)
    reading = Resolver(findings, ResolveContext(env, file.absolute().parent, elsewhere), broken)
    return _resolve(reading, document, file.absolute()), findings, tuple(environment.near_misses(reading.variables))


def _resolve(reading: Resolver, document: Document, file: Path) -> Config:
    """The configuration; where a mistake was noted it holds stand-ins and must not be used."""
    policies = global_policies(reading, document.policy)
    config = Config(
        path=file,
        timezone=checked_timezone(reading, ("timezone",), document.timezone),
        database=_database(reading, document),
        schedule=ScheduleConfig(**dict(document.schedule)),
        policy=policies.base,
        policies=policies.platforms,
        sources=resolve_sources(reading, document),
        channels=resolve_channels(reading, document),
        web=_web(reading, document),
        logging=LoggingConfig(**dict(document.logging)),
        heartbeat=_heartbeat(reading, document),
        retention=RetentionConfig(**dict(document.retention)),
    )
    if reading.literals and readable_by_others(file):
        places = ", ".join(reading.findings.place(loc) for loc in reading.literals)
        reading.findings.warning((), f"others on this machine can read this file, and it holds secrets ({places}): chmod 600 it.")
    return config


def _database(reading: Resolver, document: Document) -> DatabaseConfig:
    loc = ("database", "url")
    source = document.database.url or _default_database(reading)
    url = reading.secret(
        loc,
        source,
        strict=False,
        shape=lambda text: urls.database_url(text, reading.around),
        hides=urls.holds_password,
        here=True,
    )
    return DatabaseConfig(url=url or Secret(""))


def _default_database(reading: Resolver) -> SecretSource | None:
    """SQLite under $STATE_DIRECTORY (systemd; the first of several), else under the XDG state folder."""
    env = reading.around.env
    state = env.get("STATE_DIRECTORY", "").split(":")[0]
    if state:
        folder = Path(state)
    elif Path(env.get("XDG_STATE_HOME", "")).is_absolute():
        folder = Path(env["XDG_STATE_HOME"]) / "token-monitor"
    elif env.get("HOME"):
        folder = Path(env["HOME"]) / ".local" / "state" / "token-monitor"
    else:
        if ("database", "url") not in reading.broken:
            reading.findings.error(
                ("database", "url"), "has no default here, because STATE_DIRECTORY, XDG_STATE_HOME and HOME are not set: set it."
            )
        return None
    return SecretSource("literal", f"sqlite:///{folder.absolute() / 'monitor.db'}")


def _web(reading: Resolver, document: Document) -> WebConfig:
    raw = document.web
    token = reading.secret(("web", "token"), raw.token)
    listen: str | None = None
    if raw.listen != "off":
        try:
            host, port = urls.listen_address(raw.listen)
        except UnusableError as exc:
            reading.findings.error(("web", "listen"), str(exc))
        else:
            listen = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            if raw.token is None and ("web", "token") not in reading.broken and not urls.is_loopback(host):
                reading.findings.error(
                    ("web", "listen"), f"is {found(listen)}, which others can reach: set web.token, or listen on 127.0.0.1."
                )
    return WebConfig(listen=listen, token=token, connection_metrics=raw.connection_metrics, hosts=raw.hosts or ())


def _heartbeat(reading: Resolver, document: Document) -> HeartbeatConfig | None:
    raw = document.heartbeat
    if raw is None or not reading.needed(
        ("heartbeat", "url"), raw.url, hint="give it the address to call, or remove [heartbeat]."
    ):
        return None
    url = reading.secret(("heartbeat", "url"), raw.url, strict=False, shape=urls.web_url)
    return HeartbeatConfig(url=url or Secret(""), every=raw.every)
