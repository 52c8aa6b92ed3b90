"""The posting services: one record of facts for each, and the registry that finds it by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from monitor.domain.records import Record, field

_WEEK = timedelta(days=7)


class ProviderInfo(Record, frozen=True, kw_only=True):
    """Facts about one service. Everything outside its adapter asks these facts, never the service's name."""

    name: str
    """The value of a source's `provider` key, as stored and as in JSON."""
    label: str
    """The service's own spelling of its name."""
    adapter: str = ""
    """The class that reads the API, as "module:Class"; it is imported when the first source is built, and called as
    `Class(source, api=api)`."""
    base_url: str = ""
    """Everything up to the resource's own path."""
    list_path: str = ""
    """The resource's own path, which a base_url must not contain."""
    dashboard_url: str = ""
    """The page on which an account is reconnected."""
    key_header: str = "Authorization"
    """The HTTP header that carries the API key."""
    key_prefix: str = ""
    """Text before the key in that header."""

    is_defined: bool = False
    """True if a definition, not code for this service, reads it."""
    advice: str = ""
    """Advice about a token of this service, as a sentence, if it is not an account to reconnect. "{p}" is the label."""

    requests_per_minute: int = 60
    """The default request budget of a source."""
    most_per_minute: int | None = None
    """The service's documented limit, which no setting may exceed; None if it documents none."""
    rows_per_page: int | None = None
    """Connections per page of a list; None if one request returns a scope's whole list."""

    has_users: bool = False
    """True if a key can read the connections of managed users."""
    has_workspaces: bool = False
    """True if a source can be restricted to named workspaces."""
    has_probes: bool = False
    """True if the API can test a connection."""
    scope_in_ids: bool = False
    """True if an external id is unique only within its scope, so that the public id contains the scope."""

    reports_are_final: bool = False
    """True if a reported `failing` counts immediately, without confirmation by further polls."""

    trusted_platforms: frozenset[str] = frozenset()
    """Platforms whose stated expiry date may change a verdict when it passes (PROVIDERS 2b, trusted dates)."""
    warning_windows: Mapping[str, timedelta] = field(default_factory=dict)
    """Time before the expiry at which the service itself reports expiring_soon, by platform, if it is not 7 days."""

    hook: Mapping[str, object] = field(default_factory=dict)
    """The signature of deliveries of the service, and those that count, with the keys of `[sources.hook]`; empty: it has none."""

    @property
    def scope_label(self) -> str:
        """The service's word for a scope."""
        return "managed user" if self.has_users else "workspace"

    def warning_window(self, platform: str) -> timedelta:
        """Return how long before the expiry the service itself reports expiring_soon."""
        return self.warning_windows.get(platform, _WEEK)


_POST_FAILED = [{"when": "event == 'post.failed' || event == 'token.expiring'"}]
_LINKED = frozenset({"linkedin", "instagram", "threads"})
_PROVIDERS: dict[str, ProviderInfo] = {}


def register(info: ProviderInfo) -> None:
    """Add a service to the registry. Raises ValueError for a name that is taken."""
    if info.name in _PROVIDERS:
        raise ValueError(f"The provider {info.name} is registered already.")
    _PROVIDERS[info.name] = info


def unregister(name: str) -> None:
    """Remove a service from the registry."""
    del _PROVIDERS[name]


def registered_providers() -> tuple[ProviderInfo, ...]:
    """Return every registered service, in the order of registration."""
    return tuple(_PROVIDERS.values())


def coded_providers() -> tuple[ProviderInfo, ...]:
    """Return the services that are read by code, not by a definition, in the order of registration."""
    return tuple(info for info in _PROVIDERS.values() if not info.is_defined)


def coded_names() -> tuple[str, ...]:
    """Return the names of the services that are read by code."""
    return tuple(info.name for info in coded_providers())


def provider_names() -> tuple[str, ...]:
    """Return the name of every registered service."""
    return tuple(_PROVIDERS)


def providers_with(fact: Callable[[ProviderInfo], object]) -> str:
    """Return the labels of the services for which `fact` is true, as "A, B and C"."""
    return in_words([info.label for info in coded_providers() if fact(info)])


def in_words(labels: Sequence[str]) -> str:
    """Return "A, B and C"; "none" for an empty list."""
    *others, last = labels or ["none"]
    return f"{', '.join(others)} and {last}" if others else last


def provider_info(name: str) -> ProviderInfo:
    """Return the facts about a service; for an unregistered name, which old rows may hold, a record of the name alone."""
    return _PROVIDERS.get(name) or ProviderInfo(name=name, label=name)


