"""Probe connections: ask the platform through the provider's test-connection call, and record what that changes.

Each source has a lane of its own: due connections go through it side by side, as many as the pace needs, inside the
source's request budget, and their answers are written in batches. An answer that changes nothing costs no row of its own.
`planning` says who is due, `asking` asks, `recording` writes what came of it.
"""

from __future__ import annotations

from monitor.engine.asking import UNANSWERED
from monitor.engine.probe_runner import BATCH, Batch, batch_size, due_batch
from monitor.engine.prober import Prober
from monitor.engine.recording.probes import record_probes

__all__ = ["BATCH", "UNANSWERED", "Batch", "Prober", "batch_size", "due_batch", "record_probes"]
