"""The catalogue of failures, the tests that prove each row, and the last run that was recorded.

A test proves a row by its name: `test_N05_slow_loris…`, or several at once, `test_N14_N15_…`.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
TESTS = FOLDER.parent
RESULTS = FOLDER / "results.json"

_TEST = re.compile(r"^(?:async )?def (test_((?:[NPAS]\d{2}_)+)\w*)", re.MULTILINE)
_ROW = re.compile(r"[NPAS]\d{2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One failure."""

    number: str
    section: str
    fault: str
    expected: str
    tests: tuple[str, ...]
    """Each as file::function."""


def rows() -> list[Row]:
    """Every row in the order of the catalogue, with the tests that name it."""
    table = tomllib.loads((FOLDER / "catalogue.toml").read_text("utf-8"))
    proofs = tests_by_row()
    return [
        Row(number=number, section=section, fault=fault, expected=expected, tests=tuple(proofs.get(number, ())))
        for section, lines in table.items()
        for number, (fault, expected) in lines.items()
    ]


def tests_by_row() -> dict[str, list[str]]:
    """Every test that names a row, by row."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        for match in _TEST.finditer(path.read_text("utf-8")):
            for number in _ROW.findall(match[2]):
                found[number].append(f"{path.relative_to(TESTS)}::{match[1]}")
    return dict(found)


def numbers_in(name: str) -> list[str]:
    """The rows that a test proves, by its name."""
    match = re.match(r"test_((?:[NPAS]\d{2}_)+)", name)
    return _ROW.findall(match[1]) if match else []


def results() -> dict[str, dict[str, str]]:
    """The last recorded run: by row, its `result` and `date`."""
    found = json.loads(RESULTS.read_text("utf-8"))
    assert isinstance(found, dict)
    return found


def record(stats: Mapping[str, Sequence[Any]]) -> None:
    """Keep what a run came to, row by row: one failed or skipped test spoils its row. Rows that did not run keep their record."""
    worst: dict[str, str] = {}
    for outcome in ("passed", "skipped", "failed", "error"):
        for report in stats.get(outcome, ()):
            for number in numbers_in(report.nodeid.rpartition("::")[2]):
                worst[number] = outcome
    today = datetime.now(UTC).date().isoformat()
    before = results() if RESULTS.exists() else {}
    table = before | {number: {"result": result, "date": today} for number, result in worst.items()}
    table = {row.number: table[row.number] for row in rows() if row.number in table}
    RESULTS.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
