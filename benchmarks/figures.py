"""Figures: a median and its spread, what they are of, and how they are kept as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One quantity, as the median and the range of its repeats."""

    unit: str
    median: float
    low: float
    high: float
    repeats: int


def figure(values: Iterable[float], unit: str) -> Figure:
    """Return the median and spread of repeats. Raises ValueError if there are none."""
    found = [float(value) for value in values]
    if not found:
        raise ValueError("There is nothing to take a median of.")
    return Figure(unit=unit, median=_short(median(found)), low=_short(min(found)), high=_short(max(found)), repeats=len(found))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that a given share of all values does not exceed. Raises ValueError if there are none."""
    if not values:
        raise ValueError("There is nothing to take a percentile of.")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1))]


def _short(value: float) -> float:
    """Five significant digits: the rest is noise."""
    return float(f"{value:.5g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What one benchmark found in one case."""

    benchmark: str
    case: str
    """What was varied, such as "TLS, 200 ms"; empty where nothing is."""
    database: str | None
    """sqlite or postgres; None where none takes part."""
    size: int | None = None
    """Connections, where that is what grows."""
    figures: dict[str, Figure] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Results:
    """One run."""

    at: str
    """RFC 3339."""
    plan: str
    machine: dict[str, Any]
    measurements: list[Measurement] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    """Benchmarks without figures, with the reason."""

    def find(self, benchmark: str, *, case: str | None = None, database: str | None = None) -> list[Measurement]:
        """Return the measurements of a benchmark; None matches any."""
        return [
            each
            for each in self.measurements
            if each.benchmark == benchmark and case in (None, each.case) and database in (None, each.database)
        ]


def to_json(results: Results) -> str:
    """Return the results as JSON, one figure a line."""
    document = {
        "at": results.at,
        "plan": results.plan,
        "machine": results.machine,
        "missing": results.missing,
        "measurements": [_plain(each) for each in results.measurements],
    }
    return json.dumps(document, indent=1) + "\n"


def _plain(measurement: Measurement) -> dict[str, Any]:
    named = {"benchmark": measurement.benchmark, "case": measurement.case, "database": measurement.database}
    figures = {
        name: {"unit": each.unit, "median": each.median, "low": each.low, "high": each.high, "repeats": each.repeats}
        for name, each in measurement.figures.items()
    }
    return {**named, "size": measurement.size, "figures": figures}


def from_json(text: str) -> Results:
    """Return the results that to_json wrote. Raises KeyError or ValueError for anything else."""
    document = json.loads(text)
    measurements = [
        Measurement(
            benchmark=each["benchmark"],
            case=each["case"],
            database=each["database"],
            size=each["size"],
            figures={name: Figure(**values) for name, values in each["figures"].items()},
        )
        for each in document["measurements"]
    ]
    return Results(
        at=document["at"],
        plan=document["plan"],
        machine=document["machine"],
        measurements=measurements,
        missing=document["missing"],
    )


def merged(before: Results, now: Results) -> Results:
    """Merge a run of some benchmarks into an earlier complete one: new figures replace old ones."""
    again = {each.benchmark for each in now.measurements} | set(now.missing)
    kept = [each for each in before.measurements if each.benchmark not in again]
    missing = {name: why for name, why in before.missing.items() if name not in again}
    return Results(
        at=now.at,
        plan=before.plan,
        machine=now.machine,
        measurements=kept + now.measurements,
        missing={**missing, **now.missing},
    )


def load(path: Path) -> Results | None:
    """Kept results, None where there are none that this version can read."""
    try:
        return from_json(path.read_text(encoding="utf-8"))
    except (OSError, KeyError, ValueError, TypeError):
        return None
