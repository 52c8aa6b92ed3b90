"""init, config check, config show."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli import session
from monitor.cli.output import say
from monitor.config import show, starter
from monitor.errors import MonitorError
from monitor.rules.wording.names import clean

if TYPE_CHECKING:
    from monitor.app import LiveFinding


def init(
    ctx: typer.Context,
    path: Annotated[Path | None, typer.Argument(metavar="[PATH]", help="The file to write; config.toml here by default.")] = None,
) -> None:
    """Write a commented configuration to begin with. Overwrites nothing."""
    file = path or session.options(ctx).config or Path("config.toml")
    _write_new(file, starter())
    named = "" if file == Path("config.toml") else f" --config {file}"
    say(f"Wrote {file}, which only you can read. Next:")
    say(f"  1. Put your API keys and a channel into {file}, or set the variables that it names.")
    say(f"  2. token-monitor{named} config check --live    asks every service and verifies every channel")
    say(f"  3. token-monitor{named} check                  reads everything once and shows it")
    say(f"  4. token-monitor{named} run                    keeps watch")


def _write_new(file: Path, text: str) -> None:
    try:
        target = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise MonitorError(f"{file} exists already and was left as it is: name another file, or move it away.") from None
    except OSError as error:
        raise MonitorError(f"{file} cannot be written: {error.strerror}.") from error
    with os.fdopen(target, "w", encoding="utf-8") as stream:
        stream.write(text)


def check(
    ctx: typer.Context,
    live: Annotated[bool, typer.Option("--live", help="Also call every source and verify every channel.")] = False,
) -> int:
    """Validate the configuration: every mistake with its place and what is allowed there."""
    loaded = session.loaded(ctx)
    for warning in loaded.warnings:
        say(f"warning: {warning}")
    config = loaded.config
    say(f"{loaded.path} is valid: {_counted(len(config.sources), 'source')}, {_counted(len(config.channels), 'channel')}.")
    if not live:
        return 0
    from monitor import app

    return tell_findings(app.run_async(app.verify_live(config)))


def tell_findings(findings: list[LiveFinding]) -> int:
    """One line each; 1 where anything failed."""
    for finding in findings:
        word = "ok    " if finding.ok else "FAILED"
        say(f"{word}  {finding.kind} {finding.name}: {clean(finding.text, limit=500)}")
    return 0 if all(finding.ok for finding in findings) else 1


def show_config(ctx: typer.Context) -> None:
    """Show the effective configuration: defaults filled in, overrides applied, secrets hidden."""
    say(show(session.loaded(ctx).config).rstrip("\n"))


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(init)
    group = typer.Typer(help="Check or show the configuration.", no_args_is_help=True, rich_markup_mode=None)
    group.command("check")(check)
    group.command("show")(show_config)
    app.add_typer(group, name="config")
