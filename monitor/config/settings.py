"""The effective configuration as immutable values: defaults filled in, overrides applied, secrets read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from monitor.config.secrets import Secret
from monitor.config.templates import TemplatePair
from monitor.config.time_windows import ReportPlan
from monitor.domain import ChannelRules, Policy, ProviderInfo, provider_info
from monitor.domain.records import Record, field
from monitor.domain.rules.expiry import Context
from monitor.domain.rules.labels import LabelRule
from monitor.domain.rules.platforms import canonical

if TYPE_CHECKING:
    from monitor.config.definition import Definition, Hook

Switch = Literal["on", "off", "auto"]
Role = Literal["viewer", "operator"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["console", "json", "journal"]
WORK_QUEUES = ("polls", "probes", "deliveries")
"""The kinds of work that daemons of a cluster share."""
HeartbeatKind = Literal["healthchecks", "uptime-kuma", "cronitor", "plain"]


class DatabaseConfig(Record, frozen=True, kw_only=True):
    """The database."""

    url: Secret
    """SQLAlchemy URL; the path of an SQLite file is absolute. A secret because it may contain a password."""


class ScheduleConfig(Record, frozen=True, kw_only=True):
    """Schedule of sources that do not set their own."""

    poll_every: timedelta
    probe_every: timedelta | None
    jitter: float
    """A fraction: 0.1 is plus or minus 10 %."""
    requests_per_minute: int | None
    """None: each provider's default."""


class TokenConfig(Record, frozen=True, kw_only=True):
    """One token that is checked."""

    id: str
    secret: Secret


class DateConfig(Record, frozen=True, kw_only=True):
    """One date that was written down."""

    id: str
    name: str | None
    platform: str
    expires_at: datetime
    """Aware; the end of the day for a date."""
    link: str | None
    labels: Mapping[str, str]


class SourceConfig(Record, frozen=True, kw_only=True):
    """One API key at one provider, fully resolved."""

    name: str
    provider: str
    api_key: Secret
    base_url: str
    """Without a trailing slash."""
    users: Literal["none", "all"] | tuple[str, ...]
    workspaces: tuple[str, ...] | None
    """None: every workspace that the key can reach."""
    probe: bool
    """False if probes are turned off or the provider has none."""
    labels: dict[str, str]
    poll_every: timedelta
    probe_every: timedelta | None
    jitter: float
    requests_per_minute: int
    proxy: Secret | None
    """The source's own proxy, else the one from HTTPS_PROXY, unless NO_PROXY exempts the host."""
    ca_file: Path | None
    policy: Policy
    """For platforms without a policy in `policies`."""
    policies: Mapping[str, Policy] = field(default_factory=dict)
    """By common platform slug."""
    users_unset: bool = False
    """True if the configuration does not mention users, although the provider has them: a key that manages some is reported."""
    label_rules: tuple[LabelRule, ...] = ()
    """The `[[labels]]` rules that may match connections of this source, in order."""
    facts: ProviderInfo | None = None
    """Facts about the service of this source, where they differ from those registered under the provider's name."""
    definition: Definition | None = None
    """The definition by which the service is read; None if it is read by code."""
    definition_content: Mapping[str, Any] = field(default_factory=dict)
    """The definition as it would be written in the file, with its secrets hidden."""
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    """Further secrets that the definition's requests insert, by name."""
    client_secret: Secret | None = None
    """The secret of OAuth client credentials."""
    tokens: tuple[TokenConfig, ...] = ()
    """Tokens to check, each of which is one connection."""
    hook: Hook | None = None
    """The verification of deliveries of the service; None: no deliveries are accepted."""
    hook_secrets: tuple[Secret, ...] = ()
    """Secrets of which any may have signed a delivery of the service."""
    dates: tuple[DateConfig, ...] = ()
    push_token: Secret | None = None
    """The token with which a program pushes reports; None for other providers."""
    stale_after: timedelta | None = None
    """Time without a report after which a pushed connection is stale; None: never."""
    requests_per_day: int | None = None
    """Maximum number of requests in 24 hours; None: no limit."""
    connection_links: bool = False
    """True if alerts include the connection pages of managed users. Anyone who reads such an alert can open the page."""

    @property
    def info(self) -> ProviderInfo:
        """Facts about this source's provider."""
        return self.facts or provider_info(self.provider)

    @property
    def dashboard_url(self) -> str:
        """The page on which this source's accounts are reconnected."""
        return self.info.dashboard_url

    def policy_for(self, platform: str) -> Policy:
        """Return the policy for a platform: source and platform, source, platform, policy; key by key."""
        return self.policies.get(canonical(platform), self.policy)

    @property
    def probes_on_schedule(self) -> bool:
        """True if connections are probed on a schedule."""
        return self.probe and self.probe_every is not None

    def context(self, policy: Policy, *, now: datetime, clock_skew: float | None, polled: bool = False) -> Context:
        """Return the circumstances in which a connection with this policy is judged; `polled` and `clock_skew` as in Context."""
        return Context(
            now=now,
            provider=self.info,
            policy=policy,
            polled=polled,
            clock_skew=clock_skew,
            poll_every=self.poll_every,
            probe_every=self.probe_every if self.probes_on_schedule else None,
        )

    def flap_windows(self) -> list[timedelta]:
        """Return every time window in which status changes of a connection of this source may be counted."""
        windows = [policy.flap_window for policy in (self.policy, *self.policies.values())]
        windows += [rule.policy["flap_window"] for rule in self.label_rules if "flap_window" in rule.policy]
        return [window for window in windows if window is not None]

    def fewest_flap_changes(self) -> int:
        """Return the number of status changes that no policy of this source counts as flapping, at least 1."""
        allowed = [policy.flap_changes for policy in (self.policy, *self.policies.values())]
        allowed += [rule.policy["flap_changes"] for rule in self.label_rules if "flap_changes" in rule.policy]
        return max(min(allowed), 1)


