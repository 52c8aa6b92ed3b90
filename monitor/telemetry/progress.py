"""Detection of stalled work: which recurring activity has not advanced for too long.

The components report what they complete; health pages and the watchdog ask for stalled activities. A database outage is
no stall: the scheduler keeps ticking and retrying.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta

from monitor.domain.records import Record
from monitor.domain.timefmt import span

SCHEDULER = "scheduler"
"""The scheduler checked for due work, or found the database unavailable."""
POLL = "poll"
"""A poll of any source ended and was recorded."""
DELIVERY = "delivery"
"""The worker of a channel (such as `delivery:ops`) completed a cycle or sent something."""


class Limit(Record, frozen=True, kw_only=True):
    """The longest acceptable pause of an activity, and the sentence that reports a longer one."""

    within: timedelta
    sentence: str
    """With {span} for the pause and {name} for the channel."""


LIMITS: Mapping[str, Limit] = {
    # The scheduler ticks twice a second; the slowest legitimate tick waits for a database that does not respond.
    SCHEDULER: Limit(within=timedelta(minutes=3), sentence="The scheduler has not checked for due work for {span}."),
    # Only while polls are due. One poll of a key with thousands of managed users takes long: its request budget limits it.
    POLL: Limit(within=timedelta(hours=2), sentence="Polls are due, but none has completed for {span}."),
    # A worker completes a cycle every few seconds; one message may take a minute, and a slow channel is throttled.
    DELIVERY: Limit(within=timedelta(minutes=10), sentence="Delivery to the channel {name} has been stalled for {span}."),
}
ONLY_WHILE_DUE = frozenset({POLL})
"""Activities that are expected only while work is due."""


class Progress:
    """The latest progress of each activity. Thread-safe.

    An activity is a key of LIMITS, followed by `:name` if there are several. It is expected from its first note on.
    """

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._noted: dict[str, float] = {}
        self._due_since: dict[str, float] = {}
        self.status: Callable[[], str] | None = None
        """Returns the status line of a daemon that works beside others without planning; None for the counts of the store."""
        self.waits_because: Callable[[], str | None] = lambda: None
        """Returns the reason for which this daemon takes no work, although it makes progress; None if it works."""

    def note(self, kind: str) -> None:
        """Record progress of an activity."""
        with self._lock:
            self._noted[kind] = self._monotonic()

    def set_due(self, kind: str, *, due: bool) -> None:
        """Set if work of this kind is due: stalls count only then. To be called on every tick."""
        with self._lock:
            if due:
                self._due_since.setdefault(kind, self._monotonic())
            else:
                self._due_since.pop(kind, None)

    def forget(self, kind: str) -> None:
        """Stop expecting an activity, after its channel was removed from the configuration."""
        with self._lock:
            self._noted.pop(kind, None)
            self._due_since.pop(kind, None)

    def stuck(self, now: float | None = None) -> str | None:
        """Return sentences about stalled activities; None if there are none. `now` is on the monotonic clock."""
        return " ".join(self.problems(now)) or None

    def problems(self, now: float | None = None) -> list[str]:
        """Return one sentence for each stalled activity."""
        at = self._monotonic() if now is None else now
        with self._lock:
            since = list(self._since())
        return [
            limit.sentence.format(span=span(timedelta(seconds=at - then)), name=name)
            for kind, name, then in since
            if (limit := LIMITS.get(kind)) is not None and at - then > limit.within.total_seconds()
        ]

    def _since(self) -> Iterator[tuple[str, str, float]]:
        """Yield kind, name and the time of the latest progress of each expected activity."""
        for key, noted in self._noted.items():
            kind, _, name = key.partition(":")
            if kind not in ONLY_WHILE_DUE:
                yield kind, name, noted
        for key, due_since in self._due_since.items():
            kind, _, name = key.partition(":")
            yield kind, name, max(due_since, self._noted.get(key, due_since))
