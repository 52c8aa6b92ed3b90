"""Fitting a message into a channel's limits: whole, else in at most three parts, else as a file or with counts.

Entries are never cut. What a part cannot list is counted in it, with the command that lists it, or attached as a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from monitor.domain import RECOVERY_EVENTS, Status
from monitor.notify.messages import closing, email, plain
from monitor.notify.messages.alert_text import Item
from monitor.notify.messages.markup import Attachment, ChannelLimits, ChannelProfile, Markup, Part, Style, style_of
from monitor.notify.messages.message import Message, Section, counts_by_platform, title_of, urgency
from monitor.notify.messages.plain import csv_of
from monitor.notify.messages.sizes import Size, clip

_COUNTER_ROOM = 10  # for " (12/34)"
_NARROW = 400  # with less room than this, a title above a one-line body would only repeat it
_MOST_SHOWN = 20  # connections in a message where the status page or a file shows the others
_WITHOUT_FILE = 4_000  # a list of at most this size needs no file, which a server may not accept
_MOST_LINES = 30  # with more lines than this, sections follow each other without a blank line
_THREAD_ROOM = 880  # a header line ends at 998 characters, and Apprise folds none
_LONGEST_WITH_NAMES = 160  # mail clients and chats cut longer titles
_ROOM_FOR_NAMES = 1000  # where the title takes room in a shorter body, it has no names
_NO_ID = re.compile(r"[^A-Za-z0-9_-]")
_STATUSES = frozenset(Status)


def _titled(message: Message, room: int) -> str:
    """Return the title, with the names of the connections where they fit."""
    title = title_of(message.items, named=True) if len(message.items) > 1 else message.title
    return title if len(title) <= min(room, _LONGEST_WITH_NAMES) else clip(message.title, room)


def render(message: Message, markup: Markup = Markup.TEXT) -> Part:
    """Return the message as one text of any length: all details for one alert, a list for several."""
    return _part(message, _titled(message, 250), _whole(message, markup), message.items, markup)


def body_of(item: Item, markup: Markup) -> str:
    """Return the built-in text about one alert, for use in a template."""
    return email.content(item) if markup is Markup.MAIL else plain.single(item, style_of(markup))


def fit(message: Message, profile: ChannelProfile) -> tuple[Part, ...]:
    """Return the message in as few parts as the limits allow, in order; each alert belongs to exactly one. Never raises."""
    if profile.markup is Markup.MAIL:
        return _mails(message, profile)
    fitter = _Fitter(message, profile)
    return tuple(fitter.clipped(part) for part in fitter.parts())


def thread_headers(items: Sequence[Item]) -> dict[str, str]:
    """Return mail headers that put the messages of an incident in one thread: all refer to an id made of the incident's."""
    ids = dict.fromkeys(_NO_ID.sub("", item.incident)[:64] for item in items[:_THREAD_ROOM])
    names: list[str] = []
    for each in ids:
        name = f"<incident-{each}@token-monitor.invalid>"
        if each and len(" ".join([*names, name])) <= _THREAD_ROOM:
            names.append(name)
    return {"References": " ".join(names), "In-Reply-To": names[-1]} if names else {}


def _part(
    message: Message, title: str, body: str, items: Sequence[Item], markup: Markup, *, files: tuple[Attachment, ...] = ()
) -> Part:
    return Part(
        title=title,
        body=body,
        tone=message.tone,
        alert_ids=tuple(alert_id for item in items for alert_id in item.alert_ids),
        markup=markup,
        files=files,
        secrets=_secrets_in(items),
        headers=thread_headers(items),
    )


def _secrets_in(items: Sequence[Item]) -> tuple[str, ...]:
    """Return the addresses of connection pages and the acknowledge links of these items."""
    pages = {item.link for item in items if item.link and item.link_until}
    return tuple(pages | {item.acknowledge for item in items if item.acknowledge})


