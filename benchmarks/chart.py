"""Growth curves as SVG: one panel a quantity, both axes logarithmic, nothing loaded from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from benchmarks.figures import Results

_WIDE, _HIGH = 340, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 18, 44, 46
_INK, _PALE, _GRID, _PAPER = "#1f2933", "#616e7c", "#e4e7eb", "#ffffff"
_COLOURS = ("#2563eb", "#c2410c", "#0f766e", "#7c3aed")
_FONT = "system-ui, 'DejaVu Sans', Arial, sans-serif"


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One line of a panel: sizes and values, all above zero."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One quantity over the number of connections."""

    title: str
    unit: str
    curves: tuple[Curve, ...]


def growth(results: Results) -> list[Panel]:
    """Return the panels that these results can fill."""
    wanted = (
        ("poll-unchanged", None, "cpu", "Unchanged poll, CPU", "s"),
        ("poll-unchanged", None, "resident", "Memory after polls", "MB"),
        ("status", None, "cpu", "status in the terminal, CPU", "s"),
        ("pages", "page", "took", "Status page, time", "ms"),
        ("pages", "api", "took", "API list, time", "ms"),
    )
    panels = []
    for benchmark, case, name, title, unit in wanted:
        curves = tuple(
            Curve(name=shown, points=points)
            for kind, shown in (("sqlite", "SQLite"), ("postgres", "PostgreSQL"))
            if (points := _points(results, benchmark, case, kind, name))
        )
        if benchmark == "poll-unchanged" and name == "cpu" and (baseline := _points(results, "bare", None, None, "cpu_per_list")):
            curves += (Curve(name="bare loop", points=baseline),)
        if any(len(curve.points) > 1 for curve in curves):
            panels.append(Panel(title=title, unit=unit, curves=curves))
    return panels


def _points(
    results: Results, benchmark: str, case: str | None, database: str | None, name: str
) -> tuple[tuple[float, float], ...]:
    found = {
        float(each.size): each.figures[name].median
        for each in results.measurements
        if each.benchmark == benchmark
        and each.size
        and each.database == database
        and case in (None, each.case)
        and name in each.figures
    }
    return tuple(sorted((size, value) for size, value in found.items() if value > 0))


def draw(panels: Sequence[Panel], *, columns: int = 3) -> str:
    """Return the SVG. Raises ValueError without a panel."""
    if not panels:
        raise ValueError("There is nothing to draw.")
    rows = math.ceil(len(panels) / columns)
    wide, high = _WIDE * min(columns, len(panels)), _HIGH * rows
    body = [piece for place, panel in enumerate(panels) for piece in _panel(panel, place, columns)]
    title = "Growth with the number of connections: " + "; ".join(panel.title for panel in panels)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" viewBox="0 0 {wide} {high}" role="img"'
    paper = f'<rect width="{wide}" height="{high}" fill="{_PAPER}"/>'
    lines = [f'{head} font-family="{_FONT}">', f"<title>{escape(title)}</title>", paper, *body, "</svg>", ""]
    return "\n".join(lines)


def _panel(panel: Panel, place: int, columns: int) -> Iterator[str]:
    left, top = place % columns * _WIDE, place // columns * _HIGH
    values = [value for curve in panel.curves for _, value in curve.points]
    sizes = [size for curve in panel.curves for size, _ in curve.points]
    across = _Scale(sizes, _LEFT, _WIDE - _RIGHT)
    up = _Scale(values, _HIGH - _BOTTOM, _TOP)
    yield f'<g transform="translate({left} {top})">'
    yield _text(f"{panel.title}, {panel.unit}", _LEFT, 20, size=13, ink=_INK, weight="600")
    for tick in up.ticks():
        y = up(tick)
        yield f'<path d="M{_LEFT} {y:.1f}H{_WIDE - _RIGHT}" stroke="{_GRID}"/>'
        yield _text(_short(tick), _LEFT - 8, y + 4, anchor="end")
    for tick in across.ticks():
        x = across(tick)
        yield f'<path d="M{x:.1f} {_HIGH - _BOTTOM}v5" stroke="{_PALE}"/>'
        yield _text(_short(tick), x, _HIGH - _BOTTOM + 18, anchor="middle")
    yield _text("connections", (_LEFT + _WIDE - _RIGHT) / 2, _HIGH - _BOTTOM + 36, anchor="middle")
    for number, curve in enumerate(panel.curves):
        yield from _curve(curve, across, up, colour=_COLOURS[number % len(_COLOURS)])
    shown = _LEFT + 4
    for number, curve in enumerate(panel.curves):
        yield f'<path d="M{shown} 33h14" stroke="{_COLOURS[number % len(_COLOURS)]}" stroke-width="3"/>'
        yield _text(curve.name, shown + 18, 37)
        shown += 34 + round(len(curve.name) * 6.2)
    yield "</g>"


def _curve(curve: Curve, across: _Scale, up: _Scale, *, colour: str) -> Iterator[str]:
    points = [(across(size), up(value)) for size, value in curve.points]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    yield f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
    for (x, y), (size, value) in zip(points, curve.points, strict=True):
        label = escape(f"{curve.name}: {size:,.0f} connections, {value:g}")
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"><title>{label}</title></circle>'


class _Scale:
    """From values to places, logarithmically, over whole decades and parts of them."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self._low, self._high = _below(min(values)), _above(max(values))
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        share = math.log(value / self._low) / math.log(self._high / self._low)
        return self._start + share * (self._end - self._start)

    def ticks(self) -> list[float]:
        """Round values between the ends: 1, 2 and 5 of each decade where there are few decades, else the decades."""
        few = self._high / self._low < 300
        found = []
        for power in range(math.floor(math.log10(self._low)) - 1, math.ceil(math.log10(self._high)) + 1):
            for step in (1, 2, 5) if few else (1,):
                tick = float(f"{step}e{power}")
                if self._low * 0.999 <= tick <= self._high * 1.001:
                    found.append(tick)
        return found


def _below(value: float) -> float:
    return max(tick for tick in _round_around(value) if tick <= value * 1.0001)


def _above(value: float) -> float:
    return min(tick for tick in _round_around(value) if tick > value * 0.9999 and tick > _below(value))


def _round_around(value: float) -> list[float]:
    power = math.floor(math.log10(value))
    return [float(f"{step}e{power + more}") for more in (-1, 0, 1) for step in (1, 2, 5)]


def _short(value: float) -> str:
    if value >= 1_000:
        return f"{value / 1_000:g}k"
    return f"{value:g}"


def _text(text: str, x: float, y: float, *, size: int = 11, ink: str = _PALE, anchor: str = "start", weight: str = "400") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" fill="{ink}" text-anchor="{anchor}"'
    return f"<text {place}>{escape(text)}</text>"
