"""Schema of the file: every key with its type, default and description. The documentation is generated from it."""

from datetime import timedelta
from typing import Annotated, Any, get_args

from pydantic import BaseModel, Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from monitor.config import fields as kinds
from monitor.config.fields import DefaultText, Kind
from monitor.config.source_schema import (
    LIMITS,
    WITH_USERS,
    WITH_WORKSPACES,
    Level,
    Levels,
    SourceTable,
    default_budgets,
)
from monitor.config.tables import Inner, Table
from monitor.domain import Severity

PREFIX = "TOKEN_MONITOR_"
"""Prefix of the environment variables that override keys."""

_ALL = DefaultText("all")
_REQUIRED = DefaultText("required", required=True)


class DatabaseTable(Table):
    """Location of the data."""

    url: Annotated[
        kinds.SecretText | None,
        DefaultText("SQLite: monitor.db under $STATE_DIRECTORY, else token-monitor in the XDG state folder"),
    ] = Field(
        default=None,
        description="SQLite file (`sqlite:///monitor.db`, relative to the configuration's folder) or PostgreSQL "
        "(`postgresql://user@host/database`).",
    )


class ScheduleTable(Table):
    """Intervals of polls and probes."""

    poll_every: kinds.Interval = Field(
        default=timedelta(minutes=15), description="How often each source's list of connections is polled."
    )
    probe_every: kinds.IntervalOrOff = Field(
        default=timedelta(hours=6),
        description="How often each connection is probed, if the provider has probes; `off`: never.",
    )
    jitter: kinds.Percentage = Field(
        default=0.1,
        description="Maximum shift of a poll or probe within its interval, plus or minus. The shift is fixed for each source "
        "and connection and does not accumulate; at most 50%.",
    )
    requests_per_minute: Annotated[kinds.WholeNumber | None, DefaultText(default_budgets())] = Field(
        default=None,
        description=f"Maximum number of requests per minute for one source. {LIMITS}",
    )


class MatchTable(Table):
    """The connections that a rule matches: patterns without regard to letter case. All that are given must match."""

    source: Annotated[kinds.Patterns, _ALL] = Field(default=(), description="Names of sources.")
    scope: Annotated[kinds.Patterns, _ALL] = Field(
        default=(), description=f"Ids or names of managed users ({WITH_USERS}) or workspaces ({WITH_WORKSPACES})."
    )
    platform: Annotated[kinds.Patterns, _ALL] = Field(default=(), description="Platforms.")
    connection: Annotated[kinds.Patterns, _ALL] = Field(
        default=(), description="Ids, user names or display names of connections."
    )


class LabelsTable(Table):
    """A rule that gives connections labels, and optionally thresholds. Of several matching rules the later wins, key by key."""

    match: Inner[MatchTable] = Field(
        default_factory=MatchTable.model_construct, description="The connections that the rule matches."
    )
    set: kinds.Labels = Field(default_factory=dict, description="The labels to set, such as `client`.")
    policy: Inner[Level] = Field(
        default_factory=Level.model_construct, description="Thresholds for the connections that the rule matches."
    )


