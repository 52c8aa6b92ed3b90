"""The contents of a report, and its text: what needs action, what recovered, uptime by client, and the health of the channels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from monitor.domain import Status
from monitor.domain.rules.advice import PLATFORM_NAMES
from monitor.domain.rules.forecast import Need, ReconnectBatch
from monitor.domain.rules.uptime import Hours, RecoveryTimes
from monitor.domain.text import clean
from monitor.domain.timefmt import day, moment, span
from monitor.store.channel_states import ChannelState

_MOST_BATCHES = 25  # the others are counted
_MOST_NAMES = 10
_MOST_GROUPS = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupUptime:
    """The uptime of one client's connections, or of another group."""

    name: str
    """Empty: the connections without the label."""
    connections: int
    """The number now."""
    hours: Hours
    before: Hours
    """In the period before this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadSource:
    """A source that cannot be read at the moment."""

    name: str
    since: datetime | None
    """Its last successful poll; None: it was never read."""
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportLine:
    """One connection of a report."""

    connection: str
    """Its public id."""
    name: str
    platform: str
    source: str
    group: str
    labels: Mapping[str, str]
    status: Status
    since: datetime
    expires_at: datetime | None
    hours: Hours


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that a report states."""

    now: datetime
    days: int
    """The period that uptime and recoveries cover, which ends now."""
    ahead: timedelta
    """The period ahead whose expiries it lists."""
    group_by: str
    batches: tuple[ReconnectBatch, ...]
    """Connections to reconnect now or within `ahead`, the worst first."""
    counts: Mapping[Status, int]
    groups: tuple[GroupUptime, ...]
    """The lowest uptime first."""
    hours: Hours
    before: Hours
    """In the period before this one."""
    recovered: int
    """Recoveries within the period."""
    recovery: RecoveryTimes | None
    """The durations of the recoveries for which the beginning of the trouble is known."""
    unread: tuple[UnreadSource, ...]
    lines: tuple[ReportLine, ...]
    """The connections that are monitored now, by source and id."""


def report_lines(report: Report, channels: Sequence[ChannelState], *, zone: ZoneInfo | None) -> list[str]:
    """Return lines of plain text, the summary first. Names are cleaned; escaping is left to the channel."""
    lines = [
        summary(report),
        _status_counts(report.counts),
        *_batch_lines(report.batches, zone),
        *unread_lines(report, zone),
        recovery_line(report),
        *_uptime_lines(report),
    ]
    if channels:
        lines.append("Channels: " + "; ".join(_channel(state, report.now) for state in channels) + ".")
    return lines


def summary(report: Report) -> str:
    """Return the sentence that opens the report."""
    batches, ahead = report.batches, report.ahead
    count = sum(len(batch.needs) for batch in batches)
    if not count:
        return f"No connection needs action in the next {ahead.days} days."
    broken = sum(len(batch.needs) for batch in batches if batch.overdue)
    now = f" {broken} of them no longer work{'s' if broken == 1 else ''}." if broken else ""
    subject = "1 connection needs" if count == 1 else f"{count} connections need"
    return f"{subject} action in the next {ahead.days} days, in {_count_batches(batches)}.{now}"


def _status_counts(counts: Mapping[Status, int]) -> str:
    shown = [f"{counts[status]} {status.value}" for status in sorted(Status, key=lambda each: -each.rank) if counts.get(status)]
    return f"All connections: {', '.join(shown) or 'none'}."


def _batch_lines(batches: Sequence[ReconnectBatch], zone: ZoneInfo | None) -> Iterator[str]:
    for batch in batches[:_MOST_BATCHES]:
        where = f"{len(batch.needs)} on {platform_name(batch)} at {batch.source}"
        yield f"{_when(batch, zone)}: {_group(batch)}{where}: {_names(batch, zone)}."
    if rest := batches[_MOST_BATCHES:]:
        yield f"And {_count_batches(rest, 'more ')} with {sum(len(batch.needs) for batch in rest)} connections."


