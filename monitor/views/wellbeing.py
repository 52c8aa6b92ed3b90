"""The sentence for connections that need nobody: fine is said only of those that are known to be."""

from __future__ import annotations

from collections.abc import Mapping

from monitor.domain import Status


def how_they_are(summary: Mapping[Status, int]) -> str:
    """3 connections are fine; where nothing is known of some or all of them, that nobody can tell how those are."""
    total, unknown = sum(summary.values()), summary[Status.UNKNOWN]
    if total and unknown == total:
        return "nobody can tell how " + ("this connection is" if total == 1 else f"these {total:,} connections are")
    if unknown:
        fine, doubtful = total - unknown, f"{unknown:,} {'is' if unknown == 1 else 'are'}"
        return f"{fine:,} of {total:,} connections {'is' if fine == 1 else 'are'} fine, and nobody can tell how {doubtful}"
    return f"{total:,} connection{' is' if total == 1 else 's are'} fine"


def nobody_can_tell(summary: Mapping[Status, int]) -> bool:
    """Whether nothing is known of any of them."""
    return summary[Status.UNKNOWN] == sum(summary.values()) > 0