class ChannelTable(Table):
    """A destination of alerts, and its filters."""

    name: Annotated[kinds.Name | None, _REQUIRED] = Field(
        default=None, description="Unique name of lowercase letters, digits, `_` and `-`."
    )
    url: Annotated[kinds.SecretText | None, _REQUIRED] = Field(
        default=None, description="Any Apprise URL: `slack://`, `mailto://`, `discord://`, `ntfy://`, `json://` and many more."
    )
    ca_file: Annotated[kinds.Text | None, DefaultText("the system's certificates only")] = Field(
        default=None, description="PEM file of additional trusted certificates for this channel, by HTTP or mail."
    )
    proxy: Annotated[kinds.SecretText | None, DefaultText("HTTPS_PROXY and NO_PROXY from the environment")] = Field(
        default=None,
        description="Proxy for this channel, `http://`, `https://` or, with the Python package PySocks, `socks5://`. "
        "Mail is not sent through it.",
    )
    events: Annotated[kinds.Events | None, _ALL] = Field(default=None, description="Events to send; see the list of events.")
    severity: kinds.SeverityName = Field(default=Severity.INFO, description="Minimum severity of alerts to send.")
    sources: Annotated[kinds.Names | None, _ALL] = Field(
        default=None, description="Only alerts about these sources; names may be patterns such as `agency-*`."
    )
    platforms: Annotated[kinds.Names | None, _ALL] = Field(
        default=None, description="Only alerts about these platforms; names may be patterns."
    )
    labels: kinds.LabelFilter = Field(
        default_factory=dict,
        description="Only alerts about connections with all of these labels. A value may be a pattern, or a list of which any "
        "may match. An alert about a source is sent if the source, or any of its connections, has them.",
    )
    group_by: Annotated[kinds.Text | None, DefaultText("as the global `group_by`")] = Field(
        default=None, description="As the global `group_by`, for messages to this channel."
    )
    group_wait: kinds.Duration = Field(
        default=timedelta(seconds=10),
        description="Alerts within this period are grouped into one message; `0s` sends each one immediately.",
    )
    after: kinds.IntervalOrOff = Field(
        default=None,
        description="Escalation: send only incidents still open and unacknowledged after this time; `off` sends immediately.",
    )
    fallback: kinds.Boolean = Field(
        default=False,
        description="If true, the channel receives only alerts that no other channel accepts or can deliver; its filters apply.",
    )
    remind_every: Annotated[kinds.IntervalOrOff, DefaultText("as in the policy")] = Field(
        default=None, description="How often reminders go to this channel; `off` sends none."
    )
    quiet_hours: Annotated[kinds.QuietHoursList, DefaultText("none")] = Field(
        default=(),
        description="Windows in which this channel sends nothing: due alerts wait for the end of the window, except those at "
        "least as severe as `except`. `days` are the days on which a window begins; `timezone` defaults to the configured one.",
    )
    template: Annotated[kinds.Template | None, DefaultText("the built-in texts")] = Field(
        default=None, description="Message `title`, `body` or both, in Jinja2; a file's path is relative to this file."
    )
    templates: Annotated[kinds.Templates, DefaultText("as in `template`")] = Field(
        default_factory=dict, description="Templates for single events, such as `[channels.templates.expired]`."
    )
    attachments: kinds.Boolean = Field(
        default=True, description="If true, long lists and charts are attached as files where the channel supports it."
    )
    actions: kinds.Boolean = Field(
        default=True,
        description="If true, and `web.public_url` is set, messages contain links to acknowledge alerts; anyone who can read the "
        "channel can use them.",
    )
    drill_every: kinds.IntervalOrOff = Field(
        default=None, description="How often to send a test alert that verifies this channel; `off` sends none."
    )
    report: kinds.Report = Field(
        default=None,
        description='When to send the weekly report, such as `"mon 08:00"`, in the configured time zone; `off` sends none. A '
        'table adds the days to look back on and filters: `{ at = "mon 08:00", days = 30, labels = { team = "red" } }`. '
        "The filters of the channel apply as well.",
    )


class HooksTable(Table):
    """The listener for deliveries of services and pushed reports, which may face the internet while the status page does not."""

    listen: Annotated[kinds.Text, Kind('host:port or "off"')] = Field(
        default="off",
        description="Listen address for `/hooks/SOURCE` and `/api/v1/push/SOURCE`, and nothing else; `off` disables it.",
    )


class UserTable(Table):
    """A user of the status page and the API, in addition to the operator with `web.token`."""

    name: Annotated[kinds.UserName | None, _REQUIRED] = Field(
        default=None, description="Unique name, shown as the author of changes. `token` is the operator with `web.token`."
    )
    token: Annotated[kinds.SecretText | None, _REQUIRED] = Field(
        default=None, description="The user's access token, as `web.token`. Every user has a different one."
    )
    role: kinds.Role = Field(
        default="viewer", description="`viewer` reads; `operator` also acknowledges, silences and checks connections."
    )
    labels: kinds.Labels = Field(
        default_factory=dict,
        description="Limits the user to the connections with all of these labels, exactly as the configuration sets them; "
        "a client's name at the service does not count.",
    )


