"""The chart of a report: SVG, rendered to PNG."""

from __future__ import annotations

import importlib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import structlog

from monitor.domain import Alert
from monitor.domain.rules.forecast import ReconnectBatch
from monitor.notify.messages import Attachment, Part

ADVANCE = 6
"""The width of one letter with the space after it, on the grid of the strokes: letters are 4 wide and 6 high."""

# Strokes as pairs of digits, column then row from the top left; a space lifts the pen.
_STROKES = {
    "A": "0602204246 0343",
    "B": "06003041423303 3344453606",
    "C": "4130100105163645",
    "D": "06002042442606",
    "E": "40000646 0333",
    "F": "400006 0333",
    "G": "41301001051636454323",
    "H": "0006 4046 0343",
    "I": "1030 2026 1636",
    "J": "4045361605",
    "K": "0006 400346",
    "L": "000646",
    "M": "0600234046",
    "N": "06004640",
    "O": "103041453616050110",
    "P": "06003041423303",
    "Q": "103041453616050110 2446",
    "R": "06003041423303 2346",
    "S": "413010010213334445361605",
    "T": "0040 2026",
    "U": "000516364540",
    "V": "002640",
    "W": "0016233640",
    "X": "0046 4006",
    "Y": "002340 2326",
    "Z": "00400646",
    "0": "103041453616050110",
    "1": "112026 1636",
    "2": "01103041420646",
    "3": "004022324345361605",
    "4": "36300444",
    "5": "400002324345361605",
    "6": "30100105163645443303",
    "7": "004016",
    "8": "13020110304142331304051636454433",
    "9": "43130201103041453616",
    ".": "2626",
    ",": "2517",
    ":": "2222 2525",
    "-": "1333",
    "+": "2125 0343",
    "/": "4006",
    "(": "30212536",
    ")": "10212516",
    "_": "0646",
    "?": "01103041422324 2626",
}


def width(text: str, *, size: float) -> float:
    """How wide a line is when its letters are `size` high."""
    return max(len(text) * ADVANCE - 2, 0) * size / 6


def path(text: str, x: float, y: float, *, size: float) -> str:
    """The data of an SVG path that writes a line, its top left corner at x and y, its letters `size` high.

    Small letters and accents become plain capitals; what has no strokes becomes a question mark.
    """
    step = size / 6
    pieces: list[str] = []
    for place, letter in enumerate(_plain(text)):
        left = x + place * ADVANCE * step
        for stroke in _STROKES.get(letter, "" if letter == " " else _STROKES["?"]).split():
            points = [(left + int(stroke[at]) * step, y + int(stroke[at + 1]) * step) for at in range(0, len(stroke), 2)]
            pieces.append("M" + "L".join(f"{across:.1f} {down:.1f}" for across, down in points))
    return "".join(pieces)


def _plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter)).upper()


log = structlog.get_logger(__name__)

_ZOOM = 2.0  # for screens with small pixels


def png(svg: str) -> bytes | None:
    """The drawing as PNG, None where resvg is not installed or does not take it: the words stand for themselves."""
    try:
        resvg = importlib.import_module("resvg_py")
    except ImportError:
        return None
    try:
        return bytes(resvg.svg_to_bytes(svg_string=svg, zoom=_ZOOM, skip_system_fonts=True))
    except ValueError as error:
        log.warning("picture.not_drawn", problem=str(error)[:200])
        return None


def attach(parts: Sequence[Part], alerts: Iterable[Alert]) -> tuple[Part, ...]:
    """The same messages, each with the pictures of the alerts that it says."""
    drawn = {alert.id: picture for alert in alerts if alert.chart and (picture := png(alert.chart)) is not None}
    return tuple(_with_pictures(part, drawn) for part in parts)


def _with_pictures(part: Part, drawn: Mapping[str, bytes]) -> Part:
    mine = [drawn[alert_id] for alert_id in part.alert_ids if alert_id in drawn]
    names = ["report.png", *(f"report-{number}.png" for number in range(2, len(mine) + 1))]
    files = [Attachment(name=name, mimetype="image/png", content=content) for name, content in zip(names, mine, strict=False)]
    return replace(part, files=(*part.files, *files)) if files else part


LANES = 14
"""The most sittings drawn; the message names the others."""

