"""The domain: plain immutable values, and the rules as pure functions over them."""

from __future__ import annotations

from monitor.domain.alerts import CHANNEL_SUBJECTS, Ack, Alert, IncidentSubject, LastNotified, connection_id, split_subject
from monitor.domain.channels import ChannelRules, QuietHours
from monitor.domain.enums import (
    RECOVERY_EVENTS,
    AlertEvent,
    DeliveryState,
    EventKind,
    PollOutcome,
    ProbeFinding,
    ProbeStatus,
    ReportedStatus,
    Severity,
    SourceStatus,
    Status,
    VerdictFlag,
    VerdictReason,
    utc_text,
)
from monitor.domain.observations import (
    ConnectionLink,
    LastError,
    PollReport,
    ProbeAnswer,
    Refresh,
    ScopeReport,
    Snapshot,
    Unreadable,
)
from monitor.domain.providers import ProviderInfo, provider_info
from monitor.domain.state import ConnectionState, Event, Policy, ProbeState, TokenState, Verdict

__all__ = [
    "CHANNEL_SUBJECTS",
    "RECOVERY_EVENTS",
    "Ack",
    "Alert",
    "AlertEvent",
    "ChannelRules",
    "ConnectionLink",
    "ConnectionState",
    "DeliveryState",
    "Event",
    "EventKind",
    "IncidentSubject",
    "LastError",
    "LastNotified",
    "Policy",
    "PollOutcome",
    "PollReport",
    "ProbeAnswer",
    "ProbeFinding",
    "ProbeState",
    "ProbeStatus",
    "ProviderInfo",
    "QuietHours",
    "Refresh",
    "ReportedStatus",
    "ScopeReport",
    "Severity",
    "Snapshot",
    "SourceStatus",
    "Status",
    "TokenState",
    "Unreadable",
    "Verdict",
    "VerdictFlag",
    "VerdictReason",
    "connection_id",
    "provider_info",
    "split_subject",
    "utc_text",
]
