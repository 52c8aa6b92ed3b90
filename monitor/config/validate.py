"""Holds the document against its shape: every fault becomes one sentence, and what is left is read on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from monitor.config.environment import Environment
from monitor.config.error_text import OURS, kind_of, looks_like_secret, nearest, value_at
from monitor.config.file import TomlFile
from monitor.config.resolve import ConfigProblems, Loc
from monitor.config.schema import Document, known_keys, table_at

_ROUNDS = 20


def read_shape(findings: ConfigProblems, *, environment: Environment, file: TomlFile) -> tuple[Document, frozenset[Loc]]:
    """The document in its shape, and the places whose value was refused and is left out.

    Leaving them out of the two sources lets everything else be judged as well, so that all mistakes are said at once.
    """
    broken = set(environment.unreadable)
    for loc in environment.origins:
        _leave_out(file(), loc)  # a secret's reference is replaced whole, where the library would merge two of them
    for _ in range(_ROUNDS):
        faults: Sequence[ErrorDetails] = ()
        try:
            return Document(environment=environment, file=file), frozenset(broken)
        except ValidationError as exc:
            faults = exc.errors(include_url=False)
        for fault in faults:
            findings.error(fault["loc"], _sentence(fault))
            broken.add(fault["loc"])
        for fault in faults:
            _leave_out(environment(), fault["loc"])
            _leave_out(file(), fault["loc"])
    return Document.model_construct(), frozenset(broken)


def _sentence(fault: ErrorDetails) -> str:
    loc = fault["loc"]
    if fault["type"] == OURS:
        return str(fault["ctx"]["said"])
    if fault["type"] == "extra_forbidden":
        return f"is not a known key{_meant(loc)}"
    was = kind_of(fault["input"])
    if fault["type"] == "list_type":
        return f"is {was}, but must be a list of tables: write [[{loc[-1]}]] with two brackets."
    return f"is {was}, but must be a table."


def _meant(loc: Loc) -> str:
    key = str(loc[-1])
    if looks_like_secret(key):
        return "."
    here = known_keys(table_at(loc[:-1]))
    near = nearest(key, here)
    if near:
        return f"; did you mean {near}?"
    home = _home_of(key)
    if home:
        return f"; did you mean {home}?"
    return f"; known here are {', '.join(here)}." if here else "."


def _home_of(key: str) -> str | None:
    """Where a key that is valid elsewhere belongs: written under the wrong header, mostly."""
    if key in known_keys(Document):
        return f"{key} at the top of the file"
    for name in known_keys(Document):
        table = table_at((name,))
        if table is not None and key in known_keys(table):
            return f"{name}[].{key}" if name in ("sources", "channels") else f"{name}.{key}"
    return None


def _leave_out(content: dict[str, Any], loc: Loc) -> None:
    last, table = loc[-1], value_at(content, loc[:-1])
    if isinstance(table, dict):
        table.pop(last, None)
    elif isinstance(table, list) and isinstance(last, int) and last < len(table):
        table[last] = {}  # a list keeps its numbers
