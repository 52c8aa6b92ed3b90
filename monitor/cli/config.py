"""The `init` and `config` commands."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli import session
from monitor.cli.options import AsJson
from monitor.cli.output import echo, echo_json
from monitor.cli.sources import channel_problem
from monitor.config import UNREAD, Config, SourceConfig, show, starter
from monitor.config.templates import EVERY_EVENT
from monitor.domain import AlertEvent, utc_text
from monitor.domain.errors import ConfigError, MonitorError, StoreError
from monitor.domain.rules.schedule import full_round, poll_requests
from monitor.domain.text import clean
from monitor.domain.timefmt import Times, span
from monitor.store import sources as stored_scopes
from monitor.store import sources as stored_sources
from monitor.views.daemon import keeping
from monitor.views.sources import channel_views

if TYPE_CHECKING:
    from monitor.daemon.oneshot import LiveFinding
    from monitor.engine.applied_config import Difference


MOST = 20
"""With more sources only those are named whose budget is too small."""


def echo_round_times(config: Config) -> None:
    """One line per source. Connections are those of its last list; before the first, it is said what there is room for."""
    for line in round_lines(config, *_listed(config)):
        echo(line)


def round_lines(config: Config, connections: dict[str, int], scopes: dict[str, int]) -> Iterator[str]:
    """What each source's budget comes to, given how many connections and scopes each listed last."""
    for source in config.sources:
        line, too_slow = _round(source, connections.get(source.name), scopes.get(source.name, 1))
        if too_slow or len(config.sources) <= MOST:
            yield f"{clean(source.name)}: {line}"


def _round(source: SourceConfig, connections: int | None, scopes: int) -> tuple[str, bool]:
    """What to say of one source (no connections: it was never listed), and whether its budget is too small."""
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
        line += " That is longer than probe_every: raise requests_per_minute, or probe less often."
    return line, pace.too_slow


def _takes(length: timedelta) -> str:
    return span(max(length, timedelta(seconds=1)))


def _listed(config: Config) -> tuple[dict[str, int], dict[str, int]]:
    """Connections and scopes by source, of those that were ever listed; nothing where there is no store."""
    try:
        with session.reading(config) as conn:
            rows = stored_sources.all_sources(conn)
            return {row.name: row.connections for row in rows if row.last_success_at is not None}, stored_scopes.counts(conn)
    except StoreError:
        return {}, {}  # `config check` is about the configuration, and may well come first


def init(
    ctx: typer.Context,
    path: Annotated[Path | None, typer.Argument(metavar="[PATH]", help="The file to write; config.toml here by default.")] = None,
) -> None:
    """Write a commented configuration to begin with. Overwrites nothing."""
    file = path or session.options(ctx).config or Path("config.toml")
    _write_new(file, starter())
    named = "" if file == Path("config.toml") else f" --config {file}"
    echo(f"Wrote {file}, which only you can read. Next:")
    echo(f"  1. Put your API keys and a channel into {file}, or set the variables that it names.")
    echo(f"  2. token-monitor{named} config check --live    asks every service and checks every channel's URL")
    echo(f"  3. token-monitor{named} test-alert             sends a message the way real ones go")
    echo(f"  4. token-monitor{named} check                  reads everything once and shows it")
    echo(f"  5. token-monitor{named} run                    keeps watch")


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
    live: Annotated[bool, typer.Option("--live", help="Also call every source and check every channel's URL.")] = False,
    no_credentials: Annotated[
        bool, typer.Option("--no-credentials", help="Take systemd's credentials to be there: ExecReload= is given none.")
    ] = False,
) -> int:
    """Validate the configuration: every mistake with its place and what is allowed there."""
    if live and no_credentials:
        raise typer.BadParameter("--live needs the secrets, so it does not go with --no-credentials.")
    loaded = session.loaded(ctx, unread_kinds=["credential"] if no_credentials else ())
    for warning in loaded.warnings:
        echo(f"warning: {warning}")
    config = loaded.config
    _require_templates(config)
    if not live:
        _require_channels(config)
    echo(f"{loaded.path} is valid: {_counted(len(config.sources), 'source')}, {_counted(len(config.channels), 'channel')}.")
    if not no_credentials:
        echo_round_times(config)
    if not live:
        return 0
    from monitor.daemon import app, oneshot

    status = echo_findings(app.run_async(oneshot.verify_live(config)))
    broken = _broken_channels(config)
    for name, problem in broken.items():
        echo(f"FAILED  channel {name}: {problem}")
    return 1 if broken else status


