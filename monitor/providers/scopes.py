"""Reading the scopes of a source, and combining them into one report."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Generic, TypeVar

from monitor.domain import PollOutcome, PollReport, ReportedStatus, ScopeReport, Snapshot, Unreadable, VerdictFlag
from monitor.domain.errors import (
    ProviderError,
    ProviderRateLimited,
    ProviderScopeRefused,
    ProviderUnauthorized,
    ProviderUnreachable,
)
from monitor.domain.records import replace
from monitor.providers.api import Api

T = TypeVar("T")

_WORKERS = 2
_UNREACHABLE_IN_A_ROW = 3
"""Consecutive unreachable scopes (each after its retries) before the rest is left for the next poll."""

_BADNESS = {
    word: rank
    for rank, word in enumerate(
        (
            ReportedStatus.NON_EXPIRING,
            ReportedStatus.VALID,
            ReportedStatus.NO_HEALTH,
            ReportedStatus.UNSTATED,
            ReportedStatus.UNKNOWN,
            ReportedStatus.UNRECOGNISED,
            ReportedStatus.EXPIRING_SOON,
            ReportedStatus.FAILING,
            ReportedStatus.EXPIRED,
            ReportedStatus.REVOKED,
            ReportedStatus.DISCONNECTED,
        )
    )
}
_NO_DATE = datetime.max.replace(tzinfo=UTC)


class ScopeWalk(Generic[T]):
    """Reads scopes, two at a time. A failing scope does not affect the others; the next walk starts where this one stopped."""

    def __init__(self) -> None:
        self._left_over: set[str | None] = set()

    async def read_all(
        self, scopes: Sequence[str | None], read: Callable[[str | None], Awaitable[T]]
    ) -> dict[str | None, T | ProviderError]:
        """Return each scope's result or error. Stops when further requests would fail too."""
        queue = sorted(dict.fromkeys(scopes), key=lambda scope: scope not in self._left_over)
        results: dict[str | None, T | ProviderError] = {}
        unreachable = 0
        stopped: ProviderError | None = None

        async def work() -> None:
            nonlocal unreachable, stopped
            while queue and stopped is None:
                scope = queue.pop(0)
                try:
                    results[scope] = await read(scope)
                    unreachable = 0
                except ProviderError as exc:
                    results[scope] = exc
                    unreachable = unreachable + 1 if isinstance(exc, ProviderUnreachable) else 0
                    if isinstance(exc, (ProviderUnauthorized, ProviderRateLimited)) or unreachable >= _UNREACHABLE_IN_A_ROW:
                        stopped = exc

        async with asyncio.TaskGroup() as group:
            for _ in range(min(_WORKERS, len(queue))):
                group.create_task(work())
        self._left_over = set(queue)
        if stopped is not None:
            results.update(
                dict.fromkeys(queue, type(stopped)(f"Not read in this poll: {stopped}", retry_after=stopped.retry_after))
            )
        return {scope: results[scope] for scope in dict.fromkeys(scopes)}


def failed_scope(scope: str | None, error: ProviderError) -> ScopeReport:
    """Return the report of a scope that could not be read."""
    return ScopeReport(scope=scope, complete=False, problem=str(error), gone=isinstance(error, ProviderScopeRefused))


def report_of(
    api: Api, scopes: Sequence[ScopeReport], errors: Sequence[ProviderError], *, requests: int, covers_all: bool = False
) -> PollReport:
    """Return the poll's report: OK; PARTIAL if something was read or a scope is gone; otherwise the first error's outcome."""
    refused = next((error for error in errors if isinstance(error, ProviderUnauthorized)), None)
    complete = all(scope.complete for scope in scopes)
    first = refused or next(iter(errors), None)
    if refused is not None:
        outcome = PollOutcome.UNAUTHORIZED
    elif first is None:
        outcome = PollOutcome.OK if complete else PollOutcome.PARTIAL
    elif any(scope.complete or scope.snapshots or scope.unreadable or scope.gone for scope in scopes):
        outcome = PollOutcome.PARTIAL
    else:
        outcome = outcome_of(first)
    problem = str(first) if first else next((scope.problem for scope in scopes if not scope.complete and scope.problem), None)
    return PollReport(
        outcome=outcome,
        scopes=tuple(scopes),
        problem=problem,
        retry_after=max((error.retry_after for error in errors if error.retry_after is not None), default=None),
        clock_skew=api.clock_skew,
        requests=requests,
        covers_all=covers_all,
    )


def outcome_of(error: ProviderError) -> PollOutcome:
    """Return the outcome of a poll that ended with this error."""
    if isinstance(error, ProviderUnauthorized):
        return PollOutcome.UNAUTHORIZED
    if isinstance(error, ProviderRateLimited):
        return PollOutcome.RATE_LIMITED
    return PollOutcome.UNREACHABLE if isinstance(error, ProviderUnreachable) else PollOutcome.INVALID


def scope_report(
    scope: str | None, snapshots: Iterable[Snapshot], unreadable: Iterable[Unreadable], *, problem: str | None = None
) -> ScopeReport:
    """Return the report of a scope that was read. A row without a readable id makes it incomplete: it may be any connection."""
    lost = tuple(unreadable)
    return listed_report(scope, without_duplicates(snapshots, lost), lost, problem=problem)


def listed_report(
    scope: str | None,
    snapshots: Sequence[Snapshot],
    unreadable: Sequence[Unreadable],
    *,
    problem: str | None = None,
    digest: str | None = None,
) -> ScopeReport:
    """Return the report like scope_report, for snapshots with unique ids that no unreadable row has."""
    nameless, whole = sum(row.external_id is None for row in unreadable), problem is None
    if problem is None and nameless:
        problem = f"{nameless} of {nameless + len(snapshots)} rows have no readable id."
    complete = problem is None
    return ScopeReport(
        scope=scope,
        complete=complete,
        snapshots=snapshots,
        unreadable=tuple(unreadable),
        problem=problem,
        digest=digest if complete and not unreadable else None,
        whole=whole,
    )


def without_duplicates(snapshots: Iterable[Snapshot], unreadable: Sequence[Unreadable]) -> tuple[Snapshot, ...]:
    """Return one snapshot per id, in any order: the worst status wins, then the earliest date (FAILURES N28).

    An id that also has an unreadable row is left out, because that row may state something worse.
    """
    rows = list(snapshots)
    lost = {row.external_id for row in unreadable}
    if not lost and len({row.external_id for row in rows}) == len(rows):
        return tuple(rows)
    by_id: defaultdict[str, list[Snapshot]] = defaultdict(list)
    for row in rows:
        if row.external_id not in lost:
            by_id[row.external_id].append(row)
    return tuple(same[0] if len(same) == 1 else _worst(same) for same in by_id.values())


def _worst(same: list[Snapshot]) -> Snapshot:
    ordered = sorted(same, key=lambda row: (-_BADNESS[row.reported], row.expires_at or _NO_DATE, row.raw_status or "", row.label))
    return replace(ordered[0], flags=ordered[0].flags | {VerdictFlag.DUPLICATE_ID})
