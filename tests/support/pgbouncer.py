"""Real PgBouncers in front of a test's PostgreSQL, on a Unix socket in a folder of their own."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import URL, make_url

from tests.support.memory_folder import memory_folder
from tests.support.postgres import as_nobody

PORT = 6432
PROGRAM = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")


@contextmanager
def pgbouncer(server: URL | str, *, mode: str, settings: str = "") -> Iterator[URL]:
    """Run a PgBouncer with Debian's defaults, this pool_mode and these lines; yield the URL of its maintenance database."""
    if PROGRAM is None:
        pytest.skip("pgbouncer is not installed: see .ci/packages")
    target = make_url(server)
    folder = Path(tempfile.mkdtemp(prefix="tm-bouncer-", dir=memory_folder(executable=False)))
    try:
        owner = as_nobody()
        if owner:
            shutil.chown(folder, owner["user"], owner["group"])
        (folder / "users.txt").write_text('"postgres" ""\n"bouncer" ""\n', encoding="utf-8")
        (folder / "pgbouncer.ini").write_text(
            f"""
[databases]
* = host={target.query["host"]} port={target.port or 5432}
[pgbouncer]
pool_mode = {mode}
listen_port = {PORT}
unix_socket_dir = {folder}
auth_type = trust
auth_file = {folder}/users.txt
logfile = {folder}/log
{settings}
""",
            encoding="utf-8",
        )
        with (folder / "out").open("wb") as out:
            process = subprocess.Popen([PROGRAM, "-q", folder / "pgbouncer.ini"], stdout=out, stderr=out, cwd=folder, **owner)
        try:
            _await(process, folder)
            yield target.set(port=PORT, query={"host": str(folder)})
        finally:
            process.kill()
            process.wait(10)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _await(process: subprocess.Popen[bytes], folder: Path) -> None:
    for _ in range(500):
        if (folder / f".s.PGSQL.{PORT}").exists():
            return
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise RuntimeError(f"pgbouncer did not start: {(folder / 'out').read_text()}")
