"""The shape of the file: every key, its kind, its default and its meaning. The reference is made from this."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from monitor.config import fields as kinds
from monitor.config.fields import Kind, Without
from monitor.domain import Policy, Severity

PREFIX = "TOKEN_MONITOR_"
"""What every environment variable of ours begins with."""

_POLICY = Policy()
_SCHEDULE = Without("as in [schedule]")
_ALL = Without("all")
_NEEDED = Without("required", required=True)


class Table(BaseModel):
    """One table of the file: no unknown keys, and no value in any error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class DatabaseTable(Table):
    """Where everything is kept."""

    url: Annotated[
        kinds.SecretText | None, Without("SQLite: monitor.db under $STATE_DIRECTORY, else token-monitor in the XDG state folder")
    ] = Field(
        default=None,
        description="SQLite file (`sqlite:///monitor.db`, relative to the configuration's folder) or PostgreSQL "
        "(`postgresql://user@host/database`).",
    )


class ScheduleTable(Table):
    """How often each source is looked at."""

    poll_every: kinds.Every = Field(
        default=timedelta(minutes=15), description="How often each source's list of connections is read."
    )
    probe_every: kinds.EveryOrOff = Field(
        default=timedelta(hours=6), description="How often each connection is tested, where the service can; `off` never tests."
    )
    jitter: kinds.Share = Field(
        default=0.1,
        description="How far a poll or probe may lie off its even pace, plus or minus: fixed for each source and "
        "connection, never adding up; at most 50%.",
    )
    requests_per_minute: Annotated[
        kinds.WholeNumber | None, Without("600 for PostPost and PostPeer, 60 for Publora and Postbreeze")
    ] = Field(
        default=None,
        description="The most requests that one source sends in a minute. Postbreeze allows 60 and never gets more.",
    )


class Level(Table):
    """Thresholds at one level of precedence: source and platform, source, platform, policy; key by key."""

    expiring_within: kinds.Within = Field(
        default=_POLICY.expiring_within, description="A valid token becomes `expiring_soon` when the time left is this or less."
    )
    stages: kinds.Stages = Field(
        default=_POLICY.stages,
        description="Further warnings while it is `expiring_soon`; those not shorter than `expiring_within`, or wider "
        "than the token's own lifetime, are ignored.",
    )
    confirm_failures: kinds.WholeNumber = Field(
        default=_POLICY.confirm_failures,
        description="Refused probes in a row before `failing`, `expired` or `revoked` by a probe; failed polls in a row "
        "before a source is `failing`.",
    )
    confirm_missing: kinds.WholeNumber = Field(
        default=_POLICY.confirm_missing, description="Complete lists in a row without a connection before it is `disconnected`."
    )
    remind_every: kinds.EveryOrOff = Field(
        default=_POLICY.remind_every,
        description="How often to say it again while `expired`, `revoked`, `failing` or `disconnected`; `off` says it once.",
    )
    flap_changes: kinds.WholeNumber = Field(
        default=_POLICY.flap_changes,
        description="A connection whose status changed more often than this within `flap_window` tells once an hour.",
    )
    flap_window: kinds.EveryOrOff = Field(
        default=_POLICY.flap_window, description="The time in which changes are counted; `off` damps nothing."
    )


class Levels(Level):
    """Thresholds, with exceptions for platforms."""

    platforms: dict[str, Level] = Field(
        default_factory=dict, description="Thresholds for one platform, such as `[policy.platforms.tiktok]`."
    )