class WebTable(Table):
    """The status page and the API."""

    listen: Annotated[kinds.Text, Kind('host:port or "off"')] = Field(
        default="127.0.0.1:8321",
        description="Listen address of the status page; `off` disables it. Any address other than loopback requires a token.",
    )
    token: Annotated[kinds.SecretText | None, DefaultText("none")] = Field(
        default=None,
        description="Access token, sent as `Authorization: Bearer` or entered in the login form. Beyond loopback, the page is "
        "served only with at least 22 characters.",
    )
    hosts: Annotated[kinds.Hosts | None, DefaultText("none")] = Field(
        default=None, description="Additional accepted host names, such as the name under which a reverse proxy serves the page."
    )
    public_url: Annotated[kinds.Text | None, DefaultText("none")] = Field(
        default=None,
        description="Address under which people reach the page, such as `https://monitor.example.com/tokens`. Messages link "
        "to it; its host is accepted like those of `hosts`. `https`, unless the host is loopback or private.",
    )
    base_path: Annotated[kinds.Text | None, DefaultText("the path of `public_url`")] = Field(
        default=None, description="Path under which a reverse proxy serves the page, such as `/tokens`."
    )
    trusted_proxies: Annotated[kinds.Hosts | None, DefaultText("none")] = Field(
        default=None,
        description="Addresses or networks of reverse proxies, such as `127.0.0.1` or `172.18.0.0/16`. Only their "
        "`X-Forwarded-For`, `X-Forwarded-Proto`, `X-Forwarded-Host` and `X-Forwarded-Prefix` are read. While it is not set, "
        "`X-Forwarded-Proto` of any client makes its cookies `Secure`, and the others are ignored.",
    )
    auth_header: Annotated[kinds.Text | None, DefaultText("none")] = Field(
        default=None,
        description="Header in which a trusted proxy passes the name of the user that it has authenticated, such as "
        "`X-Forwarded-User`. Requires `trusted_proxies`. The proxy must set or remove this header in every request.",
    )
    connection_metrics: kinds.Switch = Field(
        default="auto", description="Metrics for each connection; `auto` exports them for up to 1,000 connections."
    )
    users: list[Inner[UserTable]] = Field(default_factory=list, description="Users with roles, one table each.")


class ClusterTable(Table):
    """Work shared by several daemons on one PostgreSQL database, on one or more machines."""

    workers: kinds.ClusterWorkers = Field(
        default=0,
        description="Units of work that this process runs at a time. With 0, one daemon does all the work, and the others on the "
        "database stand by. Above 0, every daemon on the database works and serves pages; all of them need the same "
        "configuration, PostgreSQL, and the extra `cluster`.",
    )
    queues: kinds.WorkQueues = Field(
        default=("polls", "probes", "deliveries"),
        description="Kinds of work that this process takes. Each kind needs at least one daemon that takes it.",
    )
    connections: Annotated[kinds.ClusterConnections | None, DefaultText("`workers`, from 2 to 4")] = Field(
        default=None,
        description="Maximum number of connections to the database for the queue. One for notifications, one for leases and "
        "up to 8 of the store are opened in addition.",
    )


class LoggingTable(Table):
    """Level and format of the log."""

    level: kinds.LogLevel = Field(default="info", description="Minimum level to log; no level shows secrets.")
    format: kinds.LogFormat = Field(
        default="console", description="`console` for terminals, `json` for log collectors, `journal` for systemd's journal."
    )


class HeartbeatTable(Table):
    """Dead man's switch: a URL called regularly, so that another service notices when calls stop."""

    url: Annotated[kinds.SecretText | None, DefaultText("required in this table", required=True)] = Field(
        default=None, description="URL to call while the monitor makes progress. Without this table there is no heartbeat."
    )
    kind: Annotated[kinds.HeartbeatService | None, DefaultText("recognised from the URL")] = Field(
        default=None,
        description="The service behind the URL, which decides how the start and a failure are reported. `plain` calls the URL "
        "as written, and not at all during a failure.",
    )
    every: kinds.Interval = Field(default=timedelta(minutes=1), description="How often the URL is called.")


