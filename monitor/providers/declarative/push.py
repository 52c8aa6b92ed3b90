"""A source whose connections a program reports by pushing them: `engine/intake.py` records what arrives."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.config import SourceConfig
from monitor.domain import PollOutcome, PollReport, ProbeAnswer
from monitor.domain.errors import ProviderPayloadInvalid
from monitor.providers.api import Api


class Push:
    """Adapter for one source of pushed reports. Sends no requests."""

    probes = False

    def __init__(self, source: SourceConfig, *, api: Api) -> None:
        del source, api

    async def poll(self) -> PollReport:
        """Return a report without a list: there is nothing to read. Recording it finds the connections that are stale."""
        return PollReport(outcome=PollOutcome.OK)

    async def poll_scopes(self, scopes: Sequence[str | None]) -> PollReport:
        """Return a report without a list."""
        del scopes
        return await self.poll()

    async def probe(self, external_id: str, *, scope: str | None) -> ProbeAnswer:
        """Raise ProviderPayloadInvalid: there is nothing to test."""
        raise ProviderPayloadInvalid(f"A pushed report cannot be tested ({external_id}, {scope}).")
