"""Command-line arguments before the command, and tuning of imports at start."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from monitor.domain.errors import MonitorError
from monitor.domain.imports import without, without_certificates
from monitor.domain.records import Record

OPTIONAL_IMPORTS = ("rich", "pygments", "click")
"""Packages that structlog and httpx import if they are installed, for features that are not used here.

Hiding them takes a seventh off the time that a command needs to start, and 4 MiB off the memory of every command and of
the daemon (measured on CPython 3.11). monitor.cli.output imports rich where it draws a table on a terminal.
"""


@contextmanager
def loading() -> Iterator[None]:
    """Import inside the block without garbage collection (imports create no garbage), certificates and OPTIONAL_IMPORTS."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # else pydantic searches every installed distribution
    gc.disable()
    try:
        with without(*OPTIONAL_IMPORTS), without_certificates():
            yield
        gc.freeze()
    finally:
        gc.enable()


COLLECT_AFTER = 50_000
"""Objects that a command creates between two garbage collections. With Python's 700, collections took a third of the time."""


def collect_rarely() -> None:
    """Collect garbage rarely: a command creates little. The daemon collects as usual once it has started."""
    gc.set_threshold(COLLECT_AFTER)


def open_missing_streams() -> None:
    """Open the null device in place of a standard stream that the caller closed (`>&-`).

    Otherwise the next file, such as the database, would get the stream's descriptor, and text meant for the
    stream would be written into it.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None and _is_closed(descriptor):
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            # The stream lives as long as the process and closes with it.
            setattr(sys, name, os.fdopen(descriptor, "w" if descriptor else "r", encoding="utf-8", closefd=False))


def _is_closed(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return True
    return False


LEAST_OPEN_FILES = 64
"""Open files that the daemon needs in addition to those of sources and channels; with one source it opens about 30."""


def allow_open_files(remotes: int) -> None:
    """Raise the limit of open files, if possible, to what the daemon needs; `remotes` is the number of sources and channels.

    Raise MonitorError if the limit is too low to start the daemon.
    """
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = LEAST_OPEN_FILES + 4 * remotes
    if soft != resource.RLIM_INFINITY and soft < wanted:
        raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        if raised < LEAST_OPEN_FILES:
            raise MonitorError(
                f"This process may open {raised} files at a time, but needs at least {LEAST_OPEN_FILES}: raise `ulimit -n`, or "
                "LimitNOFILE= in the unit."
            )


_CONFIG = ("--config", "-c")


class Options(Record, frozen=True, kw_only=True):
    """The options before the command."""

    config: Path | None = None


def with_options_first(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with --config moved before the command, because it may be typed after it, too."""
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


VERSION = "--version"


def command_name(arguments: Sequence[str]) -> str | None:
    """Return the command, else VERSION if that is requested, else None. Options may stand before it, and --config has a value."""
    left = _from_command(arguments)
    if left:
        return left[0]
    return VERSION if VERSION in arguments else None


def follows_plugin_convention(arguments: Sequence[str]) -> bool:
    """Return True for commands that exit with 3 after an error, as plugins of monitoring systems do.

    These are `check`, `recheck` and `status --exit-code`.
    """
    left = _from_command(arguments)
    return bool(left) and (left[0] in ("check", "recheck") or (left[0] == "status" and "--exit-code" in left))


def _from_command(arguments: Sequence[str]) -> list[str]:
    left = list(arguments)
    while left and left[0].startswith("-"):
        left = left[2:] if left[0] in _CONFIG else left[1:]
    return left
