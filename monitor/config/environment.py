"""Environment variables that override the file: TOKEN_MONITOR_SCHEDULE__POLL_EVERY and its kind."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource

from monitor.config.error_text import looks_like_secret, nearest, value_at
from monitor.config.reference import reference
from monitor.config.resolve import Loc
from monitor.config.schema import PREFIX, Document, kind_in

LISTS = ("sources", "channels")
"""Replaced whole, by JSON."""


class Environment(EnvSettingsSource):
    """The settings in a given environment; what is wrong with a variable is collected, and its value judged with the file's."""

    def __init__(self, env: Mapping[str, str], *, over: Mapping[str, Any]) -> None:
        """`over` is the file's content: where it has a value in a table's place, it must be told so and not be overridden."""
        super().__init__(Document, case_sensitive=False)
        self.origins: dict[Loc, str] = {}
        """Which variable sets which key path."""
        self.errors: list[str] = []
        self.unreadable: set[Loc] = set()
        """Lists of which it is unknown what they should have held: no further complaint about them."""
        self._known = _known()
        self._names = sorted(name for name in env if name.startswith(PREFIX))
        for name in self._names:
            self._take(name, over)
        self.env_vars = {name.lower(): env[name] for name in self.origins.values()}
        self._content = super().__call__()

    def __call__(self) -> dict[str, Any]:
        """The settings as the file would hold them."""
        return self._content

    def field_is_complex(self, field: FieldInfo) -> bool:
        """Whether a value may be JSON: the key's kind says so."""
        kind = kind_in(field)
        return super().field_is_complex(field) if kind is None else kind.json != "never"

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """The value of JSON; the text where it is none, because the key's own rule says best what it wants."""
        kind = kind_in(field)
        if kind is None:
            return self._entries(field_name, value)
        if kind.json == "braces" and not value.lstrip().startswith("{"):
            return value
        try:
            return super().decode_complex_value(field_name, field, value)
        except (ValueError, RecursionError):
            return value

    def near_misses(self, used: Collection[str]) -> list[str]:
        """Sentences on variables that a second underline, or an S at the end, would make valid; `used` ones hold secrets."""
        by_flat = {known.replace("__", "_"): known for known in self._known}
        meant = {name: by_flat.get(name) or by_flat.get(f"{name}S") for name in self._names if name not in used}
        return [f"{name} has no meaning; did you mean {near}?" for name, near in meant.items() if near and near != name]

    def _take(self, name: str, over: Mapping[str, Any]) -> None:
        loc: Loc = tuple(name.removeprefix(PREFIX).lower().split("__"))
        inner = [known for known in self._known if known.startswith(f"{variable(loc)}__")]
        if loc[0] in LISTS and len(loc) > 1:
            instead = f"{loc[0]} are replaced whole, by a JSON list in {variable(loc[:1])}"
            self.errors.append(f"{_shown(name)} is not a known setting: {instead}.")
        elif loc[0] in LISTS or self._is_key(loc):
            around = (value_at(over, loc[:length]) for length in range(1, len(loc)))
            if all(value is None or isinstance(value, dict) for value in around):
                self.origins[loc] = name
        elif len(loc) > 1:
            near = nearest(name.removeprefix(PREFIX), [known.removeprefix(PREFIX) for known in self._known])
            self.errors.append(f"{_shown(name)} is not a known setting{f'; did you mean {PREFIX}{near}?' if near else '.'}")
        elif inner:
            self.errors.append(f"{name} names a whole table: set its keys one by one, such as {inner[0]}.")

    def _is_key(self, loc: Loc) -> bool:
        field = Document.model_fields.get(str(loc[0]))
        for step in loc[1:]:
            field = self.next_field(field, str(step))
        return isinstance(field, FieldInfo) and kind_in(field) is not None  # a platform is a plain type

    def _entries(self, key: str, text: str) -> list[Any]:
        problem = "must be a JSON list of objects."
        try:
            entries = _without_nulls(json.loads(text))
            if isinstance(entries, list):
                return entries
        except json.JSONDecodeError as exc:
            problem = f"is not valid JSON: {exc.msg} (line {exc.lineno}, column {exc.colno})."
        except ValueError:
            problem = "holds a number that is out of range."
        except RecursionError:
            problem = "is nested too deeply."
        self.errors.append(f"{self.origins[key,]} {problem}")
        self.unreadable.add((key,))
        return []


def variable(loc: Loc) -> str:
    """The variable that overrides a key path."""
    return PREFIX + "__".join(str(step) for step in loc).upper()


def _known() -> list[str]:
    """The variables that can be listed: all but those of single platforms."""
    plain = [key.path for key in reference() if not set(key.path) & set("[<")]
    return [variable(tuple(path.split("."))) for path in plain] + [variable((key,)) for key in LISTS]


def _without_nulls(value: Any) -> Any:
    """JSON's null means what leaving the key out means."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _shown(name: str) -> str:
    return f"{PREFIX}…" if looks_like_secret(name) or not name.isprintable() else name
