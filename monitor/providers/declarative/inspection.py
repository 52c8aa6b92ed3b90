"""The parts of rows that a trial may show: names of fields, types and shapes, but no values that no expression reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from monitor.config.definition import Definition, Template, Test
from monitor.domain.rules.dates import parse_instant
from monitor.domain.rules.expressions import Evaluator, Expression

_DEEPEST = 4
_MOST_FIELDS = 200
_MOST_INSPECTED = 1000
_LONGEST_SHAPE = 40
_NAME = re.compile(r"[A-Za-z_@$][A-Za-z0-9_.@$-]{0,39}")
_WORD = re.compile(r"[A-Za-z][A-Za-z _-]{0,31}")


def type_shape(value: Any, *, depth: int = 0) -> Any:
    """Return a value with everything in it replaced by its type; a list by the types of its first item."""
    if isinstance(value, Mapping):
        if depth >= _DEEPEST:
            return "object"
        shown = [(key, item) for key, item in value.items() if depth or not str(key).startswith("_")]
        return {field_name(key): type_shape(item, depth=depth + 1) for key, item in shown[:_MOST_FIELDS]}
    if isinstance(value, list):
        return [type_shape(value[0], depth=depth + 1)] if value and depth < _DEEPEST else []
    return _type_name(value)


def _type_name(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "number"
        case "":
            return "empty text"
        case str():
            return "date" if "-" in value[:8] and parse_instant(value)[0] is not None else "text"
    return "unknown"


def field_name(key: Any) -> str:
    """Return the name of a field, or "…" for one that may be data, such as an address or a token."""
    return key if isinstance(key, str) and _NAME.fullmatch(key) else "…"


def value_shape(value: Any) -> str:
    """Return a value that should be a date with digits replaced by 9 and letters by a, so that its format is visible."""
    if not isinstance(value, str):
        return _type_name(value) if not isinstance(value, Mapping | list) else "object or list"
    shape = re.sub(r"[^\W\d_]", "a", re.sub(r"\d", "9", value[:_LONGEST_SHAPE]))
    return f'"{shape}{"…" if len(value) > _LONGEST_SHAPE else ""}"'


def unused_fields(definition: Definition, rows: Iterable[Any]) -> list[str]:
    """Return the dotted names of fields that rows have and no expression or template of the definition reads."""
    used = _names_read(definition)
    found: dict[str, None] = {}
    for row in list(rows)[:_MOST_INSPECTED]:
        for path in _leaves(row, (), 0):
            if not used.intersection(path):
                found.setdefault(".".join(map(field_name, path)))
    return sorted(found)[:_MOST_FIELDS]


def _leaves(value: Any, path: tuple[str, ...], depth: int) -> Iterator[tuple[str, ...]]:
    if isinstance(value, list):
        value = value[0] if value and isinstance(value[0], Mapping) else None
    if isinstance(value, Mapping) and value and depth < _DEEPEST:
        for key, item in value.items():
            if isinstance(key, str) and (depth or not key.startswith("_")):
                yield from _leaves(item, (*path, key), depth + 1)
    elif path:
        yield path


def _names_read(definition: Definition) -> set[str]:
    test: Test | None = definition.test
    link = [] if definition.row.link is None else [definition.row.link]
    templates: list[Template] = [*link, *([] if test is None else [test.request.path, *test.request.query.values()])]
    names = {name for template in templates for path in template.placeholders for name in path}
    for expression in definition.expressions:
        names.update(_names_in(expression))
    return names - {"parent"}


def _names_in(expression: Expression) -> Iterator[str]:
    if expression.path is not None:
        yield from expression.path
    elif expression.tree is not None:
        yield from (node["value"] for node in _nodes(expression.tree) if node["type"] == "field")


def _nodes(node: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(node, Mapping) and "type" in node:
        yield node
        for child in node["children"]:
            yield from _nodes(child)


def compared_words(definition: Definition, row: Any) -> dict[str, str]:
    """Return the words of a row that the rules for the status compare with literal texts, by field.

    A value counts as a word if it is short and consists of letters, as the names of statuses do.
    """
    found: dict[str, str] = {}
    evaluator = Evaluator(datetime.now(UTC))
    for rule in definition.rules:
        if rule.when is None or rule.when.tree is None:
            continue
        for node in _nodes(rule.when.tree):
            for path in _compared_paths(node):
                value = evaluator.value(Expression(".".join(path), path=path), row)
                if isinstance(value, str) and _WORD.fullmatch(value):
                    found[".".join(path)] = value
    return found


def _compared_paths(node: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the paths of the fields that a comparison compares with a literal text."""
    if node["type"] != "comparator":
        return
    left, right = node["children"]
    for field, literal in ((left, right), (right, left)):
        if literal["type"] == "literal" and isinstance(literal["value"], str) and (path := _path_of(field)):
            yield path


def _path_of(node: Mapping[str, Any]) -> tuple[str, ...]:
    if node["type"] == "field":
        return (node["value"],)
    if node["type"] == "subexpression" and all(child["type"] in ("field", "subexpression") for child in node["children"]):
        return tuple(name for child in node["children"] for name in _path_of(child))
    return ()
