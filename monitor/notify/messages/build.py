"""From claimed deliveries to what goes out on a channel: folded, in its own markup and wording, fit to what it can carry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import structlog

from monitor.config import ChannelConfig, TemplatePair
from monitor.domain import RECOVERY_EVENTS, AlertEvent
from monitor.notify.messages import (
    ChannelProfile,
    Dispatch,
    Item,
    Message,
    Part,
    compose,
    compose_each,
    compose_test,
    fit,
    message_of,
    templates,
)
from monitor.notify.messages.templates import TemplateProblem

log = structlog.get_logger(__name__)


def build(
    dispatches: Sequence[Dispatch], *, channel: ChannelConfig, profile: ChannelProfile, timezone: str, now: datetime
) -> tuple[Part, ...]:
    """The messages that say all of these on one channel, in the order of sending. Each alert is settled by exactly one.

    Several alerts of one story are one item with the newest state. A channel that keeps incidents of its own gets one
    message for each. Never raises: a template that fails gives way to the built-in wording, with a note.
    """
    profile = replace(profile, files=profile.files and channel.attachments)
    if profile.one_each:
        each = compose_each(dispatches, timezone=timezone, now=now)
        return tuple(part for message in each for part in _about_one(_worded(message, channel, profile), profile))
    return fit(_worded(compose(dispatches, timezone=timezone, now=now), channel, profile), profile)


def build_test(
    event: AlertEvent | None, *, channel: ChannelConfig, profile: ChannelProfile, timezone: str, now: datetime
) -> tuple[Part, ...]:
    """A message that proves the channel, or what an event looks like there, about a clearly marked sample. Never raises.

    Where the service keeps incidents, what the test opens is closed again.
    """
    if event is not None:
        dispatch = Dispatch(alert=templates.sample_alert(event, now=now))
        parts = build([dispatch], channel=channel, profile=profile, timezone=timezone, now=now)
    else:
        message = compose_test(channel.name, timezone=timezone, now=now)
        parts = _about_one(message, profile) if profile.one_each else fit(message, profile)
    if profile.one_each and not parts[-1].resolves:
        parts = (*parts, replace(parts[-1], resolves=True))
    return parts


def _about_one(message: Message, profile: ChannelProfile) -> tuple[Part, ...]:
    item = message.items[0]
    over = item.event in RECOVERY_EVENTS
    return tuple(replace(part, incident=item.incident, resolves=over) for part in fit(message, profile))


def _worded(message: Message, channel: ChannelConfig, profile: ChannelProfile) -> Message:
    """The message in the channel's own words, where it has any."""
    if not channel.templates:
        return message
    return message_of(_reworded(message.items, channel.templates, channel.name, profile))


def _reworded(items: Iterable[Item], pairs: Mapping[str, TemplatePair], channel: str, profile: ChannelProfile) -> Iterable[Item]:
    for item in items:
        pair = templates.pair_for(pairs, item.event)
        if pair is None:
            yield item
            continue
        try:
            made = templates.render(pair, item, profile.markup, marked_title=profile.marked_title)
        except TemplateProblem as problem:
            log.error("template.failed", channel=channel, event_kind=item.event.value, problem=str(problem))  # noqa: TRY400 - a sentence
            yield replace(
                item, notes=(*item.notes, f"The template of this channel failed, so this is the built-in text. {problem}")
            )
        else:
            yield replace(item, own_title=made.title or "", own_body=made.body or "")
