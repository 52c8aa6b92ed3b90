"""One thing to be said: an alert, or several of one story folded into the newest, in harmless sentences."""

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
    """One alert on its way to one channel, with what only the delivery knows."""

    alert: Alert
    uncertain: bool = False
    """An earlier try may have arrived: the message says that it may be a repeat."""
    late_by: timedelta | None = None
    """How much later than promised it goes out; None when it is in time."""
    page: ConnectionLink | None = None
    """The managed user's own connection page, while it is good: it stands where the dashboard's link would."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One alert, said. Texts are harmless single lines; an empty text means that there is nothing to say."""

    alert: Alert
    """The newest of the alerts that it says. Its texts are raw: only for what escapes them."""
    alert_ids: tuple[str, ...]
    """All the alerts that it says, oldest first."""
    event: AlertEvent
    word: str
    """The status exactly as users know it: a connection's status, `recovered`, or the event for everything else."""
    rank: int
    """Urgency, for the order: the higher the worse."""
    tone: Tone
    subject: str
    """Who it is about: the connection's name, or the source's."""
    platform: str | None
    """The platform's slug, None for what is not about a connection."""
    source: str
    service: str
    """The provider's name."""
    opening: str
    """The news in a sentence. It begins with the subject where it is about a connection."""
    expiry: str = ""
    left: str = ""
    """The time left in short form, for a title; empty unless it is expiring."""
    lasted: str = ""
    """For a recovery that is told together with its problem: "was expired for 4 hours"."""
    cause: str = ""
    told: tuple[str, ...] = ()
    """The further lines of a report."""
    said_because: str = ""
    notes: tuple[str, ...] = ()
    advice: str = ""
    link: str | None = field(default=None, repr=False)
    """Where to do it. May be a secret: see `link_until`."""
    link_until: str = ""
    """For a connection page, which opens for whoever has its address: until when it is good. Empty for an ordinary link."""
    external_id: str | None = None
    public_id: str = ""
    """What the commands take as CONNECTION; empty for what is not about a connection."""
    ack: str = ""
    """The command that acknowledges it; empty where there is nothing to acknowledge."""
    topic: str = ""
    """What an alert about a source is about, where that is not the source as a whole: "LinkedIn outage"."""
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
"""The statuses as a sentence says them; the status word itself stands beside it."""


def item_of(story: Sequence[Dispatch], *, zone: ZoneInfo | None, now: datetime) -> Item:
    """One item for the alerts of one story, oldest first: the newest state, and what happened on the way. Never raises."""
    alert = story[-1].alert
    about_connection = is_about_connection(alert)
    word = _word(alert)
    subject = _subject(alert)
    service = provider_info(alert.provider).label if alert.provider else ""
    lasted = _lasted(story)
    link, link_until = _link(story[-1], zone=zone)
    public_id = _public_id(alert) if about_connection else ""
    return Item(
        alert=alert,
        alert_ids=tuple(dispatch.alert.id for dispatch in story),
        event=alert.event,
        word=word,
        rank=_rank(alert),
        tone=Tone.SUCCESS if alert.event in RECOVERY_EVENTS else _TONES[alert.severity],
        subject=subject,
        platform=_platform(alert) if about_connection else None,
        source=alert.source,
        service=service,
        opening=_opening(alert, subject=subject, word=word, service=service, lasted=lasted),
        expiry=_expiry(alert, zone=zone, now=now) if about_connection else "",
        left=_left(alert, now=now) if word == Status.EXPIRING_SOON else "",
        lasted=lasted,
        cause="" if alert.event is AlertEvent.REPORT else sentence(alert.message),
        told=tuple(_report_lines(alert)[1:]) if alert.event is AlertEvent.REPORT else (),
        said_because=_said_because(story),
        notes=_notes(story),
        advice=_advice(alert),
        link=link,
        link_until=link_until,
        external_id=clean_id(alert.external_id or "") if about_connection else None,
        public_id=public_id,
        ack=_ack(alert, public_id),
        topic="" if about_connection else _topic(alert),
        scope=_scope(alert),
        labels=alert.labels,
    )


def is_about_connection(alert: Alert) -> bool:
    """Whether it speaks of one connection, and not of a source or of the monitor itself."""
    return alert.external_id is not None and (alert.event in _STATUSES or alert.event is AlertEvent.RECOVERED)


def spoken(word: str) -> str:
    """A machine word as people say it."""
    return word.replace("_", " ")


