"""Message bodies as text in any markup, and the attached table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from monitor.domain import AlertEvent, Status, utc_text
from monitor.domain.rules.labels import CLIENT
from monitor.domain.text import clean, clean_id, readable
from monitor.notify.messages.alert_text import Item
from monitor.notify.messages.markup import Attachment, Style
from monitor.notify.messages.message import Message, Section
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
    paragraphs = _recovery(item, style) if item.recovered and item.external_id is not None else _problem(item, style)
    blocks = [style.newline.join(line for line in lines if line) for lines in paragraphs]
    return style.gap.join(block for block in blocks if block)


def _problem(item: Item, style: Style) -> Iterator[Sequence[str]]:
    yield [_joined(" ", *_opening(item, style), style.escape(item.reach), style.escape(item.expiry))]
    yield [f"- {style.escape(line)}" for line in item.report_lines]
    yield [style.escape(note) for note in item.notes]
    yield [style.escape(line) for line in _reasons(item)]
    yield [*_to_do(item.advice, item.link, item.link_until, style), *_links_here(item, style)]
    yield list(_details(item, style))


def _recovery(item: Item, style: Style) -> Iterator[Sequence[str]]:
    yield [_joined(" ", *_opening(item, style), style.escape(item.expiry), style.escape(item.advice))]
    yield [style.escape(note) for note in item.notes]
    yield [*_links_here(item, style), " \u00b7 ".join(_details(item, style))]


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


def _links_here(item: Item, style: Style) -> Iterator[str]:
    """Yield how to acknowledge it, and its page of the status page."""
    if item.acknowledge:
        yield f"Acknowledge: {style.link(item.acknowledge)}"
    elif item.ack:
        yield f"Acknowledge: {style.code(item.ack)}"
    if item.status_page:
        yield f"Details: {style.link(item.status_page)}"


def page_note(until: str) -> str:
    """Return the note beside the link to a connection page."""
    return f"The link is valid until {until}. Anyone who has it can connect accounts: share it only with the responsible person."


def _details(item: Item, style: Style) -> Iterator[str]:
    if item.external_id is not None:
        yield style.escape(f"Status: {item.status}{previously(item)}")
        yield f"Connection: {style.code(item.public_id)}"
        yield style.escape(f"Platform: {item.platform}")
    if item.source:
        yield style.escape(f"Source: {origin(item)}")
    if item.labels:
        yield style.escape("Labels: " + ", ".join(f"{key}={value}" for key, value in sorted(item.labels.items())))
    yield _alerts_of(item)


def origin(item: Item) -> str:
    """Return the source with its provider, and the id of the managed user or workspace where no label names the client."""
    named = item.external_id is not None and CLIENT in item.labels
    return item.place if named else _joined(", ", item.place, item.scope)


def previously(item: Item) -> str:
    """Return the status before a recovery, as the end of a sentence."""
    return f", previously {readable(clean_id(item.alert.previous))}" if item.recovered and item.alert.previous else ""


def _alerts_of(item: Item) -> str:
    return f"Alert{'' if len(item.alert_ids) == 1 else 's'}: {', '.join(item.alert_ids)}"


# --- several alerts


def lines(message: Message, sections: Sequence[Section], style: Style, *, gap: str | None = None) -> str:
    """Return one line for each connection, under the headings of these sections; `gap` separates the sections."""
    return (style.gap if gap is None else gap).join(_paragraph(section, message, style) for section in sections)


def _paragraph(section: Section, message: Message, style: Style) -> str:
    heading_of = [style.strong(section.headline)] if section.heading else []
    return style.newline.join(
        [*heading_of, *(line(item, section, message, style) for item in section.items), *after(section, style)]
    )


def after(section: Section, style: Style) -> Iterator[str]:
    """Yield the connection page of a whole section."""
    if section.connection_page:
        yield f"Connection page: {style.link(section.connection_page)} (valid until {style.escape(section.link_until)})"


def line(item: Item, section: Section, message: Message, style: Style) -> str:
    """Return one alert of several: a single line for a connection, a few lines for everything else."""
    if item.own_body:
        return item.own_body
    if item.external_id is None:
        return _entry(item, style)
    linked = item.status_page and message.names_are_links
    name = style.named_link(item.subject, item.status_page) if linked else style.strong(item.subject)
    texts = [
        name,
        style.escape(item.platform_name),
        style.escape(item.brief),
        style.escape(_joined(", ", item.reminder, item.lasting and f"for {item.lasting}")),
        style.escape(item.cause.rstrip(".")) if item.status == Status.FAILING and not item.status_page else "",
        style.escape(item.group or item.place) if message.names_clients else "",
        style.code(item.external_id) if not item.status_page and item.external_id != item.subject else "",
        *(style.escape(note.rstrip(".")) for note in item.notes),
    ]
    if item.link and item.link_until and section.connection_page is None:
        texts.append(f"{style.link(item.link)} (valid until {style.escape(item.link_until)})")
    return "- " + _joined(" \u00b7 ", *texts)


def _entry(item: Item, style: Style) -> str:
    opening = _joined(" ", item.opening, item.reach)
    if item.event is AlertEvent.MONITOR_RECOVERED:
        opening = _joined(" ", opening, item.cause)
    reasons = [] if item.recovered else [style.escape(text) for text in _reasons(item)]
    texts = [*map(style.escape, (*item.report_lines, *item.notes)), *reasons]
    if not item.recovered:
        texts += _to_do(item.advice, item.link, item.link_until, style)
    return f"{style.newline}{style.indent}".join([f"- {style.escape(opening)}", *(text for text in texts if text)])


# --- short messages


def short(item: Item, limit: int, size: Size = characters) -> str:
    """Return one plain line of at most the size `limit`: the most important first, and only whole pieces."""
    if item.external_id is None:
        pieces = [item.opening]
    else:
        pieces = [f"{item.status}: {item.subject}", f"({item.external_id}),", f"{item.platform} at {item.source}."]
    pieces += [item.reach, item.expiry, *item.notes, item.status_page, item.advice, item.link or "", f"Alert {item.alert_id}"]
    text = clip(pieces[0], limit, size)
    for piece in pieces[1:]:
        if piece and size(longer := f"{text} {piece}") <= limit:
            text = longer
    return text.rstrip(",")


def _joined(separator: str, *texts: str) -> str:
    return separator.join(text for text in texts if text)
