"""Whether the process makes progress, which is more than being alive: what should go on, and since when it has not.

The parts note what they get done; whoever asks (health pages, a watchdog) is told what has stood still for too long. A
database that is away for hours is no standstill: trying again and being told so is all that can be done then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from monitor.domain.timefmt import span

LOOK = "look"
"""The scheduler has looked at what is due, or was told that the store is not there."""
POLL = "poll"
"""A poll of some source has ended and is recorded."""
DELIVERY = "delivery"
"""The worker of a channel (`delivery:ops`) has gone round, or has sent something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How long something may stand still, and how that is said."""

    within: timedelta
    sentence: str
    """With {span} for how long it has, and {name} for whose it is."""


LIMITS: Mapping[str, Limit] = {
    # It looks twice a second; the slowest legitimate look waits for a database that gives no answer.
    LOOK: Limit(within=timedelta(minutes=3), sentence="The scheduler has not looked at what is due for {span}."),
    # Only while polls are due: a key with thousands of managed users takes its request budget's time for one poll.
    POLL: Limit(within=timedelta(hours=2), sentence="Polls are due, but none has ended for {span}."),
    # A worker goes round every few seconds; one message may take a minute, and a slow channel is paced.
    DELIVERY: Limit(within=timedelta(minutes=10), sentence="The worker of the channel {name} has not moved for {span}."),
}
OWED = frozenset({POLL})
"""What is expected only while something is due."""


class Progress:
    """Remembers when each kind of work last got on. Any thread may call it.

    A kind is a word of LIMITS, with `:name` where there are several. It is expected from the first note on.
    """

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._noted: dict[str, float] = {}
        self._owed_since: dict[str, float] = {}

    def note(self, kind: str) -> None:
        """It has got on just now."""
        with self._lock:
            self._noted[kind] = self._monotonic()

    def owe(self, kind: str, *, due: bool) -> None:
        """Whether anything of this kind is due now: only then does standing still mean anything. To be told again and again."""
        with self._lock:
            if due:
                self._owed_since.setdefault(kind, self._monotonic())
            else:
                self._owed_since.pop(kind, None)

    def forget(self, kind: str) -> None:
        """It is not expected any more: its channel has left the configuration."""
        with self._lock:
            self._noted.pop(kind, None)
            self._owed_since.pop(kind, None)

    def stuck(self, now: float | None = None) -> str | None:
        """What has stood still for too long, as sentences; None where all goes on. `now` is on the monotonic clock."""
        return " ".join(self.problems(now)) or None

    def problems(self, now: float | None = None) -> list[str]:
        """What has stood still for too long, one sentence each."""
        at = self._monotonic() if now is None else now
        with self._lock:
            since = list(self._since())
        return [
            limit.sentence.format(span=span(timedelta(seconds=at - then)), name=name)
            for kind, name, then in since
            if (limit := LIMITS.get(kind)) is not None and at - then > limit.within.total_seconds()
        ]

    def _since(self) -> Iterator[tuple[str, str, float]]:
        """Kind, name and the instant since which each expected thing has stood still."""
        for key, noted in self._noted.items():
            kind, _, name = key.partition(":")
            if kind not in OWED:
                yield kind, name, noted
        for key, owed in self._owed_since.items():
            kind, _, name = key.partition(":")
            yield kind, name, max(owed, self._noted.get(key, owed))
