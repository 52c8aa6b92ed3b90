"""Validation of the document against the schema: every fault becomes one sentence, and the rest is still used."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from monitor.config.environment import Environment
from monitor.config.error_text import CUSTOM_ERROR, MOST_SUGGESTIONS, describe_type, looks_like_secret, nearest, value_at
from monitor.config.file import TomlFile
from monitor.config.resolve import ConfigProblems, Loc
from monitor.config.schema import Document, known_keys, table_at

_MOST_ATTEMPTS = 20


def parse_document(problems: ConfigProblems, *, environment: Environment, file: TomlFile) -> tuple[Document, frozenset[Loc]]:
    """Return the document without its invalid values, and the paths of those values; record a sentence for each.

    One invalid value makes pydantic reject the whole document. So each rejected value is removed from the environment and
    the file, and the rest is validated again: all mistakes are reported together. More than one repetition is rare; it
    happens where a removed value had hidden another, such as a list's entry that is emptied.
    """
    rejected = set(environment.unreadable)
    for loc in environment.origins:
        _remove(file(), loc)  # a secret's reference is replaced whole; pydantic would merge the two tables
    for _ in range(_MOST_ATTEMPTS):
        try:
            return Document(environment=environment, file=file), frozenset(rejected)
        except ValidationError as exc:
            faults = exc.errors(include_url=False)
        for fault in faults:
            problems.error(fault["loc"], _sentence(fault, suggest=len(problems.errors) < MOST_SUGGESTIONS))
            rejected.add(fault["loc"])
            _remove(environment(), fault["loc"])
            _remove(file(), fault["loc"])
    return Document.model_construct(), frozenset(rejected)


def _sentence(fault: ErrorDetails, *, suggest: bool) -> str:
    loc = fault["loc"]
    if fault["type"] == CUSTOM_ERROR:
        return str(fault["ctx"]["sentence"])
    if fault["type"] == "extra_forbidden":
        return f"is not a known key{_intended(loc) if suggest else '.'}"
    was = describe_type(fault["input"])
    if fault["type"] == "list_type":
        return f"is {was}, but must be a list of tables: write [[{'.'.join(map(str, loc))}]] with two brackets."
    return f"is {was}, but must be a table."


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


def _remove(content: dict[str, Any], loc: Loc) -> None:
    last, table = loc[-1], value_at(content, loc[:-1])
    if isinstance(table, dict):
        table.pop(last, None)
    elif isinstance(table, list) and isinstance(last, int) and last < len(table):
        table[last] = {}  # the other entries keep their numbers
