"""The recipients inside one channel URL: each is sent to by itself, so that one refusal repeats nothing to the others.

Apprise answers once for a whole URL. A service that serves several targets keeps them in one list; a copy of the service
whose list is narrowed to one of them is that recipient alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from hashlib import sha256
from time import monotonic
from typing import Any

from monitor.domain.errors import ChannelRejected, ChannelUnreachable, DeliveryError

_SLOW = 10.0  # seconds: who failed that slowly was waited for in vain, and the next one would be too
_COPIED = ("cc", "bcc")  # a mail's further readers get the first recipient's copy, and no other


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """One target of a channel."""

    key: str
    """A stable hash that tells recipients apart without showing them."""
    place: int
    count: int
    service: Any = field(repr=False)
    """The Apprise service that reaches this one alone."""

    @property
    def label(self) -> str:
        """How people find it in the URL."""
        return f"recipient {self.place} of {self.count} ({self.key})"


def split(service: Any) -> tuple[Recipient, ...]:
    """Every recipient of an Apprise service; the service itself where it has one, or serves several in one request."""
    name, targets = _list_of_targets(service)
    if name is None:
        return (Recipient(key=_key(type(service).__name__), place=1, count=1, service=service),)
    return tuple(
        Recipient(key=_key(repr(target)), place=place, count=len(targets), service=_narrowed(service, name, target, place=place))
        for place, target in enumerate(targets, start=1)
    )


def send_each(
    recipients: Sequence[Recipient], send: Callable[[Recipient], None], *, done: AbstractSet[str] = frozenset()
) -> None:
    """Sends to every recipient that is not `done`; `send` raises DeliveryError where one does not take it.

    Raises the gravest of these errors with `reached`: the keys of those who have the message now, the `done` ones included.
    """
    reached = set(done)
    failures: list[tuple[Recipient, DeliveryError]] = []
    for recipient in recipients:
        if recipient.key in reached:
            continue
        began = monotonic()
        try:
            send(recipient)
        except DeliveryError as error:
            failures.append((recipient, error))
            if getattr(error, "retry_after", None) is not None or monotonic() - began >= _SLOW:
                break
        else:
            reached.add(recipient.key)
    if failures:
        raise _error(failures, frozenset(reached))


def _error(failures: Sequence[tuple[Recipient, DeliveryError]], reached: frozenset[str]) -> DeliveryError:
    """One error for all: refused for good where one is, else passing, with the longest wait that was asked for."""
    alone = failures[0][0].count == 1
    text = " ".join(str(error) if alone else f"To {recipient.label}: {error}" for recipient, error in failures)
    errors = [error for _, error in failures]
    uncertain = any(error.uncertain for error in errors)
    if all(not error.transient for error in errors) or (reached and any(not error.transient for error in errors)):
        return ChannelRejected(text, reached=reached, uncertain=uncertain)
    waits = [error.retry_after for error in errors if isinstance(error, ChannelUnreachable) and error.retry_after is not None]
    down = not reached and all(isinstance(error, ChannelUnreachable) and error.down for error in errors)
    return ChannelUnreachable(text, retry_after=max(waits, default=None), reached=reached, down=down, uncertain=uncertain)


def _list_of_targets(service: Any) -> tuple[str | None, list[Any]]:
    """The list that holds one entry per request the service would make; (None, []) where there is none."""
    count = len(service)
    for name, value in vars(service).items() if count > 1 else ():
        if isinstance(value, list) and len(value) == count and len(_narrowed(service, name, value[0], place=1)) == 1:
            return name, value
    return None, []


def _narrowed(service: Any, name: str, target: Any, *, place: int) -> Any:
    alone = copy.copy(service)
    setattr(alone, name, [target])
    for further in _COPIED if place > 1 else ():
        if isinstance(getattr(alone, further, None), set):
            setattr(alone, further, set())
    return alone


def _key(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
