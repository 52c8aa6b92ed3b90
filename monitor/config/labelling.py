"""The labels and thresholds of one source's connections, by its configuration and the names of its scopes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from monitor.config.settings import SourceConfig
from monitor.domain import Policy, Snapshot
from monitor.domain.records import replace
from monitor.domain.rules import labels as rules
from monitor.domain.rules.labels import ConnectionLabels, Subject


class Labeller:
    """Determines labels and thresholds of connections. Connections that no rule can distinguish are determined once."""

    def __init__(self, source: SourceConfig, scope_names: Callable[[], Mapping[str, str | None]]) -> None:
        """Create it for a source. `scope_names` returns the names of the scopes; it is called at most once, when needed."""
        self._source = source
        self._read_names = scope_names
        self._names: Mapping[str, str | None] | None = None
        self._clients: Mapping[str, str] = {}
        self._with_policy = [rule for rule in source.label_rules if rule.policy]
        self.policy_follows_names = any(rule.connection for rule in self._with_policy)
        """True if connections of one platform and scope may have different thresholds."""
        self._by_name = any(rule.connection for rule in source.label_rules)
        self._labels: dict[Any, ConnectionLabels] = {}
        self._policies: dict[Any, Policy] = {}

    def labels(self, snapshot: Snapshot) -> ConnectionLabels:
        """Return the labels of a connection."""
        key = self._key(snapshot)
        found = self._labels.get(key)
        if found is None:
            subject = self._subject(snapshot)
            client = None if snapshot.scope is None else self._clients.get(snapshot.scope, snapshot.scope)
            own = {**(snapshot.labels or {}), **self._source.labels}
            found = rules.labels_of(subject, own, self._source.label_rules, client=client)
            self._labels[key] = found
        return found

    def policy(self, snapshot: Snapshot) -> Policy:
        """Return the thresholds of a connection: the last matching rule, source and platform, source, platform, policy."""
        if not self._with_policy:
            return self._source.policy_for(snapshot.platform)
        key = self._key(snapshot)
        found = self._policies.get(key)
        if found is None:
            subject, found = self._subject(snapshot), self._source.policy_for(snapshot.platform)
            for rule in self._with_policy:
                if rules.rule_matches(rule, subject):
                    found = replace(found, **rule.policy)
            self._policies[key] = found
        return found

    def scope_name(self, scope: str | None) -> str | None:
        """Return the name that the service gives a scope; None for the owner, or if it is not known."""
        if scope is None:
            return None
        if self._names is None:
            self._names = self._read_names()
            self._clients = rules.client_names(self._names)
        return self._names.get(scope)

    def _key(self, snapshot: Snapshot) -> Any:
        labels = None if snapshot.labels is None else tuple(sorted(snapshot.labels.items()))
        if self._by_name:
            return labels, snapshot.scope, snapshot.platform, snapshot.external_id, snapshot.username, snapshot.display_name
        return labels, snapshot.scope, snapshot.platform

    def _subject(self, snapshot: Snapshot) -> Subject:
        source = self._source
        return rules.subject_of(source.name, source.provider, snapshot, self.scope_name(snapshot.scope))
