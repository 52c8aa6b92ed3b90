"""One change of many connections, in one transaction for each batch, so that other writers wait only for a batch.

Connections to which the change does not apply are skipped, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from monitor.domain.text import clean
from monitor.engine.acknowledgements import NotPossible
from monitor.store.connection_queries import ConnectionRow

BATCH = 200
"""Connections changed in one transaction."""


class BulkTarget(NamedTuple):
    """A connection to change."""

    row: int
    """Row id."""
    id: str
    """Public id."""


class Skipped(NamedTuple):
    """A connection that was not changed."""

    id: str
    """Public id."""
    reason: str
    """A sentence."""


@dataclass(slots=True)
class BulkOutcome:
    """The connections that were changed, and those that were skipped, in the order in which they were selected."""

    changed: list[str] = field(default_factory=list)
    """Public ids."""
    rows: list[int] = field(default_factory=list)
    """Row ids of the same connections."""
    skipped: list[Skipped] = field(default_factory=list)

    def add(self, other: BulkOutcome) -> None:
        """Append the outcome of the next batch."""
        self.changed += other.changed
        self.rows += other.rows
        self.skipped += other.skipped


def change_batch(
    targets: Iterable[BulkTarget], rows: Mapping[int, ConnectionRow], change: Callable[[ConnectionRow], object]
) -> BulkOutcome:
    """Apply the change to each connection, in the caller's transaction. `rows` are the connections by row id, as read in it.

    The change raises NotPossible if it does not apply to a connection.
    """
    outcome = BulkOutcome()
    for target in targets:
        row = rows.get(target.row)
        if row is None:
            outcome.skipped.append(Skipped(target.id, f"{clean(target.id, limit=400)} no longer exists."))
            continue
        try:
            change(row)
        except NotPossible as error:
            outcome.skipped.append(Skipped(target.id, str(error)))
        else:
            outcome.changed.append(target.id)
            outcome.rows.append(target.row)
    return outcome