def _whole(message: Message, markup: Markup) -> str:
    items = message.items
    if markup is Markup.MAIL:
        return email.single(items[0], message.title) if len(items) == 1 else email.listing(message, message.sections)
    style = style_of(markup)
    if len(items) == 1:
        return plain.single(items[0], style)
    pieces = (_lines(message, items, style), style.newline.join(closing.lines(message, items, style)))
    return style.gap.join(piece for piece in pieces if piece)


def _lines(message: Message, items: Sequence[Item], style: Style) -> str:
    """Return the lines of these items under their headings."""
    sections = _only(message.sections, items)
    others = len(closing.advice_lines(message)) + len(closing.links(message)) + 4  # with title, page or command, and time zone
    many = len(items) + 2 * len(sections) + others > _MOST_LINES
    return plain.lines(message, sections, style, gap=style.newline if many else None)


def _only(sections: Sequence[Section], items: Sequence[Item]) -> list[Section]:
    """Return the sections with only these items."""
    wanted = {id(item) for item in items}
    kept = (replace(section, items=tuple(item for item in section.items if id(item) in wanted)) for section in sections)
    return [section for section in kept if section.items]


def _all_in_one(message: Message, profile: ChannelProfile) -> bool:
    """Return True if the message lists every item, because there are few, or nothing else can show the others."""
    return len(message.items) <= _MOST_SHOWN or not (message.page or profile.files)


def _command(items: Sequence[Item]) -> str:
    """Return the command that lists what a message leaves out."""
    if all(item.external_id is None for item in items):
        return "token-monitor sources"
    statuses = {item.status for item in items}
    status = next(iter(statuses))
    narrowed = len(statuses) == 1 and status in _STATUSES and all(item.event not in RECOVERY_EVENTS for item in items)
    return f"token-monitor status --status {status}" if narrowed else "token-monitor status"


