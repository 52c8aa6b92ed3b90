"""Fixtures for every test: one fixed now, a clean environment, and real databases of both kinds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from monitor.store import Store
from tests.failures import catalogue
from tests.support import canary, factories, postgres, secret_sweep
from tests.support.fakes import ManualClock

NOW = factories.NOW


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", metavar="FOLDER", help="where the browser tests put pictures of the pages; none by default")
    parser.addoption("--no-skips", action="store_true", help="a skipped test fails the run: nothing may be missing here")
    parser.addoption("--record", action="store_true", help="write tests/failures/results.json from this run")


def pytest_configure(config: pytest.Config) -> None:
    """No test may leave a secret behind."""
    config.pluginmanager.register(secret_sweep, "sweeping")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """With --no-skips, a test that was skipped is a hole in what the run promises."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    if session.config.getoption("--record") and not hasattr(session.config, "workerinput"):
        catalogue.record(reporter.stats)
    if not session.config.getoption("--no-skips"):
        return
    skipped = reporter.stats.get("skipped", [])
    if skipped and exitstatus == pytest.ExitCode.OK:
        reporter.write_line(f"--no-skips: {len(skipped)} skipped, see above; what they need must be installed here", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def now() -> datetime:
    """The instant at which the tests play."""
    return NOW


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands at `now`."""
    return ManualClock(NOW)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the developer has set must not reach the tests."""
    for name in list(os.environ):
        if name.startswith("TOKEN_MONITOR_") or name.lower() in {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}:
            monkeypatch.delenv(name)
    for name in (
        "NOTIFY_SOCKET",
        "STATE_DIRECTORY",
        "CREDENTIALS_DIRECTORY",
        "WATCHDOG_USEC",
        "XDG_STATE_HOME",
        "XDG_CONFIG_HOME",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server, one per test process; its role may create databases."""
    with postgres.server_url() as url:
        yield url


@pytest.fixture(scope="session")
def _postgres_template(postgres_url: str) -> Iterator[str]:
    """A database at the newest revision to copy from; nobody may be connected to it while it is copied."""
    url = postgres.create_database(postgres_url)
    with Store(url) as template:
        template.upgrade()
    yield postgres.name_of(url)
    postgres.drop_database(url)


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file at the newest revision to copy from."""
    path = tmp_path_factory.mktemp("template") / "template.db"
    with Store(f"sqlite:///{path}") as template:
        template.upgrade()
    return path


@pytest.fixture
def new_postgres(postgres_url: str) -> Iterator[Callable[..., str]]:
    """Makes databases that are gone after the test: new_postgres() an empty one, new_postgres(template=...) a copy."""
    made: list[str] = []

    def make(*, template: str | None = None) -> str:
        made.append(postgres.create_database(postgres_url, template=template))
        return made[-1]

    yield make
    for url in made:
        canary.WATCH.look(postgres.everything_in(url), f"database {postgres.name_of(url)}")
        postgres.drop_database(url)


@pytest.fixture(params=["sqlite", "postgres"])
def backend(request: pytest.FixtureRequest) -> str:
    """Both kinds of database, one after the other."""
    return str(request.param)


@pytest.fixture
def empty_database(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """The URL of a database without tables, of either kind."""
    if backend == "sqlite":
        return f"sqlite:///{tmp_path / 'monitor.db'}"
    return str(request.getfixturevalue("new_postgres")())


@pytest.fixture
def database_url(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """The URL of a database with the newest schema and nothing in it, of either kind."""
    if backend == "sqlite":
        template: Path = request.getfixturevalue("_sqlite_template")
        path = tmp_path / "monitor.db"
        path.touch(mode=0o600)
        path.write_bytes(template.read_bytes())
        return f"sqlite:///{path}"
    name = request.getfixturevalue("_postgres_template")
    return str(request.getfixturevalue("new_postgres")(template=name))


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A store of either kind with the newest schema and nothing in it."""
    with Store(database_url) as opened:
        yield opened
