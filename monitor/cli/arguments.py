"""The arguments as they were typed, before any command looks at them."""

from __future__ import annotations

from collections.abc import Sequence

_CONFIG = ("--config", "-c")


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


def follows_plugin_convention(arguments: Sequence[str]) -> bool:
    """Whether monitoring programs may be calling: `check`, and `status --exit-code`."""
    left = list(arguments)
    while left and left[0].startswith("-"):
        left = left[2:] if left[0] in _CONFIG else left[1:]
    if not left:
        return False
    return left[0] == "check" or (left[0] == "status" and "--exit-code" in left)
