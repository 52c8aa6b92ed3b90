"""The text of one alert, or of several about the same subject merged into the newest. All texts are safe to display."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from monitor.domain import (
    RECOVERY_EVENTS,
    Alert,
    AlertEvent,
    ConnectionLink,
    IncidentSubject,
    Severity,
    SourceStatus,
    Status,
    provider_info,
    split_subject,
    timefmt,
)
from monitor.domain.rules.advice import PLATFORM_NAMES, advice, monitor_advice, source_advice
from monitor.domain.rules.alerting import AlertReason
from monitor.domain.text import clean, clean_id, defuse, is_plain_id, name, sentence
from monitor.notify.messages.markup import Tone


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """One alert to be delivered on one channel, with what only the delivery knows."""

    alert: Alert
    uncertain: bool = False
    """An earlier attempt may have arrived: the message states that it may be a repeat."""
    late_by: timedelta | None = None
    """Its delay; None when it is on time."""
    page: ConnectionLink | None = None
    """The managed user's connection page while it is valid; it replaces the link to the dashboard."""
    status_page: str | None = None
    """The page of this monitor that shows what the alert is about; None without `web.public_url`."""
    acknowledge: str | None = field(default=None, repr=False)
    """The link that acknowledges the incident, a secret; None without `web.public_url` and where there is nothing to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """The texts of one alert. Each is a single line that is safe to display; an empty one is left out of the message."""

    alert: Alert
    """The newest of the merged alerts. Its texts are raw: they must be escaped."""
    alert_ids: tuple[str, ...]
    """The ids of all merged alerts, oldest first."""
    event: AlertEvent
    status: str
    """A connection's status exactly as in the interface; `recovered` for a recovery, the event for everything else."""
    rank: int
    """The urgency, for sorting: higher is worse."""
    tone: Tone
    subject: str
    """The name of the connection or source."""
    platform: str | None
    """The platform's slug, None unless it is about a connection."""
    source: str
    service: str
    """The provider's name."""
    opening: str
    """The first sentence. It begins with the subject where it is about a connection."""
    expiry: str = ""
    left: str = ""
    """The time left in short form, for a title; empty unless it is expiring."""
    lasted: str = ""
    """For a recovery in the same message as its problem: "was expired for 4 hours"."""
    cause: str = ""
    report_lines: tuple[str, ...] = ()
    """The lines of a report after the first."""
    why: str = ""
    """Reason for which the alert was sent."""
    notes: tuple[str, ...] = ()
    advice: str = ""
    link: str | None = field(default=None, repr=False)
    """Link for following the advice. May be a secret: see `link_until`."""
    link_until: str = ""
    """For a connection page, which opens for anyone who has its address: until when it is valid. Empty for other links."""
    external_id: str | None = None
    public_id: str = ""
    """The CONNECTION argument of commands; empty unless it is about a connection."""
    ack: str = ""
    """The command that acknowledges it; empty where nothing can be acknowledged."""
    status_page: str = ""
    """The page of this monitor that shows it; empty without `web.public_url`."""
    acknowledge: str = field(default="", repr=False)
    """The link that acknowledges it, a secret; empty where there is none."""
    topic: str = ""
    """The part of a source that is concerned, such as "LinkedIn outage"; empty for the source as a whole."""
    scope: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    own_title: str = ""
    """A template's title, ready for the channel; empty for the built-in one."""
    own_body: str = ""
    """A template's text, in the channel's markup; empty for the built-in one."""

    @property
    def alert_id(self) -> str:
        """The newest alert's id."""
        return self.alert_ids[-1]

    @property
    def incident(self) -> str:
        """The incident's stable id."""
        return self.alert.incident


