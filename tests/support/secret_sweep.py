"""A pytest plugin: no test may leave a secret behind, in a file, in a database, in what it printed, or on its way.

At the end of each test its folder and its captured output are searched, and what its databases, pages and receivers were
seen to hold; a finding fails that test. At the end of each process so are the folders that tests share.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.support.canary import WATCH, Finding, search, sweep

_SWEPT = pytest.StashKey[set[Path]]()
_FINDINGS = pytest.StashKey[list[str]]()
_LEFT = "canaries"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """After a test's teardown: what it left behind is searched, and a finding fails it."""
    report = yield
    if call.when == "teardown":
        found = [*WATCH.take(), *_in_folder(item), *_in_output(report)]
        if found and report.passed:
            report.outcome = "failed"
            report.longrepr = _as_text(found)
    return report


def _in_folder(item: pytest.Item) -> list[Finding]:
    folder = getattr(item, "funcargs", {}).get("tmp_path")
    if not isinstance(folder, Path):
        return []
    item.config.stash.setdefault(_SWEPT, set()).add(folder)
    return sweep(folder)


def _in_output(report: pytest.TestReport) -> list[Finding]:
    return [each for title, text in report.sections for each in search(text, title)]


def _as_text(found: list[Finding]) -> str:
    lines = "\n".join(f"  {each}" for each in found)
    return f"a secret was left where none may be (tests/support/canary.py):\n{lines}"


# --- what tests share: swept by each process at its end, reported by the first


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Search what is left, at the end of a process; the first one fails where anything was found by any."""
    factory = getattr(session.config, "_tmp_path_factory", None)  # there is no public way to it from a hook
    found = WATCH.take()
    if factory is not None and factory._basetemp is not None:
        swept: set[Path] = session.config.stash.get(_SWEPT, set())
        found += sweep(factory._basetemp, but=swept)
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_LEFT] = [str(each) for each in found]
        return
    findings = [*session.config.stash.get(_FINDINGS, []), *(str(each) for each in found)]
    session.config.stash[_FINDINGS] = findings
    if findings and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


class Workers:
    """Receiver of the findings of pytest-xdist's workers at their end."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A worker has ended."""
        node.config.stash.setdefault(_FINDINGS, []).extend(getattr(node, "workeroutput", {}).get(_LEFT, []))


def pytest_configure(config: pytest.Config) -> None:
    """Listen to the workers."""
    config.pluginmanager.register(Workers(), "canary-workers")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Name what was found in the folders that tests share."""
    for each in config.stash.get(_FINDINGS, []):
        terminalreporter.write_line(f"a secret was left where none may be: {each}", red=True)
