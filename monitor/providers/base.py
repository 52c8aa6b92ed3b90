"""The provider protocol and the limits of a provider."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from monitor.domain import PollReport, ProbeAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """Limits of one HTTP exchange. Times in seconds, sizes in bytes."""

    list_timeout: float = 30.0
    """Total time for one list request, body included: received bytes do not extend it (FAILURES N5)."""
    probe_timeout: float = 15.0
    """Total time for one probe, which waits for a live call to the platform."""
    overall_timeout: float = 60.0
    """Total time for one list request with its retries."""
    attempts: int = 3
    """Attempts of one list request; probes are never retried here."""
    retry_wait: float = 0.5
    """Wait before the second attempt, doubled before the third; each with up to the same amount of jitter added."""
    list_bytes: int = 64 * 1024 * 1024
    """Maximum size of a list, raw and decoded."""
    other_bytes: int = 1024 * 1024
    """Maximum size of any other response, raw and decoded."""
    inflation: int = 100
    """Maximum decoded bytes per raw byte. JSON does not compress further; a decompression bomb does (FAILURES N14)."""
    rows: int = 100_000
    """Maximum rows of one source; a poll with more is incomplete."""


class Provider(Protocol):
    """Access to one source: an API with a key."""

    @property
    def probes(self) -> bool:
        """True if the API can test connections and the source enables probes."""
        ...

    async def poll(self) -> PollReport:
        """Read the whole list, scope by scope. Never raises a ProviderError: a failure is reported in the result."""
        ...

    async def poll_scopes(self, scopes: Sequence[str | None]) -> PollReport:
        """Read the lists of these scopes only, as far as the API can limit a list; a report may contain further scopes.

        Never raises a ProviderError, as poll().
        """
        ...

    async def probe(self, external_id: str, *, scope: str | None) -> ProbeAnswer:
        """Test one connection.

        A 400 or 404 from the probe endpoint is a result. Raises ProviderUnreachable, ProviderRateLimited,
        ProviderUnauthorized or ProviderPayloadInvalid if there is no result.
        """
        ...
