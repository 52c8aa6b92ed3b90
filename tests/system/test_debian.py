"""The Debian package: built, installed into a root of its own by dpkg, run from there, and removed again."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PYTHON = Path("/usr/bin/python3")
HOME = Path("usr/lib/token-monitor")


def missing() -> str | None:
    """Why the package cannot be built and installed here."""
    tools = [name for name in ("dpkg", "dpkg-deb") if shutil.which(name) is None]
    if tools or not PYTHON.exists():
        return f"this is no Debian: {', '.join(tools) or PYTHON} is missing"
    if os.geteuid() != 0:
        return "dpkg installs as root only"
    done = subprocess.run([PYTHON, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"], check=False)
    return "the distribution's Python is older than 3.11" if done.returncode else None


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(missing() is not None, reason=f"NOT PROVEN, the Debian package: {missing()}"),
]


def test_the_package_installs_runs_upgrades_and_goes(tmp_path: Path) -> None:
    """One build, one life: each step is a function below."""
    package, root = build(tmp_path / "out"), tmp_path / "root"
    for folder in ("var/lib/dpkg/info", "var/lib/dpkg/updates", "var/log"):
        (root / folder).mkdir(parents=True)
    for name in ("status", "available"):
        (root / "var/lib/dpkg" / name).touch()
    dpkg(root, "--force-depends", "-i", str(package))
    lies_where_debian_looks(root)
    names_the_place_where_it_will_be(root)
    runs_from_its_own_environment(root, tmp_path / "credentials")
    config = root / "etc/token-monitor/config.toml"
    config.write_text(config.read_text("utf-8") + "\n# mine\n", "utf-8")
    (root / "etc/token-monitor/credentials/postpost").write_text("a-key", "utf-8")
    dpkg(root, "--force-depends", "--force-confold", "-i", str(package))
    assert config.read_text("utf-8").endswith("# mine\n")
    dpkg(root, "--purge", "token-monitor")
    assert not list((root / HOME).rglob("*.py"))
    assert not (root / "etc/token-monitor").exists()


def build(out: Path) -> Path:
    env = {**os.environ, "TOOLS": str(Path(sys.executable).parent)}
    done = subprocess.run([ROOT / "packaging/debian/build", out], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return next(out.glob("*.deb"))


def dpkg(root: Path, *arguments: str) -> None:
    """Install or remove below this root; the package's own scripts run without a chroot, and know it by DPKG_ROOT."""
    done = subprocess.run(
        ["dpkg", f"--root={root}", "--force-script-chrootless", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def runs_from_its_own_environment(root: Path, credentials: Path) -> None:
    credentials.mkdir()
    (credentials / "postpost").write_text("a-key", "utf-8")
    (credentials / "ops-url").write_text("json://127.0.0.1/hook", "utf-8")
    version = run(root, credentials, "--version")
    assert (version.returncode, version.stderr) == (0, "")
    assert version.stdout.startswith("token-monitor ")
    checked = run(root, credentials, "--config", str(root / "etc/token-monitor/config.toml"), "config", "check")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "is valid: 1 source, 1 channel." in checked.stdout


def run(root: Path, credentials: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The installed program, by the interpreter beside it, with nothing of this environment."""
    return subprocess.run(
        [root / HOME / "bin/python", root / HOME / "bin/token-monitor", *arguments],
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "CREDENTIALS_DIRECTORY": str(credentials)},
        capture_output=True,
        text=True,
        check=False,
    )


def names_the_place_where_it_will_be(root: Path) -> None:
    home = f"/{HOME}"
    assert (root / HOME / "bin/token-monitor").read_text("utf-8").startswith(f"#!{home}/bin/python\n")
    assert (root / HOME / "bin/python").resolve() == PYTHON.resolve()
    unit = (root / "usr/lib/systemd/system/token-monitor.service").read_text("utf-8")
    assert f"ExecStart={home}/bin/token-monitor " in unit
    assert "/opt/token-monitor" not in unit
    wrapper = root / "usr/bin/token-monitor"
    assert f"exec {home}/bin/token-monitor" in wrapper.read_text("utf-8")
    assert wrapper.stat().st_mode & stat.S_IXOTH
    configuration = (root / HOME / "pyvenv.cfg").read_text("utf-8")
    assert str(ROOT) not in configuration
    assert "/tmp" not in configuration


def lies_where_debian_looks(root: Path) -> None:
    for path in (
        "usr/lib/systemd/system/token-monitor-failure@.service",
        "usr/share/man/man1/token-monitor.1.gz",
        "usr/share/bash-completion/completions/token-monitor",
        "usr/share/zsh/vendor-completions/_token-monitor",
        "usr/share/fish/vendor_completions.d/token-monitor.fish",
        "usr/share/doc/token-monitor/copyright",
        "usr/share/doc/token-monitor/examples/config.example.toml",
        "etc/token-monitor/config.toml",
    ):
        assert (root / path).is_file(), path
    assert stat.S_IMODE((root / "etc/token-monitor/credentials").stat().st_mode) == 0o700
    assert (root / "var/lib/dpkg/info/token-monitor.conffiles").read_text("utf-8") == "/etc/token-monitor/config.toml\n"
