"""Commands whose names are taken, and that a later version will bring."""

from __future__ import annotations

import typer

from monitor.errors import MonitorError

_ANYTHING = {"allow_extra_args": True, "ignore_unknown_options": True}


def forecast() -> None:
    """What will need a person, and when (comes in a later version)."""
    raise MonitorError("`forecast` comes in a later version: until then, `token-monitor status` shows every expiry.")


def ack() -> None:
    """Quieten a connection (comes in a later version)."""
    raise MonitorError(
        "`ack` comes in a later version: until then, `token-monitor forget` takes a connection that was removed on purpose out."
    )


def silence() -> None:
    """Quieten until a date (comes in a later version)."""
    raise MonitorError("`silence` comes in a later version: until then, a channel's filters decide what it is told.")


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (forecast, ack, silence):
        app.command(context_settings=_ANYTHING)(command)
