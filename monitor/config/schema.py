"""Schema of the file: every key with its type, default and description. The documentation is generated from it."""

from datetime import timedelta
from typing import Annotated, Any

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
from monitor.config.tables import Table, field, keys_of
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
    ] = field(
        default=None,
        description="SQLite file (`sqlite:///monitor.db`, relative to the configuration's folder) or PostgreSQL "
        "(`postgresql://user@host/database`).",
    )


class ScheduleTable(Table):
    """Intervals of polls and probes."""

    poll_every: kinds.Interval = field(
        default=timedelta(minutes=15), description="How often each source's list of connections is polled."
    )
    probe_every: kinds.IntervalOrOff = field(
        default=timedelta(hours=6),
        description="How often each connection is probed, if the provider has probes; `off`: never.",
    )
    jitter: kinds.Percentage = field(
        default=0.1,
        description="Maximum shift of a poll or probe within its interval, plus or minus. The shift is fixed for each source "
        "and connection and does not accumulate; at most 50%.",
    )
    requests_per_minute: Annotated[kinds.WholeNumber | None, DefaultText(default_budgets())] = field(
        default=None,
        description=f"Maximum number of requests per minute for one source. {LIMITS}",
    )


class MatchTable(Table):
    """The connections that a rule matches: patterns without regard to letter case. All that are given must match."""

    source: Annotated[kinds.Patterns, _ALL] = field(default=(), description="Names of sources.")
    scope: Annotated[kinds.Patterns, _ALL] = field(
        default=(), description=f"Ids or names of managed users ({WITH_USERS}) or workspaces ({WITH_WORKSPACES})."
    )
    platform: Annotated[kinds.Patterns, _ALL] = field(default=(), description="Platforms.")
    connection: Annotated[kinds.Patterns, _ALL] = field(
        default=(), description="Ids, user names or display names of connections."
    )


class LabelsTable(Table):
    """A rule that gives connections labels, and optionally thresholds. Of several matching rules the later wins, key by key."""

    match: MatchTable = field(default_factory=MatchTable, description="The connections that the rule matches.")
    set: kinds.Labels = field(default_factory=dict, description="The labels to set, such as `client`.")
    policy: Level = field(default_factory=Level, description="Thresholds for the connections that the rule matches.")


class ChannelTable(Table):
    """A destination of alerts, and its filters."""

    name: Annotated[kinds.Name | None, _REQUIRED] = field(
        default=None, description="Unique name of lowercase letters, digits, `_` and `-`."
    )
    url: Annotated[kinds.SecretText | None, _REQUIRED] = field(
        default=None, description="Any Apprise URL: `slack://`, `mailto://`, `discord://`, `ntfy://`, `json://` and many more."
    )
    ca_file: Annotated[kinds.Text | None, DefaultText("the system's certificates only")] = field(
        default=None, description="PEM file of additional trusted certificates for this channel, by HTTP or mail."
    )
    proxy: Annotated[kinds.SecretText | None, DefaultText("HTTPS_PROXY and NO_PROXY from the environment")] = field(
        default=None,
        description="Proxy for this channel, `http://`, `https://` or, with the Python package PySocks, `socks5://`. "
        "Mail is not sent through it.",
    )
    events: Annotated[kinds.Events | None, _ALL] = field(default=None, description="Events to send; see the list of events.")
    severity: kinds.SeverityName = field(default=Severity.INFO, description="Minimum severity of alerts to send.")
    sources: Annotated[kinds.Names | None, _ALL] = field(
        default=None, description="Only alerts about these sources; names may be patterns such as `agency-*`."
    )
    platforms: Annotated[kinds.Names | None, _ALL] = field(
        default=None, description="Only alerts about these platforms; names may be patterns."
    )
    labels: kinds.LabelFilter = field(
        default_factory=dict,
        description="Only alerts about connections with all of these labels. A value may be a pattern, or a list of which any "
        "may match. An alert about a source is sent if the source, or any of its connections, has them.",
    )
    group_by: Annotated[kinds.Text | None, DefaultText("as the global `group_by`")] = field(
        default=None, description="As the global `group_by`, for messages to this channel."
    )
    group_wait: kinds.Duration = field(
        default=timedelta(seconds=10),
        description="Alerts within this period are grouped into one message; `0s` sends each one immediately.",
    )
    after: kinds.IntervalOrOff = field(
        default=None,
        description="Escalation: send only incidents still open and unacknowledged after this time; `off` sends immediately.",
    )
    fallback: kinds.Boolean = field(
        default=False,
        description="If true, the channel receives only alerts that no other channel accepts or can deliver; its filters apply.",
    )
    remind_every: Annotated[kinds.IntervalOrOff, DefaultText("as in the policy")] = field(
        default=None, description="How often reminders go to this channel; `off` sends none."
    )
    quiet_hours: Annotated[kinds.QuietHoursList, DefaultText("none")] = field(
        default=(),
        description="Windows in which this channel sends nothing: due alerts wait for the end of the window, except those at "
        "least as severe as `except`. `days` are the days on which a window begins; `timezone` defaults to the configured one.",
    )
    template: Annotated[kinds.Template | None, DefaultText("the built-in texts")] = field(
        default=None, description="Message `title`, `body` or both, in Jinja2; a file's path is relative to this file."
    )
    templates: Annotated[kinds.Templates, DefaultText("as in `template`")] = field(
        default_factory=dict, description="Templates for single events, such as `[channels.templates.expired]`."
    )
    attachments: kinds.Boolean = field(
        default=True, description="If true, long lists and charts are attached as files where the channel supports it."
    )
    actions: kinds.Boolean = field(
        default=True,
        description="If true, and `web.public_url` is set, messages contain links to acknowledge alerts; anyone who can read the "
        "channel can use them.",
    )
    drill_every: kinds.IntervalOrOff = field(
        default=None, description="How often to send a test alert that verifies this channel; `off` sends none."
    )
    report: kinds.Report = field(
        default=None,
        description='When to send the weekly report, such as `"mon 08:00"`, in the configured time zone; `off` sends none. A '
        'table adds the days to look back on and filters: `{ at = "mon 08:00", days = 30, labels = { team = "red" } }`. '
        "The filters of the channel apply as well.",
    )


