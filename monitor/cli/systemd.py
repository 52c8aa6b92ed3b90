"""`systemd install` and `report-failure`."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from monitor.cli import session
from monitor.cli.output import echo
from monitor.config import Config, load, load_channels
from monitor.domain.clock import SystemClock
from monitor.domain.errors import ConfigError, MonitorError
from monitor.domain.text import clean
from monitor.telemetry import logs

PROGRAM = Path("/opt/token-monitor/bin/token-monitor")
"""The program that the shipped units start."""
CONFIG = Path("/etc/token-monitor/config.toml")
CREDENTIALS = CONFIG.parent / "credentials"
UNITS = Path("/etc/systemd/system")

_SHIPPED = {
    "token-monitor.service": UNITS / "token-monitor.service",
    "token-monitor-failure@.service": UNITS / "token-monitor-failure@.service",
    "token-monitor-restart.timer": UNITS / "token-monitor-restart.timer",
    "local.conf.example": UNITS / "token-monitor.service.d" / "local.conf.example",
}
_HIDDEN = ("/home", "/root", "/run/user")
"""Folders that ProtectHome=yes hides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitFile:
    """One installed file or folder."""

    path: Path
    """Path on the installed system, without the root."""
    changed: bool


def hidden_from_services(path: Path) -> bool:
    """Return True if the hardened service cannot see this path."""
    return any(path.resolve().is_relative_to(folder) or path.is_relative_to(folder) for folder in _HIDDEN)


def install(root: Path, *, program: Path, dry_run: bool) -> list[UnitFile]:
    """Write the units below `root`, and the configuration and the credentials folder if they do not exist yet.

    An existing configuration is kept; changes to the units belong in drop-ins. Raises MonitorError if something cannot be
    written.
    """
    shipped = _folder()
    texts = {path: (shipped / name).read_text("utf-8") for name, path in _SHIPPED.items()}
    for path, text in texts.items():
        texts[path] = text.replace(str(PROGRAM), str(program))
    try:
        done = [_write(root, path, text, dry_run=dry_run) for path, text in texts.items()]
        if not _below(root, CONFIG).exists():
            done.append(_write(root, CONFIG, (shipped / "config.toml").read_text("utf-8"), dry_run=dry_run))
        else:
            done.append(UnitFile(path=CONFIG, changed=False))
        done.append(_make_folder(root, CREDENTIALS, dry_run=dry_run))
    except OSError as error:
        raise MonitorError(f"{error.filename} cannot be written: {error.strerror}.") from error
    return done


def _folder() -> Path:
    """Return the folder of unit files, in the wheel or in the checkout."""
    packaged = Path(__file__).parent.parent / "systemd_units"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent.parent / "systemd"


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _write(root: Path, path: Path, text: str, *, dry_run: bool) -> UnitFile:
    target = _below(root, path)
    changed = not target.is_file() or target.read_text("utf-8", errors="replace") != text
    if changed and not dry_run:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")
        target.chmod(0o644)
    return UnitFile(path=path, changed=changed)


def _make_folder(root: Path, path: Path, *, dry_run: bool) -> UnitFile:
    """Create a folder that only root can read; systemd passes its files to the service."""
    target = _below(root, path)
    changed = not target.is_dir()
    if changed and not dry_run:
        target.mkdir(mode=0o700, parents=True)
        target.chmod(0o700)
    return UnitFile(path=path, changed=changed)


_RESULTS = {
    "exit-code": "it exited",
    "watchdog": "it did not respond, so systemd ended it",
    "signal": "it was killed by a signal",
    "core-dump": "it crashed",
    "timeout": "it did not start or stop in time",
    "oom-kill": "the machine ran out of memory",
    "start-limit-hit": "it failed too often, so systemd stopped restarting it",
    "resources": "systemd could not provide the resources it needs",
    "protocol": "it ended before it was ready",
}


