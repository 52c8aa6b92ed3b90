"""Fixtures that several modules of this folder share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.store import Store
from tests.support.factories import NOW
from tests.support.web_world import fill


@pytest.fixture(scope="module")
def filled(_sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An SQLite database that is full of everything that pages show."""
    path = tmp_path_factory.mktemp("filled") / "monitor.db"
    path.write_bytes(_sqlite_template.read_bytes())
    with Store(f"sqlite:///{path}") as opened:
        fill(opened, NOW)
    return path.read_bytes()


@pytest.fixture
def filled_store(filled: bytes, tmp_path: Path) -> Iterator[Store]:
    """A copy of that database, which the test may change."""
    path = tmp_path / "monitor.db"
    path.write_bytes(filled)
    with Store(f"sqlite:///{path}") as opened:
        yield opened
