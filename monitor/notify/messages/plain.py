"""Plain-text and table bodies of messages."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence

from monitor.domain import utc_text
from monitor.domain.text import clean
from monitor.notify.messages.alert_text import Item
from monitor.notify.messages.markup import Attachment, Style
from monitor.notify.messages.message import Section

_COLUMNS = (
    "status",
    "name",
    "connection",
    "external_id",
    "platform",
    "source",
    "provider",
    "scope",
    "expires_at",
    "message",
    "what_to_do",
    "link",
    "alert",
)
_LONGEST = 256


def csv_of(items: Sequence[Item]) -> Attachment:
    """One row for each item, in order. Cells that a spreadsheet would run as a formula are made text."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(_COLUMNS)
    for item in items:
        writer.writerow([_cell(text) for text in _row(item)])
    # The mark at the beginning lets spreadsheets read names in all scripts.
    return Attachment(name="connections.csv", mimetype="text/csv", content=b"\xef\xbb\xbf" + out.getvalue().encode("utf-8"))


def _row(item: Item) -> tuple[str, ...]:
    alert = item.alert
    return (
        item.word,
        clean(alert.label, otherwise=item.subject) if item.external_id is not None else item.subject,
        clean(alert.connection, limit=_LONGEST),
        clean(alert.external_id, limit=_LONGEST),
        item.platform or "",
        item.source,
        item.service,
        clean(alert.scope, limit=_LONGEST),
        utc_text(alert.expires_at) or "",
        clean(alert.message, limit=_LONGEST),
        item.advice,
        item.link or "",
        ", ".join(item.alert_ids),
    )


def _cell(text: str) -> str:
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def letter(item: Item, style: Style) -> str:
    """Everything about one alert."""
    if item.own_body:
        return item.own_body
    paragraphs = [
        [_joined(" ", *_opening(item, style), style.escape(item.expiry))],
        [f"- {style.escape(line)}" for line in item.told],
        [style.escape(note) for note in item.notes],
        [style.escape(line) for line in _reasons(item)],
        [*_to_do(item.advice, item.link, item.link_until, style), *_acknowledge(item.ack, style)],
        list(_particulars(item, style)),
    ]
    blocks = [style.newline.join(line for line in lines if line) for lines in paragraphs]
    return style.gap.join(block for block in blocks if block)


def _opening(item: Item, style: Style) -> Iterator[str]:
    """The news, with the subject to the fore; that way no stranger's name begins a line either."""
    if item.opening.startswith(item.subject + " "):
        yield style.strong(item.subject)
        yield style.escape(item.opening[len(item.subject) + 1 :])
    else:
        yield style.escape(item.opening)


def _reasons(item: Item) -> Iterator[str]:
    if why := _joined(" ", item.cause, item.said_because):
        yield f"Why: {why}"


def _to_do(advice: str, link: str | None, link_until: str, style: Style) -> Iterator[str]:
    if advice:
        yield style.escape(f"What to do: {advice}")
    if link:
        yield f"{'Connection page' if link_until else 'Link'}: {style.link(link)}"
    if link and link_until:
        yield style.escape(page_note(link_until))


def _acknowledge(command: str, style: Style) -> Iterator[str]:
    if command:
        yield f"Acknowledge: {style.code(command)}"


def page_note(until: str) -> str:
    """What to know of a connection page."""
    return f"It is good until {until}, for whoever has its address: pass it on to the one who reconnects, and to nobody else."


def _particulars(item: Item, style: Style) -> Iterator[str]:
    if item.external_id is not None:
        yield style.escape(f"Status: {item.word}")
        yield f"Connection: {style.code(item.public_id)}"
        yield style.escape(f"Platform: {item.platform}")
    if item.source:
        place = f"{item.source} ({item.service})" if item.service else item.source
        yield style.escape(f"Source: {_joined(', ', place, item.scope)}")
    if item.labels:
        yield style.escape("Labels: " + ", ".join(f"{key}={value}" for key, value in sorted(item.labels.items())))
    yield f"{_alerts_of(item)}"


