"""The effective configuration as TOML that anybody may read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from monitor.config import urls
from monitor.config.formatting import plain, toml_key, toml_value
from monitor.config.secrets import HIDDEN
from monitor.config.settings import ChannelConfig, Config, SourceConfig
from monitor.config.templates import EVERY_EVENT, TemplatePair
from monitor.config.time_windows import DAYS, WeeklyTime
from monitor.domain import Policy, QuietHours


def show(config: Config) -> str:
    """The effective configuration: defaults filled in, overrides applied, secrets as <secret>, URLs without what may be one."""
    return "\n".join(_lines(config)).strip() + "\n"


def _lines(config: Config) -> Iterator[str]:
    yield f"# the effective configuration of {plain(str(config.path))[1:-1]}"
    yield f"timezone = {toml_value(config.timezone)}"
    yield from ("", "[database]", f"url = {toml_value(urls.shown_database(config.database.url.reveal()))}")
    yield from ("", "[schedule]", *_pace(config))
    yield from _policy(config.policy, config.policies, header="policy")
    for source in config.sources:
        yield from _source(source, config)
    for channel in config.channels:
        yield from _channel(channel)
    yield from _rest(config)


def _pace(config: Config) -> Iterator[str]:
    pace = config.schedule
    yield f"poll_every = {plain(pace.poll_every)}"
    yield f"probe_every = {plain(pace.probe_every)}"
    yield f"jitter = {plain(pace.jitter, percentage=True)}"
    if pace.requests_per_minute is None:
        yield "# requests_per_minute: by provider"
    else:
        yield f"requests_per_minute = {pace.requests_per_minute}"


def _source(source: SourceConfig, config: Config) -> Iterator[str]:
    service = source.info
    yield from ("", "[[sources]]", f"name = {toml_value(source.name)}", f"provider = {toml_value(source.provider)}")
    yield f"api_key = {toml_value(HIDDEN)}"
    yield f"base_url = {toml_value(source.base_url)}"
    if service.has_users:
        yield f"users = {plain(source.users)}"
        yield f"connection_links = {plain(source.connection_links)}"
    if source.workspaces is not None:
        yield f"workspaces = {plain(source.workspaces)}"
    if service.has_probes:
        yield f"probe = {plain(source.probe)}"
    yield f"labels = {toml_value(source.labels)}"
    yield f"poll_every = {plain(source.poll_every)}"
    if source.probe:
        yield f"probe_every = {plain(source.probe_every)}"
    yield f"jitter = {plain(source.jitter, percentage=True)}"
    yield f"requests_per_minute = {source.requests_per_minute}"
    if source.proxy is not None:
        yield f"proxy = {toml_value(urls.shown(source.proxy.reveal()))}"
    if source.ca_file is not None:
        yield f"ca_file = {toml_value(str(source.ca_file))}"
    if (source.policy, source.policies) != (config.policy, config.policies):
        yield from _policy(source.policy, source.policies, header="sources.policy")


def _channel(channel: ChannelConfig) -> Iterator[str]:
    yield from ("", "[[channels]]", f"name = {toml_value(channel.name)}")
    yield f"url = {toml_value(urls.shown_channel(channel.url.reveal()))}"
    for key in ("events", "sources", "platforms"):
        wanted = getattr(channel, key)
        yield f"# {key}: all" if wanted is None else f"{key} = {plain(wanted)}"
    yield f"severity = {toml_value(str(channel.severity))}"
    yield f"labels = {toml_value(channel.labels)}"
    yield f"group_wait = {plain(channel.group_wait)}"
    yield f"after = {plain(channel.after)}"
    yield f"fallback = {plain(channel.fallback)}"
    inherits = channel.remind_every == "inherit"
    yield "# remind_every: as in the policy" if inherits else f"remind_every = {plain(channel.remind_every)}"
    yield f"quiet_hours = {toml_value([_window(hours) for hours in channel.quiet_hours])}"
    yield f"attachments = {plain(channel.attachments)}"
    yield f"drill_every = {plain(channel.drill_every)}"
    yield f"report = {plain(channel.report and _weekly(channel.report))}"
    for event, pair in channel.templates.items():
        yield f"{'template' if event == EVERY_EVENT else f'templates.{event}'} = {toml_value(_texts(pair))}"


def _window(hours: QuietHours) -> dict[str, Any]:
    """Quiet hours as they are written."""
    written: dict[str, Any] = {"from": f"{hours.from_time:%H:%M}", "to": f"{hours.to_time:%H:%M}"}
    if hours.days is not None:
        written["days"] = [DAYS[day] for day in sorted(hours.days)]
    if hours.except_severity is not None:
        written["except"] = str(hours.except_severity)
    return written | ({"timezone": hours.timezone} if hours.timezone is not None else {})


def _weekly(at: WeeklyTime) -> str:
    return f"{DAYS[at.weekday]} {at.time:%H:%M}"


def _texts(pair: TemplatePair) -> dict[str, str]:
    return {key: text for key, text in (("title", pair.title), ("body", pair.body)) if text is not None}


def _policy(base: Policy, platforms: Mapping[str, Policy], *, header: str) -> Iterator[str]:
    tables = {header: base} | {f"{header}.platforms.{toml_key(slug)}": policy for slug, policy in sorted(platforms.items())}
    for name, policy in tables.items():
        within = plain(policy.expiring_within)
        # As a key it would overrule a provider's own word.
        window = f" = {within}" if policy.expiring_within_explicit else f": by provider, else {within}"
        yield from ("", f"[{name}]", f"{'' if policy.expiring_within_explicit else '# '}expiring_within{window}")
        for key in ("stages", "confirm_failures", "confirm_missing", "remind_every", "flap_changes", "flap_window"):
            yield f"{key} = {plain(getattr(policy, key))}"


def _rest(config: Config) -> Iterator[str]:
    yield from ("", "[web]", f"listen = {plain(config.web.listen)}")
    if config.web.token is not None:
        yield f"token = {toml_value(HIDDEN)}"
    if config.web.hosts:
        yield f"hosts = {plain(config.web.hosts)}"
    yield f"connection_metrics = {toml_value(config.web.connection_metrics)}"
    yield from ("", "[logging]", f"level = {toml_value(config.logging.level)}", f"format = {toml_value(config.logging.format)}")
    if config.heartbeat is not None:
        yield from ("", "[heartbeat]", f"url = {toml_value(urls.shown(config.heartbeat.url.reveal()))}")
        yield f"every = {plain(config.heartbeat.every)}"
    yield from ("", "[retention]", f"history = {plain(config.retention.history)}", f"polls = {plain(config.retention.polls)}")
