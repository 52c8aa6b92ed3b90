"""Checks of hostile answers: real sockets on loopback, the real adapters, and the real recording over a stored world.

Every source has fifty connections, once all of them valid and once all expired: an answer that must not turn expired into
valid must not turn valid into expired either. What a case changes is rolled back, so each begins in the same world.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import structlog
from sqlalchemy import Connection, func, select

from monitor.config import SourceConfig, load
from monitor.domain import PollOutcome, PollReport, ProbeAnswer, ScopeReport, Status
from monitor.domain.errors import ProviderError
from monitor.domain.filters import ConnectionFilter
from monitor.domain.providers import coded_names, provider_info
from monitor.domain.rules import probe_answers
from monitor.engine import config_sync
from monitor.engine.probe_runner import Batch, ProbeResult
from monitor.engine.recording import Recorded
from monitor.engine.recording.polls import Poll, record_poll
from monitor.engine.recording.probes import record_probes
from monitor.providers import HttpLimits, HttpSessions, RequestBudget, build_provider
from monitor.providers.base import Provider
from monitor.store import Store, connection_queries, schema
from monitor.store.connection_queries import ConnectionRow
from monitor.store.probes import Target
from tests.answers.case import CONNECTIONS, STATING, Case, ProbeCase, SampleSource
from tests.contract import loopback
from tests.contract.loopback import KEY, Request, Response, Server
from tests.support.factories import NOW
from tests.support.fakes import ManualClock

LIMITS = HttpLimits(list_timeout=20.0, probe_timeout=20.0, overall_timeout=40.0, retry_wait=0.001)
"""As in production but for the waits: a slow machine must not look like a deadline."""
_QUICK = replace(LIMITS, list_timeout=0.25, probe_timeout=0.25, attempts=1)
_AT_MOST = 60.0
"""Seconds after which a poll that has not ended never will."""


class Held(NamedTuple):
    """What the store holds of a connection."""

    external_id: str
    account: str
    """What identifies the account on its platform under any id: the account id that the service states, else the profile."""
    platform: str
    status: Status
    reason: str
    flags: frozenset[str]


class _Undo(Exception):
    """Ends a transaction of which nothing is to stay."""


def template(store: Store, folder: Path) -> dict[tuple[str, bool], SourceConfig]:
    """Fill a store with the world, and return its sources by kind and health."""
    path = folder / "config.toml"
    path.touch(mode=0o600)
    path.write_text("".join(_source_text(sample) for sample in samples()), encoding="utf-8")
    config = load(path, {"HOME": str(folder)}).config
    with store.begin_write() as conn:
        config_sync.sync(conn, config, NOW)
    return {(sample.kind, sample.well): source for sample, source in zip(samples(), config.sources, strict=True)}


def samples() -> list[SampleSource]:
    """Return every source: one of each kind with all valid, and one with all expired if its rows can state that."""
    return [SampleSource(kind=kind, well=well) for kind in coded_names() for well in (True, False) if well or kind in STATING]


def _source_text(sample: SampleSource) -> str:
    name = f"{sample.kind}-{'well' if sample.well else 'ill'}"
    return (
        f'[[sources]]\nname = "{name}"\nprovider = "{sample.kind}"\napi_key = "{KEY}"\nbase_url = "http://127.0.0.1:9/{name}"\n'
    )


@dataclass(kw_only=True)
class Checker:
    """The stored world, the servers that answer, and the sessions that ask them."""

    store: Store
    sources: Mapping[tuple[str, bool], SourceConfig]
    server: Server
    sessions: HttpSessions
    quick: HttpSessions
    clock: ManualClock
    elsewhere: Server
    """Another host, which must never receive a request."""
    before: dict[SampleSource, dict[str, Held]] = field(default_factory=dict)
    """The connections of each source when a case begins."""

    def provider(self, kind: str, case: Case | ProbeCase) -> Provider:
        """Return a new adapter."""
        settings = loopback.source(kind, self.server)
        sessions = self.quick if case.quick else self.sessions
        if isinstance(case, Case) and (case.cap is not None or case.rows is not None):
            limits = replace(sessions.limits, list_bytes=case.cap or LIMITS.list_bytes, rows=case.rows or LIMITS.rows)
            sessions = _Narrowed(sessions, limits)
        return build_provider(settings, sessions=sessions, clock=self.clock, budget=RequestBudget(6_000_000))

    async def poll(self, case: Case, sample: SampleSource) -> PollReport:
        """Return the adapter's report of the case's answer."""
        self.server.answer = lambda request: _answer(case, sample, request, self.elsewhere)
        self.server.requests.clear()
        async with asyncio.timeout(_AT_MOST):
            return await self.provider(sample.kind, case).poll()

    async def probe(self, case: ProbeCase, sample: SampleSource) -> ProbeAnswer | ProviderError:
        """Return what the adapter reads from an answer to a probe, or the error."""
        self.server.answer = lambda request: _answer(case, sample, request, self.elsewhere)
        async with asyncio.timeout(_AT_MOST):
            try:
                return await self.provider(sample.kind, case).probe(sample.id_of(0), scope=None)
            except ProviderError as error:
                return error

    @contextmanager
    def undone(self) -> Iterator[Connection]:
        """Open a transaction that is rolled back."""
        try:
            with self.store.begin_write() as conn:
                yield conn
                raise _Undo  # noqa: TRY301 - this is how a transaction is left
        except _Undo:
            pass

    def held(self, conn: Connection, sample: SampleSource) -> dict[str, Held]:
        """Return the source's stored connections by their ids."""
        c = schema.connections.c
        columns = (c.external_id, func.coalesce(c.account, c.profile_url, ""), c.platform, c.status, c.reason, c.flags)
        query = select(*columns).where(c.source == self.sources[sample.kind, sample.well].name, c.retired_at.is_(None))
        return {row[0]: Held(row[0], row[1], row[2], Status(row[3]), row[4], row[5]) for row in conn.execute(query)}


