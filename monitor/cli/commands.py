"""Every command, in the order in which `--help` lists them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monitor import __version__
from monitor.cli import ack, alerts, configuration, database, forecast, running, silences, sources, status
from monitor.cli.output import say
from monitor.cli.session import Options

app = typer.Typer(
    name="token-monitor",
    help="Finds out first when a social account is about to lose its token, and tells you.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"token-monitor {__version__}")
        raise typer.Exit


@app.callback()
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


for _part in (configuration, running, status, forecast, sources, alerts, ack, silences, database):
    _part.register(app)
