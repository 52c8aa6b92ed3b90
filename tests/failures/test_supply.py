"""What the program is made of, and what it never reads."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.acceptance.daemon import ROOT

LOCKS = ("requirements.txt", "requirements-dev.txt")
READS_OBJECTS = frozenset({"pickle", "marshal", "shelve", "yaml", "dill"})
"""Modules that can turn bytes into objects of any kind."""


@pytest.mark.parametrize("name", LOCKS)
def test_S16_every_dependency_is_locked_to_a_version_and_its_hashes(name: str) -> None:
    lines = (ROOT / name).read_text("utf-8").replace("\\\n", " ").splitlines()
    locked = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    assert len(locked) > 20
    for line in locked:
        assert "==" in line, line
        assert "--hash=sha256:" in line, line


@pytest.mark.parametrize("path", sorted((ROOT / "monitor").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_S15_nothing_reads_bytes_into_objects_of_any_kind(path: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.Name):
            assert node.id not in {"eval", "exec"}
    assert not imported & READS_OBJECTS
