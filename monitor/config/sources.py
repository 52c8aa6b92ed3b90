"""Makes sources whole: service defaults, the [schedule], proxies, policies, and what one service allows and another not."""

from __future__ import annotations

from functools import partial
from typing import Any

from monitor.config import urls
from monitor.config.policies import source_policies
from monitor.config.resolve import Loc, Resolver
from monitor.config.schema import Document, SourceTable
from monitor.config.secrets import Secret, UnusableError
from monitor.config.settings import SourceConfig
from monitor.domain.providers import ProviderInfo, provider_info, provider_names, providers_with


def resolve_sources(reading: Resolver, document: Document) -> tuple[SourceConfig, ...]:
    """Every source that is whole; what keeps the others from it is noted."""
    if not document.sources and ("sources",) not in reading.broken:
        reading.findings.error((), "there is no [[sources]] table: at least one API key must be watched.")
    resolved = [_resolve(reading, document, number) for number in range(len(document.sources))]
    note_repeated_names(reading, "sources", [source.name for source in document.sources])
    whole = tuple(source for source in resolved if source is not None)
    _note_twins(reading, whole)
    return whole


def note_repeated_names(reading: Resolver, key: str, names: list[str | None]) -> None:
    """Note each name that an earlier entry has already."""
    for number, name in enumerate(names):
        if name is not None and name in names[:number]:
            first = f"{key}[{names.index(name)}]"
            reading.findings.error((key, number, "name"), f'is "{name}", which {first} has already: names are unique.')


def _resolve(reading: Resolver, document: Document, number: int) -> SourceConfig | None:
    loc: Loc = ("sources", number)
    raw = document.sources[number]
    kinds = ", ".join(provider_names())
    named = reading.needed((*loc, "name"), raw.name, hint="give it a short name of small letters, digits, _ and -.")
    known = reading.needed((*loc, "provider"), raw.provider, hint=f"use one of {kinds}.")
    reading.needed(
        (*loc, "api_key"), raw.api_key, hint='give it the API key or one of { env = "…" }, { file = "…" }, { credential = "…" }.'
    )
    api_key = reading.secret((*loc, "api_key"), raw.api_key)
    own_proxy = _own_proxy(reading, loc, raw)
    ca_file = reading.certificates((*loc, "ca_file"), raw.ca_file)
    policies = source_policies(reading, loc, above=document.policy, own=raw.policy)
    if not (named and known) or raw.name is None or raw.provider is None:
        return None
    service = provider_info(raw.provider)
    _note_what_it_lacks(reading, loc, raw, service)
    base_url = _base_url(reading, loc, raw, service)
    return SourceConfig(
        name=raw.name,
        provider=raw.provider,
        api_key=api_key or Secret(""),
        base_url=base_url,
        users=raw.users or "none",
        workspaces=raw.workspaces,
        connection_links=service.has_users and raw.connection_links is True,
        probe=service.has_probes and raw.probe is not False,
        labels=raw.labels,
        requests_per_minute=_budget(reading, loc, document, raw, service),
        proxy=own_proxy or _environment_proxy(reading, loc, base_url),
        ca_file=ca_file,
        policy=policies.base,
        policies=policies.platforms,
        **_pace(document, raw),
    )


def _pace(document: Document, raw: SourceTable) -> dict[str, Any]:
    """poll_every, probe_every and jitter: the source's own where it sets them, else those of [schedule]."""
    keys = ("poll_every", "probe_every", "jitter")
    return {key: getattr(raw if key in raw.model_fields_set else document.schedule, key) for key in keys}


def _budget(reading: Resolver, loc: Loc, document: Document, raw: SourceTable, service: ProviderInfo) -> int:
    """Requests per minute; a wider [schedule] is narrowed to what the service allows, a source's own is a mistake."""
    most = service.most_per_minute
    own = raw.requests_per_minute
    if own is not None and most is not None and own > most:
        reading.findings.error(
            (*loc, "requests_per_minute"), f"is {own}, but {service.label} allows at most {most}: set {most} or less."
        )
    wanted = own or document.schedule.requests_per_minute or service.requests_per_minute
    return min(wanted, most) if most is not None else wanted


def _base_url(reading: Resolver, loc: Loc, raw: SourceTable, service: ProviderInfo) -> str:
    if raw.base_url is None:
        return service.base_url
    here = (*loc, "base_url")
    before = len(reading.findings.errors)
    url = reading.shaped(here, partial(urls.base_url, list_path=service.list_path), raw.base_url)
    if len(reading.findings.errors) > before:
        return service.base_url
    if urls.is_private(url):
        reading.findings.warning(here, "names a private address: the key will be sent there.")
    return url


def _own_proxy(reading: Resolver, loc: Loc, raw: SourceTable) -> Secret | None:
    return reading.secret((*loc, "proxy"), raw.proxy, strict=False, shape=urls.proxy_url, hides=lambda url: "@" in url)


def _environment_proxy(reading: Resolver, loc: Loc, url: str) -> Secret | None:
    try:
        proxy = urls.environment_proxy(url, reading.around.env)
    except UnusableError as exc:
        reading.findings.error(loc, f"is reached through HTTPS_PROXY, which {exc}")
        return None
    return Secret(proxy) if proxy else None


def _note_what_it_lacks(reading: Resolver, loc: Loc, raw: SourceTable, service: ProviderInfo) -> None:
    """Note keys that mean something at other services only."""
    users = service.has_users, f"no managed users (only {providers_with(lambda each: each.has_users)})"
    workspaces = service.has_workspaces, f"no workspaces (only {providers_with(lambda each: each.has_workspaces)})"
    probes = service.has_probes, f"no probes (only {providers_with(lambda each: each.has_probes)})"
    for key, is_set, (has, lack) in (
        ("users", raw.users is not None, users),
        ("connection_links", raw.connection_links, users),
        ("workspaces", raw.workspaces is not None, workspaces),
        ("probe", raw.probe, probes),
        ("probe_every", raw.probe_every is not None, probes),
    ):
        if is_set and not has:
            reading.findings.error((*loc, key), f"cannot be set: {service.label} has {lack}; remove it.")
    if raw.connection_links and service.has_users and raw.users in (None, "none"):
        reading.findings.warning((*loc, "connection_links"), 'has no effect, because users is "none".')
    if raw.probe is False and raw.probe_every is not None:
        reading.findings.warning((*loc, "probe_every"), "has no effect, because probe is false.")


def _note_twins(reading: Resolver, sources: tuple[SourceConfig, ...]) -> None:
    """Note a source that reads the very same connections as an earlier one: each would be said twice."""
    seen: dict[Any, str] = {}
    for source in sources:
        key = (source.base_url, source.api_key, source.users, source.workspaces)
        if key in seen and source.api_key.reveal():
            both = f"the sources {seen[key]} and {source.name}"
            reading.findings.warning((), f"{both} have the same API key: everything would be said twice.")
        seen.setdefault(key, source.name)
