"""Ask about many connections of one source, side by side, as many at once as the pace needs and no more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import structlog

from monitor.config import SourceConfig
from monitor.domain import ProbeAnswer, ProbeFinding
from monitor.domain.errors import ProviderError, ProviderRateLimited, ProviderUnauthorized
from monitor.domain.rules import probes
from monitor.domain.rules.pacing import probes_at_once
from monitor.providers.base import Provider
from monitor.store.probes import Target

log = structlog.get_logger(__name__)


UNANSWERED = "unanswered"
"""What a probe came to that the API did not answer."""


class Probed(NamedTuple):
    """What came of one probe: an answer, or none."""

    target: Target
    answer: ProbeAnswer | None
    finding: ProbeFinding | None
    """What the answer means."""
    took: float
    """Seconds, with the wait for its turn."""

    @property
    def word(self) -> str:
        """What it is counted as."""
        return UNANSWERED if self.finding is None else self.finding.value


class Lane:
    """One source's probes under way.

    It begins with one probe at a time, or with what was needed last, and widens until `per_second` of them end: a quick
    API needs one connection, one that takes its time some more.
    """

    def __init__(
        self,
        source: SourceConfig,
        provider: Provider,
        targets: Sequence[Target],
        *,
        per_second: float,
        quickest: float | None,
        stopping: Callable[[], bool],
    ) -> None:
        self._source, self._provider, self._stopping = source, provider, stopping
        self._waiting = list(reversed(targets))
        self._needed = partial(probes_at_once, per_second, burst=len(targets))
        self._width, self._working = self._needed(quickest), 0
        self.quickest: float | None = None
        """Seconds that the quickest probe took, None before the first has ended."""
        self.results: list[Probed] = []
        """What has come back, in no order. Whoever takes results out has them for good."""
        self.pause: float | None = None
        """Seconds for which the API wants to be left alone, where it said so or refused the key."""

    async def ask(self) -> None:
        """Ask about each target; ends early where the API asks for a pause or refuses the key."""
        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._width, len(self._waiting))):
                self._start(group)

    def _start(self, group: asyncio.TaskGroup) -> None:
        self._working += 1
        group.create_task(self._work(group))

    async def _work(self, group: asyncio.TaskGroup) -> None:
        while self._waiting and self.pause is None and not self._stopping():
            target = self._waiting.pop()
            started = time.monotonic()
            answer: ProbeAnswer | None = None
            finding: ProbeFinding | None = None
            try:
                answer = await self._provider.probe(target.external_id, scope=target.scope)
                finding = probes.classify(answer, platform=target.platform, ever_ok=target.known.ever_ok)
            except (ProviderRateLimited, ProviderUnauthorized) as error:
                self._rest(error)
                break
            except ProviderError as error:
                log.info("probe.unanswered", source=self._source.name, connection=target.external_id, problem=str(error))
            took = time.monotonic() - started
            self.results.append(Probed(target, answer, finding, took))
            if self.quickest is None or took < self.quickest:
                self.quickest = took
                self._width = self._needed(took)
            if self._working < min(self._width, len(self._waiting)):
                self._start(group)
        self._working -= 1

    def _rest(self, error: ProviderRateLimited | ProviderUnauthorized) -> None:
        seconds = error.retry_after or self._source.poll_every.total_seconds()
        self.pause = max(seconds, self.pause or 0.0)
        log.warning("probes.paused", source=self._source.name, problem=str(error), seconds=seconds)