_RANKS = {AlertEvent.MONITOR_PROBLEM: 9, AlertEvent.SOURCE_FAILING: 8, AlertEvent.REPORT: 1, AlertEvent.DRILL: 1}
_TONES = {Severity.INFO: Tone.INFO, Severity.WARNING: Tone.WARNING, Severity.CRITICAL: Tone.FAILURE}
_LINK = re.compile(r"https://[A-Za-z0-9.-]+(?::\d+)?(?:[/?#][!#-;=?-Z\[\]_a-z~]*)?")
_STATUSES = frozenset(status.value for status in Status)
_PLATFORM_LENGTH = 40
_OVER = frozenset({AlertEvent.EXPIRED, AlertEvent.REVOKED})
_NEWS = {
    AlertEvent.EXPIRING_SOON: "expires soon",
    AlertEvent.FAILING: "is failing",
    AlertEvent.EXPIRED: "has expired",
    AlertEvent.REVOKED: "was revoked",
    AlertEvent.DISCONNECTED: "is disconnected",
    AlertEvent.RECOVERED: "has recovered",
}
"""The statuses within a sentence; the status word itself is shown as well."""


def item_of(group: Sequence[Dispatch], *, zone: ZoneInfo | None, now: datetime) -> Item:
    """Return one item for the alerts about one subject (oldest first): the newest state, with earlier changes. Never raises."""
    alert = group[-1].alert
    about_connection = is_about_connection(alert)
    status = _status(alert)
    subject = _subject(alert)
    service = provider_info(alert.provider).label if alert.provider else ""
    lasted = _lasted(group)
    link, link_until = _link(group[-1], zone=zone)
    public_id = _public_id(alert) if about_connection else ""
    return Item(
        alert=alert,
        alert_ids=tuple(dispatch.alert.id for dispatch in group),
        event=alert.event,
        status=status,
        rank=_rank(alert),
        tone=Tone.SUCCESS if alert.event in RECOVERY_EVENTS else _TONES[alert.severity],
        subject=subject,
        platform=_platform(alert) if about_connection else None,
        source=alert.source,
        service=service,
        opening=_opening(alert, subject=subject, status=status, service=service, lasted=lasted),
        expiry=_expiry(alert, zone=zone, now=now) if about_connection else "",
        left=_left(alert, now=now) if status == Status.EXPIRING_SOON else "",
        lasted=lasted,
        cause="" if alert.event is AlertEvent.REPORT else sentence(alert.message),
        report_lines=tuple(_report_lines(alert)[1:]) if alert.event is AlertEvent.REPORT else (),
        why=_why(group),
        notes=_notes(group),
        advice=_advice(alert),
        link=link,
        link_until=link_until,
        external_id=clean_id(alert.external_id or "") if about_connection else None,
        public_id=public_id,
        ack=_ack(alert, public_id),
        status_page=group[-1].status_page or "",
        acknowledge=group[-1].acknowledge or "",
        topic="" if about_connection else _topic(alert),
        scope=_scope(alert),
        labels=alert.labels,
    )


def is_about_connection(alert: Alert) -> bool:
    """Return True if it is about one connection, not about a source or the monitor itself."""
    return alert.external_id is not None and (alert.event in _STATUSES or alert.event is AlertEvent.RECOVERED)


def readable(word: str) -> str:
    """Return a machine word with spaces: `expiring_soon` as "expiring soon"."""
    return word.replace("_", " ")


def _subject(alert: Alert) -> str:
    if is_about_connection(alert):
        return name(alert.label, otherwise=clean_id(alert.external_id or alert.source))
    if alert.event is AlertEvent.REPORT:
        return _report_lines(alert)[0].partition(". ")[0].rstrip(".")
    kind, rest = split_subject(alert.subject)
    if kind == IncidentSubject.CHANNEL and rest:
        return f"channel {clean_id(rest)}"
    if kind == IncidentSubject.FILTER and rest:
        return f"label filter of channel {clean_id(rest)}"
    if kind == IncidentSubject.DELIVERIES and rest:
        return f"deliveries to {clean_id(rest)}"
    if kind == IncidentSubject.STATUS and rest:
        source, _, status = rest.partition(":")
        return f"unknown status {clean_id(status, limit=64)} at {source}"
    return alert.source or (clean_id(readable(alert.subject)) if alert.subject else "monitor")


