"""One reading of a source, judged and not stored: the work of `providers try`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.parser import BytesParser
from typing import Any

from monitor.config import SourceConfig
from monitor.config.definition import Definition
from monitor.domain import PollOutcome, ProbeFinding, ReportedStatus, Snapshot, Unreadable, Verdict, VerdictFlag
from monitor.domain.clock import Clock
from monitor.domain.errors import ProviderError, ProviderPayloadInvalid
from monitor.domain.rules import lifecycle
from monitor.providers import HttpSessions, build_provider, payload
from monitor.providers.declarative import inspection
from monitor.providers.declarative.provider import DeclarativeProvider
from monitor.providers.declarative.rows import Origin, RowMapper

_MOST_TESTS = 3
_NO_DATE = frozenset({VerdictFlag.UNPARSED_DATE, VerdictFlag.ANCIENT_DATE})


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRow:
    """One connection as listed, with its verdict at first sight."""

    snapshot: Snapshot
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialTest:
    """The result of the definition's test for one connection."""

    external_id: str
    finding: str
    """A ProbeFinding, `transient` if no rule applies; or `failed` without a usable response."""
    message: str | None


@dataclass(slots=True, kw_only=True)
class Trial:
    """The result of one reading."""

    problem: str | None = None
    """The reason why the reading failed or is incomplete; None if it is complete."""
    rows: list[TrialRow] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    tests: list[TrialTest] = field(default_factory=list)
    """The definition's test, for the first connections."""
    without_rule: list[str] = field(default_factory=list)
    """Ids of the rows to which no rule for the status applies although a rule describes those that work."""
    words: dict[str, list[str]] = field(default_factory=dict)
    """Words in those rows that the rules do not know, by field."""
    not_dates: dict[str, str] = field(default_factory=dict)
    """By id: the shape of a value at `expires.at` that is no date."""
    unused_fields: list[str] = field(default_factory=list)
    """Names of fields that the definition does not read."""
    first_row: Any = None
    """The first row with its values replaced by their types; None without a definition or a row."""


async def call_once(source: SourceConfig, *, clock: Clock) -> Trial:
    """Return the result of one reading with new network connections."""
    async with HttpSessions() as sessions:
        return await read_once(source, sessions=sessions, clock=clock)


async def read_once(source: SourceConfig, *, sessions: HttpSessions, clock: Clock) -> Trial:
    """Poll a source once and judge what it lists. A failure is part of the result."""
    provider = build_provider(source, sessions=sessions, clock=clock)
    seen: list[tuple[Any, Snapshot | Unreadable]] = []
    if isinstance(provider, DeclarativeProvider):
        provider.observer = lambda row, found: seen.append((row, found))
    report = await provider.poll()
    trial = Trial(problem=report.problem if report.outcome is not PollOutcome.OK else None)
    for scope in report.scopes:
        trial.problem = trial.problem or scope.problem
        trial.rows += [_judged(source, snapshot, now=clock.now()) for snapshot in scope.snapshots]
        trial.unreadable += scope.unreadable
    if isinstance(provider, DeclarativeProvider) and provider.probes:
        trial.tests = [await _tested(provider, row.snapshot) for row in trial.rows[:_MOST_TESTS]]
    return _inspected(trial, source.definition, seen)


async def _tested(provider: DeclarativeProvider, snapshot: Snapshot) -> TrialTest:
    try:
        answer = await provider.probe(snapshot.external_id, scope=snapshot.scope)
    except ProviderError as error:
        return TrialTest(external_id=snapshot.external_id, finding="failed", message=str(error))
    finding = answer.finding or ProbeFinding.TRANSIENT
    without_rule = f"HTTP {answer.http_status}, and no [[sources.test.status]] rule applies to the response."
    message = answer.message or (without_rule if finding is ProbeFinding.TRANSIENT else None)
    return TrialTest(external_id=snapshot.external_id, finding=finding, message=message)


def read_sample(source: SourceConfig, content: bytes, *, now: datetime) -> Trial:
    """Judge a saved response in place of the service's: a body, or headers and body as `curl -i` writes them.

    It is read as one page, for the first token and the first scope. A failure is part of the result.
    """
    definition = source.definition
    if definition is None:
        return Trial(problem="A sample can be read only for a source with a definition.")
    status, headers, body = _response(content)
    token = source.tokens[0].id if source.tokens else None
    scope = next(iter(definition.each.values), None) if definition.each is not None else None
    origin = Origin(scope=scope, token=token, status=status, headers=headers, at=now)
    mapper = RowMapper(definition, now=now)
    try:
        found = payload.read_any(body, content_type=None)
        if definition.list.request is not None and status not in definition.list.request.answers:
            raise ProviderPayloadInvalid(f"The response has HTTP status {status}, which list.answers does not contain.")
        rows = mapper.rows(mapper.listed(found), origin)
    except ProviderError as error:
        return Trial(problem=str(error))
    seen = [(row, mapper.snapshot(row, origin)) for row in rows]
    trial = Trial()
    for _, each in seen:
        if isinstance(each, Unreadable):
            trial.unreadable.append(each)
        else:
            trial.rows.append(_judged(source, each, now=now))
    return _inspected(trial, definition, seen)


def _response(content: bytes) -> tuple[int, Mapping[str, str], bytes]:
    """Return status, headers and body of a saved response; 200 and no headers for a body alone."""
    if not content.startswith(b"HTTP/"):
        return 200, {}, content
    head, _, body = content.replace(b"\r\n", b"\n").partition(b"\n\n")
    first, _, lines = head.partition(b"\n")
    parts = first.split()
    status = int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 200
    return status, dict(BytesParser().parsebytes(lines, headersonly=True).items()), body


def _judged(source: SourceConfig, snapshot: Snapshot, *, now: datetime) -> TrialRow:
    context = source.context(source.policy_for(snapshot.platform), now=now, clock_skew=None, polled=True)
    return TrialRow(snapshot=snapshot, verdict=lifecycle.observe(None, snapshot, context).verdict)


def _inspected(trial: Trial, definition: Definition | None, seen: Sequence[tuple[Any, Snapshot | Unreadable]]) -> Trial:
    if definition is None or not seen:
        return trial
    rows = [row for row, _ in seen]
    trial.first_row = inspection.type_shape(rows[0])
    trial.unused_fields = inspection.unused_fields(definition, rows)
    words: dict[str, set[str]] = {}
    for row, found in seen:
        if _has_no_date(found):
            trial.not_dates[found.external_id or "?"] = _shape_at_expiry(definition, row)
        if isinstance(found, Snapshot) and found.reported is ReportedStatus.UNRECOGNISED:
            trial.without_rule.append(found.external_id)
            for name, word in inspection.compared_words(definition, row).items():
                words.setdefault(name, set()).add(word)
    trial.words = {name: sorted(each) for name, each in sorted(words.items())}
    return trial


def _has_no_date(found: Snapshot | Unreadable) -> bool:
    return "expiry date" in found.why if isinstance(found, Unreadable) else bool(found.flags & _NO_DATE)


def _shape_at_expiry(definition: Definition, row: Any) -> str:
    expires = definition.row.expires
    if expires is None:
        return "none"
    return inspection.value_shape(RowMapper(definition, now=datetime.now(UTC)).value(expires.at, row))
