"""Messages as HTML mails.

Styles are inline, no resource is loaded, and the mail is readable in light and dark mode: text keeps the mail client's
colours, and every element with a background sets its text colour too. Apprise derives the plain-text alternative from the
visible text, so all that matters is visible text, including the addresses of links.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from monitor.notify.messages.alert_text import Item, readable
from monitor.notify.messages.markup import Tone
from monitor.notify.messages.message import Section
from monitor.notify.messages.plain import page_note

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
    facts = "".join(f'<tr><td style="{_FACT}">{row}</td></tr>' for row in _details(item))
    reason = " ".join(text for text in (item.cause, item.why) if text)
    status = item.status if item.platform else readable(item.status)
    blocks = [
        f'<div>{_chip(status, item.tone)}</div><h1 style="{_HEADING};margin:10px 0">{escape(item.opening)}</h1>',
        _paragraph(item.expiry, strong=True),
        *(_paragraph(line) for line in item.report_lines),
        *(_paragraph(note) for note in item.notes),
        _paragraph(f"Reason: {reason}" if reason else ""),
        *_to_do(item.advice, item.link, item.link_until, item.service, urgent=item.rank > 0),
        _acknowledge(item.ack),
        f"<table {_TABLE}>{facts}</table>" if facts else "",
        _alerts_of(item),
    ]
    return "".join(blocks)


def listing(sections: Sequence[Section], title: str, *, lead: str = "", more: str = "") -> str:
    """Return a mail with a table for each section, `lead` above them and `more` below."""
    tables = (_section(section) for section in sections)
    can_acknowledge = any(item.ack for section in sections for item in section.items)
    foot = _acknowledge("token-monitor ack CONNECTION", one=True) if can_acknowledge else ""
    head = f'<h1 style="{_HEADING};margin:0 0 8px">{escape(title)}</h1>'
    return _page(title, [head, _paragraph(lead), *tables, _paragraph(more, strong=True), foot])


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


def _details(item: Item) -> Iterator[str]:
    if item.external_id is not None:
        yield f'Connection: <span style="{_MONO}">{escape(item.public_id)}</span>'
        yield escape(f"Platform: {item.platform}")
    if item.source:
        place = f"{item.source} ({item.service})" if item.service else item.source
        yield escape(f"Source: {place}{', ' if item.scope else ''}{item.scope}")
    if item.labels:
        yield escape("Labels: " + ", ".join(f"{key}={value}" for key, value in sorted(item.labels.items())))


def _section(section: Section) -> str:
    rows = "".join(f'<tr><td style="{_ROW}">{_row(item, section)}</td></tr>' for item in section.items)
    return (
        '<div style="font-size:12px"><br></div><h2 style="font-size:16px;margin:6px 0 4px">'
        f"{_chip(section.label, section.items[0].tone)} {escape(section.headline)}</h2><table {_TABLE}>{rows}</table>"
        + "".join(
            _to_do(section.advice or "", section.link, section.link_until, section.service, urgent=section.items[0].rank > 0)
        )
    )


def _row(item: Item, section: Section) -> str:
    if item.own_body:
        return item.own_body
    dot = f'<span style="color:{_COLOURS[item.tone]}">&#9679;</span> '
    if item.external_id is None:
        first = f"{dot}<b>{escape(item.opening)}</b>"
    else:
        scope = f", {escape(item.scope)}" if item.scope else ""
        external_id = (
            "" if item.external_id == item.subject else f' <span style="{_MONO}">({escape(item.external_id)}{scope})</span>'
        )
        first = f"{dot}<b>{escape(item.subject)}</b>{external_id}"
    lasted = f"It {item.lasted}." if item.lasted and item.external_id is not None else ""
    own = item.advice if section.advice is None else ""
    reason = " ".join(text for text in (item.cause, item.why) if text)
    lines = [lasted, item.expiry, *item.report_lines, *item.notes]
    lines += [f"Reason: {reason}" if reason else "", f"What to do: {own}" if own else ""]
    rest = "".join(f"<br>{escape(text)}" for text in lines if text)
    if item.link and section.link is None:
        note = f" (valid until {escape(item.link_until)})" if item.link_until else ""
        rest += f'<br><a href="{escape(item.link)}" style="color:inherit">{escape(item.link)}</a>{note}'
    return f"{first}{rest}"


def _alerts_of(item: Item) -> str:
    plural = "" if len(item.alert_ids) == 1 else "s"
    return f'<div style="{_MUTED}">Alert{plural}: {escape(", ".join(item.alert_ids))}</div>'