def _platform(alert: Alert) -> str:
    return clean_id(alert.platform or "unknown", limit=_PLATFORM_LENGTH)


def _status(alert: Alert) -> str:
    """Return a connection's status; for a recovery, a source and the monitor itself the event, which is more specific."""
    if not is_about_connection(alert) or alert.event in RECOVERY_EVENTS:
        return alert.event.value
    return clean_id(alert.status) if alert.status else alert.event.value


def _rank(alert: Alert) -> int:
    if alert.event in RECOVERY_EVENTS:
        return 0
    if alert.event in _RANKS:
        return _RANKS[alert.event]
    return Status(alert.event.value).rank


def _lasted(group: Sequence[Dispatch]) -> str:
    """Return the status before and its duration, for a recovery in the same message as its problem."""
    last = group[-1].alert
    problems = [dispatch.alert for dispatch in group if dispatch.alert.event not in RECOVERY_EVENTS]
    if last.event not in RECOVERY_EVENTS or not problems:
        return ""
    if is_about_connection(last):
        # Not since the incident opened: that is often a week before the date, with expiring_soon.
        was, began = _status(problems[-1]), problems[-1].since or problems[-1].at
    else:
        was = "unreadable" if last.event is AlertEvent.SOURCE_RECOVERED and not last.subject else "failing"
        began = min(last.opened_at or problems[0].at, problems[0].at)
    return f"was {readable(was)}" + (f" for {timefmt.span(last.at - began)}" if last.at > began else "")


def _opening(alert: Alert, *, subject: str, status: str, service: str, lasted: str) -> str:
    if is_about_connection(alert):
        platform = PLATFORM_NAMES.get(_platform(alert), _platform(alert))
        news = f"{lasted} and has {status}" if lasted else _NEWS.get(alert.event, f"is {readable(status)}")
        return f"{subject} on {platform} {news}."
    after = f" It {lasted}." if lasted else ""
    match alert.event:
        case AlertEvent.SOURCE_FAILING if alert.subject:
            return _about_part(alert, service)
        case AlertEvent.SOURCE_RECOVERED if alert.subject:
            return f"{_about_part_over(alert, service)}{after}"
        case AlertEvent.SOURCE_FAILING if alert.status == SourceStatus.UNAUTHORIZED:
            return f"{service} rejects the API key of the source {subject} (unauthorized)."
        case AlertEvent.SOURCE_FAILING:
            return f"The source {subject} ({service}) cannot be read ({alert.status or 'failing'})."
        case AlertEvent.SOURCE_RECOVERED:
            return f"The source {subject} ({service}) can be read again.{after}"
        case AlertEvent.MONITOR_PROBLEM:
            return f"The monitor has a problem{_about(subject)}."
        case AlertEvent.MONITOR_RECOVERED:
            return f"The monitor's problem is resolved{_about(subject)}.{after}"
        case AlertEvent.REPORT:
            return _report_lines(alert)[0]
        case AlertEvent.DRILL:
            return "This is a drill: a scheduled test of this channel."
        case _:
            return f"{readable(alert.event.value).capitalize()}."


def _subject_parts(alert: Alert) -> tuple[str, str]:
    """Return the kind and the name in an alert's subject: outage and twitter, channel and ops."""
    kind, which = split_subject(alert.subject)
    return kind, clean_id(which) if which else ""


def _topic(alert: Alert) -> str:
    kind, which = _subject_parts(alert)
    match kind:
        case IncidentSubject.OUTAGE:
            return f"{PLATFORM_NAMES.get(which, which)} outage"
        case IncidentSubject.MISSING:
            return f"connections missing at {which}" if which else "connections missing"
        case IncidentSubject.UNPOLLED:
            return "not polled"
        case IncidentSubject.PROBES:
            return "connections cannot be tested"
        case IncidentSubject.UNREADABLE:
            return f"unreadable rows at {which}" if which else "unreadable rows"
        case _:
            return clean_id(readable(alert.subject)) if alert.subject and alert.source else ""


