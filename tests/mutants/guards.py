"""The guards of the program: where each stands, how it is taken out, and which tests must notice."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).parent / "guards.toml"


class GuardMoved(Exception):
    """The text of a guard is not at the place in the table, or not exactly once: update the table with the code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """One guard."""

    area: str
    name: str
    promise: str
    """What holds as long as it stands."""
    rows: tuple[str, ...]
    """Rows of the catalogue of failures."""
    file: str
    guard: str
    """Its text in the file, there exactly once."""
    without: str
    """What stands there once the guard is taken out."""
    tests: tuple[str, ...]
    """The tests of which at least one must fail then, as pytest names them; quick ones."""

    def removed(self, text: str) -> str:
        """The file's text without the guard. Raises GuardMoved."""
        found = text.count(self.guard)
        if found != 1:
            raise GuardMoved(f"{self.name}: its text is {found} times in {self.file}, not once. It moved: see {TABLE.name}.")
        return text.replace(self.guard, self.without)


def guards(table: Path = TABLE) -> list[Guard]:
    """Every guard of the table, in its order."""
    entries = tomllib.loads(table.read_text("utf-8"))
    return [
        Guard(
            area=area,
            name=name,
            promise=each["promise"],
            rows=tuple(each.get("rows", ())),
            file=each["file"],
            guard=each["guard"],
            without=each["without"],
            tests=tuple(each["tests"]),
        )
        for area, members in entries.items()
        for name, each in members.items()
    ]
