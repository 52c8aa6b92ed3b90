"""Resolution of `[[labels]]` tables: rules that give connections labels and thresholds."""

from __future__ import annotations

from typing import Any

from monitor.config.policies import changes_of
from monitor.config.resolve import Loc, Resolver
from monitor.config.schema import Document, LabelsTable
from monitor.domain.rules.globs import matches_any
from monitor.domain.rules.labels import LabelRule
from monitor.domain.rules.platforms import canonical


def resolve_label_rules(resolver: Resolver, document: Document) -> tuple[LabelRule, ...]:
    """Return the rules in the order of the file; record mistakes."""
    names = [source.name for source in document.sources if source.name]
    return tuple(_resolve(resolver, ("labels", number), raw, names) for number, raw in enumerate(document.labels))


def _resolve(resolver: Resolver, loc: Loc, raw: LabelsTable, names: list[str]) -> LabelRule:
    policy: dict[str, Any] = changes_of(raw.policy)
    if not raw.set and not policy and not resolver.rejected.intersection(((*loc, "set"), (*loc, "policy"))):
        resolver.problems.error(loc, 'sets nothing: add set = { client = "…" } or a [labels.policy] table.')
    if raw.match.source and names and not any(matches_any(name, raw.match.source) for name in names):
        resolver.problems.warning((*loc, "match", "source"), f"matches no source; the sources are {', '.join(names)}.")
    return LabelRule(
        source=raw.match.source,
        scope=raw.match.scope,
        platform=tuple(canonical(each) for each in raw.match.platform),
        connection=raw.match.connection,
        set=raw.set,
        policy=policy,
    )
