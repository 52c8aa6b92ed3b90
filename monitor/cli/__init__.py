"""The command line. `main` turns every error into a sentence and an exit status."""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from monitor.cli.startup import (
    collect_rarely,
    command_name,
    follows_plugin_convention,
    loading,
    open_missing_streams,
    with_options_first,
)
from monitor.domain.errors import ConfigError, DatabaseUnsuitable, MonitorError, SchemaOutOfDate

if TYPE_CHECKING:
    import typer

__all__ = ["main"]

FAILED = 1
UNUSABLE = 2
"""Exit status for a wrong configuration or usage, or a database that this version cannot use."""
UNKNOWN = 3
"""Exit status UNKNOWN of the monitoring-plugin convention, in which 1 and 2 mean WARNING and CRITICAL."""
INTERRUPTED = 130
_UNWRITABLE = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO)
TRACEBACK = "TOKEN_MONITOR_TRACEBACK"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status (INTERFACE: Commands). No traceback reaches the user.

    TOKEN_MONITOR_TRACEBACK=1 prints the traceback of an error.
    """
    open_missing_streams()
    collect_rarely()
    arguments = with_options_first(sys.argv[1:] if argv is None else argv)
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - outermost level: the user gets a sentence for any error
        status = _report_error(error)
        return UNKNOWN if follows_plugin_convention(arguments) else status
    finally:
        _flush_stderr()
        gc.freeze()  # the process ends: spare the final collection


def _run(arguments: list[str]) -> int:
    """Run the command and return its exit status; a command returns None for 0."""
    with loading():
        from monitor.cli.commands import command_line

        app = command_line(command_name(arguments))
    try:
        status = app(args=arguments, prog_name="token-monitor", standalone_mode=False)
    except (OSError, SystemExit) as raised:
        # typer writes help texts without monitor.cli.output, and exits if the pipe was closed.
        error = raised.__context__ if isinstance(raised, SystemExit) else raised
        if not isinstance(error, OSError) or error.errno not in _UNWRITABLE:
            raise
        from monitor.cli.output import discard_output

        discard_output(error)
        return 0
    return status if isinstance(status, int) else 0


def _report_error(error: Exception) -> int:
    """Print the error on stderr and return the exit status for it."""
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
            return UNUSABLE if isinstance(error, SchemaOutOfDate | DatabaseUnsuitable) else FAILED
        case typer.Abort():
            _report("Aborted.")
            return FAILED
        case OSError(errno=errno.EMFILE):
            _report("This process cannot open enough files: raise `ulimit -n`, or LimitNOFILE= in the unit.")
            return FAILED
    _report(f"Unexpected error ({type(error).__name__}). Set {TRACEBACK}=1 to see the traceback, and please report it.")
    return FAILED


def _report_usage(error: typer.TyperException) -> None:
    """Print a usage error and the command whose --help explains the usage."""
    import typer

    context = getattr(error, "ctx", None)
    raised_here = isinstance(error, typer.BadParameter) and error.param is None
    message = error.message if raised_here else error.format_message()
    if context is None:
        _report(message)
    elif type(error).__name__ == "NoArgsIsHelpError":
        _print(message)
    else:
        _report(f"{message if message.endswith('?') else message.rstrip('.') + '.'} See `{context.command_path} --help`.")


def _report(*sentences: str) -> None:
    """Print sentences on stderr, one per line, without secrets and control characters.

    Print nothing if the log is on stderr and nothing reads it: the process would wait forever.
    """
    from monitor.domain.text import clean
    from monitor.telemetry.logs import flush, redact

    if not flush():
        return
    for sentence in sentences:
        _print(f"token-monitor: {clean(redact(sentence), limit=2000)}")


def _print_traceback(error: Exception) -> None:
    import traceback

    from monitor.telemetry.logs import redact

    _print(redact("".join(traceback.format_exception(error))).rstrip())


def _print(text: str) -> None:
    with suppress(OSError):  # stderr is closed; the exit status still reports the failure
        encoding = sys.stderr.encoding or "utf-8"
        sys.stderr.write(f"{text.encode(encoding, 'replace').decode(encoding)}\n")
        sys.stderr.flush()


def _flush_stderr() -> None:
    """Write the buffered text, or discard it if that fails: the interpreter's own flush would change the exit status."""
    try:
        sys.stderr.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stderr.fileno())
        os.close(nowhere)
