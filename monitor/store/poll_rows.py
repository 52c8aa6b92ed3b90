"""Rows that many polls of one transaction read and write: read in one statement for all of them, and written in another.

Most polls find nothing new. What such a poll reads and writes about its source concerns no other poll, so that the statements
of many can be combined. Any other poll is recorded statement by statement, between the others.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection

from monitor.store import incidents, list_state, sources
from monitor.store.list_state import StoredList
from monitor.store.sources import PollRow, ScopeReading, SourceRow

_MONITOR = ""
"""The source of incidents about the monitor itself."""


class PollRows:
    """Rows of the polls of one transaction. The caller calls `settle` before the transaction ends."""

    def __init__(self, conn: Connection, names: Collection[str], now: datetime) -> None:
        """Read for these sources; `now` is the time of the newest of their polls."""
        self._conn = conn
        self._names, self._now = frozenset(names), now
        self._sources: dict[str, SourceRow] | None = None
        self._lists: dict[str, dict[str | None, StoredList]] | None = None
        self._problems: list[str] | None = None
        self._separate = False
        self._written: dict[str, SourceRow] = {}
        self._scopes: list[ScopeReading] = []
        self._polls: list[PollRow] = []

    def find_source(self, name: str) -> SourceRow | None:
        """Return a source, removed or not; None if there never was one with this name."""
        if name in self._written:
            self.settle()
        if self._sources is None:
            self._sources = sources.find_sources(self._conn, self._names)
        return self._sources.get(name)

    def stored_lists(self, name: str) -> Mapping[str | None, StoredList]:
        """Return the state of every scope of a source. A connection may count as unsettled some milliseconds early."""
        if self._lists is None:
            self._lists = list_state.stored_lists_of(self._conn, self._names, self._now)
        return self._lists.get(name, {})

    def monitor_problems(self) -> Sequence[str]:
        """Return the subjects of the monitor's own open incidents."""
        if self._problems is None:
            self._problems = incidents.open_subjects(self._conn, _MONITOR)
        return self._problems

    def save_source(self, row: SourceRow) -> None:
        """Write every column of an existing source."""
        self._written[row.name] = row
        self._write_if_separate()

    def save_scopes(self, rows: Sequence[ScopeReading]) -> None:
        """Store what a poll read of its scopes."""
        self._scopes += rows
        self._write_if_separate()

    def add_poll(self, row: PollRow) -> None:
        """Store a poll that ended."""
        self._polls.append(row)
        self._write_if_separate()

    def separate(self) -> None:
        """Write what waits, forget what was read, and write each row of the present poll immediately."""
        self._write()
        self._separate = True

    def end_poll(self) -> None:
        """End the present poll. What was read before a separate one may no longer be true."""
        if self._separate:
            self.settle()

    def settle(self) -> None:
        """Write what waits, and forget what was read."""
        self._write()
        self._separate = False

    def _write_if_separate(self) -> None:
        if self._separate:
            self._write()

    def _write(self) -> None:
        if self._written:
            sources.save_sources(self._conn, list(self._written.values()))
        sources.save_readings(self._conn, self._scopes)
        sources.record_polls(self._conn, self._polls)
        self._sources = self._lists = self._problems = None
        self._written, self._scopes, self._polls = {}, [], []
