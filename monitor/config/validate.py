"""Validation of the document against the schema: every fault becomes one sentence, and the rest is still used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monitor.config import tables
from monitor.config.error_text import MOST_SUGGESTIONS, describe_type, looks_like_secret, nearest
from monitor.config.resolve import ConfigProblems, Loc
from monitor.config.schema import Document, known_keys, table_at
from monitor.config.tables import TableFault


def parse_document(problems: ConfigProblems, content: Mapping[str, Any]) -> tuple[Document, frozenset[Loc]]:
    """Return the document without its invalid values, and the paths of those values; record a sentence for each."""
    faults: list[TableFault] = []
    document = Document.read(content, (), faults)
    for fault in faults:
        problems.error(fault.loc, _sentence(fault, suggest=len(problems.errors) < MOST_SUGGESTIONS))
    return document, frozenset(fault.loc for fault in faults)


def _sentence(fault: TableFault, *, suggest: bool) -> str:
    match fault.problem:
        case tables.UNKNOWN_KEY:
            return f"is not a known key{_intended(fault.loc) if suggest else '.'}"
        case tables.NOT_A_LIST:
            header = ".".join(map(str, fault.loc))
            return f"is {describe_type(fault.value)}, but must be a list of tables: write [[{header}]] with two brackets."
        case tables.NOT_A_TABLE:
            return f"is {describe_type(fault.value)}, but must be a table."
    return fault.problem


def _intended(loc: Loc) -> str:
    """Return the end of the sentence: the key that was probably meant, or the known ones."""
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
    return f"; the known keys are {', '.join(here)}." if here else "."


def _home_of(key: str) -> str | None:
    """Return the path of a key that is valid in another table, usually written under the wrong header."""
    if key in known_keys(Document):
        return f"{key} at the top of the file"
    for name in known_keys(Document):
        table = table_at((name,))
        if table is not None and key in known_keys(table):
            return f"{name}[].{key}" if name in ("sources", "channels") else f"{name}.{key}"
    return None
