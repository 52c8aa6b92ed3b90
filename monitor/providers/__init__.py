"""API adapters, one module for each provider, behind one protocol (`monitor.providers.base`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module

from monitor.config import SourceConfig
from monitor.domain.clock import Clock
from monitor.providers.api import Api
from monitor.providers.base import HttpLimits, Provider
from monitor.providers.http import HttpSessions
from monitor.providers.rate_limit import DayLimit, RequestBudget, ahead_of_others

__all__ = ["HttpLimits", "HttpSessions", "RequestBudget", "ahead_of_others", "build_budget", "build_provider"]


def build_budget(source: SourceConfig, *, spent: Sequence[tuple[float, int]] = ()) -> RequestBudget:
    """Return the allowance of a source's requests_per_minute and requests_per_day.

    `spent` are requests of an earlier process within 24 hours: how many seconds ago, and their number.
    """
    limit = source.info.most_per_minute or source.requests_per_minute
    day = None if source.requests_per_day is None else DayLimit(source.requests_per_day, spent=spent)
    return RequestBudget(min(source.requests_per_minute, limit), day=day)


def build_provider(
    source: SourceConfig,
    *,
    sessions: HttpSessions,
    clock: Clock,
    budget: RequestBudget | None = None,
) -> Provider:
    """Return the adapter for one source. Nothing is sent yet; `sessions` must be open when the adapter is used.

    Without a `budget`, it has one with the source's allowance.
    """
    module, _, name = source.info.adapter.partition(":")
    adapter: Callable[..., Provider] = getattr(import_module(module), name)
    return adapter(source, api=Api(source, sessions=sessions, clock=clock, budget=budget or build_budget(source)))
