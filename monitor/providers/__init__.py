"""API adapters, one module for each provider, behind one protocol (`monitor.providers.base`)."""

from __future__ import annotations

from monitor.domain import ProviderKind
from monitor.domain.clock import Clock
from monitor.providers.api import Api
from monitor.providers.base import HttpLimits, Provider, SourceSettings
from monitor.providers.http import HttpSessions
from monitor.providers.postbreeze import KEY_HEADER as POSTBREEZE_KEY
from monitor.providers.postbreeze import REQUESTS_PER_MINUTE as POSTBREEZE_REQUESTS
from monitor.providers.postbreeze import Postbreeze
from monitor.providers.postpeer import KEY_HEADER as POSTPEER_KEY
from monitor.providers.postpeer import PostPeer
from monitor.providers.postpost.client import PROFILES, PostPost
from monitor.providers.rate_limit import RequestBudget

__all__ = ["HttpLimits", "HttpSessions", "RequestBudget", "SourceSettings", "build_provider"]


def build_provider(
    source: SourceSettings, *, sessions: HttpSessions, clock: Clock, budget: RequestBudget | None = None
) -> Provider:
    """The adapter for one source. Sends nothing yet, and needs `sessions` open when it is asked.

    `budget` replaces the allowance that the source's requests_per_minute gives.
    """
    if source.provider is ProviderKind.POSTBREEZE:
        limited = budget or RequestBudget(min(source.requests_per_minute, POSTBREEZE_REQUESTS))
        return Postbreeze(source, api=Api(source, key_header=POSTBREEZE_KEY, sessions=sessions, clock=clock, budget=limited))
    if source.provider is ProviderKind.POSTPEER:
        return PostPeer(api=Api(source, key_header=POSTPEER_KEY, sessions=sessions, clock=clock, budget=budget))
    key_header = PROFILES[source.provider].key_header
    return PostPost(source, api=Api(source, key_header=key_header, sessions=sessions, clock=clock, budget=budget))
