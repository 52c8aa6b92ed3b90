"""Environment variables that override the file, such as TOKEN_MONITOR_SCHEDULE__POLL_EVERY."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource

from monitor.config.error_text import MOST_SUGGESTIONS, is_too_deep, looks_like_secret, nearest, value_at
from monitor.config.fields import kind_in
from monitor.config.reference import reference
from monitor.config.resolve import Loc
from monitor.config.schema import LISTS, PREFIX, Document
from monitor.config.secrets import is_quoted


class Environment(EnvSettingsSource):
    """Settings from environment variables. Mistakes in their names are collected; their values are validated with the file's."""

    def __init__(self, env: Mapping[str, str], *, over: Mapping[str, Any]) -> None:
        """Read the variables of `env` over the file's content.

        Where the file has a plain value in place of a table, the file's mistake is reported and the variable ignored.
        """
        super().__init__(Document, case_sensitive=False)
        self.origins: dict[Loc, str] = {}
        """The variable that sets each key path."""
        self.errors: list[str] = []
        self.unreadable: set[Loc] = set()
        """Lists that could not be decoded: no further mistake is reported about them."""
        self._names = sorted(name for name in env if name.startswith(PREFIX))
        for name in self._names:
            self._take(name, over)
        self.env_vars = {name.lower(): env[name] for name in self.origins.values()}
        self._content = super().__call__()

    def __call__(self) -> dict[str, Any]:
        """Return the settings in the shape of the file."""
        return self._content

    def field_is_complex(self, field: FieldInfo) -> bool:
        """Return True if a variable for this key may hold JSON."""
        kind = kind_in(field)
        return super().field_is_complex(field) if kind is None else kind.json != "never"

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Return the decoded JSON, or the text itself if it is not JSON: the key's own validator words the error."""
        kind = kind_in(field)
        if kind is None:
            return self._entries(next(each for each in LISTS if each[-1] == field_name), value)
        if kind.json == "braces" and not value.lstrip().startswith("{"):
            return value
        try:
            decoded = super().decode_complex_value(field_name, field, value)
        except (ValueError, RecursionError):
            return value
        return value if is_too_deep(decoded) else decoded

    def near_misses(self, used: Collection[str]) -> list[str]:
        """Return a sentence for each variable that a second underscore, or a final S, would make valid.

        Variables in `used` hold secrets and are left out.
        """
        if not self._names:
            return []
        by_flat = {known.replace("__", "_"): known for known in self._known}
        meant = {name: by_flat.get(name) or by_flat.get(f"{name}S") for name in self._names if name not in used}
        return [f"{name} has no effect; did you mean {near}?" for name, near in meant.items() if near and near != name]

    @cached_property
    def _known(self) -> list[str]:
        """Every variable name, except those for single platforms. Most environments have no variable to compare with them."""
        plain = [key.path for key in reference() if not set(key.path) & set("[<")]
        return [variable(tuple(path.split("."))) for path in plain] + [variable(loc) for loc in LISTS]

    def _take(self, name: str, over: Mapping[str, Any]) -> None:
        loc: Loc = tuple(name.removeprefix(PREFIX).lower().split("__"))
        inner = [known for known in self._known if known.startswith(f"{variable(loc)}__")]
        above = next((each for each in LISTS if loc[: len(each)] == each and loc != each), None)
        if above is not None:
            instead = f"replace all {'.'.join(above)} by a JSON list in {variable(above)}"
            self.errors.append(f"{_shown(name)} is not a known setting: {instead}.")
        elif loc in LISTS or self._is_key(loc):
            context = (value_at(over, loc[:length]) for length in range(1, len(loc)))
            if all(value is None or isinstance(value, dict) for value in context):
                self.origins[loc] = name
        elif len(loc) > 1:
            known = [each.removeprefix(PREFIX) for each in self._known] if len(self.errors) < MOST_SUGGESTIONS else []
            near = nearest(name.removeprefix(PREFIX), known)
            self.errors.append(f"{_shown(name)} is not a known setting{f'; did you mean {PREFIX}{near}?' if near else '.'}")
        elif inner:
            self.errors.append(f"{name} names a whole table: set its keys individually, such as {inner[0]}.")

    def _is_key(self, loc: Loc) -> bool:
        field = Document.model_fields.get(str(loc[0]))
        for step in loc[1:]:
            field = self.next_field(field, str(step))
        return isinstance(field, FieldInfo) and kind_in(field) is not None  # a platform is a plain type

    def _entries(self, loc: Loc, text: str) -> list[Any]:
        problem = "must be a JSON list of objects."
        try:
            content = json.loads(text)
            if isinstance(content, list) and not is_too_deep(content):
                return [_without_nulls(entry) for entry in content]
            if isinstance(content, list):
                problem = "is nested too deeply."
        except json.JSONDecodeError as exc:
            if is_quoted(text.strip()):
                problem = "is in quotes, which an env file keeps: write it without quotes."
            else:
                problem = f"is not valid JSON: {exc.msg} (line {exc.lineno}, column {exc.colno})."
        except ValueError:
            problem = "contains a number that is out of range."
        except RecursionError:
            problem = "is nested too deeply."
        self.errors.append(f"{self.origins[loc]} {problem}")
        self.unreadable.add(loc)
        return []


def variable(loc: Loc) -> str:
    """Return the variable that overrides a key path."""
    return PREFIX + "__".join(str(step) for step in loc).upper()


def _without_nulls(value: Any) -> Any:
    """Drop keys whose value is null: null means the same as omitting the key."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _shown(name: str) -> str:
    return f"{PREFIX}…" if looks_like_secret(name) or not name.isprintable() else name