class SourceTable(Table):
    """One API key at one service."""

    name: Annotated[kinds.Name | None, _NEEDED] = Field(
        default=None, description="A unique name of small letters, digits, `_` and `-`; part of every connection's id."
    )
    provider: Annotated[kinds.Provider | None, _NEEDED] = Field(default=None, description="Which service the key belongs to.")
    api_key: Annotated[kinds.SecretText | None, _NEEDED] = Field(default=None, description="The service's API key.")
    base_url: Annotated[kinds.Text | None, Without("by provider")] = Field(
        default=None, description="Everything up to the resource's own path; `https`, or `http` on loopback only."
    )
    users: Annotated[kinds.Users, Without("none")] = Field(
        default=None,
        description="PostPost and Publora: the managed users of a workspace key that are watched too; the owner's own "
        "connections always are.",
    )
    workspaces: Annotated[kinds.Ids | None, Without("all that the key can reach")] = Field(
        default=None, description="Postbreeze: the workspaces to watch."
    )
    connection_links: kinds.Truth = Field(
        default=False,
        description="PostPost and Publora: whether alerts about a managed user's connections carry that user's own connection "
        "page while it is good. Whoever has the address can connect there, so mind who reads your channels.",
    )
    probe: Annotated[kinds.Truth | None, Without("true where the service has probes")] = Field(
        default=None, description="Whether connections are tested, not only listed (PostPost, Publora)."
    )
    labels: kinds.Labels = Field(
        default_factory=dict, description="Words of your own: shown with connections, usable in filters."
    )
    poll_every: Annotated[kinds.Every | None, _SCHEDULE] = Field(default=None, description="As in [schedule], for this source.")
    probe_every: Annotated[kinds.EveryOrOff, _SCHEDULE] = Field(default=None, description="As in [schedule], for this source.")
    jitter: Annotated[kinds.Share | None, _SCHEDULE] = Field(default=None, description="As in [schedule], for this source.")
    requests_per_minute: Annotated[kinds.WholeNumber | None, _SCHEDULE] = Field(
        default=None, description="As in [schedule], for this source; Postbreeze: at most 60."
    )
    proxy: Annotated[kinds.SecretText | None, Without("HTTPS_PROXY and NO_PROXY of the environment")] = Field(
        default=None, description="The proxy for this source, `http://` or `https://`."
    )
    ca_file: Annotated[kinds.Text | None, Without("the system's certificates alone")] = Field(
        default=None, description="A PEM file of certificates to trust as well; verification cannot be turned off."
    )
    policy: Levels = Field(default_factory=Levels, description="Thresholds for this source.")


class ChannelTable(Table):
    """Where alerts go, and which."""

    name: Annotated[kinds.Name | None, _NEEDED] = Field(
        default=None, description="A unique name of small letters, digits, `_` and `-`."
    )
    url: Annotated[kinds.SecretText | None, _NEEDED] = Field(
        default=None, description="Any Apprise URL: `slack://`, `mailto://`, `discord://`, `ntfy://`, `json://` and many more."
    )
    events: Annotated[kinds.Events | None, _ALL] = Field(default=None, description="What is said here; see the list of events.")
    severity: kinds.Least = Field(default=Severity.INFO, description="The least severity that is said here.")
    sources: Annotated[kinds.Names | None, _ALL] = Field(default=None, description="Only what concerns these sources.")
    platforms: Annotated[kinds.Names | None, _ALL] = Field(default=None, description="Only what concerns these platforms.")
    labels: kinds.Labels = Field(default_factory=dict, description="Only what concerns sources that carry all of these labels.")
    group_wait: kinds.Within = Field(
        default=timedelta(seconds=10), description="What happens within this time goes out as one message; `0s` sends at once."
    )
    after: kinds.EveryOrOff = Field(
        default=None,
        description="Escalation: only what is still open and unacknowledged after this long is said here; `off` says it at once.",
    )
    fallback: kinds.Truth = Field(
        default=False, description="Takes what no other channel takes, or could deliver, and only that; its filters hold."
    )
    remind_every: Annotated[kinds.EveryOrOff, Without("as in the policy")] = Field(
        default=None, description="How often this channel is reminded; `off` says it once."
    )
    quiet_hours: Annotated[kinds.QuietHoursList, Without("none")] = Field(
        default=(),
        description="When this channel keeps still: what is due waits for the end, save what is as severe as `except`. `days` "
        "are those on which a window begins; `timezone` is the configured one where it is not given.",
    )
    template: Annotated[kinds.Template | None, Without("the built-in texts")] = Field(
        default=None, description="The message's `title`, `body` or both, in Jinja2; a file's path is relative to this file."
    )
    templates: Annotated[kinds.Templates, Without("as in `template`")] = Field(
        default_factory=dict, description="The same for single events, such as `[channels.templates.expired]`."
    )
    attachments: kinds.Truth = Field(
        default=True, description="Whether files may be attached where the channel can carry them: long lists, charts."
    )
    drill_every: kinds.EveryOrOff = Field(
        default=None, description="How often a test alert proves that this channel still works; `off` sends none."
    )
    report: kinds.WeeklyOrOff = Field(
        default=None,
        description='When the weekly report is sent, such as `"mon 08:00"`, by the configured time zone; `off`: never.',
    )


