"""The shape that DESIGN promises: small modules, short functions, and nothing that happens at import."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "monitor").rglob("*.py"))
MODULE_CEILING = 450
FUNCTION_CEILING = 60
BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_and_functions_stay_small(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= MODULE_CEILING
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= FUNCTION_CEILING, f"{node.name} has {length} lines"


def test_no_module_has_a_meaningless_name() -> None:
    names = {path.stem for path in MODULES} | {path.name for path in (ROOT / "monitor").rglob("*") if path.is_dir()}
    assert not names & BANNED_NAMES


@pytest.mark.slow
def test_the_import_floors_hold() -> None:
    """import-linter reads its contracts from pyproject.toml; make check runs the same."""
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_every_module_that_a_guide_names_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    found = [path.relative_to(ROOT).as_posix() for path in (*MODULES, *(ROOT / "tests").rglob("*.py"))]
    named = re.findall(r"`(?:monitor/)?([a-z_]+(?:/[a-z_]+)*\.py)`", text)
    assert named
    assert [name for name in named if not any(f"/{path}".endswith(f"/{name}") for path in found)] == []


def test_no_module_imports_itself_through_others() -> None:
    graph = grimp.build_graph("monitor", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    while leaves := [module for module, imported in imports.items() if not imported & imports.keys()]:
        for module in leaves:
            del imports[module]
    assert not imports, f"in or above a circle: {sorted(imports)}"


def test_every_library_has_a_home() -> None:
    """A library that no contract names could be imported anywhere."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    homes = {name for contract in contracts for name in contract.get("protected_modules", ())}
    imported = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.partition(".")[0])
    assert imported - sys.stdlib_module_names - {"monitor", "__future__"} == homes


def test_the_top_of_the_package_is_its_packages() -> None:
    entries = {path.name for path in (ROOT / "monitor").iterdir() if path.name != "__pycache__"}
    own = {"__init__.py", "__main__.py", "py.typed"}
    packages = {"cli", "config", "daemon", "demo", "domain", "engine", "notify", "providers", "store", "telemetry", "views"}
    assert entries == packages | own | {"web"}


@pytest.mark.slow
def test_importing_the_package_starts_nothing_and_loads_nothing_heavy() -> None:
    """The command line stays quick: the heavy libraries load where they are used."""
    heavy = ("apprise", "alembic", "aiohttp", "apscheduler", "psycopg")
    code = f"""
import sys, threading
import monitor.cli
assert threading.active_count() == 1
print([name for name in {heavy!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_file_names_a_package_index() -> None:
    for name in (
        "requirements.txt",
        "requirements-dev.txt",
        "requirements-build.txt",
        "pyproject.toml",
        "Makefile",
        ".ci/run",
        "Containerfile",
        "packaging/debian/build",
    ):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert "index-url" not in text.replace("--no-emit-index-url", "")
        assert "pypi.org" not in text


def test_nothing_uses_the_default_executor() -> None:
    """Its few threads are shared by everything that blocks, and a call that hangs in one delays the end of the process."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            name = getattr(node, "attr", None) or getattr(node, "id", None)
            assert name not in {"to_thread", "ThreadPoolExecutor", "ThreadedResolver"}, path
            if isinstance(node, ast.Call) and getattr(node.func, "attr", None) == "run_in_executor":
                assert not isinstance(node.args[0], ast.Constant), f"{path} names no executor"
