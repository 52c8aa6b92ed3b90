"""The neutral form of a message: what is said about each alert, in which order, and under which title.

Nothing here knows a format. Every text that comes from a stranger is already harmless (see `names`); what is ours is
plain words. A renderer, such as `text`, only lays it out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby
from zoneinfo import ZoneInfo

from monitor.model import Alert, Event, ProviderKind, Severity, SourceStatus, Status
from monitor.rules.advice import PLATFORM_NAMES, PROVIDER_NAMES, advice, source_advice
from monitor.rules.alerting import AlertReason
from monitor.rules.wording import times
from monitor.rules.wording.names import clean_id, name, sentence


class Tone(StrEnum):
    """How a message is to be coloured where a channel has colours."""

    INFO = "info"
    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """One alert on its way to one channel, with what only the delivery knows."""

    alert: Alert
    uncertain: bool = False
    """An earlier try may have arrived: the message says that it may be a repeat."""
    late_by: timedelta | None = None
    """How much later than promised it goes out; None when it is in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One alert, said. Texts are harmless single lines; an empty text means that there is nothing to say."""

    alert_id: str
    incident: str
    event: Event
    word: str
    """The status exactly as users know it: a connection's status, `recovered`, or the event for everything else."""
    rank: int
    """Urgency, for the order: the higher the worse."""
    tone: Tone
    subject: str
    """Who it is about: the connection's name, or the source's."""
    platform: str | None
    """The platform's slug, None for what is not about a connection."""
    source: str
    service: str
    """The provider's name."""
    opening: str
    """The news in a sentence."""
    expiry: str = ""
    left: str = ""
    """The time left in short form, for a title; empty unless it is expiring."""
    cause: str = ""
    said_because: str = ""
    notes: tuple[str, ...] = ()
    advice: str = ""
    link: str | None = None
    external_id: str | None = None
    scope: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Items that share word, platform, source and provider, and with them what is to be done."""

    word: str
    platform: str | None
    source: str
    service: str
    items: tuple[Item, ...]
    advice: str | None = None
    """What to do about all of them; None where that differs from item to item."""
    link: str | None = None
    """Where to do it, where it is the same for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Everything that goes out together on one channel, worst first."""

    title: str
    tone: Tone
    sections: tuple[Section, ...]

    @property
    def items(self) -> tuple[Item, ...]:
        """All items in order."""
        return tuple(item for section in self.sections for item in section.items)


_RECOVERIES = frozenset({Event.RECOVERED, Event.SOURCE_RECOVERED, Event.MONITOR_RECOVERED})
_RANKS = {Event.MONITOR_PROBLEM: 9, Event.SOURCE_FAILING: 8, Event.REPORT: 1, Event.DRILL: 1}
_TONES = {Severity.INFO: Tone.INFO, Severity.WARNING: Tone.WARNING, Severity.CRITICAL: Tone.FAILURE}
_TONE_ORDER = (Tone.FAILURE, Tone.WARNING, Tone.SUCCESS, Tone.INFO)
_LINK = re.compile(r"https://[A-Za-z0-9.-]+(?::\d+)?(?:[/?#][!-~]*)?")
_STATUSES = frozenset(status.value for status in Status)
_PLATFORM_LENGTH = 40
_OVER = frozenset({Event.EXPIRED, Event.REVOKED})


def compose(dispatches: Sequence[Dispatch], *, timezone: str, now: datetime) -> Message:
    """One message of everything given (at least one alert), worst first, grouped by status, source and platform. Never raises."""
    zone = times.zone(timezone)
    items = sorted((_item(dispatch, zone=zone, now=now) for dispatch in dispatches), key=_order)
    groups = groupby(items, key=lambda item: (item.word, item.source, item.platform, item.service))
    sections = tuple(_section_of(tuple(group)) for _, group in groups)
    return Message(title=title_of(items), tone=_tone_of(items), sections=sections)


def compose_test(channel: str, *, timezone: str, now: datetime) -> Message:
    """A message that proves a channel, and says that it is no more than that."""
    zone = times.zone(timezone)
    item = Item(
        alert_id=f"test-{int(now.timestamp())}",
        incident="test",
        event=Event.DRILL,
        word="test",
        rank=0,
        tone=Tone.INFO,
        subject=f"channel {channel}",
        platform=None,
        source="",
        service="",
        opening=f"This is a test of the channel {channel}, sent {times.moment(now, zone)}.",
        cause="Somebody asked for it with: token-monitor test-alert.",
        advice="Nothing: if you can read this, alerts reach you here.",
    )
    return Message(title=f"[TEST] Token monitor reaches channel {channel}", tone=Tone.INFO, sections=(_section_of((item,)),))


def title_of(items: Sequence[Item]) -> str:
    """One line for all of these: the news itself for one, the counts for several."""
    if len(items) == 1:
        return _single_title(items[0])
    problems = Counter(item.word for item in items if item.platform is not None and item.event not in _RECOVERIES)
    parts = []
    if total := sum(problems.values()):
        words = ", ".join(f"{count} {spoken(word)}" for word, count in problems.items())
        parts.append(f"{total} connection{' needs' if total == 1 else 's need'} you: {words}")
    others = Counter(item.event for item in items if item.platform is None or item.event in _RECOVERIES)
    parts += [_counted(event, count) for event, count in others.items()]
    sources = {item.source for item in items}
    where = f" at {next(iter(sources))}" if len(sources) == len(parts) == 1 and "" not in sources else ""
    return "; ".join(parts) + where


def spoken(word: str) -> str:
    """A machine word as people say it."""
    return word.replace("_", " ")


def _section_of(items: tuple[Item, ...]) -> Section:
    first = items[0]
    return Section(
        word=first.word,
        platform=first.platform,
        source=first.source,
        service=first.service,
        items=items,
        advice=first.advice if all(item.advice == first.advice for item in items) else None,
        link=first.link if all(item.link == first.link for item in items) else None,
    )


def _counted(event: Event, count: int) -> str:
    plural = "" if count == 1 else "s"
    match event:
        case Event.RECOVERED:
            return f"{count} connection{plural} recovered"
        case Event.SOURCE_FAILING:
            return f"{count} source{plural} cannot be read"
        case Event.SOURCE_RECOVERED:
            return f"{count} source{plural} can be read again"
        case _:
            return f"{count} {spoken(event.value)}{plural}"


def _single_title(item: Item) -> str:
    head = f"[{spoken(item.word).upper()}] "
    if item.platform is None:
        return head + item.subject + (f" ({item.service})" if item.service else "")
    left = f", {item.left} left" if item.left else ""
    return f"{head}{item.subject} ({item.platform}) at {item.source}{left}"


def _order(item: Item) -> tuple[int, str, str, str, str, str]:
    return (-item.rank, item.word, item.source, item.platform or "", item.subject.casefold(), item.alert_id)


def _tone_of(items: Sequence[Item]) -> Tone:
    present = {item.tone for item in items}
    return next((tone for tone in _TONE_ORDER if tone in present), Tone.INFO)


def _item(dispatch: Dispatch, *, zone: ZoneInfo | None, now: datetime) -> Item:
    alert = dispatch.alert
    about_connection = _about_connection(alert)
    word = _word(alert)
    subject = name(alert.label, otherwise=clean_id(alert.external_id or alert.source)) if about_connection else alert.source
    platform = _platform(alert) if about_connection else None
    service = PROVIDER_NAMES[alert.provider]
    return Item(
        alert_id=alert.id,
        incident=alert.incident,
        event=alert.event,
        word=word,
        rank=_rank(alert),
        tone=Tone.SUCCESS if alert.event in _RECOVERIES else _TONES[alert.severity],
        subject=subject,
        platform=platform,
        source=alert.source,
        service=service,
        opening=_opening(alert, subject=subject, word=word, service=service),
        expiry=_expiry(alert, zone=zone, now=now) if about_connection else "",
        left=_left(alert, now=now) if word == Status.EXPIRING_SOON else "",
        cause=sentence(alert.message),
        said_because=_said_because(alert),
        notes=_notes(dispatch),
        advice=_advice(alert),
        link=alert.link if alert.link and _LINK.fullmatch(alert.link) else None,
        external_id=clean_id(alert.external_id or "") if about_connection else None,
        scope=_scope(alert),
        labels=alert.labels,
    )


def _about_connection(alert: Alert) -> bool:
    return alert.external_id is not None and (alert.event in _STATUSES or alert.event is Event.RECOVERED)


def _platform(alert: Alert) -> str:
    return clean_id(alert.platform or "unknown", limit=_PLATFORM_LENGTH)


def _word(alert: Alert) -> str:
    """A connection's status as it is; for a recovery, a source and the monitor itself the event says more than the status."""
    if not _about_connection(alert) or alert.event in _RECOVERIES:
        return alert.event.value
    return clean_id(alert.status) if alert.status else alert.event.value


