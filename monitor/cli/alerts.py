"""The `alerts` commands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from monitor.cli import session
from monitor.cli.options import AsJson, LabelFilter, PlatformFilter, SourceFilter, StatusFilter, select
from monitor.cli.output import Block, StyledStatus, console, echo, echo_json, on_terminal, show, show_rows
from monitor.domain import Alert, DeliveryState
from monitor.domain.errors import MonitorError
from monitor.domain.rules.alerting import AlertReason
from monitor.domain.text import clean
from monitor.domain.timefmt import Times, span
from monitor.store import alerts as stored_alerts
from monitor.store import outbox, sources
from monitor.store.deliveries import AttemptRow, DeliveryRow
from monitor.views.alerts import AlertView, Explanation, Route, alert_views, explain
from monitor.views.json_types import listing

_REASONS: dict[str, str] = {
    AlertReason.FIRST: "first notification of an incident",
    AlertReason.WORSE: "more severe than the status notified before",
    AlertReason.CHANGED: "less severe than the status notified before, but still needs attention",
    AlertReason.STAGE: "still expiring_soon, and the next stage was reached",
    AlertReason.REMINDER: "still failing, and remind_every has passed since the last notification",
    AlertReason.RECOVERED: "recovered",
    AlertReason.RENEWED: "recovered, because the token was renewed",
    AlertReason.RECONNECTED: "recovered, because the account was reconnected under a new id",
}


def echo_explanation(found: Explanation, *, about: str, times: Times) -> None:
    """Write why an alert was sent or suppressed, and its deliveries."""
    from monitor.cli.output import blocks, coloured, fields

    alert = found.view.alert
    on = console()
    echo(f"Alert {alert.id}: {alert.event} ({alert.severity}), {about}.")
    echo("")
    show(fields([*_alert_fields(alert, times), *_suppression_fields(found, times)]), on=on)
    echo("")
    if found.routes:
        echo("Channels, according to the current configuration:")
        show(fields((clean(route.channel), _route(route, times)) for route in found.routes), on=on)
    else:
        echo("No channel is configured.")
    echo("")
    if found.view.note:
        echo(f"Not delivered: {clean(found.view.note, limit=300)}")
    elif not found.view.deliveries:
        echo("Not delivered: no channel accepted it.")
    else:
        echo("Deliveries:")
        together = found.together
        rows = (
            (coloured(row.state), list(_delivery(row, times, together=together.get(row.channel, 1))))
            for row in found.view.deliveries
        )
        show(blocks(rows, width=8), on=on)


def _alert_fields(alert: Alert, times: Times) -> Iterator[tuple[str, str]]:
    yield "created", times.both(alert.at)
    yield "rule", _word_and_sentence(alert.verdict_reason, alert.message)
    yield "reason", _word_and_sentence(alert.reason, _REASONS.get(alert.reason, ""))
    yield "status", f"{alert.previous} → {alert.status}" if alert.previous else alert.status or "none"
    if alert.connection is not None:
        yield "stage", f"{span(alert.stage)} before the expiry" if alert.stage else "none"
        yield "expiry", times.both(alert.expires_at) if alert.expires_at else "no date"
    yield "incident", clean(alert.incident) + (f", open since {times.both(alert.opened_at)}" if alert.opened_at else "")


def _suppression_fields(found: Explanation, times: Times) -> Iterator[tuple[str, str]]:
    """Yield what suppresses further alerts about the same incident now."""
    if found.ack is not None:
        until = f", until {times.exact(found.ack.until)}" if found.ack.until else ""
        comment = f": {clean(found.ack.comment, limit=200)}" if found.ack.comment else ""
        yield "acknowledged", f"{times.both(found.ack.at)} while {found.ack.status}{until}{comment}"
    for view in found.silences:
        end = view.active_until
        until = "until it is removed" if end is None or view.is_endless(end) else f"until {times.exact(end)}"
        yield "silenced", f"by silence {view.silence.id} {until}: {clean(view.silence.comment, limit=200)}"


def _word_and_sentence(word: str, sentence: str) -> str:
    shown = clean(sentence, limit=300)
    return f"{clean(word) or 'none'}: {shown}" if shown else clean(word) or "none"


def _route(route: Route, times: Times) -> str:
    if route.refused_by == "fallback":
        return "does not take it: it is a fallback, and another channel takes it"
    if route.refused_by is not None:
        return f"does not take it: filtered out by `{route.refused_by}`"
    if route.after is not None:
        how = f"takes it only if the incident is still open and unacknowledged after {span(route.after)} (after)"
    elif not route.group_wait:
        how = "takes it immediately (group_wait is 0s)"
    else:
        how = f"takes it, after grouping alerts into one message for {span(route.group_wait)} (group_wait)"
    return how + (f"; it had quiet hours until {times.exact(route.quiet_until)}" if route.quiet_until else "")


def _delivery(row: DeliveryRow, times: Times, *, together: int) -> Iterator[str]:
    yield clean(row.channel) + (" (may be a repeat)" if row.uncertain else "")
    if together > 1:
        yield f"in one message with {together - 1:,} other alert{'' if together == 2 else 's'}"
    if not row.attempts and row.state is not DeliveryState.SKIPPED:
        yield "no attempt yet"
    before = 0
    for attempt in row.attempts:
        if attempt.number > before + 1:
            yield f"{attempt.number - before - 1:,} more failed attempts"
        yield _attempt(attempt, times)
        before = attempt.number
    if row.state is DeliveryState.PENDING and times.is_over(row.next_attempt_at):
        yield "due: sent with the channel's next attempt"
    elif row.state is DeliveryState.PENDING:
        yield f"next attempt {times.both(row.next_attempt_at)}"
    elif row.state is DeliveryState.DEAD:
        yield f"given up; `token-monitor alerts retry {row.alert_id}` retries it"
    elif row.state is DeliveryState.SKIPPED:
        # Rows stored before there were reasons have none: those were escalations whose incident had ended.
        yield clean(row.last_error, limit=300) or "Not sent: the incident had ended."


def _attempt(attempt: AttemptRow, times: Times) -> str:
    detail = f": {clean(attempt.detail, limit=300)}" if attempt.detail else ""
    return f"attempt {attempt.number}, {times.exact(attempt.started_at)}, {attempt.outcome or 'being sent'}{detail}"


ON_A_SCREEN = 50
"""Alerts that a terminal shows without --all."""

AlertId = Annotated[str, typer.Argument(metavar="ID", help="An alert's id, or any unique part of it.")]


def alerts(
    ctx: typer.Context,
    *,
    source: SourceFilter = None,
    platform: PlatformFilter = None,
    status: StatusFilter = None,
    label: LabelFilter = None,
    everything: Annotated[bool, typer.Option("--all", help="Show all alerts, even on a terminal.")] = False,
    as_json: AsJson = False,
) -> None:
    """List all alerts with their deliveries, newest first."""
    if ctx.invoked_subcommand is not None:
        return
    config = session.local(ctx)
    now = session.now()
    short = on_terminal() and not everything and not as_json
    with session.reading(config) as conn:
        known = [row.name for row in sources.all_sources(conn, include_removed=True)]
        filters = select(config, conn=conn, known=known, sources=source, platforms=platform, statuses=status, labels=label)
        views = alert_views(conn, config, filters=filters, limit=ON_A_SCREEN + 1 if short else None)
    if as_json:
        echo_json(listing("alerts", views, now=now))
        return
    more = short and len(views) > ON_A_SCREEN
    _echo(views[:ON_A_SCREEN] if more else views, Times(config.timezone, now))
    if more:
        echo(f"Showing the {ON_A_SCREEN} newest; --all shows all.")


def _echo(views: list[AlertView], times: Times) -> None:
    echo(_headline(views))
    if not views:
        return
    echo("")
    headings = ("WHEN", "EVENT", "ABOUT", "CHANNELS", "ID", "NOTE")
    rows = [
        (
            times.exact(view.alert.at),
            StyledStatus.of(view.alert.event),
            about(view.alert),
            _channels(view),
            view.alert.id,
            _note(view),
        )
        for view in views
    ]

    def lines() -> Iterator[Block]:
        for view in views:
            texts = (f"{about(view.alert)} · {times.near(view.alert.at)}", _channels(view), _note(view), view.alert.id)
            yield StyledStatus.of(view.alert.event), texts

    show_rows(headings, rows, lines, width=16)


def _headline(views: list[AlertView]) -> str:
    if not views:
        return "No alerts."
    states = [delivery.state for view in views for delivery in view.deliveries]
    dead, pending = states.count(DeliveryState.DEAD), states.count(DeliveryState.PENDING) + states.count(DeliveryState.SENDING)
    unsent = sum(1 for view in views if not view.deliveries)
    counted = f"{len(views):,} alert{'' if len(views) == 1 else 's'}"
    parts = [
        (dead, "given up (see `token-monitor alerts explain ID`)"),
        (pending, "pending"),
        (unsent, "without a channel"),
    ]
    problems = [f"{number:,} {what}" for number, what in parts if number]
    return f"{counted}: {', '.join(problems)}." if problems else f"{counted}, all delivered."


def about(alert: Alert) -> str:
    """Return the connection or source that the alert is about."""
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


def explain_alert(ctx: typer.Context, id: AlertId, as_json: AsJson = False) -> None:  # noqa: A002 - the argument's name in --help
    """Explain one alert. Shows why it was sent or suppressed, which channels take it, and every delivery attempt."""
    config = session.local(ctx)
    now = session.now()
    with session.reading(config) as conn, _listing_candidates():
        found = explain(conn, config, id, now=now)
    if found is None:
        raise MonitorError(_unknown(id))
    if as_json:
        echo_json(listing("alerts", [found], now=now))
    else:
        echo_explanation(found, about=about(found.view.alert), times=Times(config.timezone, now))


def retry(ctx: typer.Context, id: AlertId) -> None:  # noqa: A002 - as above
    """Retry an alert's deliveries. Applies to those that are pending or were given up."""
    config = session.local(ctx)
    with session.opened(config) as store, store.begin_write() as conn:
        with _listing_candidates():
            row = stored_alerts.find_alert(conn, id)
        if row is None:
            raise MonitorError(_unknown(id))
        queued = outbox.retry(conn, row.alert.id, session.now())
    if not queued:
        raise MonitorError(f"Alert {row.alert.id} has nothing to deliver. See `token-monitor alerts explain {row.alert.id}`.")
    counted = "1 delivery is" if queued == 1 else f"{queued} deliveries are"
    echo(f"{counted} due now. The daemon sends immediately; without one, the next `check` does.")


@contextmanager
def _listing_candidates() -> Iterator[None]:
    """Turn an ambiguous id into an error that lists the candidates."""
    try:
        yield
    except stored_alerts.NotOneAlert as error:
        lines = [str(error)]
        lines += [f"{each.id} ({each.event}, {about(each)}, {each.at:%Y-%m-%d %H:%M} UTC)" for each in error.candidates]
        raise MonitorError("\n".join([*lines, *(["and more"] if error.more else [])])) from None


def _unknown(text: str) -> str:
    return f"There is no alert {clean(text)}. `token-monitor alerts` lists them."


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(invoke_without_command=True, rich_markup_mode=None, callback=alerts)
    group.command("explain")(explain_alert)
    group.command("retry")(retry)
    app.add_typer(group, name="alerts")
