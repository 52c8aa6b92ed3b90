"""Schema of policies and sources."""

from typing import Annotated

from pydantic import Field

from monitor.config import fields as kinds
from monitor.config.definition_schema import Dates, DefinitionTable
from monitor.config.fields import DefaultText
from monitor.config.tables import Inner, Table
from monitor.domain import Policy
from monitor.domain.providers import coded_providers, in_words, providers_with

WITH_USERS = providers_with(lambda info: info.has_users)
WITH_WORKSPACES = providers_with(lambda info: info.has_workspaces)
_WITH_PROBES = providers_with(lambda info: info.has_probes)
LIMITS = " ".join(f"{info.label} allows at most {info.most_per_minute}." for info in coded_providers() if info.most_per_minute)


def default_budgets() -> str:
    """Return "600 for A and B, 60 for C" from the providers' facts."""
    labels: dict[int, list[str]] = {}
    for info in coded_providers():
        labels.setdefault(info.requests_per_minute, []).append(info.label)
    return ", ".join(f"{budget} for {in_words(names)}" for budget, names in labels.items())


_POLICY = Policy()
_SCHEDULE = DefaultText("as in [schedule]")
_REQUIRED = DefaultText("required", required=True)


class Level(Table):
    """Thresholds at one level of precedence. Keys are resolved individually: source and platform, source, platform, policy."""

    expiring_within: kinds.Duration = Field(
        default=_POLICY.expiring_within, description="A valid token becomes `expiring_soon` when this much time or less is left."
    )
    stages: kinds.Stages = Field(
        default=_POLICY.stages,
        description="Times left at which to warn again while a token is `expiring_soon`. Values not shorter than "
        "`expiring_within`, or longer than the token's lifetime, are ignored.",
    )
    confirm_failures: kinds.WholeNumber = Field(
        default=_POLICY.confirm_failures,
        description="Consecutive refused probes before a connection is `expired`, `revoked` or, if a permission is missing, "
        "`failing`, and consecutive polls that failed or had unreadable rows before a source is `failing`. A refusal without a "
        "clear cause always needs three probes over at least an hour.",
    )
    confirm_missing: kinds.WholeNumber = Field(
        default=_POLICY.confirm_missing,
        description="Complete lists in a row without a connection before it is `disconnected`.",
    )
    remind_every: kinds.IntervalOrOff = Field(
        default=_POLICY.remind_every,
        description=(
            "How often to send a reminder while `expired`, `revoked`, `failing` or `disconnected`, or while a source cannot be "
            "read; `off` sends none."
        ),
    )
    flap_changes: kinds.WholeNumber = Field(
        default=_POLICY.flap_changes,
        description="A connection whose status changes more often than this within `flap_window` alerts at most once an hour.",
    )
    flap_window: kinds.IntervalOrOff = Field(
        default=_POLICY.flap_window, description="Time window in which status changes are counted; `off` disables the limit."
    )
    learn_renewals: kinds.Boolean = Field(
        default=_POLICY.learn_renewals,
        description="If true, learned renewals delay `expiring_soon` where `expiring_within` is not set, and a renewal that is "
        "overdue causes a warning. Applies to providers that state when a token was renewed.",
    )


class Levels(Level):
    """Thresholds, with overrides for single platforms."""

    platforms: dict[str, Inner[Level]] = Field(
        default_factory=dict, description="Thresholds for one platform, such as `[policy.platforms.tiktok]`."
    )


class SourceTable(DefinitionTable):
    """One API key at one provider."""

    name: Annotated[kinds.Name | None, _REQUIRED] = Field(
        default=None, description="Unique name of lowercase letters, digits, `_` and `-`; part of every connection's id."
    )
    provider: Annotated[kinds.Provider | None, _REQUIRED] = Field(
        default=None, description="The service that lists the connections, or `custom`, `dates` or `push`."
    )
    api_key: Annotated[kinds.SecretText | None, DefaultText("required by most providers", required=True)] = Field(
        default=None, description="API key."
    )
    base_url: Annotated[kinds.Text | None, DefaultText("by provider")] = Field(
        default=None, description="Everything up to the resource's own path; `https`, or `http` on loopback only."
    )
    users: Annotated[kinds.Users, DefaultText("none")] = Field(
        default=None,
        description=f"{WITH_USERS}: managed users of a workspace key whose connections are monitored too. The owner's "
        "connections are always monitored.",
    )
    workspaces: Annotated[kinds.Ids | None, DefaultText("all that the key can reach")] = Field(
        default=None, description=f"{WITH_WORKSPACES}: workspaces to monitor."
    )
    connection_links: kinds.Boolean = Field(
        default=False,
        description=f"{WITH_USERS}: if true, alerts about a managed user's connections include that user's connection page "
        "while it is valid. Anyone with the address can connect accounts there: check who reads the channel.",
    )
    probe: Annotated[kinds.Boolean | None, DefaultText("true if the provider has probes")] = Field(
        default=None, description=f"If true, connections are probed in addition to being listed ({_WITH_PROBES})."
    )
    labels: kinds.Labels = Field(
        default_factory=dict, description="Labels of all connections of the source, shown with them and usable in filters."
    )
    poll_every: Annotated[kinds.Interval | None, _SCHEDULE] = Field(
        default=None, description="As in [schedule], for this source."
    )
    probe_every: Annotated[kinds.IntervalOrOff, _SCHEDULE] = Field(default=None, description="As in [schedule], for this source.")
    jitter: Annotated[kinds.Percentage | None, _SCHEDULE] = Field(default=None, description="As in [schedule], for this source.")
    requests_per_minute: Annotated[kinds.WholeNumber | None, _SCHEDULE] = Field(
        default=None, description=f"As in [schedule], for this source. {LIMITS}"
    )
    requests_per_day: Annotated[kinds.WholeNumber | None, DefaultText("none")] = Field(
        default=None, description="Maximum number of requests in 24 hours for this source."
    )
    proxy: Annotated[kinds.SecretText | None, DefaultText("HTTPS_PROXY and NO_PROXY from the environment")] = Field(
        default=None, description="Proxy for this source, `http://` or `https://`."
    )
    ca_file: Annotated[kinds.Text | None, DefaultText("the system's certificates only")] = Field(
        default=None, description="PEM file of additional trusted certificates; verification cannot be turned off."
    )
    dates: Annotated[Dates | None, DefaultText("none")] = Field(
        default=None, description="For provider `dates`: expiry dates, one table for each."
    )
    token: Annotated[kinds.SecretText | None, DefaultText("none")] = Field(
        default=None, description="For provider `push`: token with which reports are pushed, at least 22 characters."
    )
    stale_after: Annotated[kinds.IntervalOrOff, DefaultText("off")] = Field(
        default=None, description="For provider `push`: time without a report after which a connection is stale."
    )
    policy: Inner[Levels] = Field(default_factory=Levels.model_construct, description="Thresholds for this source.")
