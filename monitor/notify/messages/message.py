"""The format-independent form of a message: its sections, their order, and the title.

Untrusted texts are already safe to display (see `monitor.domain.text`). A renderer only lays the message out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from monitor.domain import Alert, AlertEvent, Severity, timefmt
from monitor.domain.text import readable
from monitor.notify.messages.alert_text import Dispatch, Item, Wording, is_about_connection, item_of
from monitor.notify.messages.markup import Tone


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Items of one client, source or other label, worst first; or those that are not about connections."""

    heading: str
    """The name that the items have in common; empty where the title or each line names it."""
    items: tuple[Item, ...]
    connection_page: str | None = field(default=None, repr=False)
    """The connection page of all of them, a secret; None where it differs, and where there is none."""
    link_until: str = ""
    """The end of its validity."""
    total: int = 1
    """The number of items in the whole message; a part may show only some of them."""

    @property
    def headline(self) -> str:
        """The heading, with the count where only some are shown: Casa Verde, 12 of 40 connections."""
        shown = len(self.items)
        return self.heading if shown == self.total or not self.heading else f"{self.heading}, {shown} of {self.total} connections"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """All that is sent together on one channel, worst first."""

    title: str
    tone: Tone
    sections: tuple[Section, ...]
    timezone: str = "UTC"
    """The name of the time zone of the times in it, stated once where they have none."""
    page: str = ""
    """The page of this monitor that shows everything in the message; empty without `web.public_url`."""
    names_clients: bool = False
    """True if each line names the client, because there are too many of them for headings."""
    names_are_links: bool = True
    """True if the names lead to the pages of the connections, in formats with links."""

    @property
    def items(self) -> tuple[Item, ...]:
        """The items of all sections, in order."""
        return tuple(item for section in self.sections for item in section.items)

    def with_items(self, items: Iterable[Item]) -> Message:
        """Return a message of these items in the same circumstances."""
        return message_of(items, timezone=self.timezone, page=self.page)


_NAMES_SHOWN = 3
_MOST_HEADINGS = 4
"""For more clients than this, each line names its client."""
_MOST_NAMED_ALONE = 12
"""For more items than this of several clients, the title names the clients."""
_UNNAMED = frozenset({AlertEvent.REPORT, AlertEvent.DRILL})
_NEVER = datetime.max.replace(tzinfo=UTC)
_TONE_ORDER = (Tone.FAILURE, Tone.WARNING, Tone.SUCCESS, Tone.INFO)

PageOf = Callable[[Sequence[Alert]], str]
"""Returns the address of the page that shows what these alerts are about."""


def compose(
    dispatches: Sequence[Dispatch],
    *,
    timezone: str,
    now: datetime,
    group_by: str = "client",
    plain: bool = False,
    page_of: PageOf | None = None,
) -> Message:
    """Return one message of at least one alert, grouped by the label `group_by`, worst first. Never raises.

    Several alerts about one connection, source or subject become one item, with the newest state. `plain` is that of Wording.
    """
    zone = timefmt.zone(timezone)
    wording = Wording(zone=zone, now=now, group_by=group_by, plain=plain)
    items = [item_of(group, wording) for group in _grouped(dispatches, _subject_key)]
    page = page_of([item.alert for item in items]) if page_of is not None else ""
    return message_of(items, timezone=timezone if zone is not None else "UTC", page=page)


def compose_each(
    dispatches: Sequence[Dispatch], *, timezone: str, now: datetime, group_by: str = "client", plain: bool = False
) -> tuple[Message, ...]:
    """Return one message for each incident, oldest first, for services that manage incidents. Never raises."""
    wording = Wording(zone=timefmt.zone(timezone), now=now, group_by=group_by, plain=plain)
    return tuple(message_of([item_of(group, wording)]) for group in _grouped(dispatches, _incident_key))


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
    return Message(
        title=f"[TEST] Test message for channel {channel}", tone=Tone.INFO, sections=(Section(heading="", items=(item,)),)
    )


def message_of(items: Iterable[Item], *, timezone: str = "UTC", page: str = "") -> Message:
    """Return a message of these items: the worst status first, then the earliest date."""
    ordered = sorted(items, key=urgency)
    connections = [item for item in ordered if item.external_id is not None]
    headings = _headings(connections)
    found: dict[tuple[str, bool | None], list[Item]] = {}
    for item in ordered:
        key = ("", item.recovered) if item.external_id is None else (headings.get(item.alert_id, ""), None)
        found.setdefault(key, []).append(item)
    sections = tuple(_section_of(heading, tuple(group)) for (heading, _), group in found.items())
    ordered = [item for section in sections for item in section.items]
    return Message(
        title=title_of(ordered),
        tone=_tone_of(ordered),
        sections=sections,
        timezone=timezone,
        page=page,
        names_clients=not headings and len(_clients(connections)) > 1,
    )


def _headings(items: Sequence[Item]) -> dict[str, str]:
    """Return the heading of each item, by its alert: the client, else the source. Return none where no headings are needed."""
    if not any(item.group for item in items):
        sources = {item.place for item in items}
        return {item.alert_id: item.place for item in items} if 1 < len(sources) <= _MOST_HEADINGS else {}
    found = {item.alert_id: item.group or item.place for item in items}
    different = set(found.values())
    return found if 1 < len(different) <= _MOST_HEADINGS and len(different) < len(items) else {}


