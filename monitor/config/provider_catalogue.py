"""Every value of `provider`, with what it reports and needs, and the lines that add a source of it."""

from __future__ import annotations

from dataclasses import dataclass

from monitor.config.error_text import describe, nearest
from monitor.config.shipped_definitions import shipped, shipped_names, shipped_text
from monitor.domain.providers import coded_providers, provider_names

_WORDS = {"test": "probe", "hook": "webhook"}
_DOCUMENTED = "From the service's API documentation; not called."
_CODED = {
    "postpost": ("health", "expiry", "probe"),
    "publora": ("health", "expiry", "probe"),
    "postbreeze": ("health", "expiry"),
    "postpeer": ("presence",),
}
_CHECKS_TOKENS = "[[sources.tokens]]"
_KEYS = {
    "buffer": ['each     = { values = ["ORGANIZATION_ID"] }'],
    "entra": [
        'auth.token_url     = "https://login.microsoftonline.com/TENANT/oauth2/v2.0/token"',
        'auth.client_id     = "CLIENT_ID"',
        'auth.client_secret = { env = "ENTRA_CLIENT_SECRET" }',
    ],
    "introspect": ['base_url  = "https://sso.example.com"', 'auth.user = "CLIENT_ID"'],
    "linkedin": [
        'secrets.client_id     = { env = "LINKEDIN_CLIENT_ID" }',
        'secrets.client_secret = { env = "LINKEDIN_CLIENT_SECRET" }',
    ],
    "meta": ['secrets.app = { env = "META_APP_TOKEN" }'],
    "pipedream": [
        'list.get           = "/connect/PROJECT_ID/accounts"',
        'auth.client_id     = "CLIENT_ID"',
        'auth.client_secret = { env = "PIPEDREAM_CLIENT_SECRET" }',
    ],
    "vault": ['base_url = "https://vault.example.com/v1"'],
}
"""Keys that a source must set beside its API key and tokens, with placeholders in capital letters."""
_CUSTOM = """\
base_url = "https://api.example.com/v1"
api_key  = { env = "CUSTOM_API_KEY" }

[sources.list]
get   = "/accounts"                          # the path below base_url
items = "data"                               # where the response contains the list

[sources.row]                                # the names of the service's fields
id       = "id"
platform = "platform"
name     = "name"
#expires = { at = "expires_at", trusted = true }

[[sources.status]]                           # the first rule that applies decides
when = "status == 'active'"
is   = "valid"

[[sources.status]]
when = "status == 'expired'"
is   = "expired"
"""
_DATES = """\

[[sources.dates]]
id         = "apple-push"
name       = "APNs certificate"
expires_at = 2027-03-01
link       = "https://developer.apple.com/account"
"""
_PUSH = """\
token    = { env = "PUSH_TOKEN" }            # at least 22 random characters
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderEntry:
    """One value of `provider`."""

    name: str
    label: str
    """The service's own spelling of its name."""
    reports: tuple[str, ...]
    """Of health, expiry, probe, webhook and presence."""
    needs: str
    """Keys that a source must set beside name and provider."""
    verified: str
    """The extent to which it was verified."""
    lines: str
    """A `[[sources]]` table of it, with placeholders."""

    def json(self) -> dict[str, object]:
        """Return the entry as it is written with --json."""
        shown = {key: getattr(self, key) for key in ("label", "needs", "verified")}
        return {"name": self.name, **shown, "reports": list(self.reports)}


def _head(name: str) -> str:
    return f'[[sources]]\nname     = "{name}"\nprovider = "{name}"\n'


_GENERAL = (
    ProviderEntry(
        name="custom",
        label="any other service",
        reports=("health", "expiry", "probe", "webhook"),
        needs="a definition",
        verified="By you.",
        lines=_head("custom") + _CUSTOM,
    ),
    ProviderEntry(
        name="dates",
        label="dates that were written down",
        reports=("expiry",),
        needs="[[sources.dates]]",
        verified="Not applicable.",
        lines=_head("dates") + _DATES,
    ),
    ProviderEntry(
        name="push",
        label="a program that pushes reports",
        reports=("health", "expiry"),
        needs="token",
        verified="Not applicable.",
        lines=_head("push") + _PUSH,
    ),
)


def catalogue() -> tuple[ProviderEntry, ...]:
    """Return every provider: those read by code, those with a definition, then custom, dates and push."""
    return (*_coded(), *map(_shipped, shipped_names()), *(each for each in _GENERAL if each.name in provider_names()))


def definition_text(name: str) -> str:
    """Return the definition of a provider, or the lines that add a source of one without. Raises KeyError if there is none."""
    if name in shipped_names():
        return shipped_text(name)
    return source_lines(name)


def source_lines(name: str) -> str:
    """Return the lines that add a source of a provider. Raises KeyError if there is none."""
    for each in catalogue():
        if each.name == name:
            return each.lines
    raise KeyError(name)


def unknown_provider(name: str) -> str:
    """Return the sentence about a provider that does not exist."""
    near = nearest(name, provider_names())
    hint = f" Did you mean {near}?" if near else ""
    return f"There is no provider {describe(name)}.{hint} `token-monitor providers` lists them."


def _coded() -> list[ProviderEntry]:
    return [
        ProviderEntry(
            name=info.name,
            label=info.label,
            reports=_CODED.get(info.name, ()),
            needs="api_key",
            verified=_DOCUMENTED,
            lines=_lines(info.name, api_key=True, tokens=False),
        )
        for info in coded_providers()
    ]


def _shipped(name: str) -> ProviderEntry:
    table = shipped(name)
    return ProviderEntry(
        name=name,
        label=table.label,
        reports=tuple(_WORDS.get(each, each) for each in table.reports),
        needs=table.needs,
        verified=table.verified,
        lines=_lines(name, api_key="api_key" in table.needs, tokens=_CHECKS_TOKENS in table.needs),
    )


def _lines(name: str, *, api_key: bool, tokens: bool) -> str:
    lines = [f'api_key  = {{ env = "{name.upper()}_API_KEY" }}'] if api_key else []
    lines += _KEYS.get(name, [])
    if tokens:
        lines += ["", _CHECKS_TOKENS, 'id     = "first"', f'secret = {{ env = "{name.upper()}_TOKEN" }}']
    return _head(name) + "".join(f"{line}\n" for line in lines)