def _alerts_of(item: Item) -> str:
    return f"Alert{'' if len(item.alert_ids) == 1 else 's'}: {', '.join(item.alert_ids)}"


# --- several alerts


def listing(sections: Sequence[Section], style: Style) -> str:
    """A paragraph for each section, with an entry of a few lines for each alert."""
    return style.gap.join(_paragraph(section, entry, style) for section in sections)


def lines(sections: Sequence[Section], style: Style) -> str:
    """A paragraph for each section, with one line for each alert."""
    return style.gap.join(_paragraph(section, line, style) for section in sections)


def _paragraph(section: Section, one: Callable[[Item, Section, Style], str], style: Style) -> str:
    lines_of = [heading(section, style), *(one(item, section, style) for item in section.items), *to_do(section, style)]
    return style.newline.join(lines_of)


def to_do(section: Section, style: Style) -> Iterator[str]:
    """What is to be done about a whole section."""
    return _to_do(section.advice or "", section.link, section.link_until, style)


def footer(sections: Sequence[Section], style: Style) -> str:
    """How to say that somebody cares for one of them; empty where there is nothing to acknowledge."""
    open_ones = any(item.ack for section in sections for item in section.items)
    return f"Acknowledge one: {style.code('token-monitor ack CONNECTION')}" if open_ones else ""


def heading(section: Section, style: Style) -> str:
    """What a section is about."""
    return style.strong(_joined(": ", section.label, section.headline))


def entry(item: Item, section: Section, style: Style) -> str:
    """One alert of several, in a few lines."""
    if item.own_body:
        return item.own_body
    advice, link = "" if section.advice == item.advice else item.advice, None if section.link == item.link else item.link
    own = _to_do(advice, link, item.link_until, style)
    first = style.escape(item.opening) if item.external_id is None else named(item, style)
    opening = style.escape(item.opening) if item.lasted and item.external_id is not None else ""
    said = [
        opening,
        *(style.escape(text) for text in (item.expiry, *item.told, *item.notes, *_reasons(item))),
        *own,
        _alerts_of(item),
    ]
    return f"{style.newline}{style.indent}".join([f"- {first}", *(text for text in said if text)])


def line(item: Item, section: Section, style: Style) -> str:
    """One alert of many, on one line."""
    if item.external_id is None:
        return f"- {style.escape(item.opening)}"
    said = [item.lasted and f"It {item.lasted}.", item.expiry, *item.notes]
    if section.advice is None and item.advice:
        said.append(item.advice)
    own_link = style.link(item.link) if item.link and section.link is None else ""
    return _joined(" ", f"- {named(item, style)}:", *(style.escape(text) for text in said if text), own_link)


def named(item: Item, style: Style) -> str:
    """A connection by its name, with its id and scope where those say more."""
    if item.external_id == item.subject:
        return _joined(" ", style.strong(item.subject), f"({style.escape(item.scope)})" if item.scope else "")
    extra = [style.code(item.external_id or ""), style.escape(item.scope)]
    return f"{style.strong(item.subject)} ({_joined(', ', *extra)})"


# --- where every character counts


def short(item: Item, limit: int) -> str:
    """One plain line of at most `limit` characters: what matters most first, and nothing cut in two."""
    if item.external_id is None:
        pieces = [item.opening]
    else:
        pieces = [f"{item.word}: {item.subject}", f"({item.external_id}),", f"{item.platform} at {item.source}."]
    pieces += [item.expiry, *item.notes, item.advice, item.link or "", f"Alert {item.alert_id}"]
    said = clip(pieces[0], limit)
    for piece in pieces[1:]:
        if piece and len(said) + 1 + len(piece) <= limit:
            said = f"{said} {piece}"
    return said.rstrip(",")


def clip(text: str, limit: int) -> str:
    """At most `limit` characters, with dots where something is missing."""
    return text if len(text) <= limit else text[: max(limit - 3, 0)].rstrip() + "..."


def _joined(separator: str, *texts: str) -> str:
    return separator.join(text for text in texts if text)
