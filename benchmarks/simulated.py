"""The harness's side of the simulator: start it on the other core, talk to it, end it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from benchmarks.machine import OTHERS, cpu_seconds

ROOT = Path(__file__).parent.parent
PATIENCE = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate for 127.0.0.1, and the authority to trust it by."""

    file: Path
    authority: Path


def certificate(folder: Path) -> Certificate:
    """Create a certificate with trustme."""
    import trustme

    authority = trustme.CA()
    made = Certificate(file=folder / "server.pem", authority=folder / "ca.pem")
    authority.cert_pem.write_to_path(str(made.authority))
    authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(str(made.file))
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """A running simulator."""

    pid: int
    address: str
    """Scheme, host and port."""
    control: str
    certificate: Certificate | None

    @property
    def base_url(self) -> str:
        """What a source is configured with."""
        return f"{self.address}/api/v1"

    @property
    def hook(self) -> str:
        """An Apprise URL of the simulator's webhook."""
        return f"json://{self.control.removeprefix('http://')}/hook"

    def ask(self, what: str, **wanted: object) -> Any:
        """One request to its control channel."""
        request = Request(f"{self.control}/control/{what}", data=json.dumps(wanted).encode(), method="POST")
        with urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def counts(self) -> dict[str, Any]:
        """Return the request counts since the last reset."""
        found: dict[str, Any] = self.ask("counts")
        return found

    def cpu(self) -> float:
        """CPU seconds it used so far."""
        return cpu_seconds(self.pid)


@contextmanager
def simulator(
    populations: Sequence[str], *, at: str, latency_ms: float = 0.0, tls: Certificate | None = None, soon: int = 0, port: int = 0
) -> Iterator[Simulated]:
    """Run a simulator with these populations ("NAME:SOURCES:SIZE") until the block ends."""
    command = [sys.executable, "-m", "benchmarks.simulator", "--at", at, "--core", str(OTHERS)]
    command += ["--latency-ms", str(latency_ms), "--soon", str(soon)]
    command += ["--port", str(port)]
    for population in populations:
        command += ["--population", population]
    if tls is not None:
        command += ["--certificate", str(tls.file)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None
        ports = json.loads(process.stdout.readline())
        yield Simulated(
            pid=process.pid,
            address=f"{'https' if tls else 'http'}://127.0.0.1:{ports['port']}",
            control=f"http://127.0.0.1:{ports['control']}",
            certificate=tls,
        )
    finally:
        process.kill()  # it holds nothing to save
        process.wait(timeout=PATIENCE)
        if process.stdout is not None:
            process.stdout.close()
