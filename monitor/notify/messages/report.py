"""The text of a report: the connections that need action, worst first, and the health of the channels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from monitor.domain import Status
from monitor.domain.rules.advice import PLATFORM_NAMES
from monitor.domain.rules.forecast import ReconnectBatch
from monitor.domain.text import clean
from monitor.domain.timefmt import moment, span
from monitor.store.channel_states import ChannelState

_MOST_BATCHES = 25  # the others are counted
_MOST_NAMES = 10


def report_lines(
    batches: Sequence[ReconnectBatch],
    counts: Mapping[Status, int],
    channels: Sequence[ChannelState],
    *,
    now: datetime,
    ahead: timedelta,
    zone: ZoneInfo | None,
) -> list[str]:
    """Return lines of plain text, the summary first. Names are cleaned; escaping is left to the channel."""
    return [
        _summary(batches, ahead),
        _status_counts(counts),
        *_batch_lines(batches, zone),
        "Channels: " + "; ".join(_channel(state, now) for state in channels) + ".",
    ]


def _summary(batches: Sequence[ReconnectBatch], ahead: timedelta) -> str:
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
        platform = PLATFORM_NAMES.get(batch.platform, clean(batch.platform, limit=40, otherwise="?"))
        yield f"{_when(batch, zone)}: {len(batch.needs)} on {platform} at {batch.source}: {_names(batch)}."
    if rest := batches[_MOST_BATCHES:]:
        yield f"And {_count_batches(rest, 'more ')} with {sum(len(batch.needs) for batch in rest)} connections."


def _when(batch: ReconnectBatch, zone: ZoneInfo | None) -> str:
    if batch.overdue:
        statuses = Counter(need.status.value for need in batch.needs)
        return f"Now ({', '.join(f'{count} {status}' for status, count in statuses.items())})"
    return f"Before {moment(batch.first, zone)}"


def _names(batch: ReconnectBatch) -> str:
    names = [clean(need.label, limit=60, otherwise=need.connection) for need in batch.needs[:_MOST_NAMES]]
    more = len(batch.needs) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def _channel(state: ChannelState, now: datetime) -> str:
    at = state.last_success_at
    last = f"last accepted a message {span(now - at)} ago" if at else "has accepted no message yet"
    if state.problem is None:
        return f"{state.name} {last}"
    since = f" for {span(now - state.failing_since)}" if state.failing_since else ""
    return f"{state.name} has been {'rejecting messages' if state.broken else 'failing'}{since} and {last}"


def _count_batches(batches: Sequence[ReconnectBatch], more: str = "") -> str:
    return f"{len(batches)} {more}reconnect batch{'' if len(batches) == 1 else 'es'}"
