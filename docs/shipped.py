"""Generator of the man page and the shells' completions.

`python -m docs.generate` runs it, too. tests/unit/test_shipped.py compares the files with the present code.
"""
# ruff: noqa: INP001 - a folder of documents is no package

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from typer._completion_shared import get_completion_script

from docs import generate
from monitor import __version__
from monitor.cli.systemd import CONFIG, CREDENTIALS

PACKAGING = generate.ROOT / "packaging"
PROGRAM = "token-monitor"
_SHELLS = {"bash": "token-monitor.bash", "zsh": "_token-monitor", "fish": "token-monitor.fish"}

_STATUSES = (
    ("0", "success; for check and status \\-\\-exit\\-code: OK"),
    ("1", "any other failure; WARNING"),
    ("2", "configuration, usage, or a database that this version cannot use; CRITICAL"),
    ("3", "for check and status \\-\\-exit\\-code: UNKNOWN"),
)
_FILES = (
    (
        str(CONFIG),
        "The configuration, if neither \\-\\-config nor TOKEN_MONITOR_CONFIG names one and ./config.toml does not exist.",
    ),
    (str(CREDENTIALS), "Secrets of the systemd service, one file each."),
    ("/var/lib/token-monitor", "The database of the systemd service."),
)
_ENVIRONMENT = (
    ("TOKEN_MONITOR_CONFIG", "The configuration file."),
    ("TOKEN_MONITOR_TABLE__KEY", "Overrides this key of the configuration, such as TOKEN_MONITOR_DATABASE__URL."),
    ("TOKEN_MONITOR_TRACEBACK", "If set to 1, errors print a traceback."),
)


def man_page() -> str:
    """Return the manual page, section 1, in man(7) markup."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield f'.TH TOKEN-MONITOR 1 "" "token-expiry-monitor {__version__}" "User Commands"'
    yield from (".SH NAME", "token-monitor \\- monitors the OAuth tokens of social accounts")
    yield from (".SH SYNOPSIS", ".B token-monitor", "[\\fB\\-\\-config\\fR \\fIPATH\\fR] \\fICOMMAND\\fR ...")
    yield from (
        ".SH DESCRIPTION",
        "Polls the accounts connected to PostPost, Publora, Postbreeze and PostPeer, and sends alerts before a token",
    )
    yield from ("expires. Every list command takes \\fB\\-\\-json\\fR. Output goes to standard output, the log to",)
    yield from ("standard error.", ".SH COMMANDS")
    for name, command in generate.commands().items():
        yield from _command(name, command)
    yield ".SH EXIT STATUS"
    yield from _list(_STATUSES)
    yield ".SH FILES"
    yield from _list(_FILES)
    yield ".SH ENVIRONMENT"
    yield from _list(_ENVIRONMENT)
    yield from (".SH SEE ALSO", ".BR systemctl (1),", ".BR journalctl (1)")


def _command(name: str, command: Any) -> Iterator[str]:
    arguments = [generate.typed(each) for each in command.params if str(each.param_type_name) == "argument"]
    yield f'.SS "{PROGRAM} {_text(" ".join([name, *arguments]))}"'
    yield _paragraph(" ".join(inspect.cleandoc(command.help or "").split()))
    for each in command.params:
        if each.help:
            yield from (".TP", f".B {_text(generate.typed(each))}", _paragraph(each.help))


def _list(rows: tuple[tuple[str, str], ...]) -> Iterator[str]:
    for term, meaning in rows:
        yield from (".TP", f".B {term}", meaning)


def _text(text: str) -> str:
    """Escape plain text, so that backslashes and hyphens are literal."""
    return text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")


def _paragraph(text: str) -> str:
    """Return a line of running text, escaped so that it does not begin like a request."""
    return re.sub(r"^([.'])", r"\\&\1", _text(text))


def completion(shell: str) -> str:
    """Return the completion script of a shell."""
    return get_completion_script(prog_name=PROGRAM, complete_var="_TOKEN_MONITOR_COMPLETE", shell=shell) + "\n"


FILES: dict[Path, Callable[[], str]] = {
    PACKAGING / f"{PROGRAM}.1": man_page,
    **{PACKAGING / "completions" / name: (lambda shell=shell: completion(shell)) for shell, name in _SHELLS.items()},  # type: ignore[misc]  # the default binds the loop's value
}


def write() -> None:
    """Write every file that changed."""
    for path, text in FILES.items():
        if not path.exists() or path.read_text("utf-8") != text():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text(), "utf-8")
