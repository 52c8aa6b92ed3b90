"""The provider protocol and the limits of a provider."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from monitor.domain import PollReport, ProbeAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """How long one exchange may take, and how much it may bring. Times in seconds, sizes in bytes."""

    list_timeout: float = 30.0
    """Total for one request of a list, body included: no single byte renews it (FAILURES N5)."""
    probe_timeout: float = 15.0
    """Total for one probe: it waits for a live call to the platform."""
    overall_timeout: float = 60.0
    """Total for one list request with its repetitions."""
    attempts: int = 3
    """Tries of one list request; probes are never repeated here."""
    retry_wait: float = 0.5
    """Wait before the second try; doubled before the third, each with as much again of jitter."""
    list_bytes: int = 64 * 1024 * 1024
    """Cap on a list, raw and decoded."""
    other_bytes: int = 1024 * 1024
    """Cap on any other answer, raw and decoded."""
    inflation: int = 100
    """Cap on decoded bytes per raw byte: JSON does not compress better, a bomb does (FAILURES N14)."""
    rows: int = 100_000
    """Rows of one source beyond which a poll is incomplete."""


class Provider(Protocol):
    """One source's API, with its key."""

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