class WebTable(Table):
    """The status page and the API."""

    listen: Annotated[kinds.Text, Kind('host:port or "off"')] = Field(
        default="127.0.0.1:8321",
        description="Where the status page listens; `off` disables it. Any address but loopback needs a token.",
    )
    token: Annotated[kinds.SecretText | None, Without("none")] = Field(
        default=None, description="What a reader must present: `Authorization: Bearer`, or the login form."
    )
    hosts: Annotated[kinds.Ids | None, Without("none")] = Field(
        default=None, description="Further names under which the page may be asked for, such as the one a proxy gives it."
    )
    connection_metrics: kinds.Switch = Field(
        default="auto", description="Metrics for each connection; `auto` gives them for up to 1,000 connections."
    )


class LoggingTable(Table):
    """What the log says, and how."""

    level: kinds.LogLevel = Field(
        default="info", description="The least level that is logged; `debug` never shows a secret either."
    )
    format: kinds.LogFormat = Field(
        default="console", description="`console` for people, `json` for machines, `journal` for systemd's journal."
    )


class HeartbeatTable(Table):
    """A sign of life to a service that raises the alarm when it stops."""

    url: Annotated[kinds.SecretText | None, Without("required in this table", required=True)] = Field(
        default=None, description="The address that is called while the monitor makes progress; no table, no heartbeat."
    )
    every: kinds.Every = Field(default=timedelta(minutes=1), description="How often it is called.")


class RetentionTable(Table):
    """How long what is over is kept."""

    history: kinds.KeptOrOff = Field(
        default=timedelta(days=400), description="How long events, closed incidents and alerts are kept."
    )
    polls: kinds.KeptOrOff = Field(default=timedelta(days=30), description="How long the log of polls is kept.")


class Document(BaseSettings):
    """The whole file, under the environment: made from the sources `environment` and `file` and from nothing else.

    Not strict as tables are: the library would then convert an environment variable before the key's own rule sees it.
    """

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        case_sensitive=True,  # as TOML is
        env_prefix=PREFIX,
        env_nested_delimiter="__",
    )

    timezone: Annotated[kinds.Text, Kind("IANA time zone")] = Field(
        default="UTC", description="For text that people read; the store is always UTC."
    )
    database: DatabaseTable = Field(default_factory=DatabaseTable, description="Where everything is kept.")
    schedule: ScheduleTable = Field(default_factory=ScheduleTable, description="How often each source is looked at.")
    policy: Levels = Field(default_factory=Levels, description="When to warn.")
    sources: list[SourceTable] = Field(default_factory=list, description="The API keys to watch, one table each.")
    channels: list[ChannelTable] = Field(default_factory=list, description="Where alerts go, one table each.")
    web: WebTable = Field(default_factory=WebTable, description="The status page and the API.")
    logging: LoggingTable = Field(default_factory=LoggingTable, description="What the log says, and how.")
    heartbeat: HeartbeatTable | None = Field(
        default=None, description="A sign of life to a service that raises the alarm when it stops."
    )
    retention: RetentionTable = Field(default_factory=RetentionTable, description="How long what is over is kept.")

    def __init__(self, *, environment: PydanticBaseSettingsSource, file: PydanticBaseSettingsSource) -> None:
        """Raises pydantic's ValidationError."""
        super().__init__(environment=environment, file=file)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 # the library's name
        init_settings: PydanticBaseSettingsSource,
        *_: Any,
        **__: Any,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment, then the file, both as given to the constructor: never this process's own variables."""
        given = init_settings()
        return given["environment"], given["file"]


def kind_in(field: FieldInfo) -> Kind | None:
    """What people are told about the key's type; None where the key is a table."""
    return _kind_among([*reversed(field.metadata), field.annotation])


def _kind_among(items: list[Any]) -> Kind | None:
    for item in items:
        inner = item if isinstance(item, Kind) else _kind_among([*getattr(item, "__metadata__", ()), *get_args(item)])
        if inner is not None:
            return inner
    return None


def known_keys(table: type[BaseModel] | None) -> tuple[str, ...]:
    """The keys that a table may have."""
    return tuple(table.model_fields) if table else ()


def table_at(loc: tuple[Any, ...]) -> type[BaseModel] | None:
    """The table at a key path of the document, in a list or of a platform too; None where there is a value or nothing."""
    here: type[BaseModel] | None = Document
    for above, step in zip((None, *loc), loc, strict=False):
        if not isinstance(step, int) and above != "platforms":
            field = here.model_fields.get(step) if here else None
            here = _table_in(field.annotation) if field else None
    return here


def _table_in(annotation: Any) -> type[BaseModel] | None:
    inner = (item for item in (annotation, *get_args(annotation)) if isinstance(item, type))
    return next((item for item in inner if issubclass(item, BaseModel)), None)
