"""The definitions that are part of the program, one TOML file for each service, in monitor/providers/definitions."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

from monitor.config.definition_schema import ShippedTable

FOLDER = Path(__file__).resolve().parent.parent / "providers" / "definitions"


def shipped_text(name: str) -> str:
    """Return the file of a definition. Raises KeyError if there is none."""
    file = FOLDER / f"{name}.toml"
    if not name.isidentifier() or not file.is_file():
        raise KeyError(name)
    return file.read_text("utf-8")


@cache
def shipped(name: str) -> ShippedTable:
    """Return the content of a definition. Raises KeyError if there is none."""
    return ShippedTable.model_validate(tomllib.loads(shipped_text(name)))


def shipped_names() -> tuple[str, ...]:
    """Return the names of all definitions."""
    return tuple(sorted(file.stem for file in FOLDER.glob("*.toml")))
