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
from monitor.domain.rules.advice import PLATFORM_NAMES, advice, monitor_advice, source_advice, with_id
from monitor.domain.rules.alerting import AlertReason
from monitor.domain.rules.source_reach import Unmonitored
from monitor.domain.text import clean, clean_id, defuse, defuse_plain, is_plain_id, name, readable, sentence
from monitor.notify.messages import source_text, states
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
    group: str = ""
    """The value of the label by which the channel's messages are grouped, or the source; empty if it has no such label."""
    brief: str = ""
    """The state in a few words, for one line of several; empty unless it is about a connection."""
    reminder: str = ""
    """"reminder 2"; empty if it is not a reminder."""
    lasting: str = ""
    """For a reminder: since when the status is unchanged, in short form."""
    reach: str = ""
    """For a source that cannot be read: how many connections are not monitored, and since when."""
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

    @property
    def platform_name(self) -> str:
        """The platform's own spelling of its name; empty unless it is about a connection."""
        return PLATFORM_NAMES.get(self.platform or "", self.platform or "")

    @property
    def place(self) -> str:
        """The source with its provider: agency (PostPost)."""
        return f"{self.source} ({self.service})" if self.source and self.service else self.source

    @property
    def recovered(self) -> bool:
        """True if a problem has ended."""
        return self.event in RECOVERY_EVENTS


_RANKS = {AlertEvent.MONITOR_PROBLEM: 9, AlertEvent.SOURCE_FAILING: 8, AlertEvent.REPORT: 1, AlertEvent.DRILL: 1}
_TONES = {Severity.INFO: Tone.INFO, Severity.WARNING: Tone.WARNING, Severity.CRITICAL: Tone.FAILURE}
_LINK = re.compile(r"https://[A-Za-z0-9.-]+(?::\d+)?(?:[/?#][!#-;=?-Z\[\]_a-z~]*)?")
_STATUSES = frozenset(status.value for status in Status)
_PLATFORM_LENGTH = 40
_NEWS = {
    AlertEvent.EXPIRING_SOON: "expires soon",
    AlertEvent.FAILING: "is failing",
    AlertEvent.EXPIRED: "has expired",
    AlertEvent.REVOKED: "was revoked",
    AlertEvent.DISCONNECTED: "is disconnected",
}
"""The statuses within a sentence; the status word itself is shown as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """The circumstances in which a message is written."""

    zone: ZoneInfo | None
    """The time zone of its times; None: UTC."""
    now: datetime
    group_by: str = "client"
    """The label by which the channel's messages are grouped, or `source`."""
    plain: bool = False
    """True if the format makes no links of names, so that they can be copied unchanged (see `defuse_plain`)."""


def item_of(group: Sequence[Dispatch], wording: Wording) -> Item:
    """Return one item for the alerts about one subject (oldest first): the newest state, with earlier changes. Never raises."""
    alert, zone, now = group[-1].alert, wording.zone, wording.now
    about_connection = is_about_connection(alert)
    status = _status(alert)
    plain, labels = wording.plain, alert.labels.items()
    subject = _subject(alert, plain=plain)
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
        group=_group(alert, wording),
        brief=states.brief(alert, status, zone=zone, now=now) if about_connection else "",
        reminder=states.reminder_words(alert),
        lasting=states.unchanged_for(alert),
        reach=_reach(alert, zone=zone),
        expiry=states.expiry_sentence(alert, zone=zone, now=now) if about_connection else "",
        left=states.time_left(alert, now=now) if status == Status.EXPIRING_SOON else "",
        lasted=lasted,
        cause=_cause(alert, plain=plain),
        report_lines=tuple(_report_lines(alert, plain=plain)[1:]) if alert.event is AlertEvent.REPORT else (),
        why=_why(group, zone=zone),
        notes=_notes(group),
        advice=_advice(alert, public_id),
        link=link,
        link_until=link_until,
        external_id=clean_id(alert.external_id or "") if about_connection else None,
        public_id=public_id,
        ack=_ack(alert, public_id),
        status_page=group[-1].status_page or "",
        acknowledge=group[-1].acknowledge or "",
        topic="" if about_connection else source_text.topic(alert),
        scope=_scope(alert),
        labels={name(key, otherwise="?", plain=plain): name(value, otherwise="", plain=plain) for key, value in labels},
    )


