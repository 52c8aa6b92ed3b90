"""Did a row change in anything that is stored? Compared by a short digest, so that a poll need not read states back."""

from __future__ import annotations

from datetime import datetime
from hashlib import blake2b

from monitor.domain import Snapshot
from monitor.domain.rules.context import LATER_BY


def fingerprint(snapshot: Snapshot) -> str:
    """A digest of everything that is kept of a row, the same in every process.

    A coarse span is left out: it wobbles with every poll (see span_moved).
    """
    s = snapshot
    refresh = None
    if s.refresh is not None:
        r = s.refresh
        refresh = (r.connected_at, r.last_refreshed_at, r.last_attempt_at, r.error, r.error_status)
    error = None if s.last_error is None else (s.last_error.message, s.last_error.occurred_at)
    kept = (
        s.platform,
        s.word.value,
        s.raw_word,
        s.expires_at,
        s.expires_before is None,
        refresh,
        s.account,
        s.username,
        s.display_name,
        s.profile_url,
        s.scopes,
        s.last_successful_post_at,
        error,
        sorted(s.flags),
    )
    return blake2b(repr(kept).encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def span_moved(before: datetime | None, after: datetime | None) -> bool:
    """Whether a coarse span ("82d 4h", good to an hour) moved by more than its own grain."""
    if before is None or after is None:
        return before is not after
    return abs(after - before) > LATER_BY
