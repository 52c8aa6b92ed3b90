"""Real reverse proxies on loopback: nginx and Caddy, with configuration files of the documentation."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import trustme

from tests.support.memory_folder import memory_folder
from tests.support.ports import free_port
from tests.support.postgres import as_nobody

PORT = "{port}"
"""Stands for the proxy's own port in a configuration file."""
CERTIFICATE, KEY = "{certificate}", "{key}"
"""Stand for the paths of the certificate and its key."""
_PATH = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"
_NGINX = """
daemon off;
pid {folder}/pid;
error_log {folder}/log info;
events {{ worker_connections 64; }}
http {{
access_log off;
client_body_temp_path {folder}/body;
proxy_temp_path {folder}/proxy;
fastcgi_temp_path {folder}/fastcgi;
uwsgi_temp_path {folder}/uwsgi;
scgi_temp_path {folder}/scgi;
{text}
}}
"""
_CADDY = "{{\n  admin off\n  auto_https off\n  storage file_system {folder}/store\n}}\n{text}\n"


@contextmanager
def nginx(text: str, certificate: trustme.LeafCert | None = None, files: Mapping[str, str] | None = None) -> Iterator[int]:
    """Run nginx with these blocks inside `http`; yield its port. `files` are texts by what stands for their paths."""
    with _folder(certificate, files or {}) as (folder, paths):
        port = _configure(folder, _NGINX, text, paths)
        yield from _run("nginx", ["-e", f"{folder}/log", "-c", f"{folder}/conf"], folder, port)


@contextmanager
def caddy(text: str, certificate: trustme.LeafCert) -> Iterator[int]:
    """Run Caddy with this Caddyfile; yield its port."""
    with _folder(certificate, {}) as (folder, paths):
        port = _configure(folder, _CADDY, text, paths)
        yield from _run("caddy", ["run", "--adapter", "caddyfile", "--config", f"{folder}/conf"], folder, port)


@contextmanager
def _folder(certificate: trustme.LeafCert | None, files: Mapping[str, str]) -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield a folder, and the paths of its files by what stands for them."""
    folder = Path(tempfile.mkdtemp(prefix="tm-proxy-", dir=memory_folder(executable=False)))
    try:
        contents = dict(files)
        if certificate is not None:
            contents[CERTIFICATE] = certificate.cert_chain_pems[0].bytes().decode()
            contents[KEY] = certificate.private_key_pem.bytes().decode()
        paths = {}
        for number, (name, content) in enumerate(contents.items()):
            path = folder / f"file-{number}"
            path.write_text(content, encoding="utf-8")
            paths[name] = str(path)
        yield folder, paths
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _configure(folder: Path, frame: str, text: str, paths: Mapping[str, str]) -> int:
    """Write the configuration file; return the port in it."""
    port = free_port()
    for placeholder, value in {**paths, PORT: str(port)}.items():
        text = text.replace(placeholder, value)
    (folder / "conf").write_text(frame.format(folder=folder, text=text), encoding="utf-8")
    return port


def _run(name: str, arguments: list[str], folder: Path, port: int) -> Iterator[int]:
    program = shutil.which(name, path=_PATH)
    if program is None:
        pytest.skip(f"{name} is not installed: see .ci/packages")
    owner = as_nobody()
    if owner:
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, owner["user"], owner["group"])
    environment = {"PATH": _PATH, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen([program, *arguments], stdout=out, stderr=out, cwd=folder, env=environment, **owner)
    try:
        _await(process, port, folder)
        yield port
    finally:
        process.terminate()  # nginx ends its workers
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _await(process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    for _ in range(500):
        with closing(socket.socket()) as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise RuntimeError(f"the proxy did not start: {(folder / 'out').read_text('utf-8', 'replace')}")
