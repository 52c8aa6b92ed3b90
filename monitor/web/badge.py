"""/badge.svg: one word and one colour, for wikis and dashboards. No script, no style, no font from elsewhere."""

from __future__ import annotations

from html import escape

from monitor.domain import Status
from monitor.domain.text import clean
from monitor.views.status import Standing

MEDIA_TYPE = "image/svg+xml"
_LONGEST = 40
_FONT = "Verdana,DejaVu Sans,Geneva,sans-serif"
# White text on each of these has a contrast of at least 4.5 to 1.
GREEN, AMBER, RED, GREY, DARK = "#1a7f37", "#8a5a00", "#b42318", "#57606a", "#3b4148"
_COLOURS = {Standing.OK: GREEN, Standing.WARNING: AMBER, Standing.CRITICAL: RED, Standing.UNKNOWN: GREY}
_NARROW, _WIDE = frozenset("fijlrtI1.,:;'|!()[] "), frozenset("mwMW@%")


def colour_of(status: Status) -> str:
    """The colour of a connection's status."""
    if status is Status.UNKNOWN:
        return GREY
    return {"info": GREEN, "warning": AMBER}.get(str(status.severity), RED)


def standing_colour(standing: Standing) -> str:
    """The colour of the whole."""
    return _COLOURS[standing]


def badge(label: str, message: str, colour: str) -> str:
    """The picture. Both texts may be strangers'; its title says them for those who do not see it."""
    left = escape(clean(label, limit=_LONGEST, otherwise="?"))
    right = escape(clean(message, limit=_LONGEST, otherwise="?"))
    wide, more = _width(clean(label, limit=_LONGEST, otherwise="?")), _width(clean(message, limit=_LONGEST, otherwise="?"))
    whole = wide + more
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="20" viewBox="0 0 {whole} 20" role="img" '
        f'aria-labelledby="t"><title id="t">{left}: {right}</title>'
        f'<rect width="{whole}" height="20" rx="3" fill="{DARK}"/>'
        f'<path fill="{colour}" d="M{wide} 0h{more - 3}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3h-{more - 3}z"/>'
        f'<g fill="#fff" font-family="{_FONT}" font-size="11" text-anchor="middle" aria-hidden="true">'
        f'<text x="{wide / 2:g}" y="14" textLength="{wide - 12}" lengthAdjust="spacingAndGlyphs">{left}</text>'
        f'<text x="{wide + more / 2:g}" y="14" textLength="{more - 12}" lengthAdjust="spacingAndGlyphs">{right}</text>'
        "</g></svg>\n"
    )


def _width(text: str) -> int:
    """About how many pixels a text takes with its margins; the text is then drawn as wide as this says."""
    units = sum(4 if each in _NARROW else 10 if each in _WIDE else 7 if ord(each) < 0x2E80 else 12 for each in text)
    return units + 12
