"""Messages as HTML mails.

Styles are inline, no resource is loaded, and the mail is readable in light and dark mode: text keeps the mail client's
colours, and every element with a background sets its text colour too. Apprise derives the plain-text alternative from the
visible text, so all that matters is visible text, including the addresses of links.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from monitor.domain import Status
from monitor.domain.text import readable
from monitor.notify.messages import closing
from monitor.notify.messages.alert_text import Item
from monitor.notify.messages.markup import Tone
from monitor.notify.messages.message import Message, Section
from monitor.notify.messages.plain import origin, page_note, previously

_COLOURS = {Tone.INFO: "#5f6368", Tone.SUCCESS: "#188038", Tone.WARNING: "#b06000", Tone.FAILURE: "#c5221f"}

_FOOTER = "Sent by your token expiry monitor."
_PAGE = (
    "max-width:640px;margin:0 auto;padding:16px;font-size:15px;line-height:1.5;"
    "font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"
)
_CHIP = "display:inline-block;padding:1px 9px;border-radius:10px;color:#ffffff;font-size:13px;font-weight:600;background:"
_BUTTON = (
    "display:inline-block;padding:9px 18px;border-radius:6px;background:#1a56c4;color:#ffffff;"
    "font-weight:600;text-decoration:none"
)
_SECOND_BUTTON = (
    "display:inline-block;padding:8px 17px;border-radius:6px;border:1px solid #8a8f94;color:inherit;font-weight:600;"
    "text-decoration:none"
)
_HEADING = "font-size:20px;line-height:1.3"
_MUTED = "opacity:.72;font-size:13px"
_MONO = "font-family:ui-monospace,Menlo,Consolas,monospace;font-size:13px"
_TABLE = 'role="presentation" cellpadding="0" cellspacing="0" style="width:100%;border-collapse:collapse;margin:8px 0"'
_FACT = "padding:2px 0"
_ROW = "padding:7px 10px 7px 0;border-top:1px solid #8a8f9466;vertical-align:top"


def single(item: Item, title: str) -> str:
    """Return a mail about one alert, with all details."""
    return _page(title, [item.own_body or content(item)])


def content(item: Item) -> str:
    """Return the content of a mail about one alert, without the page around it."""
    status = item.status if item.platform else readable(item.status)
    mark = f' <span style="{_MUTED}">{escape(item.reminder)}</span>' if item.reminder else ""
    head = f'<div>{_chip(status, item.tone)}{mark}</div><h1 style="{_HEADING};margin:10px 0">{escape(item.opening)}</h1>'
    blocks = [
        head,
        _paragraph(item.reach, strong=True),
        _paragraph(item.expiry, strong=not item.recovered),
        *(_paragraph(line) for line in item.report_lines),
        *(_paragraph(note) for note in item.notes),
        *(_after_recovery(item) if item.recovered and item.platform else _after_problem(item)),
    ]
    return "".join(blocks)


def _after_problem(item: Item) -> Iterator[str]:
    facts = "".join(f'<tr><td style="{_FACT}">{row}</td></tr>' for row in _details(item))
    reason = " ".join(text for text in (item.cause, item.why) if text)
    yield _paragraph(f"Reason: {reason}" if reason else "")
    yield from _to_do(item.advice, item.link, item.link_until, item.service, urgent=item.rank > 0)
    yield _acknowledge_button(item.acknowledge) if item.acknowledge else _acknowledge(item.ack)
    yield _details_link(item.status_page)
    yield f"<table {_TABLE}>{facts}</table>" if facts else ""
    yield _alerts_of(item)


def _after_recovery(item: Item) -> Iterator[str]:
    yield _paragraph(item.advice)
    yield _details_link(item.status_page)
    yield f'<p style="margin:8px 0;{_MUTED}">{" &middot; ".join(_details(item))}</p>'
    yield _alerts_of(item)


def listing(message: Message, sections: Sequence[Section], *, lead: str = "", more: str = "") -> str:
    """Return a mail with a line for each connection under the headings of `sections`, `lead` above them and `more` below."""
    head = f'<h1 style="{_HEADING};margin:0 0 8px">{escape(message.title)}</h1>'
    return _page(
        message.title,
        [head, _paragraph(lead), *(_section(each, message) for each in sections), *_closing(message, sections, more)],
    )


def _closing(message: Message, sections: Sequence[Section], more: str) -> Iterator[str]:
    yield _paragraph(more, strong=True)
    yield _page_button(message)
    yield from (_paragraph(text) for text in closing.advice_lines(message))
    yield from (_link_line("Link", link) for link in closing.links(message))
    if closing.has_connection_pages(message):
        yield _paragraph(closing.CONNECTION_PAGES)
    if not message.page:
        yield _acknowledge(closing.acknowledge_command([item for section in sections for item in section.items]), one=True)
    zone = closing.timezone_line(message)
    yield f'<p style="margin:8px 0;{_MUTED}">{escape(zone)}</p>' if zone else ""


def _page(title: str, blocks: Iterable[str]) -> str:
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
        f'<title>{escape(title)}</title></head><body style="margin:0;padding:0"><div style="{_PAGE}">'
        + "".join(block for block in blocks if block)
        + f'<div style="{_MUTED};margin-top:20px">{_FOOTER}</div></div></body></html>'
    )


def with_footer(mail: str, footer: str) -> str:
    """Return a mail with a footer, given as HTML, that states where it comes from."""
    before, found, after = mail.rpartition(_FOOTER)
    return f"{before}{footer}{after}" if found else mail


def _chip(status: str, tone: Tone) -> str:
    return f'<span style="{_CHIP}{_COLOURS[tone]}">{escape(status)}</span>'


def _paragraph(text: str, *, strong: bool = False) -> str:
    weight = ";font-weight:600" if strong else ""
    return f'<p style="margin:8px 0{weight}">{escape(text)}</p>' if text else ""


def _to_do(advice: str, link: str | None, link_until: str, service: str, *, urgent: bool) -> Iterator[str]:
    yield _paragraph(f"What to do: {advice}" if advice else "")
    if link:
        address, name = escape(link), "the connection page" if link_until else escape(service or "it")
        if urgent:
            yield f'<p style="margin:12px 0 2px"><a href="{address}" style="{_BUTTON}">Open {name}</a></p>'
        note = f"<br>{escape(page_note(link_until))}" if link_until else ""
        yield f'<p style="margin:0 0 12px;{_MUTED}">Link: <a href="{address}" style="color:inherit">{address}</a>{note}</p>'


def _acknowledge(command: str, *, one: bool = False) -> str:
    if not command:
        return ""
    which = "Acknowledge one" if one else "Acknowledge"
    return f'<p style="margin:8px 0;{_MUTED}">{which}: <span style="{_MONO}">{escape(command)}</span></p>'


def _acknowledge_button(link: str) -> str:
    button = f'<a href="{escape(link)}" style="{_SECOND_BUTTON}">Acknowledge</a>'
    note = "Stops reminders until the status worsens."
    return f'<p style="margin:12px 0 2px">{button}</p><p style="margin:0 0 12px;{_MUTED}">{note}</p>'


def _details_link(link: str) -> str:
    return _link_line("Details", link) if link else ""


def _page_button(message: Message) -> str:
    link = message.page
    if not link:
        return ""
    return f'<p style="margin:12px 0 2px"><a href="{escape(link)}" style="{_BUTTON}">Show all</a></p>' + _link_line(
        closing.page_label(message), link
    )


def _link_line(label: str, link: str) -> str:
    return (
        f'<p style="margin:8px 0;{_MUTED};overflow-wrap:anywhere">{label}: '
        f'<a href="{escape(link)}" style="color:inherit">{escape(link)}</a></p>'
    )


def _details(item: Item) -> Iterator[str]:
    if item.recovered and item.external_id is not None:
        yield escape(f"Status: {item.status}{previously(item)}")
    if item.external_id is not None:
        yield f'Connection: <span style="{_MONO}">{escape(item.public_id)}</span>'
        yield escape(f"Platform: {item.platform}")
    if item.source:
        yield escape(f"Source: {origin(item)}")
    if item.labels:
        yield escape("Labels: " + ", ".join(f"{key}={value}" for key, value in sorted(item.labels.items())))


def _section(section: Section, message: Message) -> str:
    rows = "".join(f'<tr><td style="{_ROW}">{_row(item, section, message)}</td></tr>' for item in section.items)
    heading = f'<h2 style="font-size:16px;margin:16px 0 4px">{escape(section.headline)}</h2>' if section.heading else ""
    return f"{heading}<table {_TABLE}>{rows}</table>{_connection_page(section.connection_page, section.link_until)}"


def _row(item: Item, section: Section, message: Message) -> str:
    if item.own_body:
        return item.own_body
    dot = f'<span style="color:{_COLOURS[item.tone]}">&#9679;</span> '
    if item.external_id is None:
        return dot + _entry(item)
    name = escape(item.subject)
    texts = [
        f'<a href="{escape(item.status_page)}" style="color:inherit;font-weight:600">{name}</a>'
        if item.status_page
        else f"<b>{name}</b>",
        escape(item.platform_name),
        f'<span style="display:inline-block">{escape(item.brief)}</span>',
        escape(", ".join(text for text in (item.reminder, item.lasting and f"for {item.lasting}") if text)),
        escape(item.cause.rstrip(".")) if item.status == Status.FAILING and not item.status_page else "",
        escape(item.group or item.place) if message.names_clients else "",
        ""
        if item.status_page or item.external_id == item.subject
        else f'<span style="{_MONO}">{escape(item.external_id)}</span>',
        *(escape(note.rstrip(".")) for note in item.notes),
    ]
    page = _connection_page(item.link, item.link_until) if section.connection_page is None and not item.recovered else ""
    return dot + " &middot; ".join(text for text in texts if text) + page


def _entry(item: Item) -> str:
    reason = " ".join(text for text in (item.cause, item.why) if text)
    texts = [item.reach, *item.report_lines, *item.notes]
    if not item.recovered:
        texts += [f"Reason: {reason}" if reason else "", f"What to do: {item.advice}" if item.advice else ""]
    link = (
        f'<br><a href="{escape(item.link)}" style="color:inherit">{escape(item.link)}</a>'
        if item.link and not item.recovered
        else ""
    )
    return f"<b>{escape(item.opening)}</b>" + "".join(f"<br>{escape(text)}" for text in texts if text) + link


def _connection_page(link: str | None, until: str) -> str:
    if not link or not until:
        return ""
    anchor = f'<a href="{escape(link)}" style="color:inherit">{escape(link)}</a>'
    return f'<div style="{_MUTED};overflow-wrap:anywhere">Connection page: {anchor} (valid until {escape(until)})</div>'


def _alerts_of(item: Item) -> str:
    plural = "" if len(item.alert_ids) == 1 else "s"
    return f'<div style="{_MUTED}">Alert{plural}: {escape(", ".join(item.alert_ids))}</div>'
