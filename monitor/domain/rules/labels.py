"""The labels of a connection, and the thresholds that they bring.

A connection has the labels of its source, then those of every matching rule of `[[labels]]` in order; the later wins, key by
key. Where nothing sets `client`, a connection of a managed user or workspace has the name of that scope as its client, so that
messages and pages can group by it. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from monitor.domain.alerts import connection_id
from monitor.domain.observations import Snapshot
from monitor.domain.records import Record, field
from monitor.domain.rules.globs import matches_any
from monitor.domain.rules.platforms import canonical

CLIENT = "client"
"""The label that defaults to the name of the managed user or workspace."""

Patterns = tuple[str, ...]


class LabelRule(Record, frozen=True, kw_only=True):
    """One rule: which connections it matches, the labels that it sets, and the thresholds that it changes.

    Conditions are ANDed; within one, any pattern may match; an empty one matches everything.
    """

    source: Patterns = ()
    scope: Patterns = ()
    """Patterns on the id or the name of the managed user or workspace. The owner's connections match none."""
    platform: Patterns = ()
    connection: Patterns = ()
    """Patterns on the public id, the provider's own id, the user name or the display name."""
    set: Mapping[str, str] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)
    """Fields of Policy with the values that replace those of the source and the platform."""

    def concerns(self, source: str) -> bool:
        """Return True if the rule may match connections of a source."""
        return not self.source or matches_any(source, self.source)


class Subject(Record, frozen=True, kw_only=True):
    """The properties of a connection that rules match."""

    source: str
    scope: str | None
    scope_name: str | None
    platform: str
    names: tuple[str, ...]
    """Its ids and names."""


class ConnectionLabels(Record, frozen=True):
    """The labels of one connection."""

    values: Mapping[str, str]
    named_by_service: bool = False
    """True if `client` is the name that the service gives the scope. It grants no access: a service's name may change."""

    def grants(self, required: Mapping[str, str]) -> bool:
        """Return True if these labels grant access to users and shares that are bound to the required ones."""
        if self.named_by_service and CLIENT in required:
            return False
        return all(self.values.get(key) == value for key, value in required.items())


def subject_of(source: str, provider: str, snapshot: Snapshot, scope_name: str | None) -> Subject:
    """Return the properties of a connection that rules match."""
    names = (
        connection_id(source, provider, snapshot.scope, snapshot.external_id),
        snapshot.external_id,
        snapshot.username or "",
        snapshot.display_name or "",
    )
    return Subject(
        source=source, scope=snapshot.scope, scope_name=scope_name, platform=snapshot.platform, names=tuple(filter(None, names))
    )


def rule_matches(rule: LabelRule, subject: Subject) -> bool:
    """Return True if a rule applies to a connection."""
    if not rule.concerns(subject.source):
        return False
    if rule.scope and not any(matches_any(text, rule.scope) for text in (subject.scope, subject.scope_name) if text):
        return False
    if rule.platform and not any(matches_any(text, rule.platform) for text in {subject.platform, canonical(subject.platform)}):
        return False
    return not rule.connection or any(matches_any(text, rule.connection) for text in subject.names)


def labels_of(subject: Subject, own: Mapping[str, str], rules: Iterable[LabelRule], *, client: str | None) -> ConnectionLabels:
    """Return the labels of a connection. `own` are those of its source, `client` is the default of that label."""
    values = dict(own)
    for rule in rules:
        if rule.set and rule_matches(rule, subject):
            values |= rule.set
    if client is None or CLIENT in values:
        return ConnectionLabels(values)
    return ConnectionLabels({**values, CLIENT: client}, named_by_service=True)


def client_names(scopes: Mapping[str, str | None]) -> dict[str, str]:
    """Return the client of each scope: its name, with its id where several have the same name; the id if it has no name."""
    uses = Counter((name or scope).casefold() for scope, name in scopes.items())
    return {
        scope: scope if not name else name if uses[name.casefold()] == 1 else f"{name} ({scope})"
        for scope, name in scopes.items()
    }


def group_of(labels: Mapping[str, str], group_by: str) -> str:
    """Return the value of the label by which connections are grouped; empty without it, and where they are grouped by source."""
    return "" if group_by == "source" else labels.get(group_by, "")


def has_labels(values: Mapping[str, str], wanted: Mapping[str, str | Sequence[str]]) -> bool:
    """Return True if all wanted labels are there. A wanted value is a pattern, or several of which any may match."""
    return all(
        key in values and matches_any(values[key], (patterns,) if isinstance(patterns, str) else patterns)
        for key, patterns in wanted.items()
    )
