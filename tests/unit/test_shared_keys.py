"""Two sources with the same API key: what the warning states, and the rule that replaces the second source."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.config import load
from monitor.config.shared_keys import reject_new_overlaps, shared_keys
from monitor.domain.errors import ConfigError

KEY = "sk_test_4f7d1c93a0b2e865"
SAME = "the sources one and two have the same API key"
OVERLAP = f"{SAME} and read the same connections, so every alert about these is sent twice"


RULE = 'add the rule [[labels]] match = { source = "one"'


def sources(folder: Path, provider: str, first: str, second: str) -> Path:
    path = folder / "config.toml"
    both = [
        f'[[sources]]\nname = "{name}"\nprovider = "{provider}"\napi_key = {{ env = "KEY" }}\n{more}\n'
        for name, more in (("one", first), ("two", second))
    ]
    path.write_text("\n".join(['database.url = "sqlite:///monitor.db"', *both]), "utf-8")
    return path


@pytest.mark.parametrize(
    ("pair", "problem", "remedy"),
    [
        (("postpeer", "", ""), OVERLAP, "remove the source two"),
        (("postpeer", "", 'labels = { team = "red" }'), OVERLAP, f'remove the source two and {RULE} }} set = {{ team = "red" }}'),
        (
            ("postpost", 'users = "all"', 'users = ["u1"]'),
            OVERLAP,
            f'remove the source two and {RULE}, scope = ["u1"] }} set = {{ client = "two" }}',
        ),
        (
            ("postpost", 'users = ["u1"]', 'users = ["u1", "u2"]\nlabels = { client = "casa" }'),
            OVERLAP,
            f'remove the source two, add ["u2"] to users of one and {RULE}, scope = ["u1", "u2"] }} set = {{ client = "casa" }}',
        ),
        (("publora", "", 'users = "all"'), OVERLAP, 'remove the source two and set users = "all" for one'),
        (
            ("postbreeze", 'workspaces = ["w1"]', 'workspaces = ["w2"]'),
            SAME,
            f'remove the source two, add ["w2"] to workspaces of one and {RULE}, scope = ["w2"] }} set = {{ client = "two" }}',
        ),
        (("postbreeze", 'workspaces = ["ws_1"]', ""), OVERLAP, "remove the source two and remove workspaces from one"),
        (
            ("postbreeze", 'workspaces = ["ws_1", "ws_2"]', 'workspaces = ["ws_2"]'),
            OVERLAP,
            f'remove the source two and {RULE}, scope = ["ws_2"] }} set = {{ client = "two" }}',
        ),
    ],
)
def test_the_warning_names_both_sources_and_what_replaces_the_second(
    tmp_path: Path, pair: tuple[str, str, str], problem: str, remedy: str
) -> None:
    loaded = load(sources(tmp_path, *pair), {"KEY": KEY})
    warnings = [text.partition("config.toml: ")[2] for text in loaded.warnings if "API key" in text]
    assert warnings == [f"{problem}: {remedy}."]
    [shared] = shared_keys(loaded.config.sources)
    assert shared.overlap is (problem == OVERLAP)
    assert KEY not in str(loaded.warnings) + repr(shared)


def test_overlapping_sources_are_rejected_unless_one_is_from_an_earlier_version(tmp_path: Path) -> None:
    config = load(sources(tmp_path, "postpost", "", ""), {"KEY": KEY}).config
    with pytest.raises(ConfigError) as raised:
        reject_new_overlaps(config.sources, {"another"})
    assert str(raised.value) == f"T{OVERLAP[1:]}: remove the source two."
    reject_new_overlaps(config.sources, {"two"})


def test_disjoint_sources_are_never_rejected(tmp_path: Path) -> None:
    config = load(sources(tmp_path, "postbreeze", 'workspaces = ["a"]', 'workspaces = ["b"]'), {"KEY": KEY}).config
    reject_new_overlaps(config.sources, set())


def test_another_key_another_address_and_a_key_that_was_not_read_are_no_pair(tmp_path: Path) -> None:
    path = sources(tmp_path, "postpost", "", 'base_url = "https://another.example/api/v1"')
    assert list(shared_keys(load(path, {"KEY": KEY}).config.sources)) == []
    path = sources(tmp_path, "postpost", "", "")
    assert list(shared_keys(load(path, {}, unread_kinds=["env"]).config.sources)) == []
    path.write_text(path.read_text("utf-8").replace('env = "KEY"', 'env = "OTHER"', 1), "utf-8")
    assert list(shared_keys(load(path, {"KEY": KEY, "OTHER": "another"}).config.sources)) == []
