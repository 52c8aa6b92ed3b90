"""Recording: write what polls, probes and time change, in the caller's one transaction.

State, history, incidents, alerts and deliveries commit together or not at all, so that no alert is lost and none reports a
change that was rolled back. `polls` and `probes` record one poll and one batch of probes. `changes` writes changed
connections, `incidents` decides which of them need an alert, `system_alerts` does so for a source as a whole and for the
monitor itself, and `queueing` queues the alerts for the channels.
"""

from __future__ import annotations

from monitor.engine.recording.changes import Change, record_changes, review
from monitor.engine.recording.list_changes import RecordedLists, record_lists
from monitor.engine.recording.queueing import Recorded
from monitor.engine.recording.system_alerts import (
    MONITOR,
    close_without_alert,
    record_monitor_alert,
    record_source_incident,
    record_source_status,
)

__all__ = [
    "MONITOR",
    "Change",
    "Recorded",
    "RecordedLists",
    "close_without_alert",
    "record_changes",
    "record_lists",
    "record_monitor_alert",
    "record_source_incident",
    "record_source_status",
    "review",
]