_WIDTH, _LEFT, _RIGHT, _TOP, _LANE, _BOTTOM = 960, 330, 30, 64, 30, 52
_INK, _PALE, _GRID, _PAPER = "#1f2933", "#7b8794", "#e4e7eb", "#ffffff"
_BROKEN, _SOON, _LATER = "#c81e1e", "#d97706", "#2563eb"
_SOON_WITHIN = timedelta(days=7)
_LONGEST_LABEL = 32
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


def timeline(sittings: Sequence[ReconnectBatch], *, now: datetime, ahead: timedelta, zone: ZoneInfo | None = None) -> str:
    """The picture as SVG text. What is broken stands at the left edge, which is now; `zone` names the days (None: UTC)."""
    shown = sittings[:LANES]
    height = _TOP + _LANE * max(len(shown), 1) + _BOTTOM
    body = [
        *_head(len(sittings) - len(shown), sum(len(sitting.needs) for sitting in sittings), ahead),
        *_days(now, ahead, zone, bottom=height - _BOTTOM),
        *(piece for place, sitting in enumerate(shown) for piece in _lane(sitting, _TOP + place * _LANE, now=now, ahead=ahead)),
    ]
    size = f'width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}"'
    paper = f'<rect width="{_WIDTH}" height="{height}" fill="{_PAPER}"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{paper}{"".join(body)}</svg>'


def _head(hidden: int, count: int, ahead: timedelta) -> Iterator[str]:
    who = "1 connection needs" if count == 1 else f"{count} connections need"
    yield _text(f"{who} a person within {ahead.days} days", 16, 16, size=13)
    if hidden > 0:
        yield _text(f"+ {hidden} more sittings", 16, 38, size=9, ink=_PALE)


def _days(now: datetime, ahead: timedelta, zone: ZoneInfo | None, *, bottom: float) -> Iterator[str]:
    for days in range(0, ahead.days + 1, 5):
        instant = now + timedelta(days=days)
        x, local = _across(instant, now, ahead), instant.astimezone(zone or UTC)
        yield f'<path d="M{x:.1f} {_TOP - 8}V{bottom + 6}" stroke="{_INK if days == 0 else _GRID}" stroke-width="1.5"/>'
        label = "now" if days == 0 else f"{local.day} {_MONTHS[local.month - 1]}"
        yield _text(label, x - width(label, size=9) / 2, bottom + 16, size=9, ink=_PALE)


def _lane(sitting: ReconnectBatch, top: float, *, now: datetime, ahead: timedelta) -> Iterator[str]:
    middle, colour = top + _LANE / 2, _colour(sitting, now)
    label = f"{sitting.platform} {sitting.source}"[:_LONGEST_LABEL]
    yield _text(label, 16, middle - 5, size=10)
    count = str(len(sitting.needs))
    yield _text(count, _LEFT - 14 - width(count, size=10), middle - 5, size=10, ink=colour)
    if sitting.overdue:
        yield f'<rect x="{_LEFT - 6}" y="{middle - 7:.1f}" width="12" height="14" fill="{colour}"/>'
        return
    first, last = _across(sitting.first, now, ahead), _across(sitting.last, now, ahead)
    place = f'x="{first - 6:.1f}" y="{middle - 6:.1f}" width="{last - first + 12:.1f}" height="12"'
    yield f'<rect {place} rx="6" fill="{colour}" opacity="0.3"/>'
    for x in sorted({round(_across(need.by, now, ahead)) for need in sitting.needs}):
        yield f'<circle cx="{x}" cy="{middle:.1f}" r="5" fill="{colour}"/>'


def _colour(sitting: ReconnectBatch, now: datetime) -> str:
    if sitting.overdue:
        return _BROKEN
    return _SOON if sitting.first <= now + _SOON_WITHIN else _LATER


def _across(instant: datetime, now: datetime, ahead: timedelta) -> float:
    share = min(max((instant - now) / ahead, 0.0), 1.0)
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _text(line: str, x: float, y: float, *, size: float, ink: str = _INK) -> str:
    stroke = f'fill="none" stroke="{ink}" stroke-width="{size / 8:.2f}" stroke-linecap="round" stroke-linejoin="round"'
    return f'<path d="{path(line, x, y, size=size)}" {stroke}/>'
