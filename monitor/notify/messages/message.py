"""The format-independent form of a message: its sections, their order, and the title.

Untrusted texts are already safe to display (see `monitor.domain.text`). A renderer only lays the message out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby

from monitor.domain import RECOVERY_EVENTS, Alert, AlertEvent, Severity, timefmt
from monitor.notify.messages.alert_text import Dispatch, Item, is_about_connection, item_of, readable
from monitor.notify.messages.markup import Tone


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Items with the same status, platform, source and provider, and usually the same advice."""

    status: str
    platform: str | None
    source: str
    service: str
    items: tuple[Item, ...]
    advice: str | None = None
    """The advice for all of them; None where it differs between items."""
    link: str | None = None
    """The link of all of them; None where it differs."""
    link_until: str = ""
    """For a connection page: until when it is valid."""
    total: int = 1
    """The number of items in the whole message; a part may show only some of them."""

    @property
    def label(self) -> str:
        """The status word of a connection as in the interface; an event with spaces."""
        return self.status if self.platform is not None else readable(self.status)

    @property
    def headline(self) -> str:
        """The platform, source and count: linkedin at agency (PostPost), 12 connections."""
        place = f"{self.source} ({self.service})" if self.source and self.service else self.source
        where = " at ".join(text for text in (self.platform, place) if text)
        if self.platform is None or self.total == 1:
            return where
        shown = len(self.items)
        return f"{where}, {self.total if shown == self.total else f'{shown} of {self.total}'} connections"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """All that is sent together on one channel, worst first."""

    title: str
    tone: Tone
    sections: tuple[Section, ...]

    @property
    def items(self) -> tuple[Item, ...]:
        """The items of all sections, in order."""
        return tuple(item for section in self.sections for item in section.items)


_MOST_NAMED = 12
"""For more items than this, the title has no names."""
_NAMES_SHOWN = 3
_NEVER = datetime.max.replace(tzinfo=UTC)
_TONE_ORDER = (Tone.FAILURE, Tone.WARNING, Tone.SUCCESS, Tone.INFO)


def compose(dispatches: Sequence[Dispatch], *, timezone: str, now: datetime) -> Message:
    """Return one message of at least one alert, worst first, grouped by status, source and platform. Never raises.

    Several alerts about one connection, source or subject become one item, with the newest state.
    """
    zone = timefmt.zone(timezone)
    return message_of([item_of(group, zone=zone, now=now) for group in _grouped(dispatches, _subject_key)])


def compose_each(dispatches: Sequence[Dispatch], *, timezone: str, now: datetime) -> tuple[Message, ...]:
    """Return one message for each incident, oldest first, for services that manage incidents. Never raises."""
    zone = timefmt.zone(timezone)
    return tuple(message_of([item_of(group, zone=zone, now=now)]) for group in _grouped(dispatches, _incident_key))


def compose_test(channel: str, *, timezone: str, now: datetime) -> Message:
    """Return a message that tests a channel and is marked as a test."""
    zone = timefmt.zone(timezone)
    item = Item(
        alert=Alert(
            id=f"test-{int(now.timestamp())}",
            incident=f"test-{channel}",
            event=AlertEvent.DRILL,
            reason="drill",
            severity=Severity.INFO,
            at=now,
            source="",
        ),
        alert_ids=(f"test-{int(now.timestamp())}",),
        event=AlertEvent.DRILL,
        status="test",
        rank=0,
        tone=Tone.INFO,
        subject=f"channel {channel}",
        platform=None,
        source="",
        service="",
        opening=f"This is a test of the channel {channel}, sent {timefmt.moment(now, zone)}.",
        cause="Requested with: token-monitor test-alert.",
        advice="No action needed. Alerts to this channel arrive here.",
    )
    return Message(title=f"[TEST] Test message for channel {channel}", tone=Tone.INFO, sections=(_section_of((item,)),))


def message_of(items: Iterable[Item]) -> Message:
    """Return a message of these items: the worst status first, then the earliest date."""
    groups = groupby(sorted(items, key=_place), key=_place)
    members = [tuple(sorted(group, key=_urgency)) for _, group in groups]
    # Sections of the same status are sorted by their earliest date, not by name.
    sections = tuple(map(_section_of, sorted(members, key=lambda group: (-group[0].rank, group[0].status, _date(group[0])))))
    ordered = [item for section in sections for item in section.items]
    return Message(title=title_of(ordered), tone=_tone_of(ordered), sections=sections)


