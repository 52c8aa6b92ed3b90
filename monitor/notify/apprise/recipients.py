"""The recipients of one channel URL: each gets a separate request, so that one refusal repeats nothing for the others.

Apprise returns one result for a whole URL. A service with several targets keeps them in one list; a copy of the service
with only one of them in the list sends to that recipient alone.
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

_SLOW = 10.0  # seconds: after a failure as slow as this the next recipient would most likely fail too
_COPIED = ("cc", "bcc")  # they get the first recipient's mail and no other


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """One target of a channel."""

    key: str
    """A stable hash that identifies the recipient without showing it."""
    place: int
    count: int
    service: Any = field(repr=False)
    """The Apprise service that sends to this one alone."""

    @property
    def label(self) -> str:
        """The position in the URL, for an error message."""
        return f"recipient {self.place} of {self.count} ({self.key})"


def split(service: Any) -> tuple[Recipient, ...]:
    """Return every recipient of an Apprise service; the service itself where it has one, or sends one request for several."""
    name, targets = _target_list(service)
    if name is None:
        return (Recipient(key=_key(type(service).__name__), place=1, count=1, service=service),)
    return tuple(
        Recipient(key=_key(repr(target)), place=place, count=len(targets), service=_narrowed(service, name, target, place=place))
        for place, target in enumerate(targets, start=1)
    )


def send_each(
    recipients: Sequence[Recipient], send: Callable[[Recipient], None], *, done: AbstractSet[str] = frozenset()
) -> None:
    """Send to every recipient that is not in `done`; `send` raises DeliveryError where one does not accept the message.

    Raises the most severe of these errors with `reached`: the keys of the recipients that have the message, including `done`.
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
    """Return one error for all: permanent where one is, else temporary, with the longest requested pause."""
    only_one = failures[0][0].count == 1
    text = " ".join(str(error) if only_one else f"To {recipient.label}: {error}" for recipient, error in failures)
    errors = [error for _, error in failures]
    uncertain = any(error.uncertain for error in errors)
    if all(not error.transient for error in errors) or (reached and any(not error.transient for error in errors)):
        return ChannelRejected(text, reached=reached, uncertain=uncertain)
    waits = [error.retry_after for error in errors if isinstance(error, ChannelUnreachable) and error.retry_after is not None]
    down = not reached and all(isinstance(error, ChannelUnreachable) and error.down for error in errors)
    return ChannelUnreachable(
        text,
        retry_after=max(waits, default=None),
        reached=reached,
        down=down,
        uncertain=uncertain,
        maybe_too_large=any(error.maybe_too_large for error in errors),
    )


def _target_list(service: Any) -> tuple[str | None, list[Any]]:
    """Return the list with one entry for each request of the service; (None, []) where there is none."""
    count = len(service)
    for name, value in vars(service).items() if count > 1 else ():
        if isinstance(value, list) and len(value) == count and len(_narrowed(service, name, value[0], place=1)) == 1:
            return name, value
    return None, []


def _narrowed(service: Any, name: str, target: Any, *, place: int) -> Any:
    single = copy.copy(service)
    setattr(single, name, [target])
    for further in _COPIED if place > 1 else ():
        if isinstance(getattr(single, further, None), set):
            setattr(single, further, set())
    return single


def _key(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
