"""Sources that have the same API key: one source with `[[labels]]` rules replaces them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from monitor.config.formatting import toml_value
from monitor.config.secrets import UNREAD
from monitor.config.settings import SourceConfig
from monitor.domain.errors import ConfigError
from monitor.domain.records import Record
from monitor.domain.rules.labels import CLIENT


class SharedKey(Record, frozen=True):
    """Two sources with the same API key at the same address."""

    first: SourceConfig
    second: SourceConfig

    @property
    def overlap(self) -> bool:
        """True if both read some of the same connections: each of their alerts is sent twice."""
        if self.first.info.has_workspaces:
            mine, other = self.first.workspaces, self.second.workspaces
            return mine is None or other is None or not set(mine).isdisjoint(other)
        return True  # every source reads the connections of the key's owner, even if it names managed users

    @property
    def problem(self) -> str:
        """The problem, without the key."""
        both = f"the sources {self.first.name} and {self.second.name} have the same API key"
        if not self.overlap:
            return both
        return f"{both} and read the same connections, so every alert about these is sent twice"

    @property
    def remedy(self) -> str:
        """The instruction that replaces the second source by a `[[labels]]` rule."""
        first, second = self.first, self.second
        named = _named_scopes(second)
        steps = [f"remove the source {second.name}"]
        widened = _widened(first, second)
        if widened:
            steps.append(widened)
        labels = second.labels or ({CLIENT: second.name} if named else {})
        if labels:
            match = {"source": first.name} | ({"scope": list(named)} if named else {})
            steps.append(f"add the rule [[labels]] match = {toml_value(match)} set = {toml_value(labels)}")
        return f"{', '.join(steps[:-1])} and {steps[-1]}" if len(steps) > 1 else steps[0]


def _named_scopes(source: SourceConfig) -> tuple[str, ...]:
    """Return the managed users or workspaces that the configuration of a source names."""
    if source.info.has_workspaces:
        return source.workspaces or ()
    return source.users if isinstance(source.users, tuple) else ()


def _reads_all(source: SourceConfig) -> bool:
    return source.workspaces is None if source.info.has_workspaces else source.users == "all" or not source.info.has_users


def _widened(first: SourceConfig, second: SourceConfig) -> str:
    """Return the instruction by which `first` also reads the scopes of `second`; empty if it reads them."""
    if _reads_all(first):
        return ""
    if _reads_all(second):
        return f"remove workspaces from {first.name}" if first.info.has_workspaces else f'set users = "all" for {first.name}'
    missing = [scope for scope in _named_scopes(second) if scope not in _named_scopes(first)]
    key = "workspaces" if first.info.has_workspaces else "users"
    return f"add {toml_value(missing)} to {key} of {first.name}" if missing else ""


def shared_keys(sources: Iterable[SourceConfig]) -> Iterator[SharedKey]:
    """Yield each source that has the API key of an earlier one, with the first that has it."""
    seen: dict[tuple[str, str, str], SourceConfig] = {}
    for source in sources:
        if not source.api_key.reveal() or source.api_key is UNREAD:
            continue
        first = seen.setdefault((source.provider, source.base_url, source.api_key.reveal()), source)
        if first is not source:
            yield SharedKey(first, source)


def reject_new_overlaps(sources: Sequence[SourceConfig], known: Collection[str]) -> None:
    """Raise ConfigError if two sources with the same API key read the same connections.

    `known` are the names of sources from before version 0.2, which may continue: such a pair is only a warning.
    """
    found = [each for each in shared_keys(sources) if each.overlap and not {each.first.name, each.second.name} & {*known}]
    if found:
        raise ConfigError([f"{each.problem[0].upper()}{each.problem[1:]}: {each.remedy}." for each in found])
