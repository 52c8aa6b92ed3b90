"""What the program is made of, and what it never reads."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from monitor import __version__
from tests.acceptance.daemon import ROOT

LOCKS = {"requirements.txt": 20, "requirements-dev.txt": 20, "requirements-build.txt": 3}
"""Each lock, and a number of packages that it holds at least."""
READS_OBJECTS = frozenset(
    {"pickle", "_pickle", "marshal", "shelve", "dbm", "yaml", "dill", "cloudpickle", "joblib", "jsonpickle", "multiprocessing"}
)
"""Modules that can turn bytes into objects of any kind."""

RUNS_CODE = frozenset({"eval", "exec", "execfile", "run_path", "run_module", "fileConfig", "dictConfig", "PickleType"})
"""Names of what runs a text as code, or reads objects, in modules that are harmless otherwise."""

IMPORTERS = frozenset({"import_module", "__import__", "find_spec", "exec_module", "resolve_name"})

IMPORT_EVERYTHING = """
import importlib, pkgutil, sys

def refuse(event, arguments):
    if event.startswith("socket."):
        raise AssertionError(f"{event} {arguments}")

sys.addaudithook(refuse)
import monitor
names = [module.name for module in pkgutil.walk_packages(monitor.__path__, "monitor.") if module.name != "monitor.__main__"]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


Lock = dict[str, dict[str, set[str]]]
"""By the canonical name of each package its versions (more than one where they differ by Python), each with its hashes."""


def locked(name: str) -> Lock:
    """What a lock holds."""
    found: Lock = {}
    for line in (ROOT / name).read_text("utf-8").replace("\\\n", " ").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            stated, *hashes = line.split(" --hash=sha256:")
            package, _, version = stated.partition(";")[0].strip().partition("==")
            found.setdefault(canonicalize_name(package.partition("[")[0]), {})[version] = {each.strip() for each in hashes}
    return found


