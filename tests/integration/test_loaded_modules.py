"""What a process loads: a command and the daemon keep out of memory what they do not use. Figures belong to benchmarks."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import httpx
import pytest
import trustme

from monitor.store import migrate, sqlite_file
from tests.support.command_line import CONFIG, environment, write_config
from tests.support.ports import free_port

DELIVERY = ("monitor.notify.worker", "monitor.notify.messages", "apprise", "requests", "urllib3", "jinja2", "markupsafe")
MIGRATIONS = ("alembic", "mako", "pygments")
PAGE = ("starlette", "uvicorn", "click", "icalendar")
SERVICES = ("aiohttp", "httpx", "stamina", "urllib.request", "http.client", "apscheduler", "prometheus_client")
RARE = ("rich", "dateutil", "jmespath", "resvg_py")
"""For terminals, silences that recur, services that are read by a definition, and charts."""

NOT_IN_A_COMMAND = (*DELIVERY, *MIGRATIONS, *PAGE, *SERVICES, *RARE)
REPORT = (
    "import sys; from monitor.cli import main; main(sys.argv[1:]); "
    "print('loaded:', *sorted(name for name, module in sys.modules.items() if module))"
)
NO_CHANNELS = CONFIG[: CONFIG.index("[[channels]]")]


def started(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", REPORT, *words],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def loaded(process: subprocess.Popen[str]) -> set[str]:
    """The modules that were loaded when the process ended."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return set(out.rpartition("loaded: ")[2].split())


def test_a_new_database_is_created_without_alembic(tmp_path: Path) -> None:
    write_config(tmp_path)
    assert loaded(started(tmp_path, "db", "upgrade")) & set(MIGRATIONS) == set()


def test_a_migration_loads_no_highlighting_of_errors(tmp_path: Path) -> None:
    write_config(tmp_path)
    sqlite_file.create(tmp_path / "monitor.db")
    migrate.upgrade(tmp_path / "monitor.db", to="0008")
    found = loaded(started(tmp_path, "db", "upgrade"))
    assert "alembic" in found
    assert "pygments" not in found


@pytest.mark.parametrize("words", [("status",), ("status", "--json"), ("--version",)], ids=" ".join)
def test_a_command_loads_only_what_it_needs(words: tuple[str, ...], tmp_path: Path) -> None:
    write_config(tmp_path)
    loaded(started(tmp_path, "db", "upgrade"))
    assert loaded(started(tmp_path, *words)) & set(NOT_IN_A_COMMAND) == set()


def test_the_version_loads_neither_configuration_nor_store(tmp_path: Path) -> None:
    assert loaded(started(tmp_path, "--version")) & {"pydantic", "sqlalchemy", "monitor.config", "monitor.store"} == set()


def test_what_is_imported_without_certificates_leaves_them_to_the_sessions(tmp_path: Path) -> None:
    """Each of aiohttp's own contexts takes 15 ms and 1 MB, and none is used: a session has its own."""
    code = """
        import os, ssl
        from pathlib import Path
        from monitor.cli.startup import loading
        with loading():
            import aiohttp.connector as connector
            from monitor.providers.http import tls_context
        owned = tls_context(None)
        assert connector._SSL_CONTEXT_VERIFIED.cert_store_stats()["x509"] == 0
        assert owned.cert_store_stats()["x509"] == 1 and owned.verify_mode is ssl.CERT_REQUIRED
        assert os.environ["SSL_CERT_FILE"] == "authority.pem" and "SSL_CERT_DIR" not in os.environ
    """
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    env = {**environment(), "SSL_CERT_FILE": "authority.pem"}
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, cwd=tmp_path, env=env)


@pytest.mark.parametrize("page", ["off", "not opened", "opened"])
def test_the_daemon_loads_no_delivery_without_a_channel_and_no_page_that_nobody_opens(page: str, tmp_path: Path) -> None:
    port = free_port()
    write_config(tmp_path, text=NO_CHANNELS + f'[web]\nlisten = "{"off" if page == "off" else f"127.0.0.1:{port}"}"\n')
    loaded(started(tmp_path, "db", "upgrade"))
    process = started(tmp_path, "run")
    assert process.stderr is not None
    for line in process.stderr:
        if "daemon.started" in line:
            break
    if page == "opened":
        assert httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False, timeout=30).status_code in (200, 503)
    process.send_signal(signal.SIGTERM)
    absent = {*MIGRATIONS, *RARE, "apprise", "requests", "urllib3", "icalendar"}
    absent |= set() if page == "opened" else {*PAGE, *DELIVERY}
    assert loaded(process) & absent == set()


def test_the_scheduler_is_imported_without_a_search_for_plugins() -> None:
    code = """
        from importlib import metadata
        from monitor.domain.imports import without_plugins
        found = metadata.entry_points
        with without_plugins():
            from apscheduler.schedulers.asyncio import AsyncIOScheduler
        assert AsyncIOScheduler._trigger_plugins == {}
        assert metadata.entry_points is found
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, env=environment())
