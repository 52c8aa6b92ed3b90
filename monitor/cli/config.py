"""The `init` and `config` commands."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli import channels, session
from monitor.cli.options import AsJson
from monitor.cli.output import echo, echo_json
from monitor.cli.sources import channel_problem
from monitor.cli.startup import allow_open_files
from monitor.config import Config, SourceConfig, show, starter
from monitor.config.provider_catalogue import source_lines, unknown_provider
from monitor.config.templates import EVERY_EVENT
from monitor.domain import AlertEvent, utc_text
from monitor.domain.errors import ConfigError, MonitorError, StoreError
from monitor.domain.rules.schedule import full_round, poll_requests
from monitor.domain.text import clean
from monitor.domain.timefmt import Times, span
from monitor.store import sources as stored_sources
from monitor.views.sources import channel_views
from monitor.views.status import daemon_status

if TYPE_CHECKING:
    from monitor.daemon.oneshot import LiveFinding
    from monitor.engine.applied_config import Difference


MOST = 20
"""Maximum number of sources that are all listed; with more, only those whose budget is too small."""


def echo_round_times(config: Config) -> None:
    """Write one line per source on the time that polling and probing it takes."""
    for line in round_lines(config, *_listed(config)):
        echo(line)


def round_lines(config: Config, connections: dict[str, int], scopes: dict[str, int]) -> Iterator[str]:
    """Yield one line per source, given the connections and scopes that each had in its last list."""
    for source in config.sources:
        if source.info.is_defined and not source.base_url:
            continue  # it sends no requests
        line, too_slow = _round(source, connections.get(source.name), scopes.get(source.name, 1))
        if too_slow or len(config.sources) <= MOST:
            yield f"{clean(source.name)}: {line}"


def _round(source: SourceConfig, connections: int | None, scopes: int) -> tuple[str, bool]:
    """Return the line of one source, and True if its budget is too small. `connections` is None before its first list."""
    pace = full_round(
        connections or 0,
        requests_per_minute=source.requests_per_minute,
        probes=source.probe,
        probe_every=source.probe_every,
        polling=poll_requests(source.info, connections=connections or 0, scopes=scopes),
    )
    budget = f"{pace.requests_per_minute:,} requests a minute"
    every = "" if pace.probe_every is None else f"every {span(pace.probe_every)}."
    if connections is None:
        return f"{budget}." if pace.room is None else f"{budget}, enough to probe {pace.room:,} connections {every}", False
    listed = f"{connections:,} connection{'' if connections == 1 else 's'}"
    if pace.probe_every is None:
        return f"{budget}; a poll of its {listed} takes {_takes(pace.polled)}.", False
    line = f"{budget}; polling and probing its {listed} takes {_takes(pace.lasts)}, {every}"
    if pace.too_slow:
        line += " This exceeds probe_every: raise requests_per_minute, or probe less often."
    return line, pace.too_slow


def _takes(length: timedelta) -> str:
    return span(max(length, timedelta(seconds=1)))


def _listed(config: Config) -> tuple[dict[str, int], dict[str, int]]:
    """Return connections and scopes by source, of the sources listed so far; empty without a store."""
    try:
        with session.reading(config) as conn:
            rows = stored_sources.all_sources(conn)
            return {row.name: row.connections for row in rows if row.last_success_at is not None}, stored_sources.scope_counts(
                conn
            )
    except StoreError:
        return {}, {}  # `config check` may run before there is a database


def init(
    ctx: typer.Context,
    path: Annotated[Path | None, typer.Argument(metavar="PATH", help="The file to write; default ./config.toml.")] = None,
    provider: Annotated[
        list[str] | None,
        typer.Option("--provider", metavar="NAME", help="Write a source of this provider in place of the example. Repeatable."),
    ] = None,
) -> None:
    """Write a commented starter configuration. Never overwrites a file."""
    file = path or session.options(ctx).config or Path("config.toml")
    _write_new(file, starter("\n".join(map(_source, dict.fromkeys(provider or ())))))
    named = "" if file == Path("config.toml") else f" --config {file}"
    echo(f"Wrote {file}, readable only by you. Next:")
    echo(f"  1. Put your API keys and a channel into {file}, or set the environment variables that it names.")
    echo(f"  2. token-monitor{named} config check --live    calls every provider and checks every channel's URL")
    echo(f"  3. token-monitor{named} test-alert             sends a test message to every channel")
    echo(f"  4. token-monitor{named} check                  runs one cycle and shows the result")
    echo(f"  5. token-monitor{named} run                    starts the daemon")


def _source(provider: str) -> str:
    try:
        return source_lines(provider)
    except KeyError:
        raise MonitorError(unknown_provider(provider)) from None


def _write_new(file: Path, text: str) -> None:
    try:
        target = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise MonitorError(f"{file} already exists and was not changed. Name another file, or move it away.") from None
    except OSError as error:
        raise MonitorError(f"{file} cannot be written: {error.strerror}.") from error
    with os.fdopen(target, "w", encoding="utf-8") as stream:
        stream.write(text)


def check(
    ctx: typer.Context,
    live: Annotated[
        bool,
        typer.Option("--live", help="Also call every source, check every channel's URL, and try the database and the heartbeat."),
    ] = False,
    no_credentials: Annotated[
        bool, typer.Option("--no-credentials", help="Do not read systemd credentials; ExecReload= has no access to them.")
    ] = False,
) -> int:
    """Validate the configuration. Reports every error with its place and the allowed values."""
    if live and no_credentials:
        raise typer.BadParameter("--live needs the secrets, so it cannot be combined with --no-credentials.")
    loaded = session.loaded(ctx, unread_kinds=["credential"] if no_credentials else ())
    config = loaded.config
    found = channels.check(config)
    for warning in (*loaded.warnings, *found.warnings):
        echo(f"warning: {warning}")
    _require_templates(config)
    if (problems := found.misread + found.unusable) and not live:
        raise ConfigError(problems)
    echo(f"{loaded.path} is valid: {_counted(len(config.sources), 'source')}, {_counted(len(config.channels), 'channel')}.")
    if not no_credentials:
        echo_round_times(config)
    if not live:
        return 0
    allow_open_files(len(config.sources) + len(config.channels))
    from monitor.daemon import app, oneshot

    live_check = app.run_async(oneshot.verify_live(config))
    for warning in live_check.warnings:
        echo(f"warning: {warning}")
    status = echo_findings(live_check.findings)
    broken = _broken_channels(config)
    for name, problem in broken.items():
        echo(f"FAILED  channel {name}: {problem}")
    return 1 if broken else status


def _require_templates(config: Config) -> None:
    """Raise ConfigError with one sentence for each template that cannot be rendered with sample data."""
    from monitor.notify.messages import templates

    problems = []
    for number, channel in enumerate(config.channels):
        for event, pair in channel.templates.items():
            key = "template" if event == EVERY_EVENT else f"templates.{event}"
            for tried in AlertEvent if event == EVERY_EVENT else [AlertEvent(event)]:
                try:
                    templates.render_sample(pair, tried)
                except templates.TemplateProblem as problem:
                    problems.append(f"{_place(config, number)}.{key} cannot be rendered for {tried}: {problem}")
                    break
    if problems:
        raise ConfigError(problems)


def _place(config: Config, number: int) -> str:
    """Return a channel's place in the configuration file."""
    return f"{config.path}: channels[{number}] ({config.channels[number].name})"


