"""Who is probed next: single connections whose own time has come, and whole cohorts, some of them a little early."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from monitor.config import SourceConfig
from monitor.domain.rules import schedule
from monitor.store import probes
from monitor.store.probes import Target

BATCH = 1000
"""Answers are written together, at most so many in one transaction."""


@dataclass(slots=True)
class Batch:
    """What one turn of a lane has to do."""

    targets: list[Target] = field(default_factory=list)
    cohorts: list[int] = field(default_factory=list)
    more: bool = False
    """Whether more is due than fits."""


def due_batch(conn: Connection, source: SourceConfig, now: datetime) -> Batch:
    """The next batch of a source: single connections (confirmations, newcomers) in up to half of it, then whole cohorts.

    Once one cohort is due, those that are due soon come along: one burst now and then costs fewer wake-ups, fewer
    transactions and fewer TLS connections than many small ones, and leaves the network alone in between.
    """
    size = batch_size(source)
    single = probes.individually_due(conn, source.name, now, size)
    whole = probes.due_cohorts(conn, source.name, now, lead=schedule.lead(source.probe_every))
    if not whole:
        return Batch(targets=single, more=len(single) == size)
    batch = Batch(targets=single[: size // 2])
    batch.more = _add_cohorts(conn, source, batch, whole, room=size - len(batch.targets)) or len(single) > size // 2
    return batch


def _add_cohorts(conn: Connection, source: SourceConfig, batch: Batch, cohorts: list[int], *, room: int) -> bool:
    """Add the members of as many cohorts as there is room for, at least one; whether any were left out."""
    taken = {target.id for target in batch.targets}
    at, step = 0, 1
    while at < len(cohorts):
        some = cohorts[at : at + step]
        found = probes.cohort_targets(conn, source.name, some)
        for cohort in some:
            members = [target for target in found.get(cohort, ()) if target.id not in taken]
            if batch.cohorts and len(members) > room:
                return True
            batch.targets += members
            batch.cohorts.append(cohort)
            room -= len(members)
        at += len(some)
        # As many at a time as will probably fit: 256 cohorts of a large source are not read to take three of them.
        size = max(1, len(batch.targets) // len(batch.cohorts))
        step = min(max(1, room // size), schedule.COHORTS)
    return False


def batch_size(source: SourceConfig) -> int:
    """As many probes as the request budget allows in some twenty seconds."""
    return max(10, min(BATCH, source.requests_per_minute // 3))
