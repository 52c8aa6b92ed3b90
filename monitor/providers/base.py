"""What the monitor asks of a provider's API. The adapters in monitor.providers implement it."""

from __future__ import annotations

from typing import Protocol

from monitor.domain import PollReport, ProbeAnswer, ProviderKind


class Provider(Protocol):
    """One source's API, with its key."""

    @property
    def kind(self) -> ProviderKind:
        """Which of the four APIs this is."""
        ...

    @property
    def probes(self) -> bool:
        """Whether the API has a test-connection call and the source wants it used."""
        ...

    async def poll(self) -> PollReport:
        """Read the whole list, scope by scope. Never raises a ProviderError: a failure is a report."""
        ...

    async def probe(self, external_id: str, *, scope: str | None) -> ProbeAnswer:
        """Test one connection.

        A 400 or 404 of the probe endpoint is an answer. Raises ProviderUnreachable, ProviderRateLimited,
        ProviderUnauthorized or ProviderPayloadInvalid where there was none.
        """
        ...