def _about_part(alert: Alert, service: str) -> str:
    """Return the first sentence about a problem with a part of a source."""
    kind, which = _subject_parts(alert)
    some, at = str(alert.count) if alert.count > 1 else "Some", f"of the source {alert.source} ({service})"
    match kind:
        case IncidentSubject.OUTAGE:
            return f"{some} {PLATFORM_NAMES.get(which, which)} connections {at} are refused at the same time."
        case IncidentSubject.MISSING:
            return f"{some} connections {at} are missing from its latest list."
        case IncidentSubject.UNPOLLED:
            return f"The source {alert.source} ({service}) is not being polled."
        case IncidentSubject.PROBES:
            return f"{'1 connection' if alert.count == 1 else f'{some} connections'} {at} cannot be tested."
        case IncidentSubject.UNREADABLE:
            rows = "1 row" if alert.count == 1 else f"{alert.count} rows"
            return f"{rows} in the list {at} cannot be read."
        case _:
            return f"The source {alert.source} ({service}) has a problem: {_topic(alert)}."


def _about_part_over(alert: Alert, service: str) -> str:
    source = f"source {alert.source} ({service})"
    if _subject_parts(alert)[0] == IncidentSubject.UNPOLLED:
        return f"The {source} is being polled again."
    return f"The problem with the {source} is resolved: {_topic(alert)}."


def _report_lines(alert: Alert) -> list[str]:
    """Return the lines of a report, the summary first. They hold names from services, so they are made safe."""
    return [defuse(clean(line, limit=2000)) for line in alert.message.splitlines() if line.strip()] or ["Report."]


def _about(subject: str) -> str:
    return "" if subject == "monitor" else f": {subject}"


def _expiry(alert: Alert, *, zone: ZoneInfo | None, now: datetime) -> str:
    if alert.expires_at is None:
        return "No expiry date is known."
    when = f"{timefmt.moment(alert.expires_at, zone)}, {timefmt.relative(alert.expires_at, now)}"
    ahead = alert.expires_at > now
    if alert.event is AlertEvent.DISCONNECTED:
        return f"Last known expiry: {when}."
    if ahead and alert.event in _OVER:
        return f"Its stated expiry, {when}, no longer applies."
    if not ahead and alert.event not in _OVER and alert.event is not AlertEvent.EXPIRING_SOON:
        return f"Its stated expiry, {when}, is not trusted."
    return f"It {'expires' if ahead else 'expired'} {when}."


def _left(alert: Alert, *, now: datetime) -> str:
    return timefmt.span(alert.expires_at - now) if alert.expires_at is not None and alert.expires_at > now else ""


def _why(group: Sequence[Dispatch]) -> str:
    """Return why this message was sent now."""
    alert, first = group[-1].alert, group[0].alert
    if first.reason == AlertReason.FIRST and alert.event not in RECOVERY_EVENTS:
        return f"First alert.{_previous(group)}"
    match alert.reason:
        case AlertReason.WORSE:
            return f"The status has worsened.{_previous(group)}"
        case AlertReason.CHANGED:
            return f"The status has changed and still needs attention.{_previous(group)}"
        case AlertReason.STAGE:
            return f"Further warning (stage {_stage(alert.stage)})." if alert.stage else "Further warning."
        case AlertReason.REMINDER:
            number = f" {alert.reminder}" if alert.reminder else ""
            unchanged = (
                f": unchanged for {timefmt.span(alert.at - alert.since)}" if alert.since and alert.at > alert.since else ""
            )
            return f"Reminder{number}{unchanged}."
        case AlertReason.RENEWED:
            return f"Renewed{_incident_length(alert)}.{_previous(group)}"
        case AlertReason.RECONNECTED:
            return f"Reconnected under a new id{_incident_length(alert)}.{_previous(group)}"
        case AlertReason.RECOVERED:
            return f"Recovered{_incident_length(alert)}.{_previous(group)}"
        case _:
            # Drills, reports and alerts about the monitor itself state their reason already.
            return f"{readable(clean_id(alert.reason)).capitalize()}." if alert.reason and alert.source else ""


