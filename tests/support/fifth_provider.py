"""A provider that the program does not know: one adapter and one record of facts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from monitor.config import SourceConfig
from monitor.domain import PollReport, ProbeAnswer, ProviderInfo, ReportedStatus, Snapshot
from monitor.domain.errors import ProviderError, ProviderPayloadInvalid
from monitor.providers.api import Api
from monitor.providers.scopes import report_of, scope_report

INFO = ProviderInfo(
    name="fifth",
    label="The Fifth",
    adapter=f"{__name__}:Fifth",
    list_path="/tokens",
    dashboard_url="https://app.fifth.example/tokens",
    key_header="x-fifth-key",
    scope_in_ids=True,
    trusted_platforms=frozenset({"fediverse"}),
)


class Fifth:
    """One list of tokens with their expiry dates; no probes."""

    probes = False

    def __init__(self, source: SourceConfig, *, api: Api) -> None:
        self._team = source.labels["team"]
        self._api = api

    async def poll(self) -> PollReport:
        """Read the list. A failure is a report."""
        try:
            reply = await self._api.get("/tokens")
        except ProviderError as exc:
            return report_of(self._api, (), [exc], requests=1)
        snapshots = [
            Snapshot(
                external_id=row["id"],
                scope=self._team,
                platform="fediverse",
                reported=ReportedStatus.VALID,
                expires_at=datetime.fromisoformat(row["until"]),
                display_name=row["name"],
            )
            for row in json.loads(reply.body)
        ]
        return report_of(self._api, (scope_report(self._team, snapshots, ()),), (), requests=1)

    async def poll_scopes(self, scopes: Sequence[str | None]) -> PollReport:
        """Read the whole list: a key has one team."""
        del scopes
        return await self.poll()

    async def probe(self, external_id: str, *, scope: str | None) -> ProbeAnswer:
        """Always raises ProviderPayloadInvalid: there is no test-connection call."""
        raise ProviderPayloadInvalid(f"No call tests {external_id} of {scope}.")
