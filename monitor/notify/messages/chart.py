"""The chart of a report: SVG text, rendered to a PNG attachment."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from html import escape
from pathlib import Path
from zoneinfo import ZoneInfo

import structlog

from monitor.domain import Alert
from monitor.domain.rules.advice import PLATFORM_NAMES
from monitor.domain.rules.forecast import ReconnectBatch
from monitor.domain.text import clean
from monitor.domain.timefmt import day
from monitor.notify.messages import Attachment, Part

log = structlog.get_logger(__name__)

MAX_ROWS = 14
"""The most reconnect batches that a chart shows; the message lists the others."""

_FONT = Path(__file__).parent / "fonts" / "DejaVuSans.ttf"
"""The shipped font: what a server has installed must not decide if a chart has text. Its licence stands beside it."""

_ZOOM = 2.0  # for high-resolution screens

_WIDTH, _LEFT, _RIGHT, _TOP, _ROW, _BOTTOM = 960, 330, 30, 64, 30, 52
_TEXT, _MUTED, _GRID, _BACKGROUND = "#1f2933", "#616e7c", "#e4e7eb", "#ffffff"
_BROKEN, _SOON, _LATER = "#c81e1e", "#d97706", "#2563eb"
_SOON_WITHIN = timedelta(days=7)
_LABEL_LENGTH = 32


def png(svg: str) -> bytes | None:
    """Return the chart as PNG, or None where resvg is not installed or rejects it: the report's text is complete without it."""
    try:
        resvg = importlib.import_module("resvg_py")
    except ImportError:
        return None
    try:
        return bytes(resvg.svg_to_bytes(svg_string=svg, zoom=_ZOOM, skip_system_fonts=True, font_files=[str(_FONT)]))
    except ValueError as error:
        log.warning("picture.not_drawn", problem=str(error)[:200])
        return None


def attach(parts: Sequence[Part], alerts: Iterable[Alert]) -> tuple[Part, ...]:
    """Return the same messages, each with the charts of its alerts attached."""
    pictures = {alert.id: picture for alert in alerts if alert.chart and (picture := png(alert.chart)) is not None}
    return tuple(_with_pictures(part, pictures) for part in parts)


def _with_pictures(part: Part, pictures: Mapping[str, bytes]) -> Part:
    contents = [pictures[alert_id] for alert_id in part.alert_ids if alert_id in pictures]
    names = ["report.png", *(f"report-{number}.png" for number in range(2, len(contents) + 1))]
    files = [Attachment(name=name, mimetype="image/png", content=content) for name, content in zip(names, contents, strict=False)]
    return replace(part, files=(*part.files, *files)) if files else part


def timeline(batches: Sequence[ReconnectBatch], *, now: datetime, ahead: timedelta, zone: ZoneInfo | None = None) -> str:
    """Return the chart as SVG text: one row for each batch, from `now` at the left to `now + ahead` at the right.

    What no longer works stands at the left edge. Days are those of `zone` (None: UTC).
    """
    shown = batches[:MAX_ROWS]
    height = _TOP + _ROW * max(len(shown), 1) + _BOTTOM
    body = [
        *_heading(len(batches) - len(shown), sum(len(batch.needs) for batch in batches), ahead),
        *_days(now, ahead, zone, bottom=height - _BOTTOM),
        *(shape for index, batch in enumerate(shown) for shape in _row(batch, _TOP + index * _ROW, now=now, ahead=ahead)),
    ]
    size = f'width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}"'
    background = f'<rect width="{_WIDTH}" height="{height}" fill="{_BACKGROUND}"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{background}{"".join(body)}</svg>'


def _heading(hidden: int, count: int, ahead: timedelta) -> Iterator[str]:
    subject = "1 connection needs" if count == 1 else f"{count} connections need"
    yield _text(f"{subject} action in the next {ahead.days} days", 16, 30, size=18)
    if hidden > 0:
        yield _text(f"{hidden} more reconnect batch{'' if hidden == 1 else 'es'} not shown", 16, 48, size=12, colour=_MUTED)


def _days(now: datetime, ahead: timedelta, zone: ZoneInfo | None, *, bottom: float) -> Iterator[str]:
    for days in range(0, ahead.days + 1, 5):
        instant = now + timedelta(days=days)
        x = _x_of(instant, now, ahead)
        yield f'<path d="M{x:.1f} {_TOP - 8}V{bottom + 6}" stroke="{_TEXT if days == 0 else _GRID}" stroke-width="1.5"/>'
        yield _text("now" if days == 0 else day(instant, zone), x, bottom + 25, size=12, anchor="middle", colour=_MUTED)


def _row(batch: ReconnectBatch, top: float, *, now: datetime, ahead: timedelta) -> Iterator[str]:
    middle, colour = top + _ROW / 2, _colour(batch, now)
    platform = PLATFORM_NAMES.get(batch.platform, batch.platform)
    yield _text(clean(f"{platform} at {batch.source}", limit=_LABEL_LENGTH), 16, middle + 5, size=14)
    yield _text(str(len(batch.needs)), _LEFT - 14, middle + 5, size=14, anchor="end", colour=colour)
    if batch.overdue:
        yield f'<rect x="{_LEFT - 6}" y="{middle - 7:.1f}" width="12" height="14" fill="{colour}"/>'
        return
    first, last = _x_of(batch.first, now, ahead), _x_of(batch.last, now, ahead)
    box = f'x="{first - 6:.1f}" y="{middle - 6:.1f}" width="{last - first + 12:.1f}" height="12"'
    yield f'<rect {box} rx="6" fill="{colour}" opacity="0.3"/>'
    for x in sorted({round(_x_of(need.by, now, ahead)) for need in batch.needs}):
        yield f'<circle cx="{x}" cy="{middle:.1f}" r="5" fill="{colour}"/>'


def _colour(batch: ReconnectBatch, now: datetime) -> str:
    if batch.overdue:
        return _BROKEN
    return _SOON if batch.first <= now + _SOON_WITHIN else _LATER


def _x_of(instant: datetime, now: datetime, ahead: timedelta) -> float:
    share = min(max((instant - now) / ahead, 0.0), 1.0)
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _text(line: str, x: float, y: float, *, size: int, anchor: str = "start", colour: str = _TEXT) -> str:
    """Return one line of text; `y` is its baseline, `anchor` the end of the line that stands at `x`."""
    style = f'font-family="DejaVu Sans" font-size="{size}" text-anchor="{anchor}" fill="{colour}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(line)}</text>'