def _subject(alert: Alert) -> str:
    if is_about_connection(alert):
        return name(alert.label, otherwise=clean_id(alert.external_id or alert.source))
    if alert.event is AlertEvent.REPORT:
        return _report_lines(alert)[0].partition(". ")[0].rstrip(".")
    kind, rest = split_subject(alert.subject)
    if kind == IncidentSubject.CHANNEL and rest:
        return f"channel {clean_id(rest)}"
    return alert.source or (clean_id(spoken(alert.subject)) if alert.subject else "monitor")


def _platform(alert: Alert) -> str:
    return clean_id(alert.platform or "unknown", limit=_PLATFORM_LENGTH)


def _word(alert: Alert) -> str:
    """A connection's status as it is; for a recovery, a source and the monitor itself the event says more than the status."""
    if not is_about_connection(alert) or alert.event in RECOVERY_EVENTS:
        return alert.event.value
    return clean_id(alert.status) if alert.status else alert.event.value


def _rank(alert: Alert) -> int:
    if alert.event in RECOVERY_EVENTS:
        return 0
    if alert.event in _RANKS:
        return _RANKS[alert.event]
    return Status(alert.event.value).rank


def _lasted(story: Sequence[Dispatch]) -> str:
    """For a recovery whose problem is told only now: what it was, and for how long."""
    last = story[-1].alert
    problems = [dispatch.alert for dispatch in story if dispatch.alert.event not in RECOVERY_EVENTS]
    if last.event not in RECOVERY_EVENTS or not problems:
        return ""
    if is_about_connection(last):
        # Not since the opening: an incident often begins a week before the date, with expiring_soon.
        was, began = _word(problems[-1]), problems[-1].since or problems[-1].at
    else:
        was = "unreadable" if last.event is AlertEvent.SOURCE_RECOVERED and not last.subject else "in trouble"
        began = min(last.opened_at or problems[0].at, problems[0].at)
    return f"was {spoken(was)}" + (f" for {timefmt.span(last.at - began)}" if last.at > began else "")


def _opening(alert: Alert, *, subject: str, word: str, service: str, lasted: str) -> str:
    if is_about_connection(alert):
        platform = PLATFORM_NAMES.get(_platform(alert), _platform(alert))
        news = f"{lasted} and has {word}" if lasted else _NEWS.get(alert.event, f"is {spoken(word)}")
        return f"{subject} on {platform} {news}."
    after = f" It {lasted}." if lasted else ""
    match alert.event:
        case AlertEvent.SOURCE_FAILING if alert.subject:
            return _about_part(alert, service)
        case AlertEvent.SOURCE_RECOVERED if alert.subject:
            return f"{_about_part_over(alert, service)}{after}"
        case AlertEvent.SOURCE_FAILING if alert.status == SourceStatus.UNAUTHORIZED:
            return f"{service} refuses the API key of the source {subject} (unauthorized)."
        case AlertEvent.SOURCE_FAILING:
            return f"The source {subject} ({service}) cannot be read ({alert.status or 'failing'})."
        case AlertEvent.SOURCE_RECOVERED:
            return f"The source {subject} ({service}) can be read again.{after}"
        case AlertEvent.MONITOR_PROBLEM:
            return f"The monitor itself has a problem{_about(subject)}."
        case AlertEvent.MONITOR_RECOVERED:
            return f"The monitor itself is well again{_about(subject)}.{after}"
        case AlertEvent.REPORT:
            return _report_lines(alert)[0]
        case AlertEvent.DRILL:
            return "This is a drill: a test of this channel, as it was planned."
        case _:
            return f"{spoken(alert.event.value).capitalize()}."


def _subject_parts(alert: Alert) -> tuple[str, str]:
    """What an alert's subject is about, and which: outage and twitter, channel and ops."""
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
            return "not being watched"
        case _:
            return clean_id(spoken(alert.subject)) if alert.subject and alert.source else ""


def _about_part(alert: Alert, service: str) -> str:
    """Trouble with a part of a source."""
    kind, which = _subject_parts(alert)
    some, at = str(alert.count) if alert.count > 1 else "Some", f"of the source {alert.source} ({service})"
    match kind:
        case IncidentSubject.OUTAGE:
            return f"{some} {PLATFORM_NAMES.get(which, which)} connections {at} are refused at once."
        case IncidentSubject.MISSING:
            return f"{some} connections {at} are missing from its list all at once."
        case IncidentSubject.UNPOLLED:
            return f"The source {alert.source} ({service}) is not being watched."
        case _:
            return f"The source {alert.source} ({service}) has trouble: {_topic(alert)}."


