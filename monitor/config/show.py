"""The effective configuration as TOML without secrets, made by a walk over the schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from monitor.config import database_urls, schema, source_schema, urls
from monitor.config.definition_schema import DefinitionTable
from monitor.config.fields import DefaultText, Kind, kind_in
from monitor.config.formatting import plain, toml_key, toml_value
from monitor.config.secrets import HIDDEN, Secret
from monitor.config.settings import Config, SourceConfig
from monitor.config.templates import EVERY_EVENT, TemplatePair
from monitor.config.time_windows import DAYS, ReportPlan, WeeklyTime
from monitor.domain import Policy, QuietHours, utc_text
from monitor.domain.records import asdict
from monitor.domain.rules.labels import LabelRule

_URLS = {
    (schema.DatabaseTable, "url"): database_urls.shown_database,
    (schema.ChannelTable, "url"): urls.shown_channel,
    (schema.ChannelTable, "proxy"): urls.shown,
    (source_schema.SourceTable, "proxy"): urls.shown,
    (schema.HeartbeatTable, "url"): urls.shown,
}
"""Function that displays each secret URL. Other secrets are hidden completely."""
_DEFINITION_TABLES = ("tokens", "auth", "each", "list", "row", "status", "test", "hook")
"""Keys of a definition that are written as tables; they follow its other keys."""
_TABLES = ("web", "hooks", "cluster", "logging", "heartbeat", "retention")


def show(config: Config) -> str:
    """Return the effective configuration: secrets as <secret>, URLs without the parts that may contain one."""
    return "\n".join(_lines(config)).strip() + "\n"


def _lines(config: Config) -> Iterator[str]:
    yield f"# the effective configuration of {plain(str(config.path))[1:-1]}"
    yield f"timezone = {toml_value(config.timezone)}"
    yield f"group_by = {toml_value(config.group_by)}"
    yield from _table("[database]", schema.DatabaseTable, config.database)
    yield from _table("[schedule]", schema.ScheduleTable, config.schedule)
    yield from _policies(config.policy, config.policies, header="policy")
    for source in config.sources:
        yield from _table("[[sources]]", source_schema.SourceTable, source, skip=_unsupported(source))
        if source.users_unset:
            yield "# users: none"
        yield from _definition(source)
        if (source.policy, source.policies) != (config.policy, config.policies):
            yield from _policies(source.policy, source.policies, header="sources.policy")
    for rule in config.label_rules:
        yield from _label_rule(rule)
    for channel in config.channels:
        yield from _table("[[channels]]", schema.ChannelTable, channel, skip=("template", "templates"))
        for event, pair in channel.templates.items():
            yield f"{'template' if event == EVERY_EVENT else f'templates.{event}'} = {toml_value(_written(pair))}"
    for name in _TABLES:
        settings, table = getattr(config, name), schema.table_at((name,))
        if settings is not None and table is not None:
            yield from _table(f"[{name}]", table, settings)
        if name == "web":
            for user in config.web.users:
                yield from _table("[[web.users]]", schema.UserTable, user)


def _label_rule(rule: LabelRule) -> Iterator[str]:
    yield from ("", "[[labels]]")
    patterns = {key: getattr(rule, key) for key in schema.MatchTable.model_fields}
    yield f"match = {toml_value({key: list(value) for key, value in patterns.items() if value})}"
    yield f"set = {toml_value(dict(rule.set))}"
    if rule.policy:
        yield from ("", "[labels.policy]")
        yield from (f"{key} = {plain(rule.policy[key])}" for key in source_schema.Level.model_fields if key in rule.policy)


def _definition(source: SourceConfig) -> Iterator[str]:
    """Yield the keys of the source's definition, then its tables, and its dates or its token of pushed reports."""
    content = source.definition_content
    tables = {key: value for key, value in content.items() if key in _DEFINITION_TABLES}
    yield from (f"{key} = {toml_value(value)}" for key, value in content.items() if key not in tables)
    if source.push_token is not None:
        yield f"token = {toml_value(HIDDEN)}"
        yield f"stale_after = {plain(source.stale_after)}"
    for key, value in tables.items():
        for each in value if isinstance(value, list | tuple) else [value]:
            yield from ("", f"[[sources.{key}]]" if each is not value else f"[sources.{key}]")
            yield from (f"{name} = {toml_value(item)}" for name, item in each.items())
    for date in source.dates:
        yield from ("", "[[sources.dates]]", f"id = {toml_value(date.id)}", f"expires_at = {utc_text(date.expires_at)}")
        facts = {"name": date.name, "platform": date.platform, "link": date.link, "labels": dict(date.labels)}
        yield from (f"{key} = {toml_value(value)}" for key, value in facts.items() if value)


