"""Model of a cluster: from the measured cost of a poll, a probe and a unit to what a number of connections needs.

It is arithmetic on averages: work spread evenly over time, lists that did not change, default intervals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil

from benchmarks.figures import Figure, figure

POLL_EVERY, PROBE_EVERY = 15 * 60, 6 * 3600
"""Seconds: the defaults."""
PER_UNIT = 50
"""Sources in a unit of a busy cluster."""
BUSY = 0.7
"""Share of a core, and of the writers' lock, that is planned for: beyond it work waits."""
LATENCY = 0.2
"""Seconds in which a provider answers."""
SIDE_BY_SIDE = 64
"""Polls that a daemon has under way at a time."""
CONNECTIONS_EACH = 16
"""Connections to PostgreSQL to allow for each daemon: twelve as for one alone, one for the leases and three for the queue."""
SIZES = (100_000, 1_000_000, 10_000_000)
EACH = (500, 10)
"""Connections of a source: large accounts, and many small ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Seconds of one poll or probe."""

    cpu: float
    """Of all daemons."""
    server: float
    """Of PostgreSQL."""
    locked: float
    """During which the writers' lock was held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What the model is computed from."""

    poll: Cost
    probe: Cost
    unit: float
    """CPU seconds of a unit without work."""

    @classmethod
    def of(cls, *, polls: Mapping[str, float], probes: Mapping[str, float], unit: float) -> Costs:
        """Return the costs of measurements by the names of Cost."""
        return cls(poll=Cost(**polls), probe=Cost(**probes), unit=unit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a cluster of a size needs."""

    polls: float
    """A second."""
    probes: float
    """A second."""
    cores: float
    """Cores that daemons use."""
    server: float
    """Cores that PostgreSQL uses."""
    locked: float
    """Share of the time in which the writers' lock is held."""
    daemons: int
    """Daemons with a core each, at most BUSY."""
    most: float
    """Times this number of connections at which the writers' lock is held for BUSY of the time."""

    @property
    def connections(self) -> int:
        """Connections to PostgreSQL."""
        return self.daemons * CONNECTIONS_EACH


def need(connections: int, *, each: int, costs: Costs) -> Need:
    """Return what this number of connections needs, if every source has `each`."""
    polls, probes = connections / each / POLL_EVERY, connections / PROBE_EVERY
    units = polls / PER_UNIT + probes / 500
    cores = polls * costs.poll.cpu + probes * costs.probe.cpu + units * costs.unit
    locked = polls * costs.poll.locked + probes * costs.probe.locked
    side_by_side = polls * (LATENCY + costs.poll.cpu) / SIDE_BY_SIDE
    return Need(
        polls=polls,
        probes=probes,
        cores=cores,
        server=polls * costs.poll.server + probes * costs.probe.server,
        locked=locked,
        daemons=max(1, ceil(cores / BUSY), ceil(side_by_side)),
        most=BUSY / locked if locked else 0.0,
    )


def speed_up(costs: Costs, daemons: int, *, server_cores: int) -> float:
    """Return how much faster polls are done by daemons with a core each than by one, limited by lock and database."""
    poll, shared = costs.poll, []
    if poll.locked:
        shared.append(1 / poll.locked)
    if poll.server:
        shared.append(server_cores / poll.server)
    alone, together = (min(each / poll.cpu, *shared) if shared else each / poll.cpu for each in (1, daemons))
    return together / alone


def table(costs: Costs) -> Iterator[tuple[str, dict[str, Figure]]]:
    """Return the rows of the model: a case and its figures."""
    for each in EACH:
        for size in SIZES:
            found = need(size, each=each, costs=costs)
            yield (
                f"{size:,} connections, {each} each",
                {
                    "polls": figure([found.polls], "/s"),
                    "probes": figure([found.probes], "/s"),
                    "cores": figure([found.cores], ""),
                    "daemons": figure([found.daemons], ""),
                    "postgresql_cores": figure([found.server], ""),
                    "postgresql_connections": figure([found.connections], ""),
                    "lock_held": figure([found.locked * 100], "%"),
                    "lock_full_at": figure([found.most * size / 1e6], "million"),
                },
            )
    for daemons in (2, 4, 8):
        figures = {f"speed_up_{cores}_cores": figure([speed_up(costs, daemons, server_cores=cores)], "x") for cores in (1, 4)}
        yield f"{daemons} daemons, PostgreSQL on 1 and on 4 cores", figures
