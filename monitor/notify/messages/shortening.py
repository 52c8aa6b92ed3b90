"""Shorter forms of a message that a service refused, perhaps because of its size.

A message is tried twice unchanged, then without its file or else in half of its size, then as a short form: the counts, the
first lines, and what lists the rest. Whatever the cause of the refusal, the same text is not repeated for days.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from monitor.notify.messages.markup import ChannelProfile, Part

_TRIED_WHOLE = 2  # refusals: the cause of a single one may be temporary
_TRIED_HALVED = 3
_SHORT_FORM = 700
_SMALLEST = 120  # in less room not even one alert is named


def form_after(refusals: int) -> int:
    """Return the form of a message after this number of refusals because of its size: 0 whole, 1 halved, 2 short."""
    return (refusals >= _TRIED_WHOLE) + (refusals >= _TRIED_HALVED)


def has_another_form(refusals: int) -> bool:
    """Return True if a message has not been sent in its shortest form yet, after this number of refusals."""
    return refusals <= _TRIED_HALVED


def shorter(profile: ChannelProfile, form: int, whole: Sequence[Part]) -> ChannelProfile:
    """Return the profile for a form of a message whose usual parts are `whole`. Files are left out: they may be the cause.

    A message with a file is first repeated without it, in as many parts as are allowed: not every server takes files.
    """
    limits = profile.limits
    if form == 1 and any(part.files for part in whole):
        return replace(profile, files=False)
    largest = max(limits.size(part.body) + (limits.size(part.title) if limits.title_in_body else 0) for part in whole)
    room = largest // 2 if form == 1 else min(largest // 3, _SHORT_FORM)
    limits = replace(limits, body=min(max(room, _SMALLEST), limits.body), parts=limits.parts if form == 1 else 1)
    return replace(profile, limits=limits, files=False)
