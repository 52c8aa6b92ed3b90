"""What services answered while a message was sent: HTTP status and Retry-After.

Apprise tells success or failure and keeps the answer to itself. Its plugins all speak HTTP through `requests`, so the one
place that every answer passes is watched; only the sending thread's own context sees its own answers, and nothing else of
an answer is kept.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One HTTP answer. `retry_after` in seconds as the server said it, None where it said nothing usable."""

    status: int
    retry_after: float | None = None


_seen: ContextVar[list[Answer] | None] = ContextVar("monitor_channel_answers", default=None)
_installing = threading.Lock()


@contextmanager
def watch_answers() -> Iterator[list[Answer]]:
    """Collects the answers to everything sent in this thread until the block ends."""
    _install()
    answers: list[Answer] = []
    token = _seen.set(answers)
    try:
        yield answers
    finally:
        _seen.reset(token)


def _install() -> None:
    import requests

    with _installing:
        if not getattr(requests.Session.send, "watched", False):
            requests.Session.send = _watched(requests.Session.send)  # type: ignore[method-assign]  # see the module's first lines


def _watched(send: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(send)
    def watched_send(*args: Any, **kwargs: Any) -> Any:
        response = send(*args, **kwargs)
        answers = _seen.get()
        if answers is not None:
            wait = parse_retry_after(response.headers.get("Retry-After"), now=datetime.now(UTC))
            answers.append(Answer(status=response.status_code, retry_after=wait))
        return response

    watched_send.watched = True  # type: ignore[attr-defined]  # the mark by which _install knows its own work
    return watched_send


def parse_retry_after(text: str | None, *, now: datetime) -> float | None:
    """Seconds to wait, from whole ASCII digits or an HTTP date; None for anything else. Not clamped."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text) if len(text) <= 9 else 1e9
    try:
        instant = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    return max((instant - now).total_seconds(), 0.0)
