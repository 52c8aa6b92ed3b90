"""The `run`, `check`, `test-alert` and `demo` commands."""

from __future__ import annotations

from typing import Annotated, Final, get_args

import typer

from monitor.cli import channels, session
from monitor.cli.options import AsJson, LabelFilter, PlatformFilter, StatusFilter, complete_channel, select
from monitor.cli.output import echo, echo_json
from monitor.cli.startup import allow_open_files, loading
from monitor.cli.values import number_from, one_of
from monitor.config import Config, Loaded, LogFormat
from monitor.domain import AlertEvent
from monitor.domain.errors import ConfigError
from monitor.domain.imports import without_plugins
from monitor.domain.text import clean

_LOG_FORMATS: Final[tuple[LogFormat, ...]] = get_args(LogFormat)


def run(
    ctx: typer.Context,
    *,
    log_format: Annotated[
        LogFormat | None,
        typer.Option(
            "--log-format",
            metavar="FORMAT",
            help="console, json or journal (systemd); overrides [logging].",
            parser=one_of("log format", _LOG_FORMATS),
            autocompletion=lambda: list(_LOG_FORMATS),
        ),
    ] = None,
) -> None:
    """Run the daemon until SIGTERM or SIGINT. SIGHUP reloads the configuration, SIGUSR1 polls all sources."""

    def read() -> Loaded:
        return channels.require_readable(session.loaded(ctx, quiet=False, log_format=log_format))

    loaded = read()
    allow_open_files(len(loaded.config.sources) + len(loaded.config.channels))
    with loading(), without_plugins():
        from monitor.daemon import app

    app.run_async(app.run(loaded, reload=read))


def check(
    ctx: typer.Context,
    *,
    source: Annotated[str | None, typer.Option("--source", metavar="NAME", help="Poll only this source.")] = None,
    no_probe: Annotated[bool, typer.Option("--no-probe", help="Do not probe; only read the lists.")] = False,
    platform: PlatformFilter = None,
    status_: StatusFilter = None,
    label: LabelFilter = None,
    as_json: AsJson = False,
) -> int:
    """Run one cycle now: poll, probe, store, alert. Exit status 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN."""
    config = channels.require_readable(session.loaded(ctx)).config
    _require_source(config, source)
    allow_open_files(len(config.sources) + len(config.channels))
    filters = select(config, known=(), sources=[source] if source else None, platforms=platform, statuses=status_, labels=label)
    with loading(), without_plugins():
        from monitor.cli import status
        from monitor.daemon import app, oneshot
        from monitor.views.status import overview

    outcome = app.run_async(oneshot.check_once(config, only=source, probe=not no_probe))
    with session.reading(config) as conn:
        found = overview(conn, config, now=session.now(), filters=filters)
    unread = {name: problem for name, problem in outcome.unread.items() if name in {each.name for each in found.sources}}
    plugin_state = found.plugin_state(unread=unread)
    if as_json:
        echo_json(found.json())
        return plugin_state
    status.echo_status(found, config, plugin_state=plugin_state, unread=unread)
    for name, problem in unread.items():
        echo(status.plugin_text(f"Could not read {name}: {clean(problem, limit=256)}"))
    if outcome.undelivered:
        echo(f"Deliveries still queued: {outcome.undelivered}. See `token-monitor alerts`.")
    return plugin_state


def _require_source(config: Config, name: str | None) -> None:
    """Raise a usage error if no source of this name is configured."""
    names = [source.name for source in config.sources]
    if name is not None and name not in names:
        raise typer.BadParameter(f"No source {clean(name)} is configured; configured: {', '.join(names)}.")


def send_test_alert(
    ctx: typer.Context,
    channel: Annotated[
        str | None,
        typer.Argument(metavar="CHANNEL", help="Only this channel; default: all.", autocompletion=complete_channel),
    ] = None,
    event: Annotated[
        AlertEvent | None,
        typer.Option(
            "--event",
            metavar="EVENT",
            help="Send a sample alert of this event, such as expired; with report, the report that the channel gets.",
            parser=one_of("event", AlertEvent),
            autocompletion=lambda: list(AlertEvent),
        ),
    ] = None,
) -> int:
    """Send a test message, delivered like an alert. Exit status 1 if a channel did not accept it."""
    config = session.loaded(ctx).config
    if not config.channels:
        raise ConfigError("No channel is configured. Add a [[channels]] table.")
    allow_open_files(len(config.channels))
    from monitor.cli import config as configuration
    from monitor.daemon import app, oneshot

    return configuration.echo_findings(app.run_async(oneshot.send_test(config, channel, event=event)))


def demo(
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", metavar="SECONDS", parser=number_from(1), help="Stop after this many seconds."),
    ] = None,
) -> int:
    """Run a demo against simulated providers. Tokens expire and real alerts are sent; no set-up is needed."""
    from monitor.demo.run import main as play

    return play(seconds) or 0


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(run)
    app.command()(check)
    app.command("test-alert")(send_test_alert)
    app.command()(demo)
