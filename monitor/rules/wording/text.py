"""The plain rendering of a message, and its division into parts that a channel can carry.

The text reads well raw, in a chat, in a mail and in a short message alike: no markup, bullets by hyphen, links alone at
the end of a line. Three layouts: a letter for one alert, a list for several, and one line each where space is short.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from monitor.rules.wording.message import Item, Message, Section, Tone


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a channel can carry, in characters."""

    body: int = 32768
    title: int = 250
    """0 where the channel has no titles and puts them on top of the body."""
    shared: bool = False
    """Whether the title counts against the body's limit."""
    lines: int = 0
    """The most lines a body may have, 0 for any number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One text to hand to a channel, and the alerts that it says."""

    title: str
    body: str
    tone: Tone
    alert_ids: tuple[str, ...]


_COUNTER_ROOM = 10  # for " (12/34)"
_NARROW = 400  # a budget under which a title on top of a one-line body only repeats it


def render(message: Message) -> Part:
    """The whole message as one text, however long: a letter for one alert, a list for several."""
    items = message.items
    body = _letter(items[0]) if len(items) == 1 else _list(message.sections)
    return _part(message.title, body, items=items, tone=message.tone)


def fit(message: Message, limits: Limits) -> tuple[Part, ...]:
    """The message in as few parts as the channel's limits allow, in order, each alert whole and named in exactly one.

    Nothing is cut but a single alert that alone is longer than a part: then its tail is lost, never its name and id.
    """
    title = _clip(message.title, (limits.title or 250) - _COUNTER_ROOM)
    on_top = limits.shared or limits.title == 0
    budget = limits.body - (len(title) + _COUNTER_ROOM + 2 if on_top else 0)
    whole = render(message)
    if len(whole.body) <= budget and _lines_fit(whole.body, limits):
        return (replace(whole, title=title),)
    if on_top and budget < _NARROW:
        return _short_messages(message, limits)
    if limits.lines == 0 and (packed := _pack(message, budget)) is not None:
        bodies = [(_body_of(message, group), group) for group in packed]
    else:
        bodies = _brief_bodies(message.items, budget=budget, limits=limits)
    count = len(bodies)
    numbered = [title if count == 1 else f"{title} ({number}/{count})" for number in range(1, count + 1)]
    return tuple(_part(head, body, items=items, tone=message.tone) for head, (body, items) in zip(numbered, bodies, strict=True))


def _short_messages(message: Message, limits: Limits) -> tuple[Part, ...]:
    """Where a title would only repeat the little that fits: untitled one-line texts, numbered in front."""
    bodies = _brief_bodies(message.items, budget=max(limits.body - _COUNTER_ROOM, 40), limits=limits)
    front = [""] if len(bodies) == 1 else [f"({number}/{len(bodies)}) " for number in range(1, len(bodies) + 1)]
    return tuple(
        _part("", place + body, items=items, tone=message.tone) for place, (body, items) in zip(front, bodies, strict=True)
    )


def _part(title: str, body: str, *, items: Sequence[Item], tone: Tone) -> Part:
    return Part(title=title, body=body, tone=tone, alert_ids=tuple(item.alert_id for item in items))


def _lines_fit(body: str, limits: Limits) -> bool:
    return limits.lines == 0 or body.count("\n") + 1 + (limits.title == 0) <= limits.lines


# --- one alert: a letter


def _letter(item: Item) -> str:
    paragraphs = [
        _joined(" ", item.opening, item.expiry),
        "\n".join(item.notes),
        "\n".join(_reasons(item)),
        "\n".join(_to_do(item.advice, item.link)),
        "\n".join(_particulars(item)),
    ]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def _reasons(item: Item) -> Iterator[str]:
    if why := _joined(" ", item.cause, item.said_because):
        yield f"Why: {why}"


def _to_do(advice: str, link: str | None) -> Iterator[str]:
    if advice:
        yield f"What to do: {advice}"
    if link:
        yield f"Link: {link}"


