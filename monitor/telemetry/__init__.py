"""What the process reports about itself: log, metrics, progress, systemd notifications; and its memory use."""
