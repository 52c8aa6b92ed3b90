"""Sources that are read by a definition: the shipped definition merged with the source's own keys, compiled, with its secrets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from pydantic import BaseModel

from monitor.config.definition_schema import DateTable, DefinitionTable, ShippedTable
from monitor.config.resolve import Loc, Resolver
from monitor.config.secrets import HIDDEN, SHORTEST_TOKEN, UNREAD, Secret, SecretSource, suggested_token
from monitor.config.settings import DateConfig, TokenConfig
from monitor.config.shipped_definitions import shipped, shipped_names
from monitor.config.source_schema import SourceTable
from monitor.domain.providers import ProviderInfo
from monitor.domain.records import Record, replace

if TYPE_CHECKING:
    from monitor.config.definition import Definition

CUSTOM, DATES, PUSH = "custom", "dates", "push"
_KEYS = tuple(field.alias or name for name, field in DefinitionTable.model_fields.items())
_OF_PROVIDER = {"dates": DATES, "token": PUSH, "stale_after": PUSH}


class Defined(Record, frozen=True, kw_only=True):
    """The settings that a definition adds to a source."""

    facts: ProviderInfo
    base_url: str | None = None
    needs_api_key: bool = False
    requests_per_minute: int | None = None
    poll_every: timedelta | None = None
    settings: Mapping[str, Any]
    """Further settings of the source, by name."""


def resolve_defined(resolver: Resolver, loc: Loc, raw: SourceTable, info: ProviderInfo, zone: str) -> Defined:
    """Return what the definition of a source adds; record mistakes."""
    _reject_foreign_keys(resolver, loc, raw)
    if raw.provider == DATES:
        return Defined(facts=info, settings={"dates": _dates(resolver, loc, raw, zone)})
    if raw.provider == PUSH:
        token = _push_token(resolver, loc, raw)
        return Defined(facts=info, settings={"push_token": token, "stale_after": raw.stale_after})
    below = shipped(raw.provider or "") if raw.provider in shipped_names() else None
    content = merged(_content(below) if below else {}, _content(raw))
    return _defined(resolver, loc, content, info, below)


def resolve_coded(resolver: Resolver, loc: Loc, raw: SourceTable, info: ProviderInfo) -> dict[str, Any]:
    """Return the settings of the hook of a source whose provider is read by code. Any other key of a definition is an error."""
    _reject_foreign_keys(resolver, loc, raw)
    for key in _content(raw):
        if key != "hook":
            resolver.problems.error((*loc, key), f'cannot be set: {info.label} needs no definition; use provider = "custom".')
    hook = merged(info.hook, _content(raw).get("hook") or {})
    if not hook.get("secret"):
        return {}  # without a secret there is nothing to verify
    from monitor.config.definition_compiler import compile_hook

    compiled = compile_hook(hook, report=lambda where, sentence: resolver.problems.error((*loc, *where), sentence))
    return {"hook": compiled, "hook_secrets": _hook_secrets(resolver, loc, hook)}


def _hook_secrets(resolver: Resolver, loc: Loc, hook: Mapping[str, Any]) -> tuple[Secret, ...]:
    found = [resolver.secret((*loc, "hook", "secret"), each, strict=False) for each in hook.get("secret") or ()]
    return tuple(each for each in found if each is not None)


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of two tables: tables are merged key by key, and any other value of `above` replaces the one below."""
    found = dict(below)
    for key, value in above.items():
        under = found.get(key)
        found[key] = merged(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
    return found


def _content(table: DefinitionTable) -> dict[str, Any]:
    """Return the keys of a definition that a table sets, under the names that the file uses."""
    return {key: value for key, value in _set_keys(table).items() if key in _KEYS}


def _set_keys(table: BaseModel) -> dict[str, Any]:
    """Return the keys that a table sets, also in the tables within it. Secrets stay references."""
    named = {field.alias or name: getattr(table, name) for name, field in type(table).model_fields.items()}
    aliases = {field.alias or name for name, field in type(table).model_fields.items() if name in table.model_fields_set}
    return {key: _plain(value) for key, value in named.items() if key in aliases and value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return _set_keys(value)
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _defined(resolver: Resolver, loc: Loc, content: dict[str, Any], info: ProviderInfo, below: ShippedTable | None) -> Defined:
    from monitor.config.definition_compiler import compile_definition

    secrets = _secrets(resolver, loc, content)
    tokens = _tokens(resolver, loc, content)
    auth = content.get("auth") or {}
    client_secret = resolver.secret((*loc, "auth", "client_secret"), auth.get("client_secret"))
    hook = content.get("hook") or {}
    hook_secrets = _hook_secrets(resolver, loc, hook)
    if hook and not hook.get("secret"):
        # A shipped definition describes the signature; without a secret there is nothing to verify.
        content = {key: value for key, value in content.items() if key != "hook"}

    def report(where: Loc, sentence: str) -> None:
        if (*loc, *where) not in resolver.rejected:
            resolver.problems.error((*loc, *where), sentence)

    definition = compile_definition(
        content,
        secret_names=tuple(secrets),
        token_ids=tuple(token.id for token in tokens),
        report=report,
    )
    facts = replace(
        info,
        label=below.label if below else info.label,
        dashboard_url=(below.dashboard_url if below else None) or "",
        has_probes=definition is not None and definition.test is not None,
        advice=(below.advice if below else None) or info.advice,
    )
    return Defined(
        facts=facts,
        base_url=below.base_url if below else None,
        needs_api_key=_needs_api_key(definition),
        requests_per_minute=below.requests_per_minute if below else None,
        poll_every=below.poll_every if below else None,
        settings={
            "definition": definition,
            "definition_content": _hidden(content),
            "secrets": secrets,
            "tokens": tokens,
            "client_secret": client_secret,
            "hook": None if definition is None else definition.hook,
            "hook_secrets": hook_secrets,
        },
    )


def _hidden(value: Any) -> Any:
    """Return the content of a definition with every secret, and reference to one, hidden."""
    match value:
        case SecretSource():
            return HIDDEN
        case Mapping():
            return {key: _hidden(item) for key, item in value.items()}
        case list() | tuple():
            return [_hidden(item) for item in value]
    return value


def _needs_api_key(definition: Definition | None) -> bool:
    if definition is None or definition.list.request is None:
        return False
    return definition.auth.kind == "basic" or (definition.auth.kind == "header" and not definition.checks_tokens)


def _secrets(resolver: Resolver, loc: Loc, content: Mapping[str, Any]) -> dict[str, Secret]:
    found = {name: resolver.secret((*loc, "secrets", name), each) for name, each in (content.get("secrets") or {}).items()}
    return {name: secret or Secret("") for name, secret in found.items()}


def _tokens(resolver: Resolver, loc: Loc, content: Mapping[str, Any]) -> tuple[TokenConfig, ...]:
    tokens: list[TokenConfig] = []
    for number, each in enumerate(content.get("tokens") or ()):
        here: Loc = (*loc, "tokens", number)
        named = resolver.required_value((*here, "id"), each.get("id"), hint="choose a short name for the token.")
        resolver.required_value((*here, "secret"), each.get("secret"), hint="set the token, or where it is kept.")
        secret = resolver.secret((*here, "secret"), each.get("secret"))
        if named and any(token.id == each["id"] for token in tokens):
            resolver.problems.error((*here, "id"), f'is "{each["id"]}", which an earlier token has: ids must be unique.')
        elif named:
            tokens.append(TokenConfig(id=each["id"], secret=secret or Secret("")))
    return tuple(tokens)


def _reject_foreign_keys(resolver: Resolver, loc: Loc, raw: SourceTable) -> None:
    for key, provider in _OF_PROVIDER.items():
        if getattr(raw, key) is not None and raw.provider != provider:
            resolver.problems.error((*loc, key), f'cannot be set: it belongs to provider = "{provider}"; remove it.')
    if raw.provider in (DATES, PUSH):
        for key in (*_content(raw), "api_key", "base_url", "proxy", "ca_file"):
            if key in _content(raw) or getattr(raw, key, None) is not None:
                resolver.problems.error((*loc, key), f'cannot be set: provider = "{raw.provider}" sends no requests; remove it.')


def _dates(resolver: Resolver, loc: Loc, raw: SourceTable, zone: str) -> tuple[DateConfig, ...]:
    if not raw.dates and (*loc, "dates") not in resolver.rejected:
        resolver.problems.error((*loc, "dates"), "is missing: add a [[sources.dates]] table for each date.")
    found: list[DateConfig] = []
    for number, each in enumerate(raw.dates or ()):
        here: Loc = (*loc, "dates", number)
        resolver.required_value((*here, "id"), each.id, hint="choose a short name of lowercase letters, digits, _ and -.")
        resolver.required_value((*here, "expires_at"), each.expires_at, hint="write the date, such as 2027-03-01.")
        if any(known.id == each.id for known in found):
            resolver.problems.error((*here, "id"), f'is "{each.id}", which an earlier date has: ids must be unique.')
        elif each.id is not None and each.expires_at is not None:
            found.append(_date(each, each.id, zone))
    return tuple(found)


def _date(raw: DateTable, key: str, zone: str) -> DateConfig:
    written: Any = raw.expires_at
    at = written if isinstance(written, datetime) else end_of_day(written, zone)
    return DateConfig(
        id=key, name=raw.name, platform=raw.platform or "date", expires_at=at.astimezone(UTC), link=raw.link, labels=raw.labels
    )


def end_of_day(day: date, zone: str) -> datetime:
    """Return the end of a day: the beginning of the next one, which is exact where clocks change at midnight too."""
    try:
        place = ZoneInfo(zone)
    except (ValueError, OSError):  # reported as a mistake already
        place = ZoneInfo("UTC")
    return datetime.combine(day + timedelta(days=1), time(), place)


def _push_token(resolver: Resolver, loc: Loc, raw: SourceTable) -> Secret | None:
    resolver.required_value((*loc, "token"), raw.token, hint=f"set a random token, for example {suggested_token()}")
    token = resolver.secret((*loc, "token"), raw.token)
    if token is not None and token is not UNREAD and len(token.reveal()) < SHORTEST_TOKEN:
        resolver.problems.error(
            (*loc, "token"),
            f"is shorter than {SHORTEST_TOKEN} characters: set a random one, for example {suggested_token()}",
        )
    return token
