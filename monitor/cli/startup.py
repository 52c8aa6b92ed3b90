"""Handling of command-line arguments and import tuning at startup."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

UNWANTED = ("rich", "pygments")
"""What libraries take along where they find it: structlog for coloured tracebacks, which ours are not, and httpx for a
command line of its own. Both do without. Where we draw tables we load it later."""


@contextmanager
def loading() -> Iterator[None]:
    """Within, nothing is looked through for garbage, of which loading makes none, and nothing unwanted is taken along."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # else it looks through every installed distribution
    hidden = [name for name in UNWANTED if name not in sys.modules]
    gc.disable()
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # Python's own word for what cannot be imported
    try:
        yield
        gc.freeze()
    finally:
        for name in hidden:
            del sys.modules[name]
        gc.enable()


_CONFIG = ("--config", "-c")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options before the command."""

    config: Path | None = None


def with_options_first(arguments: Sequence[str]) -> list[str]:
    """The same arguments with --config before the command: people type it behind as well."""
    first: list[str] = []
    rest: list[str] = []
    left = list(arguments)
    while left:
        argument = left.pop(0)
        if argument == "--":
            return [*first, *rest, argument, *left]
        if argument in _CONFIG and left:
            first += [argument, left.pop(0)]
        elif argument.startswith("--config="):
            first.append(argument)
        else:
            rest.append(argument)
    return [*first, *rest]


def command_word(arguments: Sequence[str]) -> str | None:
    """The command, None where there is none: options may stand before it, and --config has a value."""
    left = _from_command(arguments)
    return left[0] if left else None


def follows_plugin_convention(arguments: Sequence[str]) -> bool:
    """Whether monitoring programs may be calling: `check`, and `status --exit-code`."""
    left = _from_command(arguments)
    return bool(left) and (left[0] == "check" or (left[0] == "status" and "--exit-code" in left))


def _from_command(arguments: Sequence[str]) -> list[str]:
    left = list(arguments)
    while left and left[0].startswith("-"):
        left = left[2:] if left[0] in _CONFIG else left[1:]
    return left
