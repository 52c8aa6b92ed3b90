"""The report's picture: one lane per sitting over the days ahead, as SVG that needs no font."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from monitor.domain.rules.forecast import Sitting
from monitor.notify.messages import lettering

LANES = 14
"""The most sittings drawn; the message names the others."""

_WIDTH, _LEFT, _RIGHT, _TOP, _LANE, _BOTTOM = 960, 330, 30, 64, 30, 52
_INK, _PALE, _GRID, _PAPER = "#1f2933", "#7b8794", "#e4e7eb", "#ffffff"
_BROKEN, _SOON, _LATER = "#c81e1e", "#d97706", "#2563eb"
_SOON_WITHIN = timedelta(days=7)
_LONGEST_LABEL = 32
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


def timeline(sittings: Sequence[Sitting], *, now: datetime, ahead: timedelta, zone: ZoneInfo | None = None) -> str:
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
        yield _text(label, x - lettering.width(label, size=9) / 2, bottom + 16, size=9, ink=_PALE)


def _lane(sitting: Sitting, top: float, *, now: datetime, ahead: timedelta) -> Iterator[str]:
    middle, colour = top + _LANE / 2, _colour(sitting, now)
    label = f"{sitting.platform} {sitting.source}"[:_LONGEST_LABEL]
    yield _text(label, 16, middle - 5, size=10)
    count = str(len(sitting.needs))
    yield _text(count, _LEFT - 14 - lettering.width(count, size=10), middle - 5, size=10, ink=colour)
    if sitting.overdue:
        yield f'<rect x="{_LEFT - 6}" y="{middle - 7:.1f}" width="12" height="14" fill="{colour}"/>'
        return
    first, last = _across(sitting.first, now, ahead), _across(sitting.last, now, ahead)
    place = f'x="{first - 6:.1f}" y="{middle - 6:.1f}" width="{last - first + 12:.1f}" height="12"'
    yield f'<rect {place} rx="6" fill="{colour}" opacity="0.3"/>'
    for x in sorted({round(_across(need.by, now, ahead)) for need in sitting.needs}):
        yield f'<circle cx="{x}" cy="{middle:.1f}" r="5" fill="{colour}"/>'


def _colour(sitting: Sitting, now: datetime) -> str:
    if sitting.overdue:
        return _BROKEN
    return _SOON if sitting.first <= now + _SOON_WITHIN else _LATER


def _across(instant: datetime, now: datetime, ahead: timedelta) -> float:
    share = min(max((instant - now) / ahead, 0.0), 1.0)
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _text(line: str, x: float, y: float, *, size: float, ink: str = _INK) -> str:
    stroke = f'fill="none" stroke="{ink}" stroke-width="{size / 8:.2f}" stroke-linecap="round" stroke-linejoin="round"'
    return f'<path d="{lettering.path(line, x, y, size=size)}" {stroke}/>'