class HooksTable(Table):
    """The listener for deliveries of services and pushed reports, which may face the internet while the status page does not."""

    listen: Annotated[kinds.Text, Kind('host:port or "off"')] = field(
        default="off",
        description="Listen address for `/hooks/SOURCE` and `/api/v1/push/SOURCE`, and nothing else; `off` disables it.",
    )


class UserTable(Table):
    """A user of the status page and the API, in addition to the operator with `web.token`."""

    name: Annotated[kinds.UserName | None, _REQUIRED] = field(
        default=None, description="Unique name, shown as the author of changes. `token` is the operator with `web.token`."
    )
    token: Annotated[kinds.SecretText | None, _REQUIRED] = field(
        default=None, description="The user's access token, as `web.token`. Every user has a different one."
    )
    role: kinds.Role = field(
        default="viewer", description="`viewer` reads; `operator` also acknowledges, silences and checks connections."
    )
    labels: kinds.Labels = field(
        default_factory=dict,
        description="Limits the user to the connections with all of these labels, exactly as the configuration sets them; "
        "a client's name at the service does not count.",
    )


class WebTable(Table):
    """The status page and the API."""

    listen: Annotated[kinds.Text, Kind('host:port or "off"')] = field(
        default="127.0.0.1:8321",
        description="Listen address of the status page; `off` disables it. Any address other than loopback requires a token.",
    )
    token: Annotated[kinds.SecretText | None, DefaultText("none")] = field(
        default=None,
        description="Access token, sent as `Authorization: Bearer` or entered in the login form. Beyond loopback, the page is "
        "opened only with at least 22 characters.",
    )
    hosts: Annotated[kinds.Hosts | None, DefaultText("none")] = field(
        default=None, description="Additional accepted host names, such as the name under which a reverse proxy serves the page."
    )
    public_url: Annotated[kinds.Text | None, DefaultText("none")] = field(
        default=None,
        description="Address under which people reach the page, such as `https://monitor.example.com/tokens`. Messages link "
        "to it; its host is accepted like those of `hosts`. `https`, unless the host is loopback or private.",
    )
    base_path: Annotated[kinds.Text | None, DefaultText("the path of `public_url`")] = field(
        default=None, description="Path under which a reverse proxy serves the page, such as `/tokens`."
    )
    trusted_proxies: Annotated[kinds.Hosts | None, DefaultText("none")] = field(
        default=None,
        description="Addresses or networks of reverse proxies, such as `127.0.0.1` or `172.18.0.0/16`. Only their "
        "`X-Forwarded-For`, `X-Forwarded-Proto`, `X-Forwarded-Host` and `X-Forwarded-Prefix` are read. While it is not set, "
        "`X-Forwarded-Proto` of any client makes its cookies `Secure`, and the others are ignored.",
    )
    auth_header: Annotated[kinds.Text | None, DefaultText("none")] = field(
        default=None,
        description="Header in which a trusted proxy passes the name of the user that it has authenticated, such as "
        "`X-Forwarded-User`. Requires `trusted_proxies`. The proxy must set or remove this header in every request.",
    )
    connection_metrics: kinds.Switch = field(
        default="auto", description="Metrics for each connection; `auto` exports them for up to 1,000 connections."
    )
    users: list[UserTable] = field(default_factory=list, description="Users with roles, one table each.")


