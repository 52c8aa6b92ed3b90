"""One word for one thing: no class name stands for two classes, and the glossary's words name the classes that they should."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
_ROW = re.compile(r"^\| ([a-z ]+) \| ", re.MULTILINE)

CLASSES = {
    "provider": "ProviderInfo",
    "definition": "Definition",
    "source": "SourceConfig",
    "scope": "ScopeReport",
    "connection": "ConnectionState",
    "poll": "PollReport",
    "snapshot": "Snapshot",
    "probe": "ProbeAnswer",
    "recheck": "Recheck",
    "reported status": "ReportedStatus",
    "verdict": "Verdict",
    "event": "Event",
    "incident": "Incident",
    "alert": "Alert",
    "alert event": "AlertEvent",
    "channel": "Channel",
    "delivery": "DeliveryRow",
    "acknowledgement": "Ack",
    "silence": "Silence",
    "suppression": "Suppression",
    "reconnect batch": "ReconnectBatch",
    "gap": "Gap",
    "cadence": "Cadence",
    "cluster": "ClusterState",
    "planner": "QueueRunner",
    "member": "ClusterMember",
    "unit": "Unit",
    "lease": "Lease",
    "user": "User",
    "share": "Share",
}
"""The class that stands for each word of the glossary."""

PLAIN_VALUES = {"author", "client", "label", "selection"}
"""Words of the glossary that need no class of their own: texts, and sets of connections."""


@cache
def classes() -> Mapping[str, list[str]]:
    """The modules of every class that is not nested, by its name without a leading underscore."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted((ROOT / "monitor").rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                found[node.name.lstrip("_")].append(str(path.relative_to(ROOT)))
    return found


def test_no_class_name_is_defined_twice() -> None:
    assert {name: homes for name, homes in classes().items() if len(homes) > 1} == {}


def test_every_word_of_the_glossary_has_its_class() -> None:
    architecture = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = architecture.split("## Glossary\n")[1].split("\n## ")[0]
    assert set(_ROW.findall(section)) - {"word"} == set(CLASSES) | PLAIN_VALUES


@pytest.mark.parametrize("name", CLASSES.values())
def test_a_word_of_the_glossary_names_one_class(name: str) -> None:
    assert len(classes()[name]) == 1
