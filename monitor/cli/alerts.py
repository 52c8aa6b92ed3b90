"""alerts, alerts explain, alerts retry: what was said, to whom, and why or why not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from monitor.cli import session
from monitor.cli.explaining import tell_explanation
from monitor.cli.layout import Block, Word, show_rows
from monitor.cli.options import AsJson, LabelFilter, PlatformFilter, SourceFilter, StatusFilter, select
from monitor.cli.output import on_terminal, say, say_json
from monitor.domain import Alert, DeliveryState
from monitor.domain.errors import MonitorError
from monitor.domain.text import clean
from monitor.domain.times import Times
from monitor.store import alerts as stored_alerts
from monitor.store import outbox, sources
from monitor.views.alerts import AlertView, alert_views, explain
from monitor.views.shapes import listing

ON_A_SCREEN = 50
"""Alerts that a terminal shows unless asked for all."""

AlertId = Annotated[str, typer.Argument(metavar="ID", help="An alert's id, or any unique part of it.")]


def alerts(
    ctx: typer.Context,
    *,
    source: SourceFilter = None,
    platform: PlatformFilter = None,
    status: StatusFilter = None,
    label: LabelFilter = None,
    everything: Annotated[bool, typer.Option("--all", help="On a terminal too, list every alert.")] = False,
    as_json: AsJson = False,
) -> None:
    """Every alert with its deliveries, newest first."""
    if ctx.invoked_subcommand is not None:
        return
    config = session.local(ctx)
    now = session.now()
    short = on_terminal() and not everything and not as_json
    with session.reading(config) as conn:
        known = [row.name for row in sources.all_sources(conn, include_removed=True)]
        selection = select(config, known=known, sources=source, platforms=platform, statuses=status, labels=label)
        views = alert_views(conn, config, selection=selection, limit=ON_A_SCREEN + 1 if short else None)
    if as_json:
        say_json(listing("alerts", views, now=now))
        return
    more = short and len(views) > ON_A_SCREEN
    _tell(views[:ON_A_SCREEN] if more else views, Times(config.timezone, now))
    if more:
        say(f"The {ON_A_SCREEN} newest are shown: --all shows every one.")


def _tell(views: list[AlertView], times: Times) -> None:
    say(_headline(views))
    if not views:
        return
    say("")
    headings = ("WHEN", "EVENT", "ABOUT", "CHANNELS", "ID", "NOTE")
    rows = [
        (times.exact(view.alert.at), Word.of(view.alert.event), about(view.alert), _channels(view), view.alert.id, _note(view))
        for view in views
    ]

    def lines() -> Iterator[Block]:
        for view in views:
            told = (f"{about(view.alert)} · {times.near(view.alert.at)}", _channels(view), _note(view), view.alert.id)
            yield Word.of(view.alert.event), told

    show_rows(headings, rows, lines, width=16)


def _headline(views: list[AlertView]) -> str:
    if not views:
        return "No alert is stored here."
    states = [delivery.state for view in views for delivery in view.deliveries]
    dead, waiting = states.count(DeliveryState.DEAD), states.count(DeliveryState.PENDING) + states.count(DeliveryState.SENDING)
    unsent = sum(1 for view in views if not view.deliveries)
    counted = f"{len(views):,} alert{'' if len(views) == 1 else 's'}"
    parts = [
        (dead, "given up (see `token-monitor alerts explain ID`)"),
        (waiting, "still to be delivered"),
        (unsent, "for no channel"),
    ]
    troubles = [f"{number:,} {what}" for number, what in parts if number]
    return f"{counted}: {', '.join(troubles)}." if troubles else f"{counted}, all delivered."


def about(alert: Alert) -> str:
    """The connection or source that it is about."""
    if alert.connection is None:
        return clean(alert.source, otherwise="the monitor")
    label = clean(alert.label, limit=40)
    public = clean(alert.connection, limit=400)
    return f"{label} ({public})" if label else public


def _channels(view: AlertView) -> str:
    return ", ".join(f"{clean(delivery.channel)}: {delivery.state}" for delivery in view.deliveries)


def _note(view: AlertView) -> str:
    errors = [f"{clean(each.channel)}: {clean(each.last_error, limit=200)}" for each in view.deliveries if each.last_error]
    return clean(" ".join([*([view.note] if view.note else []), *errors]), limit=600)


def explain_alert(ctx: typer.Context, id: AlertId, as_json: AsJson = False) -> None:  # noqa: A002 - the command line's own word
    """Why an alert was said, which channels take it, and every attempt to deliver it."""
    config = session.local(ctx)
    now = session.now()
    with session.reading(config) as conn, _listing_candidates():
        found = explain(conn, config, id, now=now)
    if found is None:
        raise MonitorError(_unknown(id))
    if as_json:
        say_json(listing("alerts", [found], now=now))
    else:
        tell_explanation(found, about=about(found.view.alert), times=Times(config.timezone, now))


def retry(ctx: typer.Context, id: AlertId) -> None:  # noqa: A002 - as above
    """Try again now what was given up or is waiting."""
    config = session.local(ctx)
    with session.opened(config) as store, store.write() as conn:
        with _listing_candidates():
            row = stored_alerts.find_alert(conn, id)
        if row is None:
            raise MonitorError(_unknown(id))
        queued = outbox.retry(conn, row.alert.id, session.now())
    if not queued:
        raise MonitorError(
            f"Alert {row.alert.id} has nothing to deliver: `token-monitor alerts explain {row.alert.id}` says why."
        )
    counted = "1 delivery is" if queued == 1 else f"{queued} deliveries are"
    say(f"{counted} due now: the daemon sends at once, without one the next `check` does.")


@contextmanager
def _listing_candidates() -> Iterator[None]:
    """Where several are meant: which, and what each is about."""
    try:
        yield
    except stored_alerts.NotOneAlert as several:
        lines = [str(several)]
        lines += [f"{each.id} ({each.event}, {about(each)}, {each.at:%Y-%m-%d %H:%M} UTC)" for each in several.candidates]
        raise MonitorError("\n".join([*lines, *(["and more"] if several.more else [])])) from None


def _unknown(text: str) -> str:
    return f"There is no alert {clean(text)}: `token-monitor alerts` lists them."


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(invoke_without_command=True, rich_markup_mode=None, callback=alerts)
    group.command("explain")(explain_alert)
    group.command("retry")(retry)
    app.add_typer(group, name="alerts")