class _Narrowed(HttpSessions):
    """The same connections under other limits."""

    def __init__(self, sessions: HttpSessions, limits: HttpLimits) -> None:
        super().__init__(limits=limits, env={})
        self.transport = sessions.transport  # type: ignore[method-assign] # nothing of its own is ever opened


def _rows(conn: Connection, source: str) -> list[ConnectionRow]:
    return list(connection_queries.list_connections(conn, ConnectionFilter(sources=[source])))


def _answer(case: Case | ProbeCase, sample: SampleSource, request: Request, elsewhere: Server) -> Response:
    response = case.answer(sample, request)
    place = response.headers.get("location")
    if place is None:
        return response
    place = place.replace("other.invalid", f"localhost:{elsewhere.port}")
    return replace(response, headers={**response.headers, "location": place})


@asynccontextmanager
async def checker(folder: Path) -> AsyncIterator[Checker]:
    """Open a checker in a folder; every source has been polled once and lists its connections."""
    async with AsyncExitStack() as stack:
        store = stack.enter_context(Store(f"sqlite:///{folder / 'monitor.db'}"))
        store.upgrade()
        made = Checker(
            store=store,
            sources=template(store, folder),
            server=await stack.enter_async_context(loopback.running(lambda _: Response())),
            elsewhere=await stack.enter_async_context(loopback.running(lambda _: Response())),
            sessions=await stack.enter_async_context(HttpSessions(limits=LIMITS, env={})),
            quick=await stack.enter_async_context(HttpSessions(limits=_QUICK, env={})),
            clock=ManualClock(NOW),
        )
        usual = Case(name="usual", row="", part="", answer=lambda sample, _: loopback.as_json(sample.envelope(sample.rows())))
        with structlog.testing.capture_logs(), store.begin_write() as conn:
            for sample in samples():
                report = await made.poll(usual, sample)
                assert (report.outcome, report.listed) == (PollOutcome.OK, CONNECTIONS)
                _record(conn, made, sample, report)
                made.before[sample] = made.held(conn, sample)
                assert {held.status for held in made.before[sample].values()} == {_expected(sample)}
        yield made


def _expected(sample: SampleSource) -> Status:
    if sample.kind not in STATING:
        return Status.UNKNOWN
    return Status.VALID if sample.well else Status.EXPIRED


def _record(conn: Connection, made: Checker, sample: SampleSource, report: PollReport) -> Recorded:
    poll = Poll(report=report, started_at=NOW, now=NOW)
    return record_poll(conn, made.sources[sample.kind, sample.well], poll, channels=())


# --- what must hold ---


async def check_poll(made: Checker, case: Case, kind: str) -> list[str]:
    """Give one answer to a kind of source, valid and expired, and return a line for each violation."""
    wrong: list[str] = []
    report: PollReport | None = None
    for sample in samples():
        if sample.kind != kind or (case.only_well and not sample.well):
            continue
        try:
            if report is None or report.listed:
                report = await made.poll(case, sample)
            wrong += [
                f"{_place(case.name, sample)}: {text}"
                for text in (*_unfit(case, report), *_misjudged(made, case, sample, report))
            ]
        except Exception as error:  # noqa: BLE001 - whatever comes out is the finding
            wrong.append(f"{_place(case.name, sample)}: {type(error).__name__}: {str(error)[:300]}")
    return wrong


async def check_probe(made: Checker, case: ProbeCase, kind: str) -> list[str]:
    """Give every connection the same probe answer three times, and return a line for each violation."""
    wrong: list[str] = []
    for sample in samples():
        if sample.kind != kind:
            continue
        try:
            answer = await made.probe(case, sample)
            wrong += [f"{_place(case.name, sample)}: {text}" for text in _misread(made, case, sample, answer)]
        except Exception as error:  # noqa: BLE001 - whatever comes out is the finding
            wrong.append(f"{_place(case.name, sample)}: {type(error).__name__}: {str(error)[:300]}")
    return wrong


def _place(name: str, sample: SampleSource) -> str:
    return f"{name} [{sample.kind}, {'well' if sample.well else 'ill'}]"


