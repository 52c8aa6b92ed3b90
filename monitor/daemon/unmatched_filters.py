"""Warnings about filters of the configuration that match nothing, given what the sources list."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from monitor.config import ChannelConfig, Config, SourceConfig
from monitor.config.error_text import describe, nearest
from monitor.config.formatting import toml_value
from monitor.config.labelling import Labeller
from monitor.domain import PollReport
from monitor.domain.rules.globs import matches_any
from monitor.domain.rules.labels import LabelRule, Subject, rule_matches, subject_of
from monitor.domain.rules.platforms import canonical
from monitor.domain.text import clean

_MOST_NAMES = 10
"""The number of existing names that a warning lists where none is similar."""


@dataclass(frozen=True, slots=True)
class Listed:
    """The different connections and labels that the sources list."""

    sources: frozenset[str]
    """The sources that were read."""
    subjects: Collection[Subject]
    labels: Collection[frozenset[tuple[str, str]]]


def unmatched(config: Config, polled: Sequence[tuple[SourceConfig, PollReport]]) -> Iterator[str]:
    """Yield one warning for each rule and each filter of a channel that matches nothing.

    `polled` are the sources that could be read completely. A rule or filter that may concern another source causes no warning.
    """
    listed = _listed(polled)
    for number, rule in enumerate(config.label_rules):
        concerned = {source.name for source in config.sources if rule.concerns(source.name)}
        if concerned and concerned <= listed.sources and (problem := _unmatched_rule(rule, listed.subjects)):
            yield f"{config.path.name}: labels[{number}].match = {toml_value(_conditions(rule))} matches no connection{problem}"
    if listed.sources == {source.name for source in config.sources}:
        for number, channel in enumerate(config.channels):
            for problem in _unmatched_filters(channel, listed):
                yield f"{config.path.name}: channels[{number}] ({channel.name}).{problem}"


def _listed(polled: Sequence[tuple[SourceConfig, PollReport]]) -> Listed:
    subjects: set[Subject] = set()
    labels = {frozenset(source.labels.items()) for source, _ in polled}
    for source, report in polled:
        names = report.scope_names or {}
        labeller = Labeller(source, lambda names=names: names)  # type: ignore[misc]  # bound in this round
        for scope in report.scopes:
            for snapshot in scope.snapshots:
                subjects.add(subject_of(source.name, source.provider, snapshot, labeller.scope_name(snapshot.scope)))
                labels.add(frozenset(labeller.labels(snapshot).values.items()))
    return Listed(frozenset(source.name for source, _ in polled), subjects, labels)


def _conditions(rule: LabelRule) -> dict[str, object]:
    keys = ("source", "scope", "platform", "connection")
    return {key: value[0] if len(value) == 1 else list(value) for key in keys if (value := getattr(rule, key))}


def _unmatched_rule(rule: LabelRule, subjects: Collection[Subject]) -> str | None:
    """Return the end of the warning about a rule: the condition that matches nothing. None if the rule matches."""
    if any(rule_matches(rule, subject) for subject in subjects):
        return None
    found: Mapping[str, Callable[[Subject], Sequence[str | None]]] = {
        "scope": lambda subject: (subject.scope_name, subject.scope),
        "platform": lambda subject: (subject.platform,),
        "connection": lambda subject: subject.names,
    }
    own = [subject for subject in subjects if rule.concerns(subject.source)]
    for key, names_of in found.items():
        alone = LabelRule(**{key: getattr(rule, key)})
        if getattr(rule, key) and not any(rule_matches(alone, subject) for subject in own):
            return _nearest(getattr(rule, key), {name for subject in own for name in names_of(subject) if name})
    return ": each condition matches connections, but no connection matches all of them." if own else "."


def _unmatched_filters(channel: ChannelConfig, listed: Listed) -> Iterator[str]:
    """Yield the key and the end of the sentence for each filter of a channel that matches nothing."""
    slugs = {canonical(subject.platform) for subject in listed.subjects}
    if channel.platforms and not any(matches_any(slug, channel.platforms) for slug in slugs):
        yield f"platforms matches no connection{_nearest(channel.platforms, slugs)}"
    for key, patterns in channel.labels.items():
        values = {value for labels in listed.labels for label, value in labels if label == key}
        if not values:
            names = {label for labels in listed.labels for label, _ in labels}
            yield f"labels: no connection has the label {describe(key)}{_nearest((key,), names)}"
        elif not any(matches_any(value, patterns) for value in values):
            yield f"labels.{clean(key)} matches no connection{_nearest(patterns, values)}"


def _nearest(patterns: Sequence[str], names: Collection[str]) -> str:
    """Return the end of a sentence: the existing name that was probably meant, or the existing names."""
    shown = sorted({clean(name) for name in names}, key=str.casefold)
    near = next((found for pattern in patterns if (found := nearest(pattern, shown))), None)
    if near:
        return f"; did you mean {describe(near)}?"
    if not shown:
        return "."
    listing = ", ".join(describe(name) for name in shown[:_MOST_NAMES])
    return f"; there are {listing}{' and others' if len(shown) > _MOST_NAMES else ''}."
