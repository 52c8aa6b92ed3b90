"""Thresholds by precedence: source and platform, source, platform, policy; key by key."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from monitor.config.error_text import found, suggestion
from monitor.config.formatting import format_duration
from monitor.config.resolve import Loc, Resolver
from monitor.config.schema import Level, Levels
from monitor.domain import Policy
from monitor.domain.records import replace
from monitor.domain.rules.advice import PLATFORM_NAMES
from monitor.domain.rules.platforms import canonical

KEYS = tuple(Level.model_fields)
_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Policies:
    """The policies in force at one level: for one source, or for all."""

    base: Policy
    platforms: Mapping[str, Policy] = field(default_factory=dict)


def global_policies(reading: Resolver, levels: Levels) -> Policies:
    """The policies of sources that set none themselves."""
    base = _settled(reading, ("policy",), [levels])
    own = platform_levels(reading, ("policy", "platforms"), levels)
    return Policies(
        base, {slug: _settled(reading, ("policy", "platforms", key), [levels, level]) for slug, (key, level) in own.items()}
    )


def source_policies(reading: Resolver, loc: Loc, *, above: Levels, own: Levels) -> Policies:
    """One source's policies."""
    base = _settled(reading, (*loc, "policy"), [above, own])
    of_all = {canonical(key.strip()): level for key, level in above.platforms.items()}
    of_source = platform_levels(reading, (*loc, "policy", "platforms"), own)
    platforms = {}
    for slug in {**of_all, **of_source}:
        key, level = of_source.get(slug, (slug, Level()))
        chain = [above, of_all.get(slug, Level()), own, level]
        platforms[slug] = _settled(reading, (*loc, "policy", "platforms", key), chain)
    return Policies(base, platforms)


def platform_levels(reading: Resolver, loc: Loc, levels: Levels) -> dict[str, tuple[str, Level]]:
    """The exceptions by common slug, with the name the user gave; mistakes in the names are noted."""
    by_slug: dict[str, tuple[str, Level]] = {}
    for key, level in levels.platforms.items():
        slug = canonical(key)
        if not _SLUG.fullmatch(slug):
            reading.findings.error((*loc, key), "is no platform: small letters, digits, _ and - make its name.")
        elif slug in by_slug:
            reading.findings.error((*loc, key), f"means the same platform as {by_slug[slug][0]}: keep one of them.")
        else:
            by_slug[slug] = (key, level)
            if slug not in PLATFORM_NAMES:
                reading.findings.warning((*loc, key), f"is no platform that is known{_known(slug)}")
    return by_slug


def platform_filter(reading: Resolver, loc: Loc, names: Sequence[str] | None) -> frozenset[str] | None:
    """A filter's platforms by common slug; mistakes are noted."""
    if names is None:
        return None
    slugs = {canonical(name) for name in names}
    for slug in sorted(slugs):
        if not _SLUG.fullmatch(slug):
            reading.findings.error(loc, "holds a name that is no platform: small letters, digits, _ and - make its name.")
        elif slug not in PLATFORM_NAMES:
            reading.findings.warning(loc, f"holds {found(slug)}, which is no platform that is known{_known(slug)}")
    return frozenset(slugs)


def _known(slug: str) -> str:
    """A service may list a platform that is new, so this is no mistake; but a slip of the pen would fit nothing."""
    return suggestion(slug, sorted(PLATFORM_NAMES), otherwise="known are")


def _settled(reading: Resolver, loc: Loc, chain: Sequence[Level]) -> Policy:
    """The policy that a chain of levels gives, the strongest last; a chain whose last level contradicts itself is noted."""
    policy = Policy()
    for level in chain:
        policy = _overlay(policy, level)
    said_here = chain[-1].model_fields_set & {"stages", "expiring_within"}
    chosen = any("stages" in level.model_fields_set for level in chain)
    if said_here and chosen and policy.stages and min(policy.stages) >= policy.expiring_within:
        within = format_duration(policy.expiring_within)
        said = f"has no stage shorter than expiring_within ({within}): none of its stages will ever be said."
        reading.findings.warning(loc, said)
    return policy


def _overlay(policy: Policy, level: Level) -> Policy:
    changes: dict[str, Any] = {key: getattr(level, key) for key in KEYS if key in level.model_fields_set}
    if "expiring_within" in changes:
        changes["expiring_within_explicit"] = True
    return replace(policy, **changes)