def _unfit(case: Case, report: PollReport) -> Iterator[str]:
    """Yield what is wrong with the report itself."""
    if report.outcome not in case.outcome:
        yield f"ended as {report.outcome}, not as {'/'.join(sorted(case.outcome))}: {report.problem}"
    if report.outcome is not PollOutcome.OK and not report.problem:
        yield "states no problem"
    if case.problem not in (report.problem or ""):
        yield f"does not state {case.problem!r}: {report.problem}"
    if len(report.problem or "") > 500 or KEY in repr(report):
        yield "is too long or holds the key"
    if case.waits != "any" and report.retry_after != (None if case.waits == "default" else case.waits):
        yield f"waits {report.retry_after}, not {case.waits}"
    for scope in report.scopes:
        yield from unfit_rows(scope)


def unfit_rows(scope: ScopeReport) -> Iterator[str]:
    """Yield texts that a store or a channel could not hold."""
    rows = list(scope.snapshots)
    if len({row.external_id for row in rows}) != len(rows):
        yield "one id twice"
    for row in rows:
        for text in (row.external_id, row.platform, row.username, row.display_name, row.profile_url, row.raw_status, row.account):
            if text is not None and (not 0 < len(text) <= 600 or "\x00" in text or "\n" in text):
                yield f"an unfit text: {text[:80]!r}"
            (text or "").encode()


def _misjudged(made: Checker, case: Case, sample: SampleSource, report: PollReport) -> Iterator[str]:
    """Yield changes of verdicts and alerts that the report does not justify."""
    before = made.before[sample]
    with made.undone() as conn:
        recorded = _record(conn, made, sample, report)
        if not report.listed and not any(scope.complete for scope in report.scopes):  # no evidence stays none, however often
            recorded.add(_record(conn, made, sample, report))
            recorded.add(_record(conn, made, sample, report))
        after = made.held(conn, sample)
    first = sample.id_of(0)
    allowed = (case.well if sample.well else case.ill) or before[first].status
    accounts = {held.account: held for held in after.values() if held.account}
    others: list[str] = []
    for key, held in before.items():
        now = after.get(key) or accounts.get(held.account)  # the same account under a new id goes on
        if now is None:
            yield f"{key} is gone"
        elif key == first and allowed not in ("any", now.status):
            yield f"the first became {now.status} ({now.reason}), not {allowed}"
        elif key != first and now.status is not held.status:
            others.append(f"{key} became {now.status} ({now.reason})")
    if others:
        yield f"{others[0]}, and {len(others) - 1} others"
    if case.flag and sample.well and report.listed and first in after and case.flag not in after[first].flags:
        yield f"the first is not flagged {case.flag} but {', '.join(sorted(after[first].flags)) or 'nothing'}"
    alerted = {alert.external_id for alert in recorded.alerts if alert.external_id in before}
    if alerted - {first} or (alerted and allowed == before[first].status):
        yield f"an alert was raised about {sorted(map(str, alerted))[:5]}"


def _misread(made: Checker, case: ProbeCase, sample: SampleSource, outcome: ProbeAnswer | ProviderError) -> Iterator[str]:
    """Yield changes of verdicts that an answer to a probe does not justify."""
    answer = outcome if isinstance(outcome, ProbeAnswer) else None
    source = made.sources[sample.kind, sample.well]
    finding = None if answer is None else probe_answers.classify(answer, platform="linkedin", date_trusted=True)
    with made.undone() as conn:
        for _ in range(3):
            results = [_probed(row, answer) for row in _rows(conn, source.name)]
            record_probes(conn, source, Batch(), results, pause=None, channels=(), now=NOW)
        after = made.held(conn, sample)
    if finding is not case.finding:
        yield f"means {finding}, not {case.finding} ({outcome})"
    if len(str(outcome)) > 2000 or KEY in repr(outcome):
        yield "is too long or holds the key"
    allowed = (case.well if sample.well else case.ill) or _expected(sample)
    trusted = (case.trusted if sample.well else "") or allowed
    for expected, held in _by_trust(source, after, trusted=trusted, other=allowed):
        changed = {each.status for each in held} - {expected}
        if changed:
            yield f"connections became {', '.join(sorted(changed))}, not {expected}"


def _by_trust(source: SourceConfig, after: Mapping[str, Held], *, trusted: str, other: str) -> Iterator[tuple[str, list[Held]]]:
    """Yield the expected status with the connections of the platforms whose dates are trusted, then of the others."""
    for are_trusted, expected in ((True, trusted), (False, other)):
        yield expected, [held for held in after.values() if (held.platform in source.info.trusted_platforms) is are_trusted]


def _probed(row: ConnectionRow, answer: ProbeAnswer | None) -> ProbeResult:
    seen, known = row.state.snapshot, row.state.probe
    trusted = seen.platform in provider_info(row.provider).trusted_platforms
    finding = None if answer is None else probe_answers.classify(answer, platform=seen.platform, date_trusted=trusted)
    return ProbeResult(Target(row.id, seen.external_id, seen.scope, seen.platform, known), answer, finding, 0.0)
