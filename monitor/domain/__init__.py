"""The domain: plain immutable values, and the rules as pure functions over them."""

from __future__ import annotations

from monitor.domain.alerts import Ack, Alert, LastNotified, connection_id
from monitor.domain.enums import (
    AlertEvent,
    DeliveryState,
    EventKind,
    PollOutcome,
    ProbeFinding,
    ProbeStatus,
    ProviderKind,
    ReportedStatus,
    Severity,
    SourceStatus,
    Status,
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
from monitor.domain.state import ConnectionState, Event, Policy, ProbeState, TokenState, Verdict

__all__ = [
    "Ack",
    "Alert",
    "AlertEvent",
    "ConnectionLink",
    "ConnectionState",
    "DeliveryState",
    "Event",
    "EventKind",
    "LastError",
    "LastNotified",
    "Policy",
    "PollOutcome",
    "PollReport",
    "ProbeAnswer",
    "ProbeFinding",
    "ProbeState",
    "ProbeStatus",
    "ProviderKind",
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
    "connection_id",
    "utc_text",
]
