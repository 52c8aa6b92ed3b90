"""API adapters, one module for each provider, behind one protocol (`monitor.providers.base`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module

from monitor.config import SourceConfig
from monitor.domain.clock import Clock
from monitor.providers.api import Api
from monitor.providers.base import HttpLimits, Provider
from monitor.providers.http import HttpSessions
from monitor.providers.rate_limit import RequestBudget, ahead_of_others

__all__ = ["HttpLimits", "HttpSessions", "RequestBudget", "ahead_of_others", "build_provider"]


def build_provider(
    source: SourceConfig,
    *,
    sessions: HttpSessions,
    clock: Clock,
    budget: RequestBudget | None = None,
    spent: Sequence[tuple[float, int]] = (),
) -> Provider:
    """Return the adapter for one source. Nothing is sent yet; `sessions` must be open when the adapter is used.

    `budget` replaces the allowance that the source's requests_per_minute and requests_per_day give. `spent` are requests of an
    earlier process within 24 hours: how many seconds ago, and their number.
    """
    module, _, name = source.info.adapter.partition(":")
    adapter: Callable[..., Provider] = getattr(import_module(module), name)
    return adapter(source, api=Api(source, sessions=sessions, clock=clock, budget=budget, spent=spent))
