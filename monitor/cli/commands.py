"""All commands, in the order in which `--help` lists them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated, Final

import typer

from monitor import __version__
from monitor.cli.output import echo
from monitor.cli.startup import VERSION, Options

PARTS: Final = {
    "config": ("init", "config"),
    "run": ("run", "check", "test-alert", "demo"),
    "recheck": ("recheck",),
    "status": ("status",),
    "history": ("history",),
    "forecast": ("forecast",),
    "report": ("report",),
    "sources": ("sources",),
    "cluster": ("cluster",),
    "providers": ("providers",),
    "alerts": ("alerts",),
    "silence": ("ack", "silence"),
    "share": ("share",),
    "forget": ("forget",),
    "db": ("db",),
    "systemd": ("systemd", "report-failure"),
}
"""The modules of this package and the commands that each adds. Running a command loads its own module only."""


_ABOUT = "Monitors the OAuth tokens of social accounts and alerts before they expire."


def command_line(name: str | None = None) -> typer.Typer:
    """Return the program with the one command of this name, or with all commands if there is none of this name.

    VERSION is answered without any command.
    """
    parts = [part for part, commands in PARTS.items() if name in commands]
    app = typer.Typer(
        name="token-monitor",
        help=_ABOUT,
        no_args_is_help=True,
        add_completion=not parts,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        callback=begin,
    )
    for part in parts or (() if name == VERSION else PARTS):
        import_module(f"monitor.cli.{part}").register(app)
    return app


def _show_version(requested: bool) -> None:
    if requested:
        echo(f"token-monitor {__version__}")
        raise typer.Exit


def begin(
    ctx: typer.Context,
    *,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            metavar="PATH",
            readable=False,  # the reader of the file states why it cannot be read
            help="The configuration file. Default: $TOKEN_MONITOR_CONFIG, ./config.toml or /etc/token-monitor/config.toml.",
        ),
    ] = None,
    version: Annotated[  # noqa: ARG001 - handled by its callback
        bool, typer.Option(VERSION, callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Store the options that stand before the command."""
    ctx.obj = Options(config=config)
