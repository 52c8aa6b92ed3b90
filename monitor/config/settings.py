"""The effective configuration: frozen, every default filled in, every override applied, every secret read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal

from monitor.config.secrets import Secret
from monitor.config.templates import TemplatePair
from monitor.config.time_windows import WeeklyTime
from monitor.domain import ChannelRules, Policy, ProviderInfo, provider_info
from monitor.domain.rules.platforms import canonical

Switch = Literal["on", "off", "auto"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["console", "json", "journal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseConfig:
    """Where the store is."""

    url: Secret
    """SQLAlchemy URL; the path of an SQLite file is absolute. A secret because it may hold a password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleConfig:
    """The pace for sources that do not set their own."""

    poll_every: timedelta
    probe_every: timedelta | None
    jitter: float
    """A share: 0.1 is plus or minus 10 %."""
    requests_per_minute: int | None
    """None: each service's own default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceConfig:
    """One API key at one service, with everything resolved: nothing is left to look up elsewhere."""

    name: str
    provider: str
    api_key: Secret
    base_url: str
    """Without a slash at its end."""
    users: Literal["none", "all"] | tuple[str, ...]
    workspaces: tuple[str, ...] | None
    """None: all that the key can reach."""
    probe: bool
    """False where it is turned off and where the service has no probes."""
    labels: dict[str, str]
    poll_every: timedelta
    probe_every: timedelta | None
    jitter: float
    requests_per_minute: int
    proxy: Secret | None
    """The proxy for this source: its own, else the one HTTPS_PROXY names unless NO_PROXY spares the host."""
    ca_file: Path | None
    policy: Policy
    """For platforms that have no policy of their own."""
    policies: Mapping[str, Policy] = field(default_factory=dict)
    """By common platform slug."""
    connection_links: bool = False
    """Whether alerts carry the connection pages of managed users: whoever reads one can open it."""

    @property
    def info(self) -> ProviderInfo:
        """The facts about this source's service."""
        return provider_info(self.provider)

    @property
    def dashboard_url(self) -> str:
        """The page on which this source's accounts are reconnected."""
        return self.info.dashboard_url

    def policy_for(self, platform: str) -> Policy:
        """The thresholds for a platform: source and platform, source, platform, policy; key by key."""
        return self.policies.get(canonical(platform), self.policy)

    @property
    def probes_on_schedule(self) -> bool:
        """Whether connections are tested by themselves: probing is neither turned off nor impossible."""
        return self.probe and self.probe_every is not None

    def all_policies(self) -> tuple[Policy, ...]:
        """Every policy that some connection of this source can be under."""
        return (self.policy, *self.policies.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelConfig(ChannelRules):
    """A channel: which alerts it takes, and where it sends them."""

    url: Secret
    templates: dict[str, TemplatePair] = field(default_factory=dict)
    """By event; "*" is for the events without one of their own."""
    attachments: bool = True
    drill_every: timedelta | None = None
    report: WeeklyTime | None = None
    """In the configured time zone; None: no report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebConfig:
    """The status page and the API."""

    listen: str | None
    """host:port, IPv6 in brackets; None: off."""
    token: Secret | None
    connection_metrics: Switch
    hosts: tuple[str, ...] = ()
    """Names in the Host header that are taken besides this machine's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggingConfig:
    """What the log says, and how."""

    level: LogLevel
    format: LogFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatConfig:
    """The address that is called while the monitor makes progress."""

    url: Secret
    every: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionConfig:
    """How long what is over is kept; None: for ever."""

    history: timedelta | None
    polls: timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole effective configuration."""

    path: Path
    """The file, absolute."""
    timezone: str
    """A valid IANA name, for text that people read."""
    database: DatabaseConfig
    schedule: ScheduleConfig
    policy: Policy
    policies: Mapping[str, Policy]
    """The policies of platforms that no source has changed, by common slug."""
    sources: tuple[SourceConfig, ...]
    channels: tuple[ChannelConfig, ...]
    web: WebConfig
    logging: LoggingConfig
    heartbeat: HeartbeatConfig | None
    retention: RetentionConfig