def _unsupported(source: SourceConfig) -> set[str]:
    """Return the keys that the source's provider does not support, or that have no effect."""
    info = source.info
    keys = {
        "users": info.has_users and not source.users_unset,
        "connection_links": info.has_users,
        "workspaces": info.has_workspaces,
    }
    keys |= dict.fromkeys(DefinitionTable.model_fields, False)
    keys |= {"api_key": bool(source.api_key.reveal()), "base_url": bool(source.base_url)}
    keys |= dict.fromkeys(("dates", "token", "stale_after"), False)
    keys |= {"probe": info.has_probes, "probe_every": source.probe}
    return {key for key, supported in keys.items() if not supported}


def _table(header: str, table: type[BaseModel], settings: Any, *, skip: Any = ()) -> Iterator[str]:
    yield from ("", header)
    for key, kind, default in _documented(table):
        if key in skip:
            continue
        value = getattr(settings, key)
        if default is not None and (value in ((), "", "inherit") or (value is None and '"off"' not in kind.name)):
            yield f"# {key}: {default}"
        elif isinstance(value, Secret):
            yield f"{key} = {toml_value(_URLS.get((table, key), lambda _: HIDDEN)(value.reveal()))}"
        else:
            yield f"{key} = {plain(_written(value), percentage=kind.name == 'percentage')}"


@lru_cache
def _documented(table: type[BaseModel]) -> tuple[tuple[str, Kind, str | None], ...]:
    """Return the keys of a table that are no tables: with the documented type, and the documentation of the default."""
    found = ((key, kind_in(field), field.metadata) for key, field in table.model_fields.items())
    return tuple(
        (key, kind, next((note.text for note in notes if isinstance(note, DefaultText)), None))
        for key, kind, notes in found
        if kind is not None
    )


def _written(value: Any) -> Any:
    """Return a value as it is written in the file."""
    match value:
        case Path():
            return str(value)
        case WeeklyTime():
            return f"{DAYS[value.weekday]} {value.time:%H:%M}"
        case ReportPlan():
            return _report(value)
        case QuietHours():
            window: dict[str, Any] = {"from": f"{value.from_time:%H:%M}", "to": f"{value.to_time:%H:%M}"}
            window["days"] = None if value.days is None else [DAYS[day] for day in sorted(value.days)]
            window |= {"except": value.except_severity and str(value.except_severity), "timezone": value.timezone}
            return {key: item for key, item in window.items() if item is not None}
        case TemplatePair():
            return {key: text for key, text in asdict(value).items() if text is not None}
        case tuple():
            return tuple(_written(item) for item in value)
    return value


def _report(plan: ReportPlan) -> Any:
    """Return the day and time alone where nothing else is set."""
    at = _written(plan.at)
    if plan == ReportPlan(at=plan.at):
        return at
    labels = {key: list(patterns) for key, patterns in plan.labels.items()}
    table = {"at": at, "days": plan.days, "labels": labels, "sources": plan.sources, "platforms": plan.platforms}
    return {key: item for key, item in table.items() if item}


def _policies(base: Policy, platforms: Mapping[str, Policy], *, header: str) -> Iterator[str]:
    tables = {header: base} | {f"{header}.platforms.{toml_key(slug)}": policy for slug, policy in sorted(platforms.items())}
    for name, policy in tables.items():
        yield from ("", f"[{name}]")
        for key in source_schema.Level.model_fields:
            text = plain(getattr(policy, key))
            if key == "expiring_within" and not policy.expiring_within_explicit:
                # As a key it would override the provider's own expiring_soon.
                yield f"# {key}: by provider, else {text}"
            else:
                yield f"{key} = {text}"