def _require_templates(config: Config) -> None:
    """Raise ConfigError with one sentence for each template that cannot be rendered over sample data."""
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


def _require_channels(config: Config) -> None:
    """Raise ConfigError with one sentence for each channel whose URL Apprise cannot use; it would be silent when it is needed."""
    from monitor.notify.apprise import Channel

    problems = []
    for number, channel in enumerate(config.channels):
        try:
            if channel.url is not UNREAD:
                Channel(channel.name, channel.url).verify()
        except ConfigError as error:
            problems.append(f"{_place(config, number)}.url: {error}")
    if problems:
        raise ConfigError(problems)


def _place(config: Config, number: int) -> str:
    """A channel's place in its file."""
    return f"{config.path}: channels[{number}] ({config.channels[number].name})"


def _broken_channels(config: Config) -> dict[str, str]:
    """Channels whose service refused what the daemon wanted to send, as the store remembers; none where there is no store."""
    times = Times(config.timezone, session.now())
    try:
        with session.reading(config) as conn:
            return {clean(each.name): channel_problem(each, times) for each in channel_views(conn, config) if each.broken}
    except StoreError:
        return {}  # `config check` is about the configuration, and may well come first


def echo_findings(findings: list[LiveFinding]) -> int:
    """One line each; 1 where anything failed."""
    for finding in findings:
        word = "ok    " if finding.ok else "FAILED"
        echo(f"{word}  {finding.kind} {finding.name}: {clean(finding.text, limit=500)}")
    return 0 if all(finding.ok for finding in findings) else 1


def show_config(ctx: typer.Context) -> None:
    """Show the effective configuration: defaults filled in, overrides applied, secrets hidden."""
    echo(show(session.loaded(ctx).config).rstrip("\n"))


def diff(ctx: typer.Context, *, as_json: AsJson = False) -> None:
    """Show what a reload would change: the files as they are now against the configuration that is in force."""
    from monitor.engine import applied_config

    config = session.loaded(ctx).config
    with session.reading(config) as conn:
        before = applied_config.recall(conn)
        found = applied_config.differences(conn, before, config) if before is not None else []
        kept = keeping(conn, config.database.url.reveal(), now=session.now())
    if as_json:
        since = utc_text(before.at) if before is not None else None
        changes = [each.json() for each in found]
        echo_json({"generated_at": utc_text(session.now()), "in_force_since": since, "differences": changes})
        return
    if before is None:
        echo("No configuration was in force yet on this database: there is nothing to compare with.")
        return
    since = Times(config.timezone, session.now()).both(before.at)
    whose = f"The daemon ({kept.holder})" if kept.holder is not None else "No daemon runs; the last cycle"
    if not found:
        echo(f"{whose} has this very configuration, since {since}.")
        return
    echo(f"{whose} has had another configuration since {since}. {'A reload' if kept.holder is not None else 'The next start'}:")
    for each in found:
        echo(f"  {_difference(each)}")


def _difference(each: Difference) -> str:
    name = clean(each.path, limit=400)
    match each.kind:
        case "added" | "removed":
            return f"{'+' if each.kind == 'added' else '-'} {name}"
        case "renamed":
            return f"~ {name} was {clean(each.old, limit=200)}: its history, its incidents and what waits go along"
        case "replaced":
            return f"~ {name} is another secret"
        case _:
            warning = " (takes a restart: a reload is refused)" if each.path.startswith("database.") else ""
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