@dataclass(frozen=True, slots=True)
class _Fitter:
    """Fits one message into the limits of one channel, except for mail."""

    message: Message
    profile: ChannelProfile

    @property
    def style(self) -> Style:
        return style_of(self.profile.markup)

    @property
    def limits(self) -> ChannelLimits:
        return self.profile.limits

    @property
    def size(self) -> Size:
        return self.profile.limits.size

    def clipped(self, part: Part) -> Part:
        """Return the part, cut where a single word is larger than the limit: better than a rejected message."""
        title = self.size(part.title) + 2 if self.limits.title_in_body and part.title else 0
        return replace(part, body=clip(part.body, self.limits.body - title, self.size))

    def parts(self) -> tuple[Part, ...]:
        title = self._title((self.limits.title or 250) - _COUNTER_ROOM)
        budget = self.limits.body - (self.size(self._headline(title)) + _COUNTER_ROOM + 2 if self.limits.title_in_body else 0)
        if _all_in_one(self.message, self.profile) or not self.message.page:
            room = budget if _all_in_one(self.message, self.profile) else min(budget, _WITHOUT_FILE)
            whole = _whole(self.message, self.profile.markup)
            if self.size(whole) <= room and self._within_line_limit(whole):
                return (self._part(self._headline(title), whole, self.message.items),)
        if self.limits.title_in_body and budget < _NARROW:
            return tuple(self._short_messages())
        bodies = self._bodies(budget)
        count = len(bodies)
        heads = [title if count == 1 else f"{title} ({number}/{count})" for number in range(1, count + 1)]
        return tuple(
            self._part(self._headline(head), body, items, files=files)
            for head, (body, items, files) in zip(heads, bodies, strict=True)
        )

    def _title(self, room: int) -> str:
        if not self.limits.title_in_body:
            return clip(_titled(self.message, room), room, self.limits.title_size)
        title = clip(self.message.title, room) if self.limits.body < _ROOM_FOR_NAMES else _titled(self.message, room)
        return clip(title, self.limits.body // 2, self.size)

    def _headline(self, title: str) -> str:
        """Return the title, in markup where the channel reads it as markup."""
        if not self.profile.title_has_markup or any(item.own_title for item in self.message.items[:1]):
            return title
        return self.style.strong(title) if self.profile.markup is Markup.CHAT else self.style.escape(title)

    def _part(self, title: str, body: str, items: Sequence[Item], *, files: tuple[Attachment, ...] = ()) -> Part:
        return _part(self.message, title, body, items, self.profile.markup, files=files)

    def _within_line_limit(self, body: str) -> bool:
        return self.limits.lines == 0 or body.count("\n") + 1 + (self.limits.title == 0) <= self.limits.lines

    def _bodies(self, budget: int) -> list[tuple[str, Sequence[Item], tuple[Attachment, ...]]]:
        if self.limits.lines:
            return self._one_line_each(budget)
        items = self.message.items
        if len(items) == 1:
            return [(self._shortest(items[0], budget), items, ())]
        if self.message.page:
            return [(self.beside_page(budget), items, ())]
        if _all_in_one(self.message, self.profile):
            packed = self._pack(budget - self.size(closing.timezone_line(self.message)) - 2 * self.size(self.style.newline))
            if packed is not None and len(packed) <= self.limits.parts:
                return [(self._closed(group, budget, whole=group is packed[-1]), group, ()) for group in packed]
        if self.profile.files:
            body, _ = self._summary(items, budget, beside_file=True)
            return [(body, items, (csv_of(items),))]
        return self._with_counts(budget)

    def _closed(self, items: Sequence[Item], budget: int, *, whole: bool) -> str:
        """Return the lines of a part with the time zone, and in the last part with what to do, as far as it fits."""
        ends = (
            list(closing.lines(self.message, items, self.style))
            if whole
            else [self.style.escape(closing.timezone_line(self.message))]
        )
        return self._append(self._body(items), ends, budget)

    def _append(self, body: str, ends: Sequence[str], budget: int) -> str:
        """Return the text with those of the lines `ends` that fit below it, the last first; they keep their order."""
        room = budget - self.size(body) - self.size(self.style.gap)
        kept: list[str] = []
        for end in reversed(ends):
            if end and (cost := self.size(end) + self.size(self.style.newline)) <= room:
                kept.insert(0, end)
                room -= cost
        return self.style.gap.join(piece for piece in (body, self.style.newline.join(kept)) if piece)

    def beside_page(self, budget: int) -> str:
        """Return the worst items as far as they fit, with the link to the page that shows the others."""
        items = sorted(self.message.items, key=urgency)
        link = self.style.link(self.message.page)
        counts = self.style.escape(clip(f"({counts_by_platform(items)})", budget // 4))
        room = budget - self.size(f"and {len(items)} more {counts}: {link}") - 2 * self.size(self.style.gap)
        taken = self._take(items[:_MOST_SHOWN], room)
        if len(taken) < min(len(items), _MOST_SHOWN) and self.message.names_are_links:
            return replace(self, message=replace(self.message, names_are_links=False)).beside_page(budget)  # more names
        left = items[len(taken) :]
        if not left:
            return self._append(self._body(taken), list(closing.lines(self.message, items, self.style)), budget)
        counts = self.style.escape(clip(f"({counts_by_platform(left)})", budget // 4))
        rest = f"and {len(left)} more {counts}: {link}" if taken else f"{counts[1:-1]}: {link}"
        zone = self.style.escape(closing.timezone_line(self.message)) if taken else ""
        body = self.style.gap.join(piece for piece in (self._body(taken) if taken else "", rest) if piece)
        return self._append(body if self.size(body) <= budget else clip(link, budget, self.size), [zone], budget)

    def _one_line_each(self, budget: int) -> list[tuple[str, Sequence[Item], tuple[Attachment, ...]]]:
        """Return bodies for channels that show only a few lines: one line for each alert, or one with the counts."""
        most = max(self.limits.lines - (self.limits.title == 0), 1)
        items = self.message.items
        if len(items) > most * self.limits.parts:
            return [(f"{self._totals()} {self._where(items)}", items, ())]
        groups = [items[start : start + most] for start in range(0, len(items), most)]
        return [("\n".join(self._one_line(item, budget // most) for item in group), group, ()) for group in groups]

    def _one_line(self, item: Item, budget: int) -> str:
        """Return one line of a list; for a single alert with as many details as fit."""
        if item.external_id is not None and not item.own_body and len(self.message.items) > 1:
            (section,) = _only(self.message.sections, [item])
            line = plain.line(item, section, self.message, self.style)
            if self.size(line) <= budget:
                return line
        return self._shortest(item, budget)

    def _with_counts(self, budget: int) -> list[tuple[str, Sequence[Item], tuple[Attachment, ...]]]:
        """Return as many lines as fit into the allowed parts; the last part counts the rest."""
        left = list(self.message.items)
        bodies: list[tuple[str, Sequence[Item], tuple[Attachment, ...]]] = []
        while left and len(bodies) < self.limits.parts - 1:
            lead = self._totals() if not bodies else ""
            taken = self._take(left, budget - self.size(lead) - 2 * self.size(self.style.newline))
            if not taken:
                break
            body = "\n\n".join(part for part in (lead, self._body(taken)) if part)
            bodies.append((self._append(body, [self.style.escape(closing.timezone_line(self.message))], budget), taken, ()))
            left = left[len(taken) :]
        if left:
            body, _ = self._summary(left, budget, beside_file=False, lead=not bodies)
            bodies.append((body, left, ()))
        return bodies

    def _totals(self) -> str:
        return self.style.escape(clip(f"Total: {counts_by_platform(self.message.items)}.", 300))

    def _summary(self, items: Sequence[Item], budget: int, *, beside_file: bool, lead: bool = True) -> tuple[str, Sequence[Item]]:
        """Return the counts, as many lines as fit, and where to find the rest."""
        front = self._totals() if lead else ""
        rest_of_all = self.size(self._rest(len(items), items, beside_file=beside_file))
        room = budget - self.size(front) - rest_of_all - 4 * self.size(self.style.newline)
        taken = self._take(sorted(items, key=urgency)[:_MOST_SHOWN] if beside_file else items, room)
        rest = len(items) - len(taken)
        pieces = [front, self._body(taken) if taken else ""]
        if rest or beside_file:
            pieces.append(self._rest(rest, items[len(taken) :], beside_file=beside_file))
        body = "\n\n".join(piece for piece in pieces if piece)
        if taken:
            ends = [
                *map(self.style.escape, closing.advice_lines(self.message)),
                self.style.escape(closing.timezone_line(self.message)),
            ]
            body = self._append(body, ends, budget)
        if self.size(body) > budget and not taken:  # in a few dozen characters, the command is more useful than the counts
            body = clip(self._rest(len(items), items, beside_file=beside_file), budget, self.size)
        return body, taken

    def _rest(self, count: int, items: Sequence[Item], *, beside_file: bool) -> str:
        if beside_file:
            return self.style.escape(f"and {count} more. The attached file lists all {len(self.message.items)}.")
        return f"and {count} more: {self._where(items or self.message.items)}"

    def _short_link(self, items: Sequence[Item]) -> str:
        """Return what shows the items, in at most half of a short message: the page, without filters if they are too long."""
        page = self.message.page
        short = (link for link in (page, page.partition("?")[0]) if link and 2 * self.size(link) <= self.limits.body)
        return next(short, _command(items))

    def _where(self, items: Sequence[Item]) -> str:
        """Return what shows items that a message leaves out: the link to the page, else a command."""
        return self.style.link(self.message.page) if self.message.page else self.style.code(_command(items))

    def _take(self, items: Sequence[Item], room: int) -> Sequence[Item]:
        """Return the longest start of `items` whose lines fit into `room`."""
        low, high = 0, len(items)
        while low < high:
            middle = (low + high + 1) // 2
            if self.size(self._body(items[:middle])) <= room:
                low = middle
            else:
                high = middle - 1
        return items[:low]

    def _body(self, items: Sequence[Item]) -> str:
        return _lines(self.message, items, self.style)

    def _pack(self, budget: int) -> list[tuple[Item, ...]] | None:
        """Divide the items so that each group fits; None where a single item does not."""
        groups: list[tuple[Item, ...]] = []
        current: list[Item] = []
        used = 0
        gap = self.size(self.style.newline)
        for section in self.message.sections:
            # Heading, connection page, the blank line before, and room for the count in the heading of a longer section.
            frame = (
                self.size(self.style.strong(section.heading))
                + 30
                + sum(self.size(end) + gap for end in plain.after(section, self.style))
            )
            opened = False
            for item in section.items:
                cost = self.size(plain.line(item, section, self.message, self.style)) + gap
                if current and used + cost + (0 if opened else frame) > budget:
                    groups.append(tuple(current))
                    current, used, opened = [], 0, False
                current.append(item)
                used += cost + (0 if opened else frame)
                opened = True
                if used > budget:
                    return None
        return [*groups, tuple(current)]

    def _shortest(self, item: Item, budget: int) -> str:
        room = budget
        while self.size(body := self.style.escape(plain.short(item, room, self.size))) > budget and room > 20:
            room -= max(self.size(body) - budget, 1)
        return body

    def _short_messages(self) -> Iterator[Part]:
        """Yield messages without titles, which would repeat the little that fits: one for each alert, or one with the counts."""
        items = self.message.items
        if len(items) > self.limits.parts:
            counts, where = f"{counts_by_platform(items)}.", self._short_link(items)
            body = self.style.escape(clip(self.message.title, self.limits.body - self.size(where) - 2, self.size) + ".")
            if self.size(longer := f"{body} {self.style.escape(counts)}") + self.size(where) + 1 <= self.limits.body:
                body = longer
            yield self._part("", f"{body} {where}", items)
            return
        budget = max(self.limits.body - (_COUNTER_ROOM if len(items) > 1 else 0), 40)
        for number, item in enumerate(items, start=1):
            counter = f"({number}/{len(items)}) " if len(items) > 1 else ""
            yield self._part("", counter + self._shortest(item, budget), [item])


def _mails(message: Message, profile: ChannelProfile) -> tuple[Part, ...]:
    """Return one mail, with the page or a file for long lists; without both, up to three mails."""
    items, title = message.items, clip(message.title, profile.limits.title or 250)
    subject = _titled(message, profile.limits.title or 250)
    if _all_in_one(message, profile) and profile.limits.size(whole := _whole(message, Markup.MAIL)) <= profile.limits.body:
        return (_part(message, subject, whole, items, Markup.MAIL),)
    lead = f"Total: {counts_by_platform(items)}."
    if message.page or profile.files:
        shown = sorted(items, key=urgency)[:_MOST_SHOWN]
        more = f"and {len(items) - len(shown)} more."
        if not message.page:
            more += f" The attached file lists all {len(items)}."
        body = email.listing(message, _only(message.sections, shown), lead=lead, more=more)
        return (_part(message, subject, body, items, Markup.MAIL, files=() if message.page else (csv_of(items),)),)
    return tuple(_mails_with_counts(message, title, lead, limits=profile.limits))


def _mails_with_counts(message: Message, title: str, lead: str, *, limits: ChannelLimits) -> Iterator[Part]:
    """Yield as many mails as are allowed, with as many rows as they hold; the last one counts the rest."""
    items = message.items
    size = max(len(items) * limits.body // max(limits.size(_whole(message, Markup.MAIL)) * 6 // 5, 1), 1)
    groups = [items[start : start + size] for start in range(0, len(items), size)][: limits.parts]
    left = items[size * limits.parts :]
    for number, shown in enumerate(groups, start=1):
        last = number == len(groups)
        more = f"and {len(left)} more: {_command(left)}" if last and left else ""
        head = f"{clip(title, 240)} ({number}/{len(groups)})"
        part = replace(message, title=head)
        body = email.listing(part, _only(message.sections, shown), lead=lead if number == 1 else "", more=more)
        yield _part(message, head, body, [*shown, *left] if last else shown, Markup.MAIL)
