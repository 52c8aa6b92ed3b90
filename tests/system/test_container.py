"""The container image: built by buildah as the Containerfile describes it, and run by podman.

No registry is in reach of a test, so the base image is made here, under the name that the Containerfile gives it: Debian with
its Python, from the distribution's packages. The locked requirements come from the same index or folder as those of the tests.
"""

from __future__ import annotations

import http.client
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from monitor.demo.server import ThreadedWorld, WorldServer
from monitor.demo.world import World
from monitor.store import Store
from tests.support.memory_folder import memory_folder
from tests.support.ports import free_port
from tests.support.postgres import private_server

ROOT = Path(__file__).parent.parent.parent
DEPLOYMENT = ROOT / "docs" / "deployment"
TOOLS = ("buildah", "podman", "runc", "mmdebstrap")
BASE = "python:3.12-slim"
PYTHON = "/usr/bin/python3"
WHEELS = "/opt/wheels"
PATIENCE = 30.0


def missing() -> str | None:
    """Return the reason why no image can be built here; None if one can."""
    tools = [name for name in TOOLS if shutil.which(name) is None]
    if tools or not Path(PYTHON).exists():
        return f"{', '.join(tools) or PYTHON} is missing"
    return "containers without a user session take root" if os.geteuid() != 0 else None


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(missing() is not None, reason=f"NOT PROVEN, the container image: {missing()}"),
    pytest.mark.xdist_group("container"),
]


