"""The status page's server is loaded for the first connection."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import httpx
import pytest

from monitor.config import Config, load
from monitor.domain.clock import SystemClock
from monitor.engine.intake import Intake
from monitor.store import Store
from monitor.telemetry.metrics import Metrics
from monitor.telemetry.progress import Progress
from monitor.web.server import Hosting
from tests.support.command_line import CONFIG, write_config
from tests.support.ports import free_port


@pytest.fixture
def config(tmp_path: Path) -> Config:
    write_config(tmp_path, text=CONFIG[: CONFIG.index("[[channels]]")] + f'[web]\nlisten = "127.0.0.1:{free_port()}"\n')
    return load(tmp_path / "config.toml", {"HOME": str(tmp_path)}).config


@asynccontextmanager
async def hosted(config: Config, folder: Path) -> AsyncIterator[Hosting]:
    clock = SystemClock()
    with Store(f"sqlite:///{folder / 'monitor.db'}") as store:
        store.upgrade()
        hosting = Hosting(clock=clock, metrics=Metrics(), progress=Progress())
        await hosting.prepare(config)
        await hosting.follow(config, store, Intake(store=store, clock=clock))
        try:
            yield hosting
        finally:
            await hosting.stop()


async def test_the_first_request_is_answered_while_the_database_is_unavailable(config: Config, tmp_path: Path) -> None:
    async with hosted(config, tmp_path), httpx.AsyncClient(trust_env=False, timeout=30) as client:
        (tmp_path / "monitor.db").rename(tmp_path / "away.db")
        assert (await client.get(f"http://{config.web.listen}/healthz")).status_code == 200


@pytest.mark.parametrize("connected", [False, True], ids=["before the first connection", "while it is loaded"])
async def test_the_server_is_stopped_before_it_has_started(connected: bool, config: Config, tmp_path: Path) -> None:
    host, _, port = str(config.web.listen).partition(":")
    async with hosted(config, tmp_path):
        if connected:
            with closing(socket.create_connection((host, int(port)))):
                await asyncio.sleep(0.01)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))


async def test_a_server_that_cannot_be_loaded_is_logged_and_its_port_released(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "monitor.web.app", None)
    async with hosted(config, tmp_path), httpx.AsyncClient(trust_env=False, timeout=30) as client:
        with pytest.raises(httpx.TransportError):
            await client.get(f"http://{config.web.listen}/healthz")
        with pytest.raises(httpx.ConnectError):
            await client.get(f"http://{config.web.listen}/healthz")
    assert "work.failed" in "".join(capsys.readouterr())
