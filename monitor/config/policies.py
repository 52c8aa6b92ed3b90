"""Policies by precedence, key by key: source and platform, source, platform, policy."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from monitor.config.error_text import describe, suggestion
from monitor.config.formatting import format_duration
from monitor.config.resolve import Loc, Resolver
from monitor.config.source_schema import Level, Levels
from monitor.domain import Policy
from monitor.domain.records import Record, field, replace
from monitor.domain.rules.advice import PLATFORM_NAMES
from monitor.domain.rules.globs import is_glob, matches
from monitor.domain.rules.platforms import canonical

KEYS = tuple(Level.model_fields)
_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]*")


class Policies(Record, frozen=True):
    """The policies for one source, or for all."""

    base: Policy
    platforms: Mapping[str, Policy] = field(default_factory=dict)


def global_policies(resolver: Resolver, levels: Levels) -> Policies:
    """Return the policies of sources that set none themselves."""
    base = _effective(resolver, ("policy",), [levels])
    own = platform_levels(resolver, ("policy", "platforms"), levels)
    return Policies(
        base, {slug: _effective(resolver, ("policy", "platforms", key), [levels, level]) for slug, (key, level) in own.items()}
    )


def source_policies(resolver: Resolver, loc: Loc, *, above: Levels, own: Levels) -> Policies:
    """Return one source's policies."""
    base = _effective(resolver, (*loc, "policy"), [above, own])
    of_all = {canonical(key.strip()): level for key, level in above.platforms.items()}
    of_source = platform_levels(resolver, (*loc, "policy", "platforms"), own)
    platforms = {}
    for slug in {**of_all, **of_source}:
        key, level = of_source.get(slug, (slug, Level()))
        chain = [above, of_all.get(slug, Level()), own, level]
        platforms[slug] = _effective(resolver, (*loc, "policy", "platforms", key), chain)
    return Policies(base, platforms)


def platform_levels(resolver: Resolver, loc: Loc, levels: Levels) -> dict[str, tuple[str, Level]]:
    """Return the platform tables by common slug, with the name as written; record mistakes in the names."""
    by_slug: dict[str, tuple[str, Level]] = {}
    for key, level in levels.platforms.items():
        slug = canonical(key)
        if not _SLUG.fullmatch(slug):
            resolver.problems.error((*loc, key), "is not a platform name: use lowercase letters, digits, _ and -.")
        elif slug in by_slug:
            resolver.problems.error((*loc, key), f"is the same platform as {by_slug[slug][0]}: keep one of them.")
        else:
            by_slug[slug] = (key, level)
            if slug not in PLATFORM_NAMES:
                resolver.problems.warning((*loc, key), f"is not a known platform{_known(slug)}")
    return by_slug


def platform_filter(resolver: Resolver, loc: Loc, names: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return a filter's platforms as common slugs or patterns; record mistakes."""
    if names is None:
        return None
    slugs = tuple(dict.fromkeys(canonical(name) for name in names))
    for slug in slugs:
        if is_glob(slug):
            if not matches_any_platform(slug):
                resolver.problems.warning(loc, f"contains {describe(slug)}, which matches no known platform.")
        elif not _SLUG.fullmatch(slug):
            resolver.problems.error(loc, "contains an entry that is not a platform name: use lowercase letters, digits, _ and -.")
        elif slug not in PLATFORM_NAMES:
            resolver.problems.warning(loc, f"contains {describe(slug)}, which is not a known platform{_known(slug)}")
    return slugs


def matches_any_platform(pattern: str) -> bool:
    """Return True if a pattern matches a known platform."""
    return any(matches(slug, pattern) for slug in PLATFORM_NAMES)


def _known(slug: str) -> str:
    """Return the end of the warning. A service may list a new platform, so this is no error; a typo would match nothing."""
    return suggestion(slug, sorted(PLATFORM_NAMES), otherwise="the known platforms are")


def _effective(resolver: Resolver, loc: Loc, chain: Sequence[Level]) -> Policy:
    """Return the policy of a chain of levels, the strongest last; warn if the last level contradicts itself."""
    policy = Policy()
    for level in chain:
        policy = replace(policy, **changes_of(level))
    last_sets = chain[-1].model_fields_set & {"stages", "expiring_within"}
    chosen = any("stages" in level.model_fields_set for level in chain)
    if last_sets and chosen and policy.stages and min(policy.stages) >= policy.expiring_within:
        within = format_duration(policy.expiring_within)
        resolver.problems.warning(loc, f"has no stage shorter than expiring_within ({within}): none will ever warn.")
    return policy


def changes_of(level: Level) -> dict[str, Any]:
    """Return the fields of Policy that a level sets, with their values."""
    changes: dict[str, Any] = {key: getattr(level, key) for key in KEYS if key in level.model_fields_set}
    if "expiring_within" in changes:
        changes["expiring_within_explicit"] = True
    return changes