def _clients(items: Sequence[Item]) -> set[str]:
    """Return what the items are grouped by: clients, or sources where there is no client."""
    return {item.group or item.place for item in items}


def title_of(items: Sequence[Item], *, named: bool = False) -> str:
    """Return one line: the alert for a single item, counts for several, with names if `named`."""
    if len(items) == 1:
        return _single_title(items[0])
    concerned = [item for item in items if item.platform is not None and not item.recovered]
    of = _of_client([item for item in items if item.platform is not None])
    parts: list[tuple[str, Sequence[Item]]] = []
    if total := len(concerned):
        counts = ", ".join(f"{count} {readable(status)}" for status, count in Counter(item.status for item in concerned).items())
        needs = f"connection{of} needs" if total == 1 else f"connections{of} need"
        parts.append((f"{total} {needs} attention: {counts}", concerned))
    others: dict[tuple[AlertEvent, bool], list[Item]] = {}
    for item in items:
        if item.platform is None or item.recovered:
            others.setdefault((item.event, bool(item.topic)), []).append(item)
    for (event, in_part), group in others.items():
        parts.append((_counted(event, len(group), in_part=in_part, of="" if parts else of), group))
    sources = {item.source for item in items}
    where = f" at {next(iter(sources))}" if len(sources) == len(parts) == 1 and "" not in sources and not of else ""
    texts = (f"{text}{where}{_in_parentheses(group) if named else ''}" for text, group in parts)
    return _reminder_mark(concerned) + "; ".join(texts)


def _in_parentheses(items: Sequence[Item]) -> str:
    return f" ({names_of(items)})" if items[0].event not in _UNNAMED else ""


def _reminder_mark(problems: Sequence[Item]) -> str:
    """Return the beginning of a title that marks a reminder: "Reminder 2: "; empty if any of the problems is no reminder."""
    marks = {item.reminder for item in problems}
    if not marks or "" in marks:
        return ""
    return f"{marks.pop().capitalize() if len(marks) == 1 else 'Reminder'}: "


def _of_client(items: Sequence[Item]) -> str:
    """Return " of Casa Verde" if all items are about connections of one client, else an empty text."""
    clients = {"" if item.group == item.source else item.group for item in items}
    client = clients.pop() if len(clients) == 1 else ""
    return f" of {client}" if client else ""


def names_of(items: Sequence[Item]) -> str:
    """Return what is affected, or for many connections their clients: Acme, Beta and 3 more."""
    clients = list(dict.fromkeys(item.group for item in items if item.group))
    names = list(dict.fromkeys(item.subject for item in items))
    if len(items) > _MOST_NAMED_ALONE and len(clients) > 1:
        names = clients
    if len(names) <= _NAMES_SHOWN:
        return ", ".join(names)
    return f"{', '.join(names[: _NAMES_SHOWN - 1])} and {len(names) - _NAMES_SHOWN + 1} more"


def counts_by_platform(items: Sequence[Item]) -> str:
    """Return the counts by platform, highest first: 600 on LinkedIn, 400 on TikTok. Several sources are named as well."""
    several = len({item.source for item in items}) > 1
    return ", ".join(
        f"{count} {place}" for place, count in Counter(_counted_at(item, several_sources=several) for item in items).most_common()
    )


def _counted_at(item: Item, *, several_sources: bool) -> str:
    if item.platform is None:
        return f"at {item.source}" if item.source else f"about {item.subject}"
    return f"on {item.platform_name}" + (f" at {item.source}" if several_sources else "")


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


def _section_of(heading: str, items: tuple[Item, ...]) -> Section:
    pages = {(item.link, item.link_until) for item in items if not item.recovered}
    link, until = pages.pop() if len(pages) == 1 else (None, "")
    return Section(
        heading=heading, items=items, total=len(items), connection_page=link if until else None, link_until=until if link else ""
    )


def _counted(event: AlertEvent, count: int, *, in_part: bool, of: str = "") -> str:
    plural = "" if count == 1 else "s"
    match event:
        case AlertEvent.SOURCE_FAILING if in_part:
            return f"{count} source problem{plural}"
        case AlertEvent.SOURCE_RECOVERED if in_part:
            return f"{count} source problem{plural} resolved"
        case AlertEvent.RECOVERED:
            return f"{count} connection{plural}{of} recovered"
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
    mark = f"{item.reminder.capitalize()}: " if item.reminder else ""
    head = f"{mark}[{readable(item.status).upper()}] "
    lasting = f", for {item.lasting}" if item.lasting else ""
    if item.platform is None:
        service, topic = f" ({item.service})" if item.service else "", f": {item.topic}" if item.topic else ""
        return f"{head}{item.subject}{service}{topic}{lasting}"
    more = f", {item.left} left" if item.left else f", {item.lasted}" if item.lasted else lasting
    return f"{head}{item.subject} ({item.platform}) at {item.source}{more}"


def urgency(item: Item) -> tuple[int, datetime, str, str]:
    """Return a key for sorting: the worst first, then the earliest date."""
    return (-item.rank, _date(item), item.subject.casefold(), item.alert_id)


def _date(item: Item) -> datetime:
    """Return the expiry for sorting: without a date, and for a recovery, the end of time."""
    return _NEVER if item.recovered else item.alert.expires_at or _NEVER


def _tone_of(items: Sequence[Item]) -> Tone:
    present = {item.tone for item in items}
    return next((tone for tone in _TONE_ORDER if tone in present), Tone.INFO)
