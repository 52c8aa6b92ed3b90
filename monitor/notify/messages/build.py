"""Building the messages of a channel from claimed deliveries: grouped, in its markup and templates, within its limits."""

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
    shortening,
)
from monitor.notify.messages.markup import PLAIN
from monitor.notify.messages.message import PageOf

log = structlog.get_logger(__name__)


def build(
    dispatches: Sequence[Dispatch],
    *,
    channel: ChannelConfig,
    profile: ChannelProfile,
    timezone: str,
    now: datetime,
    form: int = 0,
    page_of: PageOf | None = None,
) -> tuple[Part, ...]:
    """Return the messages with these alerts for one channel, in the order of sending. Each alert is in exactly one.

    Several alerts about one subject are one item with the newest state. A service that manages incidents gets separate
    messages for each. `form` is that of `shortening`. `page_of` returns the page of this monitor that shows alerts; None without
    `web.public_url`. Never raises: where a template fails, the built-in text is used, with a
    note.
    """
    profile = replace(profile, files=profile.files and channel.attachments)
    messages = _compose(dispatches, channel, profile, timezone=timezone, now=now, page_of=page_of)
    parts = _fit(messages, channel, profile)
    return parts if form == 0 else _fit(messages, channel, shortening.shorter(profile, form, parts))


def _compose(
    dispatches: Sequence[Dispatch],
    channel: ChannelConfig,
    profile: ChannelProfile,
    *,
    timezone: str,
    now: datetime,
    page_of: PageOf | None,
) -> tuple[Message, ...]:
    plain = profile.markup in PLAIN
    if profile.per_incident:
        return compose_each(dispatches, timezone=timezone, now=now, group_by=channel.group_by, plain=plain)
    return (compose(dispatches, timezone=timezone, now=now, group_by=channel.group_by, plain=plain, page_of=page_of),)


def _fit(messages: Sequence[Message], channel: ChannelConfig, profile: ChannelProfile) -> tuple[Part, ...]:
    templated = [_templated(message, channel, profile) for message in messages]
    if profile.per_incident:
        return tuple(part for message in templated for part in _of_incident(message, profile))
    return fit(templated[0], profile)


def build_test(
    event: AlertEvent | None, *, channel: ChannelConfig, profile: ChannelProfile, timezone: str, now: datetime
) -> tuple[Part, ...]:
    """Return a message that tests the channel, or shows an event for a clearly marked sample connection. Never raises.

    Where the service manages incidents, the incident that the test opens is resolved again.
    """
    if event is not None:
        from monitor.notify.messages import templates

        dispatch = Dispatch(alert=templates.sample_alert(event, now=now))
        parts = build([dispatch], channel=channel, profile=profile, timezone=timezone, now=now)
    else:
        message = compose_test(channel.name, timezone=timezone, now=now)
        parts = _of_incident(message, profile) if profile.per_incident else fit(message, profile)
    if profile.per_incident and not parts[-1].resolves:
        parts = (*parts, replace(parts[-1], resolves=True))
    return parts


def _of_incident(message: Message, profile: ChannelProfile) -> tuple[Part, ...]:
    item = message.items[0]
    resolves = item.event in RECOVERY_EVENTS
    return tuple(replace(part, incident=item.incident, resolves=resolves) for part in fit(message, profile))


def _templated(message: Message, channel: ChannelConfig, profile: ChannelProfile) -> Message:
    """Return the message with the channel's templates applied."""
    if not channel.templates:
        return message
    return message.with_items(_apply_templates(message.items, channel.templates, channel.name, profile))


def _apply_templates(
    items: Iterable[Item], pairs: Mapping[str, TemplatePair], channel: str, profile: ChannelProfile
) -> Iterable[Item]:
    from monitor.notify.messages import templates  # loads Jinja2, which only channels with templates need

    for item in items:
        pair = templates.pair_for(pairs, item.event)
        if pair is None:
            yield item
            continue
        try:
            rendered = templates.render(pair, item, profile.markup, title_has_markup=profile.title_has_markup)
        except templates.TemplateProblem as problem:
            log.error("template.failed", channel=channel, event_kind=item.event.value, problem=str(problem))  # noqa: TRY400 - a sentence
            yield replace(
                item, notes=(*item.notes, f"The template could not be rendered, so this is the built-in text. {problem}")
            )
        else:
            yield replace(item, own_title=rendered.title or "", own_body=rendered.body or "")
