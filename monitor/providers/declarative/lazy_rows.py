"""Rows of a list that are mapped only when they are needed: an unchanged list is recognised without them."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from datetime import datetime
from typing import overload

from monitor.domain import Snapshot
from monitor.domain.rules.fingerprint import SnapshotRows


class LazyRows(Sequence[Snapshot]):
    """The snapshots of a list, one for each id."""

    def __init__(self, length: int, load: Callable[[], Sequence[Snapshot]]) -> None:
        """Create it for a list with this number of connections. `load` returns their snapshots; it is called at most once."""
        self._length, self._load = length, load
        self._loaded: Sequence[Snapshot] | None = None
        self._rows: SnapshotRows | None = None

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Snapshot: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Snapshot]: ...

    def __getitem__(self, index: int | slice) -> Snapshot | Sequence[Snapshot]:
        return self._snapshots()[index]

    def __iter__(self) -> Iterator[Snapshot]:
        return iter(self._snapshots())

    def fingerprints(self) -> Mapping[str, str]:
        """Return the fingerprints of the snapshots."""
        return self._comparable().fingerprints()

    def spans(self) -> Mapping[str, datetime]:
        """Return no coarse spans: definitions state none."""
        return {}

    def snapshots_of(self, ids: Container[str]) -> Iterator[Snapshot]:
        """Return the snapshots with these ids."""
        return self._comparable().snapshots_of(ids)

    def _snapshots(self) -> Sequence[Snapshot]:
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded

    def _comparable(self) -> SnapshotRows:
        if self._rows is None:
            self._rows = SnapshotRows(self._snapshots())
        return self._rows