def asked_for() -> dict[str, list[str]]:
    """What the project asks for: to run, with every extra; to be worked on; to be built."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    extras = document["project"]["optional-dependencies"].values()
    return {
        "run": [*document["project"]["dependencies"], *(each for extra in extras for each in extra)],
        "dev": document["dependency-groups"]["dev"],
        "build": document["build-system"]["requires"],
        "build group": document["dependency-groups"]["build"],
    }


def unmet(wanted: Iterable[str], lock: Lock) -> list[str]:
    """The requirements that no version in a lock satisfies."""
    asked = [Requirement(text) for text in wanted]
    return [str(each) for each in asked if not any(map(each.specifier.contains, lock.get(canonicalize_name(each.name), {})))]


def run(program: str, *arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    """One of the programs beside the packages, with the tools of this environment."""
    tools = str(Path(sys.executable).parent)
    command = [str(ROOT / "packaging" / program), *map(str, arguments)]
    return subprocess.run(command, env={**os.environ, "TOOLS": tools, **env}, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", LOCKS)
def test_S16_every_dependency_is_locked_to_a_version_and_its_hashes(name: str) -> None:
    lock = locked(name)
    assert len(lock) > LOCKS[name]
    for package, versions in lock.items():
        for version, hashes in versions.items():
            assert version, package
            assert hashes, package
            assert all(len(each) == 64 and int(each, 16) >= 0 for each in hashes), package


def test_S16_the_locks_hold_everything_that_is_asked_for_also_to_build_it() -> None:
    asked, run_lock, dev_lock = asked_for(), locked("requirements.txt"), locked("requirements-dev.txt")
    assert unmet(asked["run"], run_lock) == []
    assert unmet([*asked["dev"], *asked["build"]], dev_lock) == []
    assert unmet(["apprise<1"], run_lock) == ["apprise<1"], "what is not satisfied would be noticed"
    assert {name: dev_lock.get(name) for name in run_lock} == run_lock, "what is tested is what runs"
    build_lock = locked("requirements-build.txt")
    assert unmet([*asked["build"], *asked["build group"]], build_lock) == []
    assert {name: dev_lock.get(name) for name in build_lock} == build_lock


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    file = tmp_path_factory.mktemp("bill") / "sbom.cdx.json"
    done = run("sbom", file)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return file.read_bytes()


def test_S16_the_bill_of_materials_is_the_lock_with_versions_and_hashes(bill: bytes) -> None:
    document: dict[str, Any] = json.loads(bill)
    parts: Lock = {}
    for each in document["components"]:
        parts.setdefault(canonicalize_name(each["name"]), {})[each["version"]] = _hashes(each)
    assert parts == locked("requirements.txt")
    assert sum(map(len, parts.values())) == len(document["components"])
    about = document["metadata"]["component"]
    assert (about["name"], about["version"], about["type"]) == ("token-expiry-monitor", __version__, "application")


def _hashes(part: dict[str, Any]) -> set[str]:
    return {each["content"] for place in part["externalReferences"] for each in place["hashes"] if each["alg"] == "SHA-256"}


def test_S16_the_bill_of_materials_is_reproducible(bill: bytes, tmp_path: Path) -> None:
    document = json.loads(bill)
    assert "serialNumber" not in document
    assert "timestamp" not in document["metadata"]
    assert str(ROOT) not in bill.decode()
    file = tmp_path / "again" / "sbom.cdx.json"
    assert run("sbom", file, SOURCE_DATE_EPOCH="1767225600").returncode == 0
    assert file.read_bytes() == bill


def test_S16_an_audit_that_could_not_ask_is_no_all_clear() -> None:
    nowhere = "http://127.0.0.1:9"
    done = run("audit", HTTPS_PROXY=nowhere, https_proxy=nowhere, NO_PROXY="", no_proxy="")
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("The result is incomplete, because not every package could be checked")


def test_S16_importing_every_module_opens_no_socket_and_asks_for_no_name() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT_EVERYTHING], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 200


LOADED_BY_NAME = {
    "monitor/cli/commands.py": ["f'monitor.cli.{part}'"],
    "monitor/notify/apprise/network.py": ["'socks'"],
    "monitor/notify/apprise/services.py": ["f'{manager.module_name_prefix}.{next(iter(modules))}'"],
    "monitor/notify/messages/chart.py": ["'resvg_py'"],
    "monitor/providers/__init__.py": ["module"],
}
"""What the program imports by a name: the plugins of Apprise, an optional library, and its own commands and adapters."""


def object_readers(source: str) -> list[str]:
    """Return what a module names that can turn bytes or text into objects or code, however it gets at it."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found += [each.name for each in names if each.name.partition(".")[0] in READS_OBJECTS]
            case ast.ImportFrom(module=module, names=names):
                found += [module or ""] if (module or "").partition(".")[0] in READS_OBJECTS else []
                found += [each.name for each in names if each.name in RUNS_CODE | READS_OBJECTS]
            case ast.Name(id=name) if name in RUNS_CODE:
                found.append(name)
            case ast.Attribute(attr=name) if name in RUNS_CODE | READS_OBJECTS:
                found.append(name)
            case ast.Constant(value=str(text)) if text.partition(".")[0] in READS_OBJECTS:
                found.append(text)
    return found


def imports_by_name(source: str) -> list[str]:
    """Return the arguments of calls that import a module by its name."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [ast.unparse(call.args[0]) for call in calls if ast.unparse(call.func).rpartition(".")[2] in IMPORTERS]


@pytest.mark.parametrize("folder", ["monitor", "migrations"])
def test_S15_nothing_reads_bytes_into_objects_of_any_kind(folder: str) -> None:
    sources = {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in sorted((ROOT / folder).rglob("*.py"))}
    assert {name: found for name, text in sources.items() if (found := object_readers(text))} == {}
    by_name = {name: found for name, text in sources.items() if (found := imports_by_name(text))}
    assert by_name == {name: found for name, found in LOADED_BY_NAME.items() if name.startswith(folder)}


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads",
        "import yaml.constructor",
        "importlib.import_module('pickle').loads",
        "__import__('marshal')",
        "sys.modules['shelve']",
        "from sqlalchemy import PickleType",
        "sqlalchemy.PickleType()",
        "eval(text)",
        "builtins.exec(text)",
        "from builtins import eval",
        "logging.config.fileConfig(path)",
    ],
)
def test_S15_every_way_to_such_a_reader_is_recognised(line: str) -> None:
    assert object_readers(line)


@pytest.mark.parametrize("line", ["importlib.import_module('pick' + 'le')", "import_module(name)", "__import__(name)"])
def test_S15_a_module_that_is_loaded_by_a_computed_name_is_recognised(line: str) -> None:
    assert imports_by_name(line)