def _rank(alert: Alert) -> int:
    if alert.event in _RECOVERIES:
        return 0
    if alert.event in _RANKS:
        return _RANKS[alert.event]
    return Status(alert.event.value).rank


def _opening(alert: Alert, *, subject: str, word: str, service: str) -> str:
    if _about_connection(alert):
        platform = PLATFORM_NAMES.get(_platform(alert), _platform(alert))
        verb = "has" if alert.event in _RECOVERIES else "is"
        return f"{subject} on {platform} {verb} {word}."
    match alert.event:
        case Event.SOURCE_FAILING if alert.status == SourceStatus.UNAUTHORIZED:
            return f"{service} refuses the API key of the source {subject} (unauthorized)."
        case Event.SOURCE_FAILING:
            return f"The source {subject} ({service}) cannot be read ({alert.status or 'failing'})."
        case Event.SOURCE_RECOVERED:
            return f"The source {subject} ({service}) can be read again."
        case Event.MONITOR_PROBLEM:
            return "The monitor itself has a problem."
        case Event.MONITOR_RECOVERED:
            return "The monitor itself is well again."
        case _:
            return f"{spoken(alert.event.value).capitalize()}."


def _expiry(alert: Alert, *, zone: ZoneInfo | None, now: datetime) -> str:
    if alert.expires_at is None:
        return "No expiry date is known."
    when = f"{times.moment(alert.expires_at, zone)}, {times.relative(alert.expires_at, now)}"
    ahead = alert.expires_at > now
    if alert.event is Event.DISCONNECTED:
        return f"Last known expiry: {when}."
    if ahead and alert.event in _OVER:
        return f"Its stated expiry, {when}, no longer counts."
    if not ahead and alert.event not in _OVER and alert.event is not Event.EXPIRING_SOON:
        return f"Its stated expiry, {when}, is not relied upon."
    return f"It {'expires' if ahead else 'expired'} {when}."


