"""Every configuration key as data, for the documentation and its tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from monitor.config.definition_schema import DefinitionTable
from monitor.config.fields import DefaultText, kind_in
from monitor.config.formatting import plain
from monitor.config.schema import LISTS, Document, table_at
from monitor.config.source_schema import Level, Levels, SourceTable
from monitor.domain.records import Record

OTHER_KEYS = ("dates", "token", "stale_after")
"""Keys of sources that only the providers `dates` and `push` have."""

_BELOW: dict[tuple[str, ...], str] = {("sources", "policy"): "as in [policy]", ("labels", "policy"): "as without the rule"}
"""Defaults of tables whose keys take precedence over those of another table."""

_TEXT_OR_REFERENCE = 'text, { env = "…" }, { file = "…" } or { credential = "…" }'


class KeyDoc(Record, frozen=True):
    """One key: its path, type, default and meaning."""

    path: str
    """Such as `schedule.poll_every`, `sources[].name` in a list, or `policy.platforms.<platform>.stages`."""
    type: str
    default: str
    """A value as TOML, or a description if it is not a plain value."""
    meaning: str

    @property
    def required(self) -> bool:
        """True if the table is invalid without it."""
        return self.default.startswith("required")


def reference() -> list[KeyDoc]:
    """Return every key in the order of the file."""
    return list(_keys_of(Document, (), "", inherited=None))


def _keys_of(table: type[BaseModel], loc: tuple[str, ...], prefix: str, *, inherited: str | None) -> Iterator[KeyDoc]:
    for key, field in table.model_fields.items():
        if table is SourceTable and key in (*DefinitionTable.model_fields, *OTHER_KEYS):
            continue  # docs/definitions.md
        path = f"{prefix}{key}"
        kind = kind_in(field)
        if kind is not None:
            type_text = _TEXT_OR_REFERENCE if kind.name == "secret" else kind.name
            yield KeyDoc(path, type_text, inherited or _default(field, kind.name), field.description or "")
        elif key == "platforms" and table is Levels:
            yield from _keys_of(Level, (), f"{path}.<platform>.", inherited=_level_above(loc))
        else:
            inner = (*loc, key)
            many = "[]" if inner in LISTS else ""
            below = _BELOW.get(inner)
            yield from _keys_of(table_at(inner) or Document, inner, f"{path}{many}.", inherited=below)


def _level_above(loc: tuple[str, ...]) -> str:
    return "as in [policy]" if loc == ("policy",) else "as in [sources.policy]"


def _default(field: FieldInfo, kind: str) -> str:
    for note in field.metadata:
        if isinstance(note, DefaultText):
            return note.text
    value: Any = field.get_default(call_default_factory=True)
    return "none" if isinstance(value, Mapping) else plain(value, percentage=kind == "percentage")
