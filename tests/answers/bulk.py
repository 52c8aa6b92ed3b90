"""A great many generated answers, through the real parsers and rules, each checked by the oracle."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from monitor.domain import ConnectionState, Policy, PollReport, ProbeAnswer, ScopeReport, provider_info
from monitor.domain.errors import ProviderError
from monitor.domain.providers import coded_names
from monitor.domain.rules import lifecycle, probe_answers
from monitor.domain.rules.expiry import Context
from monitor.domain.rules.fingerprint import fingerprint
from tests.answers import generator, oracle
from tests.answers.case import SampleSource
from tests.answers.checker import unfit_rows
from tests.answers.generator import Payload
from tests.answers.memory import Peak
from tests.answers.offline import Raw, provider
from tests.answers.oracle import Judged
from tests.support.factories import NOW

Key = tuple[str | None, str]
"""Scope and id."""


@dataclass(kw_only=True)
class Tally:
    """What a run came to."""

    payloads: int = 0
    probes: int = 0
    rows: int = 0
    unreadable: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    crashes: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0
    grown: int = 0
    """Bytes by which the process was larger at its largest than at the beginning."""


@dataclass(kw_only=True)
class World:
    """The connections of each API before any of the answers."""

    states: dict[str, dict[Key, ConnectionState]]

    @classmethod
    async def begin(cls) -> World:
        """Return every connection as flawless lists state it."""
        return cls(states={kind: await _listed(kind) for kind in coded_names()})


async def _listed(kind: str) -> dict[Key, ConnectionState]:
    body = SampleSource(kind=kind).text(generator.known(kind))
    report = await provider(kind, Raw(body=body)).poll()
    return {key: state for key, _, state in _observed(kind, report, {})}


def _context(kind: str, report: PollReport | None = None) -> Context:
    return Context(
        now=NOW, provider=provider_info(kind), policy=Policy(), polled=True, clock_skew=report.clock_skew if report else None
    )


def _observed(
    kind: str, report: PollReport, before: dict[Key, ConnectionState]
) -> Iterator[tuple[Key, ConnectionState | None, ConnectionState]]:
    """Each listed connection: what was known and what is known now."""
    context = _context(kind, report)
    for scope in report.scopes:
        for row in scope.snapshots:
            key = (scope.scope, row.external_id)
            fingerprint(row)
            yield key, before.get(key), lifecycle.observe(before.get(key), row, context)


def _absent(report: PollReport, before: dict[Key, ConnectionState]) -> list[str]:
    """Known connections that these lists prove to be missing."""
    scopes = {scope.scope: scope for scope in report.scopes}
    return [name for (place, name) in before if _is_absent(scopes.get(place), name, covers_all=report.covers_all)]


def _is_absent(scope: ScopeReport | None, name: str, *, covers_all: bool) -> bool:
    if scope is None:
        return covers_all
    lost = {row.external_id for row in scope.unreadable}
    listed = {row.external_id for row in scope.snapshots}
    return scope.complete and None not in lost and name not in lost | listed


async def run(*, payloads: int, seed: int, first: int = 0) -> Tally:
    """Generate so many answers and see what is made of them. Peak memory counts from when all is warm."""
    tally, world = Tally(), await World.begin()
    begun, peak = time.monotonic(), Peak()
    for number in range(first, first + payloads):
        if number == first + 500:
            peak = Peak()
        payload = generator.payload(seed, number)
        try:
            complaints = await look(payload, world, tally)
        except Exception as error:  # noqa: BLE001 - whatever comes out is the finding
            tally.crashes.append(f"{number} ({payload.kind}): {type(error).__name__}: {str(error)[:200]}")
            continue
        tally.wrong += [f"{number} ({payload.kind}): {text}" for text in complaints]
    tally.seconds, tally.grown = time.monotonic() - begun, peak.grown()
    return tally


async def look(payload: Payload, world: World, tally: Tally) -> list[str]:
    """Everything that is wrong with what one answer comes to. Raises whatever comes out of the adapters and the rules."""
    tally.payloads += 1
    if payload.probe:
        tally.probes += 1
        return await _probed(payload, world)
    before = world.states[payload.kind]
    report = await provider(payload.kind, payload.raw, rows=200).poll()
    tally.outcomes[report.outcome] += 1
    judged = []
    for (_, name), was, now in _observed(payload.kind, report, before):
        judged.append(Judged(external_id=name, before=was.verdict.status if was else None, after=now.verdict.status))
        tally.verdicts[now.verdict.status] += 1
    wrong = list(oracle.complaints(payload, report, judged, _absent(report, before)))
    for scope in report.scopes:
        tally.rows += len(scope.snapshots)
        tally.unreadable += len(scope.unreadable)
        wrong += unfit_rows(scope)
    return wrong


async def _probed(payload: Payload, world: World) -> list[str]:
    """Give every connection the answer to a probe three times, and return what is wrong."""
    answer: ProbeAnswer | None = None
    finding = None
    try:
        answer = await provider(payload.kind, payload.raw).probe("linkedin-000a", scope=None)
        finding = probe_answers.classify(answer, platform="linkedin", date_trusted=True)
    except ProviderError:
        pass
    wrong = list(oracle.probe_complaints(payload, answer, finding))
    if answer is None or finding is None:
        return wrong
    for (_, name), state in world.states[payload.kind].items():
        after = state
        for _ in range(3):
            after = lifecycle.probed(after, answer, _context(payload.kind))
        was, now = state.verdict.status, after.verdict.status
        if now.rank < was.rank:
            wrong.append(f"FALSE RECOVERY: {name} was {was} and is {now}")
        if now is not was and not finding.is_refusal:
            wrong.append(f"{name} became {now} by an answer that means {finding}")
    return wrong