register(
    ProviderInfo(
        name="postpost",
        label="PostPost",
        adapter="monitor.providers.postpost.client:PostPost",
        base_url="https://api.postpost.dev/api/v1",
        list_path="/platform-connections",
        dashboard_url="https://app.postpost.dev",
        key_header="x-api-key",
        requests_per_minute=600,
        has_users=True,
        has_probes=True,
        hook={"signature": {"scheme": "hmac-sha256-hex", "header": "X-PostPost-Signature"}, "on": _POST_FAILED},
        scope_in_ids=True,
        trusted_platforms=_LINKED,
    )
)
register(
    ProviderInfo(
        name="publora",
        label="Publora",
        adapter="monitor.providers.postpost.client:PostPost",
        base_url="https://api.publora.com/api/v1",
        list_path="/platform-connections",
        dashboard_url="https://app.publora.com",
        key_header="x-publora-key",
        requests_per_minute=60,
        has_users=True,
        has_probes=True,
        hook={"signature": {"scheme": "hmac-sha256-hex", "header": "X-Publora-Signature"}, "on": _POST_FAILED},
        scope_in_ids=True,
        trusted_platforms=_LINKED | {"tiktok"},
        warning_windows={"tiktok": timedelta(days=30)},
    )
)
register(
    ProviderInfo(
        name="postbreeze",
        label="Postbreeze",
        adapter="monitor.providers.postbreeze:Postbreeze",
        base_url="https://api.postbreeze.ai/api/v1",
        list_path="/social-accounts",
        dashboard_url="https://app.postbreeze.ai",
        key_prefix="Bearer ",
        requests_per_minute=60,
        most_per_minute=60,
        has_workspaces=True,
        hook={"signature": {"scheme": "timestamped-hmac-sha256-hex", "header": "X-Postbreeze-Signature"}},
        trusted_platforms=_LINKED,
    )
)
register(
    ProviderInfo(
        name="postpeer",
        label="PostPeer",
        adapter="monitor.providers.postpeer:PostPeer",
        base_url="https://api.postpeer.dev/v1",
        list_path="/connect/integrations",
        dashboard_url="https://app.postpeer.dev",
        key_header="x-access-key",
        requests_per_minute=600,
        rows_per_page=100,
        trusted_platforms=_LINKED,
    )
)

_DEFINED = "monitor.providers.declarative.provider:DeclarativeProvider"
_REPLACE = "Create a new one in {p}, and replace the old one wherever it is used."


def _register_defined(
    name: str, label: str, *, adapter: str = _DEFINED, advice: str = "", final: bool = False, requests_per_minute: int = 60
) -> None:
    register(
        ProviderInfo(
            name=name,
            label=label,
            adapter=adapter,
            is_defined=True,
            scope_in_ids=True,
            advice=advice,
            reports_are_final=final,
            requests_per_minute=requests_per_minute,
        )
    )


for _name, _label in (
    ("zernio", "Zernio"),
    ("relayapi", "RelayAPI"),
    ("postforme", "Post for Me"),
    ("outstand", "Outstand"),
    ("postiz", "Postiz"),
    ("ayrshare", "Ayrshare"),
    ("buffer", "Buffer"),
    ("bundle", "bundle.social"),
    ("publer", "Publer"),
    ("uploadpost", "Upload-Post"),
    ("nango", "Nango"),
    ("composio", "Composio"),
    ("pipedream", "Pipedream Connect"),
    ("unified", "Unified.to"),
):
    _register_defined(_name, _label)
for _name, _label in (
    ("meta", "Meta"),
    ("linkedin", "LinkedIn"),
    ("github", "GitHub"),
    ("gitlab", "GitLab"),
    ("entra", "Microsoft Entra"),
    ("vault", "Vault"),
    ("slack", "Slack"),
    ("cloudflare", "Cloudflare"),
    ("introspect", "the authorization server"),
    ("jwt", "the issuer"),
):
    _register_defined(_name, _label, advice=_REPLACE)
_register_defined("custom", "the service")
_register_defined(
    "dates",
    "the list of dates",
    adapter="monitor.providers.declarative.dates:Dates",
    advice="Renew it, change its date in {p} in the configuration, and reload the monitor.",
)
_register_defined(
    "push",
    "the program that reports it",
    adapter="monitor.providers.declarative.push:Push",
    advice="Renew it; {p} then pushes its new state.",
    final=True,
    requests_per_minute=600,
)
