"""The base of every table of the configuration: keys declared by annotations, read in one pass that finds every fault."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self, get_args, get_origin

from monitor.config.error_text import RefusedValue
from monitor.config.resolve import Loc

_MISSING: Any = object()


@dataclass(frozen=True, slots=True)
class Parse:
    """A note in a key's annotation: the function that returns the value of what the file contains, or calls refuse()."""

    function: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Declared:
    default: Callable[[], Any]
    alias: str
    description: str


def field(
    *, default: Any = _MISSING, default_factory: Callable[[], Any] | None = None, alias: str = "", description: str = ""
) -> Any:
    """Declare a key of a table. One without a default is required; `alias` is its name in the file, if Python reserves that."""
    return _Declared(default_factory or (lambda: default), alias, description)


@dataclass(frozen=True, slots=True)
class TableKey:
    """One key of a table."""

    name: str
    """Its name in the file."""
    attribute: str
    description: str
    default: Callable[[], Any]
    notes: tuple[Any, ...]
    """What its annotation states beside types, the outermost first."""
    parse: Callable[[Any], Any] | None
    """None if its value is a table, or contains tables."""
    table: type[Table] | None
    container: type | None
    """list or dict, if the value contains several tables."""
    optional: bool


@dataclass(frozen=True, slots=True)
class TableFault:
    """A value that cannot be used."""

    loc: Loc
    problem: str
    """The end of a sentence, or one of the constants below."""
    value: Any = None


UNKNOWN_KEY = "unknown key"
NOT_A_TABLE = "no table"
NOT_A_LIST = "no list"


class Table:
    """One table of the file."""

    keys_given: frozenset[str]
    """The keys that the file, or the environment, sets to a usable value."""

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        """Set the usable values, by key, and the defaults of all other keys."""
        values = values or {}
        self.keys_given = frozenset(values)
        for name, key in keys_of(type(self)).items():
            setattr(self, key.attribute, values[name] if name in values else key.default())

    @classmethod
    def read(cls, content: Any, loc: Loc, faults: list[TableFault]) -> Self:
        """Return the table without its unusable values, and append a fault for each of those."""
        if not isinstance(content, Mapping):
            faults.append(TableFault(loc, NOT_A_TABLE, content))
            return cls()
        keys, values = keys_of(cls), dict[str, Any]()
        for name, key in keys.items():
            if name not in content:
                if key.default() is _MISSING:
                    faults.append(TableFault((*loc, name), "is missing."))
                continue
            before = len(faults)
            value = _read(key, content[name], (*loc, name), faults)
            if len(faults) == before or key.parse is None:
                values[name] = value
        faults.extend(TableFault((*loc, name), UNKNOWN_KEY, content[name]) for name in content if name not in keys)
        return cls(values)


def _read(key: TableKey, value: Any, loc: Loc, faults: list[TableFault]) -> Any:
    if value is None and key.optional:
        return None
    if key.parse is not None:
        try:
            return key.parse(value)
        except RefusedValue as refused:
            faults.append(TableFault(loc, str(refused), value))
            return None
    table = key.table or Table
    if key.container is list:
        if isinstance(value, list):
            return [table.read(item, (*loc, number), faults) for number, item in enumerate(value)]
        faults.append(TableFault(loc, NOT_A_LIST, value))
    elif not isinstance(value, Mapping):
        faults.append(TableFault(loc, NOT_A_TABLE, value))
    elif key.container is dict:
        return {name: table.read(item, (*loc, name), faults) for name, item in value.items()}
    else:
        return table.read(value, loc, faults)
    return key.default()


def values_of(table: Table) -> dict[str, Any]:
    """Return the values of a table by the attributes that hold them."""
    return {key.attribute: getattr(table, key.attribute) for key in keys_of(type(table)).values()}


_keys: dict[type[Table], dict[str, TableKey]] = {}


def keys_of(table: type[Table]) -> Mapping[str, TableKey]:
    """Return the keys of a table by their names in the file, in order: those of the tables that it extends come first."""
    if table not in _keys:
        _keys[table] = _read_keys(table)
    return _keys[table]


def _read_keys(table: type[Table]) -> dict[str, TableKey]:
    found: dict[str, TableKey] = {}
    for each in reversed(table.__mro__):
        if issubclass(each, Table):
            for attribute, annotation in inspect.get_annotations(each).items():
                declared = vars(each).get(attribute)
                if isinstance(declared, _Declared):
                    key = _key(attribute, annotation, declared)
                    found[key.name] = key
    return found


def _key(attribute: str, annotation: Any, declared: _Declared) -> TableKey:
    notes = tuple(_notes(annotation))
    parse = next((note.function for note in notes if isinstance(note, Parse)), None)
    container, table = (None, None) if parse is not None else _tables_in(annotation)
    return TableKey(
        name=declared.alias or attribute,
        attribute=attribute,
        description=declared.description,
        default=declared.default,
        notes=notes,
        parse=parse,
        table=table,
        container=container,
        optional=_accepts_none(annotation),
    )


def _notes(annotation: Any) -> Iterator[Any]:
    yield from reversed(getattr(annotation, "__metadata__", ()))
    for item in get_args(annotation):
        yield from _notes(item)


def _accepts_none(annotation: Any) -> bool:
    """Return True if None may stand in place of what the parse function accepts."""
    notes = getattr(annotation, "__metadata__", ())
    if any(isinstance(note, Parse) for note in notes):
        return False
    items = get_args(annotation)
    return _accepts_none(items[0]) if notes else type(None) in items


def _tables_in(annotation: Any) -> tuple[type | None, type[Table] | None]:
    """Return list or dict, if the value is one of tables, and the table."""
    if isinstance(annotation, type) and issubclass(annotation, Table):
        return None, annotation
    origin = get_origin(annotation)
    for item in get_args(annotation):
        container, table = _tables_in(item)
        if table is not None:
            return origin if origin in (list, dict) else container, table
    return None, None
