"""Work shared by several daemons: the planner queues units of work, every daemon runs them, leases keep them apart.

The path of a unit: `queue_runner` (the planner) → `monitor.store.work_queue` → `units` (any daemon), which takes the leases of
its sources from `ownership` and calls what one daemon alone would call. `member` decides if this daemon takes part.
"""