def _about_part_over(alert: Alert, service: str) -> str:
    where = f"The source {alert.source} ({service})"
    if _subject_parts(alert)[0] == IncidentSubject.UNPOLLED:
        return f"{where} is being watched again."
    return f"{where} is well again: the trouble is over ({_topic(alert)})."


def _report_lines(alert: Alert) -> list[str]:
    """A report is written line by line, the summary first. It holds names from strangers."""
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
        return f"Its stated expiry, {when}, no longer counts."
    if not ahead and alert.event not in _OVER and alert.event is not AlertEvent.EXPIRING_SOON:
        return f"Its stated expiry, {when}, is not relied upon."
    return f"It {'expires' if ahead else 'expired'} {when}."


def _left(alert: Alert, *, now: datetime) -> str:
    return timefmt.span(alert.expires_at - now) if alert.expires_at is not None and alert.expires_at > now else ""


def _said_because(story: Sequence[Dispatch]) -> str:
    """Why this message exists, so that nobody wonders why it came today."""
    alert, first = story[-1].alert, story[0].alert
    # An incident is as old as its first trouble; a status only as old as itself, and the one before may be any age.
    opened = alert.opened_at
    lasted = f" after {timefmt.span(alert.at - opened)} of trouble" if opened and alert.at > opened else ""
    still = f": still so after {timefmt.span(alert.at - alert.since)}" if alert.since and alert.at > alert.since else ""
    previous = first.previous or (_word(first) if first.event not in RECOVERY_EVENTS and _word(first) != _word(alert) else None)
    previous = previous if len(story) > 1 and alert.event not in RECOVERY_EVENTS else alert.previous
    before = f": it was {spoken(clean_id(previous))}" if previous else ""
    if first.reason == AlertReason.FIRST and alert.event not in RECOVERY_EVENTS:
        return f"First notice{before}."
    match alert.reason:
        case AlertReason.WORSE:
            return f"Worse than before{before}."
        case AlertReason.CHANGED:
            return f"Changed, and still needs you{before}."
        case AlertReason.STAGE:
            return f"Further warning (stage {_stage(alert.stage)})." if alert.stage else "Further warning."
        case AlertReason.REMINDER:
            number = f" {alert.reminder}" if alert.reminder else ""
            return f"Reminder{number}{still}."
        case AlertReason.RENEWED:
            return f"Renewed{lasted}{before}."
        case AlertReason.RECOVERED:
            return f"Recovered{lasted}{before}."
        case _:
            # What is sent as planned, or about the monitor itself, has said why.
            return f"Reason: {spoken(clean_id(alert.reason))}." if alert.reason and alert.source else ""


def _stage(stage: timedelta) -> str:
    """A stage as people configure it: the largest unit that divides it."""
    seconds = round(stage.total_seconds())
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _notes(story: Sequence[Dispatch]) -> tuple[str, ...]:
    notes = []
    if late := max((dispatch.late_by for dispatch in story if dispatch.late_by is not None), default=None):
        notes.append(f"Late by {timefmt.span(late)}: it could not be delivered before.")
    words = [_word(dispatch.alert) for dispatch in story]
    changes = [word for position, word in enumerate(words) if position == 0 or word != words[position - 1]]
    if len(changes) > 2:
        notes.append(f"What happened since the last message: {', '.join(map(spoken, changes))}.")
    if any(dispatch.uncertain for dispatch in story):
        notes.append("This may be a repeat: an earlier try was cut off before its outcome was known.")
    return tuple(notes)


def _advice(alert: Alert) -> str:
    if alert.event in RECOVERY_EVENTS:
        return "Nothing, it is well again."
    if alert.provider is None:
        return monitor_advice(*_subject_parts(alert)) if alert.event is AlertEvent.MONITOR_PROBLEM else ""
    if is_about_connection(alert):
        return advice(_platform(alert), Status(alert.event.value), alert.provider)
    return source_advice(alert.status, alert.provider) if alert.event is AlertEvent.SOURCE_FAILING else ""


def _link(dispatch: Dispatch, *, zone: ZoneInfo | None) -> tuple[str | None, str]:
    """Where to make it good, and for a connection page until when that opens."""
    alert, page = dispatch.alert, dispatch.page
    if page is not None and alert.event not in RECOVERY_EVENTS and _LINK.fullmatch(page.url):
        return page.url, timefmt.moment(page.good_until, zone)
    return alert.link if alert.link and _LINK.fullmatch(alert.link) else None, ""


def _public_id(alert: Alert) -> str:
    """The id that people see everywhere; where it cannot be shown as it is, the service's own."""
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