class RetentionTable(Table):
    """Retention of finished records."""

    history: kinds.RetentionOrOff = Field(
        default=timedelta(days=400), description="How long to keep events, closed incidents and alerts."
    )
    polls: kinds.RetentionOrOff = Field(default=timedelta(days=30), description="How long to keep the log of polls.")


LISTS: tuple[tuple[str, ...], ...] = (("sources",), ("channels",), ("labels",), ("web", "users"))
"""Key paths of the lists of tables. An environment variable replaces each as a whole, by JSON."""


class Document(BaseSettings):
    """The whole file, overridden by the environment: built only from the sources `environment` and `file`.

    Not strict, unlike its tables: pydantic would convert an environment variable before the key's validator sees it.
    """

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        defer_build=True,
        case_sensitive=True,  # as TOML is
        env_prefix=PREFIX,
        env_nested_delimiter="__",
    )

    timezone: Annotated[kinds.Text, Kind("IANA time zone")] = Field(
        default="UTC", description="Time zone of times in messages and pages; the database always uses UTC."
    )
    group_by: kinds.Text = Field(
        default="client",
        description="Label by which messages, forecast, calendar and work list are grouped: `client` (where there is one), any "
        "other label, or `source`.",
    )
    database: Inner[DatabaseTable] = Field(default_factory=DatabaseTable.model_construct, description="Location of the data.")
    schedule: Inner[ScheduleTable] = Field(
        default_factory=ScheduleTable.model_construct, description="Intervals of polls and probes."
    )
    policy: Inner[Levels] = Field(default_factory=Levels.model_construct, description="When to warn.")
    sources: list[Inner[SourceTable]] = Field(default_factory=list, description="API keys to monitor, one table each.")
    labels: list[Inner[LabelsTable]] = Field(
        default_factory=list, description="Rules that give connections labels and thresholds, one table each, in order."
    )
    channels: list[Inner[ChannelTable]] = Field(default_factory=list, description="Destinations of alerts, one table each.")
    web: Inner[WebTable] = Field(default_factory=WebTable.model_construct, description="The status page and the API.")
    hooks: Inner[HooksTable] = Field(
        default_factory=HooksTable.model_construct, description="The listener for deliveries of services and pushed reports."
    )
    cluster: Inner[ClusterTable] = Field(
        default_factory=ClusterTable.model_construct, description="Work shared by several daemons on one PostgreSQL database."
    )
    logging: Inner[LoggingTable] = Field(default_factory=LoggingTable.model_construct, description="Level and format of the log.")
    heartbeat: Inner[HeartbeatTable] | None = Field(
        default=None,
        description="Dead man's switch: a URL called regularly, so that another service notices when calls stop.",
    )
    retention: Inner[RetentionTable] = Field(
        default_factory=RetentionTable.model_construct, description="Retention of finished records."
    )

    def __init__(self, *, environment: PydanticBaseSettingsSource, file: PydanticBaseSettingsSource) -> None:
        """Validate the two sources. Raises pydantic's ValidationError."""
        super().__init__(environment=environment, file=file)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 # the library's name
        init_settings: PydanticBaseSettingsSource,
        *_: Any,
        **__: Any,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the constructor's environment and file as the only sources, never this process's variables."""
        given = init_settings()
        return given["environment"], given["file"]


def known_keys(table: type[BaseModel] | None) -> tuple[str, ...]:
    """Return the keys of a table."""
    return tuple(field.alias or name for name, field in table.model_fields.items()) if table else ()


def table_at(loc: tuple[Any, ...]) -> type[BaseModel] | None:
    """Return the table at a key path, also within lists and platforms; None if the path is a value or unknown."""
    here: type[BaseModel] | None = Document
    for above, step in zip((None, *loc), loc, strict=False):
        if not isinstance(step, int) and above != "platforms":
            field = here.model_fields.get(step) if here else None
            here = _table_in(field.annotation) if field else None
    return here


def _table_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for item in get_args(annotation) if (found := _table_in(item)) is not None), None)
