"""Every fuzz target on its own seeds and some hundred mutations of them, so that none rots between two runs of `make fuzz`."""

from __future__ import annotations

import importlib
import importlib.util
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.answers.generator import damage
from tests.fuzz import __main__ as program
from tests.fuzz.target import Target, must

TARGETS = [target for family in program.FAMILIES for target in importlib.import_module(f"tests.fuzz.{family}").TARGETS]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_target_holds_on_its_seeds_and_near_them(target: Target) -> None:
    dice = random.Random(1)
    seeds = list(target.seeds())
    assert seeds
    assert all(len(seed) <= target.largest for seed in seeds)
    for seed in dice.sample(seeds, min(len(seeds), 100)):
        target.one(seed)
    for _ in range(200):
        target.one(damage(dice, dice.choice(seeds))[: target.largest])
    for octets in (b"", b"\x00", b"\xff" * 50):
        target.one(octets)


def test_the_program_knows_every_target() -> None:
    assert program.names() == [target.name for target in TARGETS]


def test_a_violated_property_is_reported() -> None:
    must(holds=True)
    with pytest.raises(AssertionError, match="here"):
        must([], "here")


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no wheel here: guided fuzzing is NOT tested")
@pytest.mark.slow
def test_guided_fuzzing_runs_and_an_input_that_breaks_a_target_is_kept(tmp_path: Path) -> None:
    """With a real target, and with one that a short input breaks."""
    fine = fuzz("durations", "--runs", "300", "--kept", str(tmp_path))
    assert fine.returncode == 0, fine.stdout + fine.stderr
    assert "durations" in fine.stdout
    assert list(tmp_path.iterdir()) == []
    broken = tmp_path / "broken"
    code = (
        "import sys; from tests.fuzz import __main__ as program; from tests.fuzz.target import Target, must; "
        "short = lambda data: must(len(data) < 3, data); "
        "program._load = lambda name: Target(name=name, one=short, seeds=lambda: [b'a', b'abcd']); "
        f"sys.argv = ['fuzz', 'durations', '--child', '--runs', '300', '--kept', {str(broken)!r}]; program.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=program.ROOT, capture_output=True, check=False, timeout=100)
    assert done.returncode != 0
    (kept,) = broken.iterdir()
    assert kept.name.startswith("durations-crash-")
    assert len(kept.read_bytes()) >= 3


def fuzz(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The program as `make fuzz` starts it."""
    command = [sys.executable, "-m", "tests.fuzz", *arguments]
    return subprocess.run(command, cwd=program.ROOT, capture_output=True, text=True, check=False, timeout=100)
