"""The report in words: what will need a person, worst first, and how the channels are doing."""

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

_SITTINGS = 25  # named one by one; the rest is counted
_NAMES = 10


def report_lines(
    sittings: Sequence[ReconnectBatch],
    counts: Mapping[Status, int],
    channels: Sequence[ChannelState],
    *,
    now: datetime,
    ahead: timedelta,
    zone: ZoneInfo | None,
) -> list[str]:
    """Lines of plain text, the summary first. Names are cleaned, not escaped: that is the channel's business."""
    return [
        _summary(sittings, ahead),
        _state_of_all(counts),
        *_sittings(sittings, zone),
        "Channels: " + "; ".join(_channel(state, now) for state in channels) + ".",
    ]


def _summary(sittings: Sequence[ReconnectBatch], ahead: timedelta) -> str:
    count = sum(len(sitting.needs) for sitting in sittings)
    if not count:
        return f"No connection will need a person in the next {ahead.days} days."
    broken = sum(len(sitting.needs) for sitting in sittings if sitting.overdue)
    now = f" {broken} of them {'does' if broken == 1 else 'do'} not work any more." if broken else ""
    who = "1 connection needs" if count == 1 else f"{count} connections need"
    return f"{who} a person in the next {ahead.days} days, in {_plural(len(sittings), 'sitting')}.{now}"


def _state_of_all(counts: Mapping[Status, int]) -> str:
    told = [f"{counts[status]} {status.value}" for status in sorted(Status, key=lambda each: -each.rank) if counts.get(status)]
    return f"All connections: {', '.join(told) or 'none'}."


def _sittings(sittings: Sequence[ReconnectBatch], zone: ZoneInfo | None) -> Iterator[str]:
    for sitting in sittings[:_SITTINGS]:
        platform = PLATFORM_NAMES.get(sitting.platform, clean(sitting.platform, limit=40, otherwise="?"))
        yield f"{_when(sitting, zone)}: {len(sitting.needs)} on {platform} at {sitting.source}: {_names(sitting)}."
    if rest := sittings[_SITTINGS:]:
        yield f"And {_plural(len(rest), 'sitting')} more with {sum(len(sitting.needs) for sitting in rest)} connections."


def _when(sitting: ReconnectBatch, zone: ZoneInfo | None) -> str:
    if sitting.overdue:
        words = Counter(need.status.value for need in sitting.needs)
        return f"Now ({', '.join(f'{count} {word}' for word, count in words.items())})"
    return f"Before {moment(sitting.first, zone)}"


def _names(sitting: ReconnectBatch) -> str:
    names = [clean(need.label, limit=60, otherwise=need.connection) for need in sitting.needs[:_NAMES]]
    more = len(sitting.needs) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def _channel(state: ChannelState, now: datetime) -> str:
    last = f"took its last message {span(now - state.last_success_at)} ago" if state.last_success_at else "took no message yet"
    if state.problem is None:
        return f"{state.name} {last}"
    since = f" for {span(now - state.failing_since)}" if state.failing_since else ""
    return f"{state.name} {'refuses messages' if state.broken else 'has been failing'}{since} and {last}"


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