def call(*command: object, timeout: float = 300, temporary: Path | None = None) -> str:
    """Run a program to its end, with this folder for temporary files, and return its output."""
    env = os.environ | ({"TMPDIR": str(temporary)} if temporary else {})
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, check=False, timeout=timeout, env=env)
    assert done.returncode == 0, f"{command[0]} failed: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Images and containers in a folder that is removed after the tests."""

    folder: Path

    @property
    def storage(self) -> tuple[str, ...]:
        """Options of both programs."""
        return (f"--root={self.folder}/storage", f"--runroot={self.folder}/run", "--storage-driver=overlay")

    def buildah(self, *arguments: object) -> str:
        """Run buildah."""
        return call("buildah", *self.storage, *arguments, temporary=self.folder).strip()

    def podman(self, *arguments: object) -> str:
        """Run podman. There may be no systemd here, and a hybrid hierarchy of cgroups."""
        return call("podman", *self.storage, "--cgroup-manager=cgroupfs", "--runtime=runc", *arguments, timeout=60).strip()

    def run(self, *options: object, command: tuple[str, ...] = ()) -> str:
        """Run the image, as restricted as kubernetes.yaml and compose.yaml restrict it, and return the output."""
        restricted = ("--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges")
        # Without CAP_SYS_RESOURCE the limits cannot be raised to podman's defaults.
        limits = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=4096:4096")
        here = ("--network=host", "--no-healthcheck", "--pull=never")
        return self.podman("run", *restricted, *limits, *here, *options, "token-monitor", *command)

    def start(self, *options: object) -> str:
        """Start the daemon in a container and return its name."""
        name = f"tm-{uuid.uuid4().hex[:8]}"
        self.run("--detach", f"--name={name}", *options)
        return name

    def logs(self, container: str) -> str:
        """Return what a container wrote; the daemon logs on standard error."""
        command = ["podman", *self.storage, "logs", container]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True, timeout=60)
        return done.stdout

    def stop(self, container: str) -> int:
        """Send SIGTERM and return the exit status."""
        self.podman("stop", "--time=15", container)
        return int(self.podman("wait", container))


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """Build the image from the Containerfile."""
    folder = Path(tempfile.mkdtemp(prefix="tm-container-", dir=memory_folder(executable=True) or "/var/tmp"))
    engine = Engine(folder=folder)
    try:
        digest = base_image(engine)
        download_wheels(folder / "wheels")
        build = ("build", "--format=docker", "--isolation=chroot", "--pull-never", f"--build-arg=PYTHON_DIGEST={digest}")
        engine.buildah(*build, f"--volume={folder}/wheels:{WHEELS}:ro", "--tag=token-monitor", ROOT)
        yield engine
    finally:
        storage = engine.storage
        for command in (("podman", *storage, "rm", "--all", "--force"), ("podman", *storage, "rmi", "--all", "--force")):
            subprocess.run(command, capture_output=True, check=False, timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def base_image(engine: Engine) -> str:
    """Make the base image and return its digest."""
    suite = next(
        line.partition("=")[2].strip('"\n')
        for line in Path("/etc/os-release").read_text("utf-8").splitlines()
        if line.startswith("VERSION_CODENAME=")
    )
    archive = engine.folder / "base.tar"
    packages = "--include=python3,python3-venv,ca-certificates"
    call("mmdebstrap", "--quiet", "--variant=minbase", packages, suite, archive, temporary=engine.folder)
    container = engine.buildah("from", "scratch")
    engine.buildah("add", "--quiet", container, archive, "/")
    archive.unlink()
    root = Path(engine.buildah("mount", container))
    (root / "usr/bin/python").symlink_to("python3")
    (root / "etc/pip.conf").write_text(f"[global]\nno-index = true\nfind-links = {WHEELS}\n", "utf-8")
    engine.buildah("config", "--env=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", container)
    engine.buildah("commit", "--quiet", "--rm", container, BASE)
    return engine.buildah("inspect", "--type=image", "--format={{.FromImageDigest}}", BASE)


def download_wheels(folder: Path) -> None:
    """Download the locked wheels for the base image's Python."""
    version = call(PYTHON, "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()
    for name in ("requirements.txt", "requirements-build.txt"):
        locked = ("--only-binary=:all:", f"--python-version={version}", "--require-hashes", f"--requirement={ROOT / name}")
        call(sys.executable, "-m", "pip", "download", "--quiet", *locked, f"--dest={folder}")


def read(port: int, path: str) -> tuple[int, bytes]:
    """GET a path of the page; (0, b"") if nothing listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    except OSError:
        return 0, b""
    finally:
        connection.close()


def wait_for(engine: Engine, container: str, port: int, path: str) -> None:
    """Wait until the page answers this path with 200."""
    deadline = time.monotonic() + PATIENCE
    while read(port, path)[0] != 200:
        assert time.monotonic() < deadline, engine.logs(container)
        time.sleep(0.2)


@pytest.fixture
def world() -> Iterator[tuple[WorldServer, World]]:
    """A simulated API with one account."""
    made = World()
    made.add_source("agency", "postpost")
    made.connect("agency", "mastodon", account="1", username="@fern", display_name="Fern & Fable")
    with ThreadedWorld(made) as server:
        yield server, made


def deployed(folder: Path, base_url: str, port: int) -> Path:
    """Return docs/deployment/config.toml with the simulated API and a free port; nothing else differs."""
    text = (DEPLOYMENT / "config.toml").read_text("utf-8")
    changed = text.replace('users = "all"', f'users = "all"\nbase_url = "{base_url}"').replace(":8321", f":{port}")
    assert tomllib.loads(changed)["web"]["listen"] == f"0.0.0.0:{port}"
    path = folder / "config.toml"
    path.write_text(changed, "utf-8")
    path.chmod(0o644)
    return path


def environment(folder: Path, world: World, **more: str) -> Path:
    """Return docs/deployment/example.env with values in place of its placeholders."""
    values = {
        "POSTPOST_API_KEY": world.sources["agency"].key,
        "OPS_APPRISE_URL": "json://127.0.0.1:9/hook",
        "TOKEN_MONITOR_WEB_TOKEN": "a-token-of-22-or-more-characters",
        "PGPASSWORD": "a-password",
    }
    lines = [line for line in (DEPLOYMENT / "example.env").read_text("utf-8").splitlines() if not line.startswith("#")]
    assert lines == [f"{key}=" for key in values]
    path = folder / ".env"
    path.write_text("".join(f"{key}={value}\n" for key, value in (values | more).items()), "utf-8")
    return path


def test_the_image_runs_restricted_and_stops_with_status_0(
    engine: Engine, world: tuple[WorldServer, World], tmp_path: Path
) -> None:
    """Root file system read-only, no capability, no root: only the volume can be written."""
    server, made = world
    port = free_port()
    config, secrets = deployed(tmp_path, server.base_url("postpost"), port), environment(tmp_path, made)
    volume = f"state-{uuid.uuid4().hex[:8]}:/var/lib/token-monitor"
    options = (f"--volume={volume}", f"--volume={config}:/etc/token-monitor/config.toml:ro", f"--env-file={secrets}")
    container = engine.start(*options, f"--env=HEALTH_URL=http://127.0.0.1:{port}/healthz")
    secrets.unlink()
    wait_for(engine, container, port, "/healthz")
    wait_for(engine, container, port, "/readyz")
    assert engine.podman("exec", container, "id", "-u") == "62321"
    refused = "for place in / /etc/token-monitor /tmp /opt/token-monitor; do ! touch $place/written 2>/dev/null || exit 1; done"
    engine.podman("exec", container, "sh", "-c", refused)
    assert engine.podman("exec", container, "ls", "/var/lib/token-monitor").split()[0] == "monitor.db"
    assert "Fern & Fable" in engine.podman("exec", container, "token-monitor", "status", "--json")
    engine.podman("exec", container, *health_check(engine))
    assert read(port, "/api/v1/connections")[0] == 401
    assert engine.stop(container) == 0
    assert '"daemon.stopped"' in engine.logs(container)


def health_check(engine: Engine) -> list[str]:
    """Return the command of the image's HEALTHCHECK."""
    found = json.loads(engine.podman("image", "inspect", "token-monitor"))[0]["Healthcheck"]["Test"]
    assert found[0] == "CMD"
    return list(found[1:])


def test_the_environment_of_compose_runs_on_postgresql(engine: Engine, world: tuple[WorldServer, World], tmp_path: Path) -> None:
    """What compose.yaml passes to the service, with the name of its database's host and the port of the local server."""
    server, made = world
    service: dict[str, Any] = yaml.safe_load((DEPLOYMENT / "compose.yaml").read_text("utf-8"))["services"]["token-monitor"]
    port, database_port = free_port(), free_port()
    config, secrets = deployed(tmp_path, server.base_url("postpost"), port), environment(tmp_path, made)
    passed = {key: value.replace(":5432", f":{database_port}") for key, value in service["environment"].items()}
    variables = [f"--env={key}={value}" for key, value in passed.items()]
    volumes = [f"--volume={each.replace('./config.toml', str(config))}" for each in service["volumes"]]
    with private_server(tcp_port=database_port) as postgres:
        create_as_compose_does(postgres)
        options = (*variables, *volumes, f"--env-file={secrets}", "--add-host=db:127.0.0.1")
        checked = engine.run("--rm", *options, command=("config", "check", "--live"))
        assert "ok      source agency: lists 1 connection\n" in checked
        assert "ok      database monitor on db: it has no tables yet" in checked
        assert "Copied" in copied_from_sqlite(engine, options, tmp_path)
        container = engine.start(*options)
        secrets.unlink()
        wait_for(engine, container, port, "/readyz")
        assert "Fern & Fable" in engine.podman("exec", container, "token-monitor", "status", "--json")
        assert engine.stop(container) == 0


def copied_from_sqlite(engine: Engine, options: tuple[str, ...], folder: Path) -> str:
    """Copy a SQLite database by the command of compose.md, and return its output."""
    page = (DEPLOYMENT / "compose.md").read_text("utf-8")
    line = next(line for line in page.splitlines() if line.startswith("docker compose run --rm -v ./old.db:"))
    old = folder / "old.db"
    with Store(f"sqlite:///{old}") as store:
        store.upgrade()
    shutil.chown(old, 62321)
    given, _, command = line.removeprefix("docker compose run --rm ").partition(" token-monitor ")
    port = next(each for each in options if "DATABASE__URL" in each).rpartition(":")[2].partition("/")[0]
    words = shlex.split(given.replace("./old.db", str(old)))
    return engine.run("--rm", *options, *words, command=tuple(shlex.split(command.replace(":5432", f":{port}"))))


def create_as_compose_does(postgres: Any) -> None:
    """Create the role and the database that the image of PostgreSQL creates from POSTGRES_USER and POSTGRES_DB."""
    import psycopg

    given = yaml.safe_load((DEPLOYMENT / "compose.yaml").read_text("utf-8"))["services"]["db"]["environment"]
    user, name = given["POSTGRES_USER"], given["POSTGRES_DB"]
    with psycopg.connect(postgres.url.render_as_string(hide_password=False), autocommit=True) as conn:
        conn.execute(f"CREATE ROLE {user} SUPERUSER LOGIN PASSWORD 'a-password'")
        conn.execute(f"CREATE DATABASE {name} OWNER {user}")
