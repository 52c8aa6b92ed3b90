"""Wheel and source archive: the same bytes whoever builds them and when, with everything that a machine needs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
EPOCH = "1767225600"
IGNORED = shutil.ignore_patterns(".git", ".venv*", "__pycache__", ".*_cache", ".hypothesis", "dist", "*.db*", "node_modules")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def build(source: Path, out: Path) -> dict[str, bytes]:
    """Every distribution by its file name."""
    env = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH}
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", out], cwd=source, env=env, check=True, capture_output=True)
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.fixture(scope="module")
def checkouts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The project twice, in folders of other names, with other file times and other group rights."""
    here, there = tmp_path_factory.mktemp("here") / "one", tmp_path_factory.mktemp("there") / "another-name"
    shutil.copytree(ROOT, here, ignore=IGNORED)
    shutil.copytree(ROOT, there, ignore=IGNORED)
    for path in there.rglob("*"):
        path.chmod(path.stat().st_mode | 0o020)
        os.utime(path, (1_500_000_000, 1_500_000_000))
    return here, there


@pytest.fixture(scope="module")
def distributions(checkouts: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    build(checkouts[0], out)
    return out


def test_S16_two_builds_give_the_same_bytes(checkouts: tuple[Path, Path], distributions: Path, tmp_path: Path) -> None:
    first = {path.name: path.read_bytes() for path in distributions.iterdir()}
    second = build(checkouts[1], tmp_path / "dist")
    assert sorted(first) == sorted(second)
    assert {name.rpartition(".")[2] for name in first} == {"whl", "gz"}
    for name, content in first.items():
        assert content == second[name], f"{name} differs"


def test_the_wheel_brings_units_man_page_and_completions(distributions: Path) -> None:
    names = zipfile.ZipFile(next(distributions.glob("*.whl"))).namelist()
    data = {re.sub(r"^.*\.data/data/", "", name) for name in names if ".data/data/" in name}
    assert data == {
        "share/man/man1/token-monitor.1",
        "share/bash-completion/completions/token-monitor",
        "share/zsh/site-functions/_token-monitor",
        "share/fish/vendor_completions.d/token-monitor.fish",
    }
    assert {path.name for path in (ROOT / "systemd").iterdir()} == {
        name.rpartition("/")[2] for name in names if name.startswith("monitor/systemd_units/")
    }


def test_the_source_archive_builds_the_same_wheel(distributions: Path, tmp_path: Path) -> None:
    with tarfile.open(next(distributions.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    rebuilt = build(unpacked, tmp_path / "dist")
    wheel = next(distributions.glob("*.whl"))
    assert rebuilt[wheel.name] == wheel.read_bytes()


def test_the_source_archive_holds_no_leftovers(distributions: Path) -> None:
    with tarfile.open(next(distributions.glob("*.tar.gz"))) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".db")) or name.startswith(".venv")]
    assert {"Containerfile", "packaging/debian/build", "Makefile", "requirements.txt", "tests/conftest.py"} <= set(names)
