"""The texts about a part of a source: an outage of a platform, missing connections, unreadable rows, and similar."""

from __future__ import annotations

from monitor.domain import Alert, IncidentSubject, split_subject
from monitor.domain.rules.advice import PLATFORM_NAMES
from monitor.domain.rules.labels import CLIENT
from monitor.domain.text import clean_id, name, readable


def subject_parts(alert: Alert) -> tuple[str, str]:
    """Return the kind and the name in an alert's subject: outage and twitter, channel and ops."""
    kind, which = split_subject(alert.subject)
    return kind, clean_id(which) if which else ""


def topic(alert: Alert) -> str:
    """Return the part that is concerned, such as "LinkedIn outage"; empty for the source as a whole."""
    kind, which = subject_parts(alert)
    match kind:
        case IncidentSubject.OUTAGE:
            return f"{PLATFORM_NAMES.get(which, which)} outage"
        case IncidentSubject.MISSING:
            return f"connections missing at {_scope(alert, which)}" if which else "connections missing"
        case IncidentSubject.UNPOLLED:
            return "not polled"
        case IncidentSubject.PROBES:
            return "connections cannot be tested"
        case IncidentSubject.UNREADABLE:
            return f"unreadable rows at {_scope(alert, which)}" if which else "unreadable rows"
        case _:
            return clean_id(readable(alert.subject)) if alert.subject and alert.source else ""


def _scope(alert: Alert, scope_id: str) -> str:
    """Return the client of a managed user or workspace, or its id if the connections concerned have several clients or none."""
    clients = {labels.get(CLIENT) for labels in alert.label_sets}
    return name(next(iter(clients)), otherwise=scope_id) if len(clients) == 1 else scope_id


def problem(alert: Alert, service: str) -> str:
    """Return the first sentence about a problem with a part of a source."""
    kind, which = subject_parts(alert)
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
            return f"The source {alert.source} ({service}) has a problem: {topic(alert)}."


def resolved(alert: Alert, service: str) -> str:
    """Return the first sentence about the end of such a problem."""
    source = f"source {alert.source} ({service})"
    if subject_parts(alert)[0] == IncidentSubject.UNPOLLED:
        return f"The {source} is being polled again."
    return f"The problem with the {source} is resolved: {topic(alert)}."
