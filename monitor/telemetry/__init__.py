"""Logs, metrics, memory tuning, stall detection and the systemd notification protocol."""