def _previous(group: Sequence[Dispatch]) -> str:
    """Return the status before the first of these alerts; for a recovery, the one before the recovery."""
    alert, first = group[-1].alert, group[0].alert
    previous = alert.previous
    if len(group) > 1 and alert.event not in RECOVERY_EVENTS:
        changed = first.event not in RECOVERY_EVENTS and _status(first) != _status(alert)
        previous = first.previous or (_status(first) if changed else None)
    return f" Previous status: {readable(clean_id(previous))}." if previous else ""


def _incident_length(alert: Alert) -> str:
    """Return the age of the incident, which began with its first problem, not with its last status."""
    opened = alert.opened_at
    return f"; the incident lasted {timefmt.span(alert.at - opened)}" if opened and alert.at > opened else ""


def _stage(stage: timedelta) -> str:
    """Return a stage as in the configuration: in the largest unit that divides it."""
    seconds = round(stage.total_seconds())
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _notes(group: Sequence[Dispatch]) -> tuple[str, ...]:
    notes = []
    if late := max((dispatch.late_by for dispatch in group if dispatch.late_by is not None), default=None):
        notes.append(f"Late by {timefmt.span(late)}: it could not be delivered earlier.")
    statuses = [_status(dispatch.alert) for dispatch in group]
    changes = [status for index, status in enumerate(statuses) if index == 0 or status != statuses[index - 1]]
    if len(changes) > 2:
        notes.append(f"Status changes since the last message: {', '.join(map(readable, changes))}.")
    if any(dispatch.uncertain for dispatch in group):
        notes.append("This may be a repeat: an earlier attempt was interrupted before its outcome was known.")
    return tuple(notes)


def _advice(alert: Alert) -> str:
    if alert.event in RECOVERY_EVENTS:
        return "No action needed."
    if alert.provider is None:
        return monitor_advice(*_subject_parts(alert)) if alert.event is AlertEvent.MONITOR_PROBLEM else ""
    if is_about_connection(alert):
        return advice(_platform(alert), Status(alert.event.value), alert.provider, alert.verdict_reason)
    return source_advice(alert.status, alert.provider) if alert.event is AlertEvent.SOURCE_FAILING else ""


def _link(dispatch: Dispatch, *, zone: ZoneInfo | None) -> tuple[str | None, str]:
    """Return the link to follow, and for a connection page until when it is valid."""
    alert, page = dispatch.alert, dispatch.page
    if page is not None and alert.event not in RECOVERY_EVENTS and _LINK.fullmatch(page.url):
        return page.url, timefmt.moment(page.good_until, zone)
    return alert.link if alert.link and _LINK.fullmatch(alert.link) else None, ""


def _public_id(alert: Alert) -> str:
    """Return the public id; where it is not safe to display, the service's id."""
    whole, own = alert.connection or "", clean_id(alert.external_id or "")
    return whole if whole.endswith(f"/{own}") and is_plain_id(whole) else own


def _ack(alert: Alert, public_id: str) -> str:
    problem = alert.event in _STATUSES and alert.event not in RECOVERY_EVENTS
    return f"token-monitor ack {shlex.quote(public_id)}" if problem and is_plain_id(public_id) else ""


def _scope(alert: Alert) -> str:
    if alert.scope is None:
        return ""
    label = provider_info(alert.provider).scope_label if alert.provider else "managed user"
    return f"{label} {clean_id(alert.scope)}"
