"""The vocabulary of the domain: plain immutable values that every other module speaks. Imports nothing of ours."""

from __future__ import annotations

from monitor.domain.alerts import Ack, Alert, Said, connection_id
from monitor.domain.enums import (
    DeliveryState,
    Event,
    HistoryKind,
    PollOutcome,
    ProbeFinding,
    ProbeStatus,
    ProviderKind,
    Severity,
    SourceStatus,
    Status,
    Word,
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
from monitor.domain.state import ConnectionState, HistoryEntry, Policy, ProbeState, TokenState, Verdict

__all__ = [
    "Ack",
    "Alert",
    "ConnectionLink",
    "ConnectionState",
    "DeliveryState",
    "Event",
    "HistoryEntry",
    "HistoryKind",
    "LastError",
    "Policy",
    "PollOutcome",
    "PollReport",
    "ProbeAnswer",
    "ProbeFinding",
    "ProbeState",
    "ProbeStatus",
    "ProviderKind",
    "Refresh",
    "Said",
    "ScopeReport",
    "Severity",
    "Snapshot",
    "SourceStatus",
    "Status",
    "TokenState",
    "Unreadable",
    "Verdict",
    "Word",
    "connection_id",
    "utc_text",
]
