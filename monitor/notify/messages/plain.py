"""Message bodies as text in any markup, and the attached table."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence

from monitor.domain import utc_text
from monitor.domain.text import clean
from monitor.notify.messages.alert_text import Item
from monitor.notify.messages.markup import Attachment, Style
from monitor.notify.messages.message import Section
from monitor.notify.messages.sizes import Size, characters, clip

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
    """Return one row for each item, in order. Cells that a spreadsheet would run as a formula become text."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(_COLUMNS)
    for item in items:
        writer.writerow([_cell(text) for text in _row(item)])
    # The byte order mark makes spreadsheets read the file as UTF-8.
    return Attachment(name="connections.csv", mimetype="text/csv", content=b"\xef\xbb\xbf" + out.getvalue().encode("utf-8"))


def _row(item: Item) -> tuple[str, ...]:
    alert = item.alert
    return (
        item.status,
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


def single(item: Item, style: Style) -> str:
    """Return the body of a message about one alert, with all details."""
    if item.own_body:
        return item.own_body
    paragraphs = [
        [_joined(" ", *_opening(item, style), style.escape(item.expiry))],
        [f"- {style.escape(line)}" for line in item.report_lines],
        [style.escape(note) for note in item.notes],
        [style.escape(line) for line in _reasons(item)],
        [*_to_do(item.advice, item.link, item.link_until, style), *_acknowledge(item.ack, style)],
        list(_details(item, style)),
    ]
    blocks = [style.newline.join(line for line in lines if line) for lines in paragraphs]
    return style.gap.join(block for block in blocks if block)


def _opening(item: Item, style: Style) -> Iterator[str]:
    """Yield the first sentence, its subject in bold; that also keeps untrusted text from the beginning of a line."""
    if item.opening.startswith(item.subject + " "):
        yield style.strong(item.subject)
        yield style.escape(item.opening[len(item.subject) + 1 :])
    else:
        yield style.escape(item.opening)


def _reasons(item: Item) -> Iterator[str]:
    if reason := _joined(" ", item.cause, item.why):
        yield f"Reason: {reason}"


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
    """Return the note beside the link to a connection page."""
    return f"The link is valid until {until}. Anyone who has it can connect accounts: share it only with the responsible person."


def _details(item: Item, style: Style) -> Iterator[str]:
    if item.external_id is not None:
        yield style.escape(f"Status: {item.status}")
        yield f"Connection: {style.code(item.public_id)}"
        yield style.escape(f"Platform: {item.platform}")
    if item.source:
        place = f"{item.source} ({item.service})" if item.service else item.source
        yield style.escape(f"Source: {_joined(', ', place, item.scope)}")
    if item.labels:
        yield style.escape("Labels: " + ", ".join(f"{key}={value}" for key, value in sorted(item.labels.items())))
    yield _alerts_of(item)


def _alerts_of(item: Item) -> str:
    return f"Alert{'' if len(item.alert_ids) == 1 else 's'}: {', '.join(item.alert_ids)}"


# --- several alerts


def listing(sections: Sequence[Section], style: Style) -> str:
    """Return a paragraph for each section, with an entry of a few lines for each alert."""
    return style.gap.join(_paragraph(section, entry, style) for section in sections)


def lines(sections: Sequence[Section], style: Style) -> str:
    """Return a paragraph for each section, with one line for each alert."""
    return style.gap.join(_paragraph(section, line, style) for section in sections)


def _paragraph(section: Section, one: Callable[[Item, Section, Style], str], style: Style) -> str:
    lines_of = [heading(section, style), *(one(item, section, style) for item in section.items), *to_do(section, style)]
    return style.newline.join(lines_of)


def to_do(section: Section, style: Style) -> Iterator[str]:
    """Yield the advice and link of a whole section."""
    return _to_do(section.advice or "", section.link, section.link_until, style)


def footer(sections: Sequence[Section], style: Style) -> str:
    """Return how to acknowledge one of these; empty where nothing can be acknowledged."""
    can_acknowledge = any(item.ack for section in sections for item in section.items)
    return f"Acknowledge one: {style.code('token-monitor ack CONNECTION')}" if can_acknowledge else ""


def heading(section: Section, style: Style) -> str:
    """Return the heading of a section."""
    return style.strong(_joined(": ", section.label, section.headline))


def entry(item: Item, section: Section, style: Style) -> str:
    """Return one alert of several, in a few lines."""
    if item.own_body:
        return item.own_body
    advice, link = "" if section.advice == item.advice else item.advice, None if section.link == item.link else item.link
    own = _to_do(advice, link, item.link_until, style)
    first = style.escape(item.opening) if item.external_id is None else name_and_id(item, style)
    opening = style.escape(item.opening) if item.lasted and item.external_id is not None else ""
    rest = [
        opening,
        *(style.escape(text) for text in (item.expiry, *item.report_lines, *item.notes, *_reasons(item))),
        *own,
        _alerts_of(item),
    ]
    return f"{style.newline}{style.indent}".join([f"- {first}", *(text for text in rest if text)])


def line(item: Item, section: Section, style: Style) -> str:
    """Return one alert of many, on one line."""
    if item.external_id is None:
        return f"- {style.escape(item.opening)}"
    texts = [item.lasted and f"It {item.lasted}.", item.expiry, *item.notes]
    if section.advice is None and item.advice:
        texts.append(item.advice)
    own_link = style.link(item.link) if item.link and section.link is None else ""
    return _joined(" ", f"- {name_and_id(item, style)}:", *(style.escape(text) for text in texts if text), own_link)


def name_and_id(item: Item, style: Style) -> str:
    """Return a connection's name, with its id and scope where they differ from the name."""
    if item.external_id == item.subject:
        return _joined(" ", style.strong(item.subject), f"({style.escape(item.scope)})" if item.scope else "")
    extra = [style.code(item.external_id or ""), style.escape(item.scope)]
    return f"{style.strong(item.subject)} ({_joined(', ', *extra)})"


# --- short messages


def short(item: Item, limit: int, size: Size = characters) -> str:
    """Return one plain line of at most the size `limit`: the most important first, and only whole pieces."""
    if item.external_id is None:
        pieces = [item.opening]
    else:
        pieces = [f"{item.status}: {item.subject}", f"({item.external_id}),", f"{item.platform} at {item.source}."]
    pieces += [item.expiry, *item.notes, item.advice, item.link or "", f"Alert {item.alert_id}"]
    text = clip(pieces[0], limit, size)
    for piece in pieces[1:]:
        if piece and size(longer := f"{text} {piece}") <= limit:
            text = longer
    return text.rstrip(",")


def _joined(separator: str, *texts: str) -> str:
    return separator.join(text for text in texts if text)
