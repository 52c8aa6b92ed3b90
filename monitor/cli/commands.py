"""Every command, in the order in which `--help` lists them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated, Final

import typer

from monitor import __version__
from monitor.cli.output import echo
from monitor.cli.startup import Options

PARTS: Final = {
    "config": ("init", "config"),
    "run": ("run", "check", "test-alert", "demo"),
    "status": ("status",),
    "history": ("history",),
    "forecast": ("forecast",),
    "sources": ("sources",),
    "alerts": ("alerts",),
    "silence": ("ack", "silence"),
    "db": ("forget", "db"),
    "systemd": ("systemd", "report-failure"),
}
"""The modules of this folder with the commands that each adds. A command loads its own module and no other."""


def command_line(word: str | None = None) -> typer.Typer:
    """The program with its one command of this name, or with every command where there is none of this name."""
    parts = [part for part, commands in PARTS.items() if word in commands]
    app = typer.Typer(
        name="token-monitor",
        help="Finds out first when a social account is about to lose its token, and tells you.",
        no_args_is_help=True,
        add_completion=not parts,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        callback=begin,
    )
    for part in parts or PARTS:
        import_module(f"monitor.cli.{part}").register(app)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        echo(f"token-monitor {__version__}")
        raise typer.Exit


def begin(
    ctx: typer.Context,
    *,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", metavar="PATH", help="The configuration file; else $TOKEN_MONITOR_CONFIG, else ./config.toml."
        ),
    ] = None,
    version: Annotated[  # noqa: ARG001 - its callback has answered already
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Finds out first when a social account is about to lose its token, and tells you."""
    ctx.obj = Options(config=config)
