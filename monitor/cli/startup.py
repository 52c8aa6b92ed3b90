"""The arguments as they were typed, before any command looks at them, and the options that stand before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
