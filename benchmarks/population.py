"""One source's list as ready-made bytes: healthy rows, and what they are turned into."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from datetime import datetime

from benchmarks.rows import row


@dataclass(slots=True, kw_only=True)
class Population:
    """What one key lists. Its connections are numbered on from `first`, so that ids differ between sources."""

    name: str
    first: int
    size: int
    at: datetime
    """The instant that dates are reckoned from."""
    expiries: tuple[datetime, ...] = ()
    """The connections' dates, where they are not the usual ones."""
    step: int = 1
    """From one number to the next; that of the platforms makes them all of one platform."""
    same_as: Population | None = None
    """The population whose rows this key lists too; None for rows of its own."""
    _rows: list[bytes] = field(default_factory=list)
    _plain: bytes | None = None
    _zipped: bytes | None = None

    def prepare(self) -> None:
        """Make a large list now: so that no request waits for it later."""
        if self.size >= 1_000:
            self.body(zipped=True)

    def turn(self, word: str, number: int | None) -> None:
        """State this word of one connection (by its number), or of every one."""
        self._fill()
        if number is None:
            self._rows = [self._row(each, word) for each in self._numbers()]
        else:
            self._rows[(number - self.first) // self.step] = self._row(number, word)
        self._plain = self._zipped = None
        self.prepare()

    def body(self, *, zipped: bool) -> bytes:
        """Return the complete answer."""
        if self.same_as is not None:
            return self.same_as.body(zipped=zipped)
        if self._plain is None:
            self._fill()
            self._plain = b'{"success":true,"connections":[' + b",".join(self._rows) + b"]}"
        if not zipped:
            return self._plain
        if self._zipped is None:
            self._zipped = gzip.compress(self._plain, 1, mtime=0)
        return self._zipped

    def _numbers(self) -> range:
        return range(self.first, self.first + self.size * self.step, self.step)

    def _fill(self) -> None:
        if not self._rows:
            self._rows = [self._row(number, "valid") for number in self._numbers()]

    def _row(self, number: int, word: str) -> bytes:
        expires_at = self.expiries[(number - self.first) // self.step] if self.expiries else None
        return row(number, at=self.at, word=word, expires_at=expires_at)
