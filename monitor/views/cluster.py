"""The daemons that share the work on a database, for the command line and Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from monitor.config import WORK_QUEUES
from monitor.domain import utc_text
from monitor.store.cluster_tables import ClusterState, DaemonRow, QueueRow
from monitor.telemetry.metrics import Family
from monitor.views.json_types import ClusterQueueJson, MemberJson

DEAD: Final = "dead"
"""The state of a daemon that has not reported itself recently."""
STATES: Final = ("working", "waiting", "draining", DEAD)
_EMPTY = ClusterState(daemons=(), queues=(), leases=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterView:
    """The daemons of a cluster and their work at one time."""

    now: datetime
    daemons: tuple[DaemonRow, ...]
    queues: tuple[QueueRow, ...]
    """One for each kind of unit."""
    leases: int
    has_run: bool
    """False if no daemon of a cluster has used the database."""

    @classmethod
    def of(cls, state: ClusterState | None, *, now: datetime) -> ClusterView:
        """Return the view of what was read from the database."""
        read = state or _EMPTY
        found = {queue.kind: queue for queue in read.queues}
        queues = tuple(
            found.get(kind) or QueueRow(kind=kind, waiting=0, running=0, waiting_since=None)
            for kind in WORK_QUEUES
            if state is not None
        )
        return cls(now=now, daemons=read.daemons, queues=queues, leases=read.leases, has_run=state is not None)

    @property
    def present(self) -> list[DaemonRow]:
        """The daemons that run."""
        return [each for each in self.daemons if each.present]

    @property
    def planner(self) -> DaemonRow | None:
        """The daemon that plans, None if none of those that run does: shortly after a takeover, the one that reported last."""
        return max((each for each in self.present if each.plans), key=lambda each: each.seen_at, default=None)

    def count_states(self) -> Counter[str]:
        """Return the number of daemons by state."""
        return Counter(state_of(each) for each in self.daemons)

    def json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "generated_at": utc_text(self.now),
            "planner": None if self.planner is None else self.planner.id,
            "daemons": [_member(each, plans=each is self.planner) for each in self.daemons],
            "queues": [
                ClusterQueueJson(
                    kind=each.kind, waiting=each.waiting, running=each.running, waiting_since=_text(each.waiting_since)
                )
                for each in self.queues
            ],
            "leases": self.leases,
        }


def state_of(daemon: DaemonRow) -> str:
    """Return the state that a daemon reported, or `dead` if it no longer reports."""
    return daemon.state if daemon.present else DEAD


def _member(daemon: DaemonRow, *, plans: bool) -> MemberJson:
    return MemberJson(
        id=daemon.id,
        host=daemon.host,
        pid=daemon.pid,
        version=daemon.version,
        state=state_of(daemon),
        reason=daemon.detail if daemon.present else None,
        state_since=utc_text(daemon.state_since),
        plans=plans,
        workers=daemon.workers,
        units=daemon.units if daemon.present else 0,
        configuration=daemon.configuration or None,
        clock_offset_seconds=daemon.clock_offset,
        started_at=utc_text(daemon.started_at),
        last_seen_at=utc_text(daemon.seen_at),
    )


def _text(at: datetime | None) -> str | None:
    return None if at is None else utc_text(at)


def families(view: ClusterView) -> Iterator[Family]:
    """Yield the metrics of a cluster."""
    counted = view.count_states()
    yield Family(
        name="cluster_daemons",
        help="Daemons of the cluster by state: working, waiting, draining, or dead (for a day after the last report).",
        labels=("state",),
        samples=[((state,), counted[state]) for state in STATES],
    )
    yield Family(
        name="cluster_planner_up",
        help="1 if a running daemon of the cluster plans the work, otherwise 0.",
        samples=[((), view.planner is not None)],
    )
    yield Family(
        name="cluster_units_waiting",
        help="Units of work in the queue by kind.",
        labels=("kind",),
        samples=[((each.kind,), each.waiting) for each in view.queues],
    )
    yield Family(
        name="cluster_units_running",
        help="Units of work that daemons of the cluster are running, by kind.",
        labels=("kind",),
        samples=[((each.kind,), each.running) for each in view.queues],
    )
    yield Family(
        name="cluster_units_oldest_timestamp_seconds",
        help="Unix time at which the oldest waiting unit was queued, by kind; absent if none waits.",
        labels=("kind",),
        samples=[((each.kind,), each.waiting_since.timestamp()) for each in view.queues if each.waiting_since],
    )
    yield Family(
        name="cluster_leases",
        help="Sources and channels that a daemon of the cluster is working on.",
        samples=[((), view.leases)],
    )