def _broken_channels(config: Config) -> dict[str, str]:
    """Return the channels whose service rejected the daemon's messages, with the problem; empty without a store."""
    times = Times(config.timezone, session.now())
    try:
        with session.reading(config) as conn:
            return {clean(each.name): channel_problem(each, times) for each in channel_views(conn, config) if each.broken}
    except StoreError:
        return {}  # `config check` may run before there is a database


def echo_findings(findings: list[LiveFinding]) -> int:
    """Write one line for each finding; return 1 if any failed."""
    for finding in findings:
        result = "ok    " if finding.ok else "FAILED"
        echo(f"{result}  {finding.kind} {finding.name}: {clean(finding.text, limit=500)}")
    return 0 if all(finding.ok for finding in findings) else 1


def show_config(ctx: typer.Context) -> None:
    """Show the effective configuration. Includes defaults and overrides, without secrets."""
    echo(show(session.loaded(ctx).config).rstrip("\n"))


def diff(ctx: typer.Context, *, as_json: AsJson = False) -> None:
    """Show what a reload would change. Compares the file with the configuration in force."""
    from monitor.engine import applied_config

    config = session.loaded(ctx).config
    with session.reading(config) as conn:
        before = applied_config.load_applied(conn)
        found = applied_config.differences(conn, before, config) if before is not None else []
        daemon = daemon_status(conn, config.database.url.reveal(), now=session.now())
    if as_json:
        since = utc_text(before.at) if before is not None else None
        changes = [each.json() for each in found]
        echo_json({"generated_at": utc_text(session.now()), "in_force_since": since, "differences": changes})
        return
    if before is None:
        echo("No configuration has been in force on this database yet, so there is nothing to compare with.")
        return
    since = Times(config.timezone, session.now()).both(before.at)
    user = f"The daemon ({daemon.holder}) uses" if daemon.holder is not None else "No daemon is running; the last cycle used"
    if not found:
        echo(f"{user} this configuration, applied {since}.")
        return
    when = "A reload" if daemon.holder is not None else "The next start"
    echo(f"{user} a different configuration, applied {since}. {when} changes:")
    for each in found:
        echo(f"  {_difference(each)}")


def _difference(each: Difference) -> str:
    name = clean(each.path, limit=400)
    match each.kind:
        case "added" | "removed":
            return f"{'+' if each.kind == 'added' else '-'} {name}"
        case "renamed":
            return f"~ {name} was {clean(each.old, limit=200)}: its history, incidents and pending deliveries are kept"
        case "replaced":
            return f"~ {name} has a different secret"
        case _:
            warning = " (requires a restart: a reload is rejected)" if each.path.startswith("database.") else ""
            old, new = (clean(text or "not set", limit=300) for text in (each.old, each.new))
            return f"~ {name}: {old} -> {new}{warning}"


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(init)
    group = typer.Typer(help="Check, show or compare the configuration.", no_args_is_help=True, rich_markup_mode=None)
    group.command("check")(check)
    group.command("show")(show_config)
    group.command("diff")(diff)
    app.add_typer(group, name="config")
