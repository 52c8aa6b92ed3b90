"""The clients that connections belong to, with their counts by status."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from monitor.config import Config
from monitor.domain import Status
from monitor.domain.filters import EVERY, ConnectionFilter
from monitor.domain.records import replace
from monitor.domain.rules.labels import CLIENT
from monitor.store import Connection, connection_queries, label_sets, sources
from monitor.views.connections import Reader
from monitor.views.label_filter import resolve_labels
from monitor.views.staleness import sources_with_old_data


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientView:
    """One client, or the connections that have none."""

    name: str | None
    """The value of the label `client`; None: connections without it."""
    numbers: Counter[Status]
    """Live connections by stored status."""
    stale: Counter[Status]
    """Those whose data is stale."""

    @property
    def needing_attention(self) -> int:
        """The number of connections that need attention."""
        return sum(number for status, number in self.numbers.items() if status.needs_attention)


def client_views(conn: Connection, config: Config, *, now: datetime, selection: ConnectionFilter = EVERY) -> list[ClientView]:
    """Return the clients of the selected connections: most connections that need attention first, without a client last."""
    reader = Reader(config, {row.name: row for row in sources.all_sources(conn)}, now=now)
    chosen = resolve_labels(conn, selection, config)
    found = _count(conn, config, chosen)
    old = sources_with_old_data(conn, reader)
    only_stale = replace(chosen, sources=sorted(old), read_before=reader.stale_limits())
    stale = _count(conn, config, only_stale) if old else {}
    views = [ClientView(name=name, numbers=numbers, stale=stale.get(name, Counter())) for name, numbers in found.items()]
    return sorted(views, key=lambda view: (view.name is None, -view.needing_attention, (view.name or "").casefold()))


def _count(conn: Connection, config: Config, filters: ConnectionFilter) -> dict[str | None, Counter[Status]]:
    sets = label_sets.all_sets(conn)
    own = {source.name: source.labels.get(CLIENT) for source in config.sources}
    found: dict[str | None, Counter[Status]] = {}
    for group in connection_queries.count_by_label_set(conn, filters):
        labels = sets.get(group.label_set) if group.label_set is not None else None
        client = own.get(group.source) if labels is None else labels.values.get(CLIENT)
        found.setdefault(client, Counter())[group.status] += group.number
    return found