def _left(alert: Alert, *, now: datetime) -> str:
    return times.span(alert.expires_at - now) if alert.expires_at is not None and alert.expires_at > now else ""


def _said_because(alert: Alert) -> str:
    """Why this message exists, so that nobody wonders why it came today."""
    lasted = f" after {times.span(alert.at - alert.opened_at)}" if alert.opened_at and alert.at > alert.opened_at else ""
    before = f": it was {clean_id(alert.previous)}" if alert.previous else ""
    match alert.reason:
        case AlertReason.FIRST:
            return "First notice."
        case AlertReason.WORSE:
            return f"Worse than before{before}."
        case AlertReason.CHANGED:
            return f"Changed, and still needs you{before}."
        case AlertReason.STAGE:
            return f"Further warning (stage {_stage(alert.stage)})." if alert.stage else "Further warning."
        case AlertReason.REMINDER:
            return f"Reminder{f': still so{lasted}' if lasted else ''}."
        case AlertReason.RENEWED:
            return f"Renewed{lasted}{before}."
        case AlertReason.RECOVERED:
            return f"Recovered{lasted}{before}."
        case _:
            return f"Reason: {spoken(clean_id(alert.reason))}." if alert.reason else ""


def _stage(stage: timedelta) -> str:
    """A stage as people configure it: the largest unit that divides it."""
    seconds = round(stage.total_seconds())
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _notes(dispatch: Dispatch) -> tuple[str, ...]:
    notes = []
    if dispatch.late_by is not None:
        notes.append(f"Late by {times.span(dispatch.late_by)}: this channel did not take it before.")
    if dispatch.uncertain:
        notes.append("This may be a repeat: an earlier try was cut off before its outcome was known.")
    return tuple(notes)


def _advice(alert: Alert) -> str:
    if alert.event in _RECOVERIES:
        return "Nothing, it is well again."
    if _about_connection(alert):
        return advice(_platform(alert), Status(alert.event.value), alert.provider)
    return source_advice(alert.status, alert.provider) if alert.event is Event.SOURCE_FAILING else ""


def _scope(alert: Alert) -> str:
    if alert.scope is None:
        return ""
    workspaces = alert.provider in (ProviderKind.POSTBREEZE, ProviderKind.POSTPEER)
    return f"{'workspace' if workspaces else 'managed user'} {clean_id(alert.scope)}"
