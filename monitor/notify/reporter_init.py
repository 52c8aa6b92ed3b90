"""Drills and reports: what a channel is sent although nothing happened."""

from __future__ import annotations

from monitor.notify.reports import AHEAD, Reporter

__all__ = ["AHEAD", "Reporter"]
