"""Labels of connections: which rules match, which value wins, and the client that follows from a scope's name."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.config import load
from monitor.config.labelling import Labeller
from monitor.domain import ReportedStatus, Snapshot
from monitor.domain.errors import ConfigError
from monitor.domain.rules.globs import matches
from monitor.domain.rules.labels import LabelRule, client_names, has_labels, labels_of, rule_matches, subject_of


def snapshot(**over: Any) -> Snapshot:
    values = {
        "external_id": "linkedin-1",
        "scope": "u1",
        "platform": "linkedin",
        "username": "casaverde",
        "display_name": "Casa Verde Living",
        "reported": ReportedStatus.VALID,
    }
    return Snapshot(**values | over)


SUBJECT = subject_of("agency", "postpost", snapshot(), "Casa Verde")
OWNER = subject_of("agency", "postpost", snapshot(scope=None), None)


@pytest.mark.parametrize(
    ("text", "pattern", "found"),
    [
        ("acme", "acme", True),
        ("Acme", "aCME", True),  # letter case does not matter
        ("acme-eu", "acme", False),  # the whole text
        ("acme-eu", "acme*", True),
        ("acme", "acm?", True),
        ("acme", "[ab]cme", True),
        ("[acme]", "[acme]", True),  # itself
        ("Acme [EU]", "acme [eu]", True),
        ("m", "[acme]", True),  # a set of characters
        ("Acme [EU] 2", "acme [eu]*", False),
        ("acme [z-a]", "acme [z-a]", True),
        ("STRASSE", "straße", True),  # full case folding
        ("acme", "", False),
        ("a\nb", "a*b", True),
        ("acme", "[z-a]*", False),  # an empty range matches nothing, and is no error
    ],
)
def test_a_pattern_matches_the_whole_text_without_regard_to_letter_case(text: str, pattern: str, found: bool) -> None:
    assert matches(text, pattern) is found


@given(text=st.text(max_size=20), pattern=st.text(max_size=20))
def test_no_pattern_raises_and_every_text_matches_a_star(text: str, pattern: str) -> None:
    assert matches(text, pattern) in (True, False)
    assert matches(text, "*")
    assert matches(text, text)


@pytest.mark.parametrize(
    ("rule", "applies"),
    [
        (LabelRule(), True),
        (LabelRule(source=("agency",)), True),
        (LabelRule(source=("AG*",)), True),
        (LabelRule(source=("studio", "agency")), True),  # any of several
        (LabelRule(source=("studio",)), False),
        (LabelRule(scope=("Casa Verde*",)), True),  # by name
        (LabelRule(scope=("u1",)), True),  # by id
        (LabelRule(scope=("u2",)), False),
        (LabelRule(platform=("LinkedIn",)), True),
        (LabelRule(platform=("tiktok",)), False),
        (LabelRule(connection=("agency/u1/linkedin-1",)), True),  # the public id
        (LabelRule(connection=("linkedin-*",)), True),  # the provider's own id
        (LabelRule(connection=("casaverde",)), True),  # the user name
        (LabelRule(connection=("*living",)), True),  # the display name
        (LabelRule(connection=("other",)), False),
        (LabelRule(scope=("Casa*",), platform=("tiktok",)), False),  # all that are given must match
    ],
)
def test_a_rule_matches_by_patterns_that_are_anded(rule: LabelRule, applies: bool) -> None:
    assert rule_matches(rule, SUBJECT) is applies


def test_a_condition_on_the_scope_never_matches_the_owner() -> None:
    assert not rule_matches(LabelRule(scope=("*",)), OWNER)
    assert rule_matches(LabelRule(source=("agency",)), OWNER)


def test_the_later_rule_wins_key_by_key() -> None:
    rules = [
        LabelRule(source=("agency",), set={"client": "all", "team": "red"}),
        LabelRule(scope=("Casa*",), set={"client": "casa-verde"}),
        LabelRule(scope=("Other*",), set={"team": "blue"}),
    ]
    found = labels_of(SUBJECT, {"client": "of-source", "region": "eu"}, rules, client="Casa Verde")
    assert found.values == {"client": "casa-verde", "team": "red", "region": "eu"}
    assert not found.named_by_service


def test_without_a_rule_the_client_is_the_scopes_name_and_is_marked_as_such() -> None:
    found = labels_of(SUBJECT, {}, [LabelRule(set={"team": "red"})], client="Casa Verde")
    assert (dict(found.values), found.named_by_service) == ({"client": "Casa Verde", "team": "red"}, True)
    assert dict(labels_of(OWNER, {}, [], client=None).values) == {}


def test_equal_names_are_distinguished_by_id_and_a_nameless_scope_has_its_id() -> None:
    assert client_names({"u1": "Casa", "u2": "CASA", "u3": "Brava", "u4": None}) == {
        "u1": "Casa (u1)",
        "u2": "CASA (u2)",
        "u3": "Brava",
        "u4": "u4",
    }


@given(
    names=st.dictionaries(st.text("abu1", min_size=1, max_size=3), st.one_of(st.none(), st.sampled_from(["A", "a", "B", "C"])))
)
def test_every_scope_with_a_name_has_a_client_of_its_own(names: dict[str, str | None]) -> None:
    found = client_names(names)
    named = [found[scope].casefold() for scope, name in names.items() if name]
    assert found.keys() == names.keys()
    assert len(set(named)) == len(named)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, True),
        ({"client": "acme"}, True),
        ({"client": "ACME"}, True),
        ({"client": "ac*"}, True),
        ({"client": ("bravo", "acme")}, True),
        ({"client": "acme", "team": "red"}, True),
        ({"client": "acme", "team": "blue"}, False),
        ({"region": "*"}, False),  # a label that is not there matches nothing
    ],
)
def test_wanted_labels_must_all_be_there(wanted: dict[str, str | tuple[str, ...]], found: bool) -> None:
    assert has_labels({"client": "acme", "team": "red"}, wanted) is found


CONFIG = """
[[sources]]
name = "agency"
provider = "postpost"
api_key = "k"
users = "all"
[sources.policy]
expiring_within = "10d"
[sources.policy.platforms.linkedin]
expiring_within = "12d"
stages = ["5d"]
[[labels]]
match = { scope = "Casa*" }
set = { client = "casa" }
[labels.policy]
expiring_within = "14d"
[[labels]]
match = { connection = "*living*" }
[labels.policy]
expiring_within = "20d"
remind_every = "off"
"""


def labeller(tmp_path: Path, text: str = CONFIG, names: dict[str, str | None] | None = None) -> Labeller:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return Labeller(load(path, {"HOME": str(tmp_path)}).config.sources[0], lambda: names or {"u1": "Casa Verde", "u2": "Brava"})


def test_thresholds_of_the_last_matching_rule_come_before_those_of_source_and_platform(tmp_path: Path) -> None:
    found = labeller(tmp_path)
    both = found.policy(snapshot())
    assert (both.expiring_within, both.expiring_within_explicit) == (timedelta(days=20), True)
    assert (both.stages, both.remind_every) == ((timedelta(days=5),), None)  # key by key
    one = found.policy(snapshot(display_name="Casa"))
    assert (one.expiring_within, one.remind_every) == (timedelta(days=14), timedelta(hours=24))
    none = found.policy(snapshot(scope="u2", display_name="B"))
    assert none.expiring_within == timedelta(days=12)


def test_names_of_scopes_are_read_once_and_only_when_a_connection_has_a_scope(tmp_path: Path) -> None:
    calls: list[int] = []

    def names() -> dict[str, str | None]:
        calls.append(1)
        return {"u1": "Casa Verde"}

    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    found = Labeller(load(path, {"HOME": str(tmp_path)}).config.sources[0], names)
    assert found.labels(snapshot(scope=None)).values == {}
    assert calls == []
    assert found.labels(snapshot()).values == {"client": "casa"}
    assert found.labels(snapshot(scope="u9")).values == {"client": "u9"}
    assert calls == [1]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[[labels]]\nmatch = { source = "agency" }\n', "labels[0] sets nothing: add set"),
        (
            '[[labels]]\nmatch = { sourc = "agency" }\nset = { a = "b" }\n',
            "labels[0].match.sourc is not a known key; did you mean source?",
        ),
        ('[[labels]]\nmatch = { scope = "" }\nset = { a = "b" }\n', "labels[0].match.scope is an empty text"),
        ('[[labels]]\nmatch = { scope = 3 }\nset = { a = "b" }\n', "labels[0].match.scope is 3, but must be a list of patterns"),
        ("[[labels]]\nset = { a = 3 }\n", "labels[0].set contains 3"),
        ('[[labels]]\nset = { a = "b" }\n[labels.policy]\nexpiring_withi = "3d"\n', "did you mean expiring_within?"),
        ('[labels]\nset = { a = "b" }\n', "labels is a table, but must be a list of tables: write [[labels]] with two brackets."),
    ],
)
def test_a_mistake_in_a_rule_is_one_sentence_with_its_place(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[[sources]]\nname = "agency"\nprovider = "postpost"\napi_key = "k"\n' + text)
    with pytest.raises(ConfigError) as caught:
        load(path, {"HOME": str(tmp_path)})
    assert problem in str(caught.value)


def test_a_rule_for_no_source_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        '[[sources]]\nname = "agency"\nprovider = "postpost"\napi_key = "k"\n'
        '[[labels]]\nmatch = { source = "studio" }\nset = { a = "b" }\n'
    )
    warnings = load(path, {"HOME": str(tmp_path)}).warnings
    assert any("labels[0].match.source matches no source; the sources are agency." in each for each in warnings)


def test_the_environment_replaces_all_rules(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    env = {"HOME": str(tmp_path), "TOKEN_MONITOR_LABELS": '[{"match": {"scope": "B*"}, "set": {"client": "brava"}}]'}
    rules = load(path, env).config.label_rules
    assert [(rule.scope, dict(rule.set)) for rule in rules] == [(("B*",), {"client": "brava"})]