def is_about_connection(alert: Alert) -> bool:
    """Return True if it is about one connection, not about a source or the monitor itself."""
    return alert.external_id is not None and (alert.event in _STATUSES or alert.event is AlertEvent.RECOVERED)


def _group(alert: Alert, wording: Wording) -> str:
    value = alert.source if wording.group_by == "source" else alert.labels.get(wording.group_by, "")
    return name(value, otherwise="", plain=wording.plain)


def _cause(alert: Alert, *, plain: bool) -> str:
    """Return the reason for the status as a sentence. `_reach` states the number of connections that a source's message holds."""
    if alert.event is AlertEvent.REPORT:
        return ""
    return sentence(alert.cause if alert.cause is not None else alert.message, plain=plain)


def _reach(alert: Alert, *, zone: ZoneInfo | None) -> str:
    """Return how many connections are not monitored while their source cannot be read, and since when."""
    if alert.event is not AlertEvent.SOURCE_FAILING or alert.cause is None:
        return ""
    if alert.message == Unmonitored().explain(alert.cause):  # every connection is monitored
        return ""
    since = None if alert.unmonitored_since is None else timefmt.moment(alert.unmonitored_since, zone)
    return Unmonitored(count=alert.count).sentence(since)


def _subject(alert: Alert, *, plain: bool = False) -> str:
    if is_about_connection(alert):
        return name(alert.label, otherwise=clean_id(alert.external_id or alert.source, plain=plain), plain=plain)
    if alert.event is AlertEvent.REPORT:
        return _report_lines(alert, plain=plain)[0].partition(". ")[0].rstrip(".")
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
        return f"{subject} on {platform} {_news(alert, status, lasted)}."
    after = f" It {lasted}." if lasted else ""
    match alert.event:
        case AlertEvent.SOURCE_FAILING if alert.subject:
            return source_text.problem(alert, service)
        case AlertEvent.SOURCE_RECOVERED if alert.subject:
            return f"{source_text.resolved(alert, service)}{after}"
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


def _news(alert: Alert, status: str, lasted: str) -> str:
    if alert.event is AlertEvent.RECOVERED and alert.previous == Status.EXPIRING_SOON:
        return "was renewed"
    if lasted:
        return f"{lasted} and works again"
    if alert.event is AlertEvent.RECOVERED:
        after = f" after {length}" if (length := states.duration(alert)) else ""
        return f"{'was reconnected under a new id and ' * (alert.reason == AlertReason.RECONNECTED)}works again{after}"
    return _NEWS.get(alert.event, f"is {readable(status)}")


def _report_lines(alert: Alert, *, plain: bool = False) -> list[str]:
    """Return the lines of a report, the summary first. They hold names from services, so they are made safe."""
    safe = defuse_plain if plain else defuse
    return [safe(clean(line, limit=2000)) for line in alert.message.splitlines() if line.strip()] or ["Report."]


def _about(subject: str) -> str:
    return "" if subject == "monitor" else f": {subject}"


def _why(group: Sequence[Dispatch], *, zone: ZoneInfo | None) -> str:
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
            lasting = states.unchanged_for(alert)
            since = f": unchanged for {lasting}, since {timefmt.moment(alert.since, zone)}" if lasting and alert.since else ""
            return f"{states.reminder_words(alert).capitalize()}{since}."
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
    lasted = states.duration(alert)
    return f"; the incident lasted {lasted}" if lasted else ""


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


def _advice(alert: Alert, public_id: str) -> str:
    """Return what to do about it. Commands in it have the connection's id, or the placeholder where the id cannot be copied."""
    if alert.event in RECOVERY_EVENTS:
        return "No action needed."
    if alert.provider is None:
        return monitor_advice(*source_text.subject_parts(alert)) if alert.event is AlertEvent.MONITOR_PROBLEM else ""
    if is_about_connection(alert):
        text = advice(_platform(alert), Status(alert.event.value), alert.provider, alert.verdict_reason)
        return with_id(text, public_id)
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