def install_units(
    *,
    root: Annotated[Path, typer.Option("--root", metavar="DIR", help="Write below this directory instead of /.")] = Path("/"),
    program: Annotated[
        Path | None, typer.Option("--program", metavar="PATH", help="Program that the units start; default: this one.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the files that would be written.")] = False,
) -> None:
    """Write the systemd units. They start this program; a starter configuration is written if there is none."""
    chosen = program or _this_program()
    if not chosen.is_absolute():
        raise typer.BadParameter(f"--program {chosen} is not an absolute path, which a unit needs.")
    for path in (chosen,) if program else (chosen, Path(sys.base_prefix)):
        if hidden_from_services(path):
            raise MonitorError(
                f"The service cannot access {path}, because home directories are hidden from it. "
                f"Install into {PROGRAM.parent.parent} (see docs/installation.md), or give another --program."
            )
    written = install(root, program=chosen, dry_run=dry_run)
    for each in written:
        echo(f"{_verb(each, dry_run=dry_run)}  {each.path}")
    if dry_run:
        return
    echo("Next:")
    echo(f"  1. Add your sources and channels to {CONFIG}.")
    echo(
        f"  2. Put each secret into a file in {CONFIG.parent / 'credentials'}, which only root can read, under the secret's name."
    )
    echo("  3. systemctl daemon-reload")
    echo("  4. systemctl enable --now token-monitor")
    echo("  5. systemctl status token-monitor")


def _verb(written: UnitFile, *, dry_run: bool) -> str:
    if not written.changed:
        return "kept       "
    return "would write" if dry_run else "wrote      "


def _this_program() -> Path:
    """Return the command of the running environment. Raises MonitorError if it is not installed."""
    beside = Path(sys.prefix) / "bin" / PROGRAM.name
    found = str(beside) if beside.exists() else shutil.which(PROGRAM.name)
    if found is None:
        raise MonitorError(f"{PROGRAM.name} is not installed in this environment. Install it, or give --program.")
    return Path(found)


def report_failure(
    ctx: typer.Context,
    unit: Annotated[str, typer.Argument(metavar="UNIT", help="The unit that failed.")],
) -> int:
    """Alert the channels that the service failed. systemd runs this; it works with a broken configuration or database, too."""
    config, problem = _load_leniently(ctx)
    if not config.channels:
        raise ConfigError(problem or "No channel is configured, so no alert can be sent.")
    message = failure_message(unit, dict(os.environ), problem=problem)
    from monitor.daemon import app, crash_report
    from monitor.notify import DeliverySettings

    reported = app.run_async(
        crash_report.report(
            message,
            database=config.database.url.reveal(),
            channels=config.channels,
            settings=DeliverySettings.of(config),
            clock=SystemClock(),
        )
    )
    if reported.daemon:
        echo(f"Queued; the daemon is running again and delivers it. {reported.daemon}")
    elif reported.undelivered:
        echo(f"Deliveries still queued: {reported.undelivered}. The daemon sends them when it runs again.")
        return 1
    else:
        echo("Delivered." if reported.new else "Already reported; the service has not recovered since.")
    return 0


def failure_message(unit: str, env: dict[str, str], *, problem: str | None) -> str:
    """Return the alert text, from the MONITOR_* variables that systemd sets for OnFailure= units (since systemd 251)."""
    result, status = env.get("MONITOR_SERVICE_RESULT", ""), env.get("MONITOR_EXIT_STATUS", "")
    how = _RESULTS.get(result, f"result {result}" if result else "")
    causes = (
        f"the configuration cannot be used: {problem}" if problem else how,
        f"exit status {status}" if status and not problem else "",
    )
    name = clean(unit).removesuffix(".service")
    cause = "; ".join(each for each in causes if each)
    down = f"{name} on {socket.gethostname()} is down and nothing is monitored"
    return f"{down}: {cause}" if problem else f"{down}{f' ({cause})' if cause else ''}. See `journalctl -u {name}`."


def _load_leniently(ctx: typer.Context) -> tuple[Config, str | None]:
    """Return the configuration, or the usable part of a broken one with its first error. Raises ConfigError if it is not TOML."""
    path = session.options(ctx).config
    try:
        config, problem = load(path, os.environ).config, None
    except ConfigError as error:
        config = load_channels(path, os.environ)
        problem = error.problems[0].replace(str(config.path), config.path.name)  # a message is short, and the folder is known
    logs.register_secret(*(channel.url.reveal() for channel in config.channels))
    logs.configure(level="warning", format=config.logging.format)
    return config, problem


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(help="Install the daemon as a systemd service.", no_args_is_help=True, rich_markup_mode=None)
    group.command("install")(install_units)
    app.add_typer(group, name="systemd")
    app.command("report-failure")(report_failure)
