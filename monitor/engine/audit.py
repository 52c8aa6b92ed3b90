"""The log lines of changes that users make."""

from __future__ import annotations

import structlog

log = structlog.get_logger(__name__)


def record(action: str, *, author: str, target: str | int) -> None:
    """Log a change: its author, the action as a word, and the id of the connection, silence or share that was changed."""
    log.info("audit.change", author=author, action=action, target=target)