class LoggingTable(Table):
    """Level and format of the log."""

    level: kinds.LogLevel = field(default="info", description="Minimum level to log; no level shows secrets.")
    format: kinds.LogFormat = field(
        default="console", description="`console` for terminals, `json` for log collectors, `journal` for systemd's journal."
    )


class HeartbeatTable(Table):
    """Dead man's switch: a URL called regularly, so that another service notices when calls stop."""

    url: Annotated[kinds.SecretText | None, DefaultText("required in this table", required=True)] = field(
        default=None, description="URL to call while the monitor makes progress. Without this table there is no heartbeat."
    )
    kind: Annotated[kinds.HeartbeatService | None, DefaultText("recognised from the URL")] = field(
        default=None,
        description="The service behind the URL, which decides how the start and a failure are reported. `plain` calls the URL "
        "as written, and not at all during a failure.",
    )
    every: kinds.Interval = field(default=timedelta(minutes=1), description="How often the URL is called.")


class RetentionTable(Table):
    """Retention of finished records."""

    history: kinds.RetentionOrOff = field(
        default=timedelta(days=400), description="How long to keep events, closed incidents and alerts."
    )
    polls: kinds.RetentionOrOff = field(default=timedelta(days=30), description="How long to keep the log of polls.")


LISTS: tuple[tuple[str, ...], ...] = (("sources",), ("channels",), ("labels",), ("web", "users"))
"""Key paths of the lists of tables. An environment variable replaces each as a whole, by JSON."""


class Document(Table):
    """The whole file, overridden by the environment."""

    timezone: Annotated[kinds.Text, Kind("IANA time zone")] = field(
        default="UTC", description="Time zone of times in messages and pages; the database always uses UTC."
    )
    group_by: kinds.Text = field(
        default="client",
        description="What messages, forecast, calendar and work list are grouped by: `client` (where there is one), `source`, or "
        "any other label.",
    )
    database: DatabaseTable = field(default_factory=DatabaseTable, description="Location of the data.")
    schedule: ScheduleTable = field(default_factory=ScheduleTable, description="Intervals of polls and probes.")
    policy: Levels = field(default_factory=Levels, description="When to warn.")
    sources: list[SourceTable] = field(default_factory=list, description="API keys to monitor, one table each.")
    labels: list[LabelsTable] = field(
        default_factory=list, description="Rules that give connections labels and thresholds, one table each, in order."
    )
    channels: list[ChannelTable] = field(default_factory=list, description="Destinations of alerts, one table each.")
    web: WebTable = field(default_factory=WebTable, description="The status page and the API.")
    hooks: HooksTable = field(
        default_factory=HooksTable, description="The listener for deliveries of services and pushed reports."
    )
    logging: LoggingTable = field(default_factory=LoggingTable, description="Level and format of the log.")
    heartbeat: HeartbeatTable | None = field(
        default=None,
        description="Dead man's switch: a URL called regularly, so that another service notices when calls stop.",
    )
    retention: RetentionTable = field(default_factory=RetentionTable, description="Retention of finished records.")


def known_keys(table: type[Table] | None) -> tuple[str, ...]:
    """Return the keys of a table."""
    return tuple(keys_of(table)) if table else ()


def table_at(loc: tuple[Any, ...]) -> type[Table] | None:
    """Return the table at a key path, also within lists and platforms; None if the path is a value or unknown."""
    here: type[Table] | None = Document
    for above, step in zip((None, *loc), loc, strict=False):
        if not isinstance(step, int) and above != "platforms":
            key = keys_of(here).get(step) if here else None
            here = key.table if key else None
    return here