def _particulars(item: Item) -> Iterator[str]:
    if item.external_id is not None:
        yield f"Connection: {item.external_id}"
        yield f"Platform: {item.platform}"
    if item.source:
        yield f"Source: {_joined(', ', f'{item.source} ({item.service})', item.scope)}"
    if item.labels:
        yield "Labels: " + ", ".join(f"{key}={value}" for key, value in sorted(item.labels.items()))
    yield f"Alert: {item.alert_id}"


# --- several alerts: a list


def _list(sections: Sequence[Section]) -> str:
    return "\n\n".join(_section(section) for section in sections)


def _section(section: Section) -> str:
    return "\n".join([_heading(section), *(_entry(item, section) for item in section.items), *_section_to_do(section)])


def _section_to_do(section: Section) -> Iterator[str]:
    return _to_do(section.advice or "", section.link)


def _heading(section: Section) -> str:
    place = f"{section.source} ({section.service})" if section.source else ""
    where = _joined(" at ", section.platform or "", place)
    count = f", {len(section.items)} connections" if section.platform and len(section.items) > 1 else ""
    return f"{section.word}: {where}{count}"


def _entry(item: Item, section: Section) -> str:
    own = _to_do("" if section.advice == item.advice else item.advice, None if section.link == item.link else item.link)
    first = item.opening if item.external_id is None else _named(item)
    lines = [item.expiry, *item.notes, *_reasons(item), *own, f"Alert: {item.alert_id}"]
    return "\n  ".join([f"- {first}", *(line for line in lines if line)])


def _named(item: Item) -> str:
    extra = [text for text in (item.external_id, item.scope) if text and text != item.subject]
    return f"{item.subject} ({', '.join(extra)})" if extra else item.subject


# --- too long: parts


def _pack(message: Message, budget: int) -> list[tuple[Item, ...]] | None:
    """Items divided so that each group's list fits; None where one item alone does not."""
    groups: list[tuple[Item, ...]] = []
    current: list[Item] = []
    used = 0
    for section in message.sections:
        # Heading, advice, the blank line before, and room for the count that a longer section's heading shows.
        frame = len(_heading(section)) + sum(len(line) + 1 for line in _section_to_do(section)) + 24
        opened = False
        for item in section.items:
            cost = len(_entry(item, section)) + 1
            if current and used + cost + (0 if opened else frame) > budget:
                groups.append(tuple(current))
                current, used, opened = [], 0, False
            current.append(item)
            used += cost + (0 if opened else frame)
            opened = True
            if used > budget:
                return None
    return [*groups, tuple(current)]


def _body_of(message: Message, items: Sequence[Item]) -> str:
    if len(items) == 1 == len(message.items):
        return _letter(items[0])
    wanted = {id(item) for item in items}
    kept = (replace(section, items=tuple(item for item in section.items if id(item) in wanted)) for section in message.sections)
    return _list([section for section in kept if section.items])


def _brief_bodies(items: Sequence[Item], *, budget: int, limits: Limits) -> list[tuple[str, tuple[Item, ...]]]:
    """One line per alert, as many to a part as fit."""
    most = max(limits.lines - (limits.title == 0), 1) if limits.lines else len(items)
    parts: list[tuple[list[str], list[Item]]] = []
    used = budget + 1
    for item in items:
        line = _clip(_brief(item), budget)
        if used + len(line) + 1 > budget or len(parts[-1][0]) >= most:
            parts.append(([], []))
            used = -1
        parts[-1][0].append(line)
        parts[-1][1].append(item)
        used += len(line) + 1
    return [("\n".join(lines), tuple(kept)) for lines, kept in parts]


def _brief(item: Item) -> str:
    head = f"{item.word}: {_named(item)}, {item.platform} at {item.source}." if item.external_id is not None else item.opening
    return _joined(" ", head, item.expiry, *item.notes, item.advice, item.link or "", f"Alert {item.alert_id}")


def _clip(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: max(limit - 3, 0)].rstrip() + "..."


def _joined(separator: str, *texts: str) -> str:
    return separator.join(text for text in texts if text)
