"""What the configuration has to know of the four services: names, addresses, limits, and what each offers."""

from __future__ import annotations

from dataclasses import dataclass

from monitor.domain import ProviderKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The facts of one service that decide which keys a source may have and what they default to."""

    label: str
    base_url: str
    """Everything up to the resource's own path."""
    list_path: str
    """The resource's own path, which a base_url must not hold."""
    dashboard_url: str
    """Where a person reconnects an account."""
    requests_per_minute: int
    most_per_minute: int | None = None
    """The service's own limit, which no setting may pass; None where it states none."""
    has_users: bool = False
    has_workspaces: bool = False
    has_probes: bool = False


SERVICES: dict[ProviderKind, Service] = {
    ProviderKind.POSTPOST: Service(
        label="PostPost",
        base_url="https://api.postpost.dev/api/v1",
        list_path="/platform-connections",
        dashboard_url="https://app.postpost.dev",
        requests_per_minute=600,
        has_users=True,
        has_probes=True,
    ),
    ProviderKind.PUBLORA: Service(
        label="Publora",
        base_url="https://api.publora.com/api/v1",
        list_path="/platform-connections",
        dashboard_url="https://app.publora.com",
        requests_per_minute=60,
        has_users=True,
        has_probes=True,
    ),
    ProviderKind.POSTBREEZE: Service(
        label="Postbreeze",
        base_url="https://api.postbreeze.ai/api/v1",
        list_path="/social-accounts",
        dashboard_url="https://app.postbreeze.ai",
        requests_per_minute=60,
        most_per_minute=60,
        has_workspaces=True,
    ),
    ProviderKind.POSTPEER: Service(
        label="PostPeer",
        base_url="https://api.postpeer.dev/v1",
        list_path="/connect/integrations",
        dashboard_url="https://app.postpeer.dev",
        requests_per_minute=600,
    ),
}