class ChannelConfig(ChannelRules, frozen=True, kw_only=True):
    """A channel: which alerts it takes, and where it sends them."""

    url: Secret
    ca_file: Path | None = None
    proxy: Secret | None = None
    """The channel's own proxy; None: HTTPS_PROXY and NO_PROXY apply to it."""
    templates: dict[str, TemplatePair] = field(default_factory=dict)
    """By event; "*" is for every event without a specific one."""
    group_by: str = "client"
    """Label by which its messages are grouped: client, source or another one."""
    attachments: bool = True
    actions: bool = True
    """False if its messages contain no links to acknowledge alerts."""
    drill_every: timedelta | None = None
    report: ReportPlan | None = None
    """In the configured time zone; None: no report."""


class WebUser(Record, frozen=True, kw_only=True):
    """A user of the status page and the API."""

    name: str
    token: Secret
    role: Role = "viewer"
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels of all connections that the user may see; empty: every connection."""


class WebConfig(Record, frozen=True, kw_only=True):
    """The status page and the API."""

    listen: str | None
    """host:port, IPv6 in brackets; None: off."""
    token: Secret | None
    connection_metrics: Switch
    hosts: tuple[str, ...] = ()
    """Host names accepted in the Host header in addition to this machine's own."""
    public_url: str | None = None
    """The address under which people reach the page, without a trailing slash; None: messages contain no links to it."""
    base_path: str = ""
    """Path before every address of the page, such as "/tokens"; empty for none."""
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """The networks whose X-Forwarded-… headers are read."""
    auth_header: str | None = None
    """The header with the name of the user, from a trusted proxy only, in lower case; None: single sign-on is off."""
    users: tuple[WebUser, ...] = ()
    """The users in addition to the operator with `token`."""
    token_too_short: bool = False
    """True if other machines can reach the address, and a token is shorter than SHORTEST_TOKEN."""

    @property
    def guarded(self) -> bool:
        """True if the page requires a login."""
        return self.token is not None or bool(self.users) or self.auth_header is not None or self.auth_header is not None

    @property
    def served_at(self) -> str | None:
        """The address at which the page is served; None if it is not served."""
        return None if self.token_too_short else self.listen


class HooksConfig(Record, frozen=True, kw_only=True):
    """The listener for deliveries of services and pushed reports."""

    listen: str | None
    """host:port, IPv6 in brackets; None: off."""


class ClusterConfig(Record, frozen=True, kw_only=True):
    """How this daemon shares the work with others on the same database."""

    workers: int = 0
    """Units of work at a time; 0: one daemon does all the work."""
    queues: tuple[str, ...] = WORK_QUEUES
    """The kinds of work that this daemon takes."""
    connections: int = 2
    """Maximum number of the queue's connections to the database."""


class LoggingConfig(Record, frozen=True, kw_only=True):
    """Level and format of the log."""

    level: LogLevel
    format: LogFormat


class HeartbeatConfig(Record, frozen=True, kw_only=True):
    """The URL called periodically while the monitor makes progress."""

    url: Secret
    kind: HeartbeatKind | None
    """The service that is called: as set, else as recognised from the URL; None if it was not recognised."""
    every: timedelta


class RetentionConfig(Record, frozen=True, kw_only=True):
    """Retention of finished records; None: forever."""

    history: timedelta | None
    polls: timedelta | None


class Config(Record, frozen=True, kw_only=True):
    """The whole effective configuration."""

    path: Path
    """The file, absolute."""
    timezone: str
    """A valid IANA name, for times in text."""
    database: DatabaseConfig
    schedule: ScheduleConfig
    policy: Policy
    policies: Mapping[str, Policy]
    """Global policies for single platforms, by common slug."""
    group_by: str
    """Label by which forecast, calendar and work list are grouped: client, source or another one."""
    label_rules: tuple[LabelRule, ...]
    sources: tuple[SourceConfig, ...]
    channels: tuple[ChannelConfig, ...]
    web: WebConfig
    hooks: HooksConfig
    cluster: ClusterConfig
    logging: LoggingConfig
    heartbeat: HeartbeatConfig | None
    retention: RetentionConfig
