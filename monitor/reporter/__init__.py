"""Drills and reports: what a channel is sent although nothing happened."""

from __future__ import annotations

from monitor.reporter.reporter import AHEAD, Reporter

__all__ = ["AHEAD", "Reporter"]
