"""Decide what to say about what changed, and write both down in the caller's one transaction.

State, history, incidents, alerts and deliveries commit together or not at all: an alert can be neither lost nor said
about a change that was rolled back. `changes` writes what changed, `speaking` decides about each connection, `sources`
about a source as a whole or the monitor itself, `outgoing` queues what is said for the channels.
"""

from __future__ import annotations

from monitor.engine.recording.changes import Change, record_changes, review
from monitor.engine.recording.list_changes import RecordedLists, record_lists
from monitor.engine.recording.queueing import ChannelSettings, Recorded
from monitor.engine.recording.system_alerts import (
    MONITOR,
    close_quietly,
    record_monitor_alert,
    record_source_incident,
    record_source_status,
)

__all__ = [
    "MONITOR",
    "Change",
    "ChannelSettings",
    "Recorded",
    "RecordedLists",
    "close_quietly",
    "record_changes",
    "record_lists",
    "record_monitor_alert",
    "record_source_incident",
    "record_source_status",
    "review",
]
