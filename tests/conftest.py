"""Fixtures for every test: one fixed now, a clean environment, and real databases of both kinds."""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import hypothesis
import pytest
import structlog

from monitor.store import Store
from monitor.telemetry import logs
from tests.failures import catalogue
from tests.support import canary, factories, postgres, secret_sweep
from tests.support.fakes import ManualClock
from tests.support.memory_folder import memory_folder

NOW = factories.NOW

# On a loaded machine the first example may take long. The timeout of each test bounds what must end.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", metavar="FOLDER", help="where the browser tests put pictures of the pages; none by default")
    parser.addoption("--no-skips", action="store_true", help="a skipped test fails the run: nothing may be missing here")
    parser.addoption("--record", action="store_true", help="write tests/failures/results.json from this run")


def _load_nothing(_context: ssl.SSLContext, _purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH) -> None:
    """Stand in for reading the system's trust store."""


def pytest_configure(config: pytest.Config) -> None:
    """No test may leave a secret behind. Its files are in memory where there is room, so that none waits for a disk."""
    memory = memory_folder(executable=True)
    if memory is not None:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))
    # The tests trust their own authorities alone: reading the system's takes 20 ms for each context.
    ssl.SSLContext.load_default_certs = _load_nothing  # type: ignore[method-assign, assignment]
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
def _logging_restored() -> Iterator[None]:
    """Logging is the process's own: put it back for the other tests, or their libraries' logs would contain test secrets."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in logs._LIMITED}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)
    structlog.reset_defaults()


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
def _postgres_pool(postgres_url: str) -> Iterator[postgres.Pool]:
    """Databases at the newest revision."""
    template = postgres.create_database(postgres_url)
    with Store(template) as store:
        store.upgrade()
    pool = postgres.Pool(postgres_url, template)
    yield pool
    pool.close()
    postgres.drop_database(template)


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file at the newest revision to copy from."""
    path = tmp_path_factory.mktemp("template") / "template.db"
    with Store(f"sqlite:///{path}") as template:
        template.upgrade()
    return path


@pytest.fixture
def new_postgres(postgres_url: str) -> Iterator[Callable[[], str]]:
    """Makes empty databases that are gone after the test."""
    made: list[str] = []

    def make() -> str:
        made.append(postgres.create_database(postgres_url))
        return made[-1]

    yield make
    for url in made:
        canary.WATCH.look(postgres.everything_in(url), f"database {postgres.name_of(url)}")
        postgres.drop_database(url)


@pytest.fixture
def _migrated_postgres(_postgres_pool: postgres.Pool) -> Iterator[str]:
    url = _postgres_pool.take()
    yield url
    _postgres_pool.give_back(url)


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
    return str(request.getfixturevalue("_migrated_postgres"))


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A store of either kind with the newest schema and nothing in it."""
    with Store(database_url) as opened:
        yield opened