def title_of(items: Sequence[Item]) -> str:
    """Return one line: the alert for a single item, counts for several."""
    if len(items) == 1:
        return _single_title(items[0])
    problems = Counter(item.status for item in items if item.platform is not None and item.event not in RECOVERY_EVENTS)
    parts = []
    if total := sum(problems.values()):
        counts = ", ".join(f"{count} {readable(status)}" for status, count in problems.items())
        parts.append(f"{total} connection{' needs' if total == 1 else 's need'} attention: {counts}")
    others = Counter((item.event, bool(item.topic)) for item in items if item.platform is None or item.event in RECOVERY_EVENTS)
    parts += [_counted(event, count, in_part=in_part) for (event, in_part), count in others.items()]
    sources = {item.source for item in items}
    where = f" at {next(iter(sources))}" if len(sources) == len(parts) == 1 and "" not in sources else ""
    return "; ".join(parts) + where


def names_of(items: Sequence[Item]) -> str:
    """Return the affected connections, for the end of a title: Acme, Beta and 3 more. Empty where that would not help."""
    kinds = {(item.platform is not None, item.event in RECOVERY_EVENTS) for item in items}
    if not 1 < len(items) <= _MOST_NAMED or kinds not in ({(True, False)}, {(True, True)}):
        return ""
    names = list(dict.fromkeys(item.subject for item in items))
    if len(names) <= _NAMES_SHOWN:
        return ", ".join(names)
    return f"{', '.join(names[: _NAMES_SHOWN - 1])} and {len(names) - _NAMES_SHOWN + 1} more"


def counts_by_platform(items: Sequence[Item]) -> str:
    """Return the counts by platform and source, highest first: linkedin at agency 600, tiktok at agency 400."""
    found = Counter(" at ".join(text for text in (item.platform, item.source) if text) or item.subject for item in items)
    return ", ".join(f"{place} {count}" for place, count in found.most_common())


def _grouped(dispatches: Sequence[Dispatch], key: Callable[[Alert], tuple[object, ...]]) -> list[tuple[Dispatch, ...]]:
    """Group dispatches by `key`: each group in order of time, the groups in order of their first alert."""
    found: dict[tuple[object, ...], list[Dispatch]] = {}
    for dispatch in sorted(dispatches, key=lambda dispatch: (dispatch.alert.at, dispatch.alert.id)):
        found.setdefault(key(dispatch.alert), []).append(dispatch)
    return [tuple(group) for group in found.values()]


def _subject_key(alert: Alert) -> tuple[object, ...]:
    if is_about_connection(alert):
        return alert.source, alert.scope, alert.external_id
    return "", alert.incident, alert.source, alert.subject


def _incident_key(alert: Alert) -> tuple[object, ...]:
    return alert.incident, *_subject_key(alert)


def _section_of(items: tuple[Item, ...]) -> Section:
    first = items[0]
    one_link = all(item.link == first.link for item in items)
    return Section(
        status=first.status,
        platform=first.platform,
        source=first.source,
        service=first.service,
        items=items,
        total=len(items),
        advice=first.advice if all(item.advice == first.advice for item in items) else None,
        link=first.link if one_link else None,
        link_until=first.link_until if one_link else "",
    )


def _counted(event: AlertEvent, count: int, *, in_part: bool) -> str:
    plural = "" if count == 1 else "s"
    match event:
        case AlertEvent.SOURCE_FAILING if in_part:
            return f"{count} source problem{plural}"
        case AlertEvent.SOURCE_RECOVERED if in_part:
            return f"{count} source problem{plural} resolved"
        case AlertEvent.RECOVERED:
            return f"{count} connection{plural} recovered"
        case AlertEvent.SOURCE_FAILING:
            return f"{count} source{plural} cannot be read"
        case AlertEvent.SOURCE_RECOVERED:
            return f"{count} source{plural} can be read again"
        case AlertEvent.MONITOR_RECOVERED:
            return f"{count} monitor problem{plural} resolved"
        case _:
            return f"{count} {readable(event.value)}{plural}"


def _single_title(item: Item) -> str:
    if item.own_title:
        return item.own_title
    head = f"[{readable(item.status).upper()}] "
    if item.platform is None:
        return head + item.subject + (f" ({item.service})" if item.service else "") + (f": {item.topic}" if item.topic else "")
    more = f", {item.left} left" if item.left else f", {item.lasted}" if item.lasted else ""
    return f"{head}{item.subject} ({item.platform}) at {item.source}{more}"


def _place(item: Item) -> tuple[int, str, str, str, bool, str]:
    """Return what the items of a section have in common."""
    return (-item.rank, item.status, item.source, item.platform or "", item.platform is None, item.service)


def _urgency(item: Item) -> tuple[datetime, str, str]:
    return (_date(item), item.subject.casefold(), item.alert_id)


def _date(item: Item) -> datetime:
    """Return the expiry for sorting: without a date, and for a recovery, the end of time."""
    return _NEVER if item.event in RECOVERY_EVENTS else item.alert.expires_at or _NEVER


def _tone_of(items: Sequence[Item]) -> Tone:
    present = {item.tone for item in items}
    return next((tone for tone in _TONE_ORDER if tone in present), Tone.INFO)
