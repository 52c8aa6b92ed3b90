"""The command line. `main` is the one place where an error becomes a sentence and an exit status."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from monitor.cli.startup import command_word, follows_plugin_convention, loading, with_options_first
from monitor.domain.errors import ConfigError, MonitorError, SchemaOutOfDate

if TYPE_CHECKING:
    import typer

__all__ = ["main"]

FAILED = 1
UNUSABLE = 2
"""Configuration, usage, or a schema that this version cannot use."""
UNKNOWN = 3
"""The monitoring-plugin convention's word for "could not be found out": 1 and 2 mean something else there."""
INTERRUPTED = 130
TRACEBACK = "TOKEN_MONITOR_TRACEBACK"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status (INTERFACE: Commands). No traceback reaches the user.

    TOKEN_MONITOR_TRACEBACK=1 shows where an error came from.
    """
    arguments = with_options_first(sys.argv[1:] if argv is None else argv)
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the outermost place: whatever it is, the user gets a sentence
        status = _report_error(error)
        return UNKNOWN if follows_plugin_convention(arguments) else status
    finally:
        gc.freeze()  # what is left goes with the process: nothing of it need be looked through at the end


def _run(arguments: list[str]) -> int:
    """A command gives None for 0, or its own exit status."""
    with loading():
        from monitor.cli.commands import command_line

        app = command_line(command_word(arguments))
    status = app(args=arguments, prog_name="token-monitor", standalone_mode=False)
    return status if isinstance(status, int) else 0


def _report_error(error: Exception) -> int:
    """Say on stderr what is wrong; the exit status that goes with it."""
    import typer

    if os.environ.get(TRACEBACK):
        _print_traceback(error)
    match error:
        case typer.TyperException():
            _report_usage(error)
            return UNUSABLE
        case ConfigError():
            _report(*error.problems)
            return UNUSABLE
        case MonitorError():
            _report(*str(error).split("\n"))
            return UNUSABLE if isinstance(error, SchemaOutOfDate) else FAILED
        case typer.Abort():
            _report("Stopped.")
            return FAILED
    _report(f"An unexpected error stopped this command ({type(error).__name__}): set {TRACEBACK}=1 to see where, and report it.")
    return FAILED


def _report_usage(error: typer.TyperException) -> None:
    """What was typed wrongly, and where to read how it is meant."""
    import typer

    context = getattr(error, "ctx", None)
    ours = isinstance(error, typer.BadParameter) and error.param is None
    message = error.message if ours else error.format_message()
    if context is None:
        _report(message)
    elif type(error).__name__ == "NoArgsIsHelpError":
        _print(message)
    else:
        _report(f"{message if message.endswith('?') else message.rstrip('.') + '.'} See `{context.command_path} --help`.")


def _report(*sentences: str) -> None:
    """Sentences, one a line, harmless whatever they quote."""
    from monitor.domain.text import clean
    from monitor.telemetry.logs import redact

    for sentence in sentences:
        _print(f"token-monitor: {clean(redact(sentence), limit=2000)}")


def _print_traceback(error: Exception) -> None:
    import traceback

    from monitor.telemetry.logs import redact

    _print(redact("".join(traceback.format_exception(error))).rstrip())


def _print(text: str) -> None:
    try:
        encoding = sys.stderr.encoding or "utf-8"
        sys.stderr.write(f"{text.encode(encoding, 'replace').decode(encoding)}\n")
        sys.stderr.flush()
    except OSError:
        pass  # there is nowhere left to complain; the exit status still tells
