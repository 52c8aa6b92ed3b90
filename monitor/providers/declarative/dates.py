"""Expiry dates from the configuration, as a source: they are connections like any other, with all thresholds and labels."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.config import SourceConfig
from monitor.config.settings import DateConfig
from monitor.domain import PollReport, ProbeAnswer, ReportedStatus, Snapshot
from monitor.domain.errors import ProviderPayloadInvalid
from monitor.domain.rules.platforms import canonical
from monitor.domain.text import sanitize_or_none, web_address
from monitor.providers.api import Api
from monitor.providers.scopes import report_of, scope_report


class Dates:
    """Adapter for one source of dates. Sends no requests."""

    probes = False

    def __init__(self, source: SourceConfig, *, api: Api) -> None:
        self._dates, self._api = source.dates, api

    async def poll(self) -> PollReport:
        """Return the dates of the configuration."""
        scope = scope_report(None, [_snapshot(each) for each in self._dates], ())
        return report_of(self._api, (scope,), (), requests=0)

    async def poll_scopes(self, scopes: Sequence[str | None]) -> PollReport:
        """Return the dates of the configuration."""
        del scopes
        return await self.poll()

    async def probe(self, external_id: str, *, scope: str | None) -> ProbeAnswer:
        """Raise ProviderPayloadInvalid: there is nothing to test."""
        raise ProviderPayloadInvalid(f"A date cannot be tested ({external_id}, {scope}).")


def _snapshot(date: DateConfig) -> Snapshot:
    return Snapshot(
        external_id=date.id,
        platform=canonical(date.platform),
        reported=ReportedStatus.UNSTATED,
        expires_at=date.expires_at,
        trusted=True,
        labels=date.labels or None,
        display_name=sanitize_or_none(date.name),
        profile_url=web_address(date.link),
    )