def platform_name(batch: ReconnectBatch) -> str:
    """Return the name of a batch's platform."""
    return PLATFORM_NAMES.get(batch.platform, clean(batch.platform, limit=40, otherwise="?"))


def _group(batch: ReconnectBatch) -> str:
    return f"{clean(batch.group)}, " if batch.group else ""


def _when(batch: ReconnectBatch, zone: ZoneInfo | None) -> str:
    if batch.overdue:
        statuses = Counter(need.status.value for need in batch.needs)
        return f"Now ({', '.join(f'{count} {status}' for status, count in statuses.items())})"
    return f"Before {moment(batch.first, zone)}"


def _names(batch: ReconnectBatch, zone: ZoneInfo | None) -> str:
    names = [_name(need, zone) for need in batch.needs[:_MOST_NAMES]]
    more = len(batch.needs) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def _name(need: Need, zone: ZoneInfo | None) -> str:
    name = clean(need.label, limit=60, otherwise=need.connection)
    return f"{name} (since {day(need.by, zone)})" if need.overdue else name


def unread_lines(report: Report, zone: ZoneInfo | None) -> Iterator[str]:
    """Yield a sentence for each source that cannot be read."""
    for source in report.unread:
        unread = f"has not been read since {moment(source.since, zone)}" if source.since else "was never read"
        yield f"{clean(source.name)} {unread}: its connections are not monitored."


def recovery_line(report: Report) -> str:
    """Return the sentence about recoveries within the period."""
    period = f"in the last {_days(report.days)}"
    if not report.recovered:
        return f"No connection recovered {period}."
    subject = "1 connection recovered" if report.recovered == 1 else f"{report.recovered} recoveries"
    times = report.recovery
    if times is None:
        return f"{subject} {period}."
    if times.number == 1:
        return f"{subject} {period}, after {span(times.worst)}."
    return f"{subject} {period}, after {span(times.median)} (median), {span(times.worst)} at worst."


def _uptime_lines(report: Report) -> Iterator[str]:
    hours = report.hours
    yield f"Uptime in the last {_days(report.days)}: {share_text(hours.uptime)}{_trend(report.before)}.{unobserved_text(hours)}"
    named = [group for group in report.groups if group.name]
    if not named:
        return
    shown = report.groups[:_MOST_GROUPS]
    more = len(report.groups) - len(shown)
    texts = [f"{clean(group.name, otherwise='the others')} {share_text(group.hours.uptime)}" for group in shown]
    yield f"Uptime by {clean(report.group_by)}, the lowest first: {', '.join(texts)}{f' and {more} more' if more else ''}."


def _trend(before: Hours) -> str:
    return "" if before.uptime is None else f", {share_text(before.uptime)} in the period before"


def unobserved_text(hours: Hours) -> str:
    """Return a sentence about the time that was not observed, with a space before it; empty if there is none worth stating."""
    share = hours.unobserved
    return f" {share_text(share)} of the time was not observed and is not counted." if share >= 0.0005 else ""


def share_text(share: float | None) -> str:
    """Return a share in percent, rounded down, so that only a whole one is 100 %."""
    if share is None:
        return "no data"
    if share >= 1:
        return "100 %"
    return f"{int(share * 1000) / 10:.1f} %"


def _days(number: int) -> str:
    return f"{number} day{'' if number == 1 else 's'}"


def _channel(state: ChannelState, now: datetime) -> str:
    at = state.last_success_at
    last = f"last accepted a message {span(now - at)} ago" if at else "has accepted no message yet"
    if state.problem is None:
        return f"{state.name} {last}"
    since = f" for {span(now - state.failing_since)}" if state.failing_since else ""
    return f"{state.name} has been {'rejecting messages' if state.broken else 'failing'}{since} and {last}"


def _count_batches(batches: Sequence[ReconnectBatch], more: str = "") -> str:
    return f"{len(batches)} {more}reconnect batch{'' if len(batches) == 1 else 'es'}"
