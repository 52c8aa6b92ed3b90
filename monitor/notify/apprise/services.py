"""Apprise's plugins, only those that are used: all two hundred of them take 25 MB and a third of a second."""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

_SCHEMAS = re.compile(r"^    (?:secure_)?protocol(?:\s*:[^=\n]+)?\s*=\s*(\([^)]*\)|\{[^}]*\}|[^\n]*)", re.MULTILINE)
_WORD = re.compile(r"""["']([A-Za-z0-9+-]+)["']""")


def load_for(url: str) -> None:
    """Have Apprise know what it needs for this URL: one plugin where its source tells which, else every one.

    Not to be called by two threads at once.
    """
    from apprise.manager_plugins import NotificationManager

    new: Any = NotificationManager
    manager = new()  # the one there is
    schema = url.partition("://")[0].lower()
    if manager and schema in manager:
        return
    plugin = _plugin_for(schema, manager)
    if plugin is not None:
        if not manager:
            with TemporaryDirectory() as nothing:
                manager.load_modules(path=nothing)  # else it loads all of its own at the first question
        manager.add(plugin)
    if plugin is None or schema not in manager:
        _load_everything(manager)


@cache
def _load_everything(manager: Any) -> None:
    """As Apprise does it by itself; what it has learned so far would be in the way."""
    manager.unload_modules()
    manager.load_modules()


def _plugin_for(schema: str, manager: Any) -> Any:
    """The plugin whose source claims the schema; None where no source or more than one does."""
    modules = modules_by_schema(Path(manager.module_path)).get(schema, set())
    if len(modules) != 1:
        return None
    module = import_module(f"{manager.module_name_prefix}.{next(iter(modules))}")
    names = (name for name in dir(module) if manager.module_filter_re.match(name))
    return next((found for name in names if hasattr(found := getattr(module, name), "app_id")), None)


@cache
def modules_by_schema(folder: Path) -> dict[str, set[str]]:
    """The modules, by the schemas that their sources claim."""
    found: dict[str, set[str]] = {}
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder).parts[0].removesuffix(".py")
        if name == "base" or name.startswith("_"):
            continue
        for claim in _SCHEMAS.finditer(path.read_text("utf-8", "replace")):
            for word in _WORD.findall(claim[1]):
                found.setdefault(word.lower(), set()).add(name)
    return found
