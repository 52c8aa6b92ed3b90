"""Resolution of `[[sources]]` tables: provider defaults, [schedule], proxies, policies, and keys a provider does not support."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from monitor.config import urls
from monitor.config.defined_sources import Defined, resolve_coded, resolve_defined
from monitor.config.policies import source_policies
from monitor.config.resolve import Loc, Resolver
from monitor.config.schema import Document
from monitor.config.secrets import Secret, UnusableError
from monitor.config.settings import SourceConfig
from monitor.config.shared_keys import shared_keys
from monitor.config.source_schema import SourceTable
from monitor.domain.providers import ProviderInfo, provider_info, provider_names, providers_with
from monitor.domain.records import replace
from monitor.domain.rules.labels import LabelRule


def resolve_sources(resolver: Resolver, document: Document, rules: Sequence[LabelRule]) -> tuple[SourceConfig, ...]:
    """Return every source that has no mistake in its required keys; record the mistakes."""
    if not document.sources and ("sources",) not in resolver.rejected:
        resolver.problems.error((), "there is no [[sources]] table: at least one API key is required.")
    resolved = [_resolve(resolver, document, number, rules) for number in range(len(document.sources))]
    reject_repeated_names(resolver, "sources", [source.name for source in document.sources])
    whole = tuple(source for source in resolved if source is not None)
    _warn_about_shared_keys(resolver, whole)
    return whole


def reject_repeated_names(resolver: Resolver, key: str, names: list[str | None]) -> None:
    """Record an error for each name that an earlier entry has already."""
    for number, name in enumerate(names):
        if name is not None and name in names[:number]:
            first = f"{key}[{names.index(name)}]"
            resolver.problems.error((key, number, "name"), f'is "{name}", already the name of {first}: names must be unique.')


def _resolve(resolver: Resolver, document: Document, number: int, rules: Sequence[LabelRule]) -> SourceConfig | None:
    loc: Loc = ("sources", number)
    raw = document.sources[number]
    kinds = ", ".join(provider_names())
    named = resolver.required_value((*loc, "name"), raw.name, hint="choose a short name of lowercase letters, digits, _ and -.")
    known = resolver.required_value((*loc, "provider"), raw.provider, hint=f"use one of {kinds}.")
    if raw.provider is None or not provider_info(raw.provider).is_defined:
        _require_api_key(resolver, loc, raw)
    api_key = resolver.secret((*loc, "api_key"), raw.api_key)
    own_proxy = _own_proxy(resolver, loc, raw)
    ca_file = resolver.certificate_file((*loc, "ca_file"), raw.ca_file)
    policies = source_policies(resolver, loc, above=document.policy, own=raw.policy)
    if not (named and known) or raw.name is None or raw.provider is None:
        return None
    name, info, defined, coded = raw.name, provider_info(raw.provider), None, dict[str, Any]()
    if info.is_defined:
        defined = resolve_defined(resolver, loc, raw, info, document.timezone)
        info = defined.facts
    else:
        coded = resolve_coded(resolver, loc, raw, info)
    if defined is not None and defined.needs_api_key:
        _require_api_key(resolver, loc, raw)
    _reject_unsupported_keys(resolver, loc, raw, info)
    base_url = _base_url(resolver, loc, raw, info if defined is None else replace(info, base_url=defined.base_url or ""))
    if defined is not None and not base_url and _sends_requests(defined):
        resolver.problems.error((*loc, "base_url"), "is missing: set everything up to the path of the list.")
    return SourceConfig(
        name=name,
        provider=raw.provider,
        api_key=api_key or Secret(""),
        base_url=base_url,
        users=raw.users or "none",
        users_unset=info.has_users and raw.users is None,
        workspaces=raw.workspaces,
        connection_links=info.has_users and raw.connection_links is True,
        probe=info.has_probes and raw.probe is not False,
        labels=raw.labels,
        label_rules=tuple(rule for rule in rules if rule.concerns(name)),
        requests_per_minute=_budget(resolver, loc, document, raw, info),
        proxy=own_proxy or _environment_proxy(resolver, loc, base_url),
        ca_file=ca_file,
        policy=policies.base,
        policies=policies.platforms,
        requests_per_day=raw.requests_per_day,
        facts=None if defined is None else info,
        **_schedule(document, raw, defined),
        **(coded if defined is None else defined.settings),
    )


def _require_api_key(resolver: Resolver, loc: Loc, raw: SourceTable) -> None:
    resolver.required_value(
        (*loc, "api_key"), raw.api_key, hint='set the API key or one of { env = "…" }, { file = "…" }, { credential = "…" }.'
    )


def _sends_requests(defined: Defined) -> bool:
    definition = defined.settings.get("definition")
    return definition is not None and definition.list.request is not None


def _schedule(document: Document, raw: SourceTable, defined: Defined | None) -> dict[str, Any]:
    """Return poll_every, probe_every and jitter: the source's own if set, else the definition's, else those of [schedule]."""
    keys = ("poll_every", "probe_every", "jitter")
    found = {key: getattr(raw if key in raw.model_fields_set else document.schedule, key) for key in keys}
    if defined is not None and defined.poll_every is not None and "poll_every" not in raw.model_fields_set:
        found["poll_every"] = defined.poll_every
    return found


def _budget(resolver: Resolver, loc: Loc, document: Document, raw: SourceTable, info: ProviderInfo) -> int:
    """Return requests per minute. [schedule] is capped to the provider's limit; a source's own value above it is an error."""
    most = info.most_per_minute
    own = raw.requests_per_minute
    if own is not None and most is not None and own > most:
        resolver.problems.error(
            (*loc, "requests_per_minute"), f"is {own}, but {info.label} allows at most {most}: set {most} or less."
        )
    wanted = own or document.schedule.requests_per_minute or info.requests_per_minute
    return min(wanted, most) if most is not None else wanted


def _base_url(resolver: Resolver, loc: Loc, raw: SourceTable, info: ProviderInfo) -> str:
    if raw.base_url is None:
        return info.base_url
    here = (*loc, "base_url")
    before = len(resolver.problems.errors)
    url = resolver.checked_text(here, partial(urls.base_url, list_path=info.list_path), raw.base_url)
    if len(resolver.problems.errors) > before:
        return info.base_url
    if urls.is_private(url):
        resolver.problems.warning(here, "is a private address: the API key will be sent to it.")
    return url


def _own_proxy(resolver: Resolver, loc: Loc, raw: SourceTable) -> Secret | None:
    return resolver.secret((*loc, "proxy"), raw.proxy, strict=False, shape=urls.proxy_url, hides=lambda url: "@" in url)


def _environment_proxy(resolver: Resolver, loc: Loc, url: str) -> Secret | None:
    try:
        proxy = urls.environment_proxy(url, resolver.context.env)
    except UnusableError as exc:
        resolver.problems.error(loc, f"is reached through HTTPS_PROXY, which {exc}")
        return None
    return Secret(proxy) if proxy else None


def _reject_unsupported_keys(resolver: Resolver, loc: Loc, raw: SourceTable, info: ProviderInfo) -> None:
    """Record errors for keys that only other providers support, and warnings for keys without effect."""
    users = info.has_users, f"no managed users (only {providers_with(lambda each: each.has_users)})"
    workspaces = info.has_workspaces, f"no workspaces (only {providers_with(lambda each: each.has_workspaces)})"
    probes = info.has_probes, f"no probes (only {providers_with(lambda each: each.has_probes)})"
    for key, is_set, (has, lack) in (
        ("users", raw.users is not None, users),
        ("connection_links", raw.connection_links, users),
        ("workspaces", raw.workspaces is not None, workspaces),
        ("probe", raw.probe, probes),
        ("probe_every", raw.probe_every is not None, probes),
    ):
        if is_set and not has:
            resolver.problems.error((*loc, key), f"cannot be set: {info.label} has {lack}; remove it.")
    if raw.connection_links and info.has_users and raw.users in (None, "none"):
        resolver.problems.warning((*loc, "connection_links"), 'has no effect, because users is "none".')
    if raw.probe is False and raw.probe_every is not None:
        resolver.problems.warning((*loc, "probe_every"), "has no effect, because probe is false.")


def _warn_about_shared_keys(resolver: Resolver, sources: tuple[SourceConfig, ...]) -> None:
    """Warn about each source that has the API key of an earlier one. A start and a reload reject some, by the database."""
    for each in shared_keys(sources):
        resolver.problems.warning((), f"{each.problem}: {each.remedy}.")
