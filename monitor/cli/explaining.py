"""The text of `alerts explain`: rule, reason, route, and every attempt."""

from __future__ import annotations

from collections.abc import Iterator

from monitor.cli.output import console, say, show
from monitor.domain import Alert, DeliveryState
from monitor.domain.rules.alerting import AlertReason
from monitor.domain.text import clean
from monitor.domain.timefmt import span
from monitor.domain.times import Times
from monitor.store.deliveries import AttemptRow, DeliveryRow
from monitor.views.alerts import Explanation, Route

_WHY: dict[str, str] = {
    AlertReason.FIRST: "the first notice of an incident",
    AlertReason.WORSE: "a more severe status than the one said before",
    AlertReason.CHANGED: "a less severe status than the one said before, which still needs a person",
    AlertReason.STAGE: "still expiring_soon, and a tighter stage was crossed",
    AlertReason.REMINDER: "still broken, and remind_every has passed since the last word",
    AlertReason.RECOVERED: "good again",
    AlertReason.RENEWED: "good again, because the token was renewed",
}


def tell_explanation(found: Explanation, *, about: str, times: Times) -> None:
    """Write everything that decided about an alert and its deliveries."""
    from monitor.cli.tables import blocks, coloured, facts

    alert = found.view.alert
    on = console()
    say(f"Alert {alert.id}: {alert.event} ({alert.severity}), {about}.")
    say("")
    show(facts([*_facts(alert, times), *_quiet(found, times)]), on=on)
    say("")
    if found.routes:
        say("Channels, by the configuration of now:")
        show(facts((clean(route.channel), _route(route, times)) for route in found.routes), on=on)
    else:
        say("No channel is configured.")
    say("")
    if found.view.note:
        say(f"Not delivered: {clean(found.view.note, limit=300)}")
    elif not found.view.deliveries:
        say("Not delivered: no channel took it when it was said.")
    else:
        say("Deliveries:")
        together = found.together
        told = (
            (coloured(row.state), list(_delivery(row, times, together=together.get(row.channel, 1))))
            for row in found.view.deliveries
        )
        show(blocks(told, width=8), on=on)


def _facts(alert: Alert, times: Times) -> Iterator[tuple[str, str]]:
    yield "said", times.both(alert.at)
    yield "rule", _said(alert.verdict_reason, alert.message)
    yield "why", _said(alert.reason, _WHY.get(alert.reason, ""))
    yield "status", f"{alert.previous} → {alert.status}" if alert.previous else alert.status or "none"
    if alert.connection is not None:
        yield "stage", f"{span(alert.stage)} before the expiry" if alert.stage else "none"
        yield "expiry", times.both(alert.expires_at) if alert.expires_at else "no date"
    yield "incident", clean(alert.incident) + (f", open since {times.both(alert.opened_at)}" if alert.opened_at else "")


def _quiet(found: Explanation, times: Times) -> Iterator[tuple[str, str]]:
    """What keeps further alerts about the same thing back now."""
    if found.ack is not None:
        until = f", until {times.exact(found.ack.until)}" if found.ack.until else ""
        why = f": {clean(found.ack.comment, limit=200)}" if found.ack.comment else ""
        yield "acknowledged", f"{times.both(found.ack.at)} while {found.ack.status}{until}{why}"
    for view in found.silences:
        end = view.active_until
        until = "until it is removed" if end is None or view.is_endless(end) else f"until {times.exact(end)}"
        yield "silenced", f"by silence {view.silence.id} {until}: {clean(view.silence.comment, limit=200)}"


def _said(word: str, sentence: str) -> str:
    shown = clean(sentence, limit=300)
    return f"{clean(word) or 'none'}: {shown}" if shown else clean(word) or "none"


def _route(route: Route, times: Times) -> str:
    if route.refused_by == "fallback":
        return "does not take it: it is a fallback, and another channel takes it"
    if route.refused_by is not None:
        return f"does not take it: its filter `{route.refused_by}` refuses"
    if route.after is not None:
        how = f"takes it only if it is still open and unacknowledged after {span(route.after)} (after)"
    elif not route.group_wait:
        how = "takes it at once (group_wait is 0s)"
    else:
        how = f"takes it, after collecting for {span(route.group_wait)} what belongs into one message (group_wait)"
    return how + (f"; it had quiet hours until {times.exact(route.quiet_until)}" if route.quiet_until else "")


def _delivery(row: DeliveryRow, times: Times, *, together: int) -> Iterator[str]:
    yield clean(row.channel) + (" (may be a repeat)" if row.uncertain else "")
    if together > 1:
        yield f"in one message with {together - 1:,} other alert{'' if together == 2 else 's'}"
    if not row.attempts and row.state is not DeliveryState.SKIPPED:
        yield "not tried yet"
    before = 0
    for attempt in row.attempts:
        if attempt.number > before + 1:
            yield f"{attempt.number - before - 1:,} more attempts that failed"
        yield _attempt(attempt, times)
        before = attempt.number
    if row.state is DeliveryState.PENDING and times.is_over(row.next_attempt_at):
        yield "due: it goes along with the channel's next attempt"
    elif row.state is DeliveryState.PENDING:
        yield f"next attempt {times.both(row.next_attempt_at)}"
    elif row.state is DeliveryState.DEAD:
        yield f"given up; `token-monitor alerts retry {row.alert_id}` tries again"
    elif row.state is DeliveryState.SKIPPED:
        # Rows of before reasons were kept have none: those were escalations whose incident had ended.
        yield clean(row.last_error, limit=300) or "Not sent: it was over before this channel's time came."


def _attempt(attempt: AttemptRow, times: Times) -> str:
    answer = f": {clean(attempt.detail, limit=300)}" if attempt.detail else ""
    return f"attempt {attempt.number}, {times.exact(attempt.started_at)}, {attempt.outcome or 'being sent'}{answer}"
