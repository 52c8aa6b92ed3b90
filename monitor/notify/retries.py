"""Decisions after a failed delivery: the next attempt, giving up, and the pause of the channel."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from monitor.domain.errors import DeliveryError
from monitor.domain.rules.retry import LONGEST_WAIT, next_attempt
from monitor.notify.messages.shortening import has_another_form
from monitor.store.outbox import Claimed

_SHORTEST_HOLD = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class RetryPlan:
    """The next attempts of deliveries that failed together."""

    delivery_ids: dict[tuple[datetime | None, bool], list[int]] = field(default_factory=lambda: defaultdict(list))
    """Delivery ids by the time of the next attempt (None: give up) and True if the failed one may have arrived."""
    dead: list[Claimed] = field(default_factory=list)
    """The deliveries that are given up."""

    def earliest(self) -> datetime | None:
        """Return the time of the first attempt, None where all are given up."""
        return min((at for at, _ in self.delivery_ids if at is not None), default=None)


def plan_retries(
    claimed: Sequence[Claimed],
    error: DeliveryError,
    *,
    channel: str,
    planned: Callable[[Claimed], datetime],
    in_message: Collection[Claimed],
    now: datetime,
) -> RetryPlan:
    """Decide what follows `error`, the failure of a message that held the deliveries `in_message`.

    Retries are spread by channel, not by alert: what failed together is sent together again. A message that may be too large
    is tried again soon, until it has been sent in its shortest form.
    """
    plan = RetryPlan()
    attempts = max(each.attempt for each in claimed)
    uncertain = {each.delivery_id for each in in_message} if error.uncertain else set()
    for each in claimed:
        shortened_next = error.maybe_too_large and has_another_form(each.size_refusals + 1)
        at = next_attempt(
            1 if shortened_next else attempts if error.down else each.attempt,
            max(each.created_at, planned(each)),
            now=now,
            key=channel,
            retry_after=error.retry_after,
            permanent=not error.transient,
            down=error.down,
        )
        plan.delivery_ids[at, each.delivery_id in uncertain].append(each.delivery_id)
        if at is None:
            plan.dead.append(each)
    return plan


def hold_until(error: DeliveryError, plan: RetryPlan, *, now: datetime) -> datetime:
    """Return the end of the pause after `error`: nothing is sent before, or every new alert would retry a failing channel."""
    if not error.transient:
        return now + LONGEST_WAIT
    wait = max(_SHORTEST_HOLD, min(timedelta(seconds=error.retry_after or 0), LONGEST_WAIT))
    return max(now + wait, (plan.earliest() if error.down else None) or now)
