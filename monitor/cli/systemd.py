"""The systemd units as files: where they ship, and how they are put on a machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from monitor.domain.errors import MonitorError

PROGRAM = Path("/opt/token-monitor/bin/token-monitor")
"""What the units start as they ship."""
CONFIG = Path("/etc/token-monitor/config.toml")
CREDENTIALS = CONFIG.parent / "credentials"
UNITS = Path("/etc/systemd/system")

_SHIPPED = {
    "token-monitor.service": UNITS / "token-monitor.service",
    "token-monitor-failure@.service": UNITS / "token-monitor-failure@.service",
    "local.conf.example": UNITS / "token-monitor.service.d" / "local.conf.example",
}
_HIDDEN = ("/home", "/root", "/run/user")
"""What ProtectHome=yes empties."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """One file or folder on its way."""

    path: Path
    """As the running machine sees it, whatever the root."""
    changed: bool


def hidden_from_services(path: Path) -> bool:
    """Whether the hardened service cannot see this path."""
    return any(path.resolve().is_relative_to(folder) or path.is_relative_to(folder) for folder in _HIDDEN)


def install(root: Path, *, program: Path, dry_run: bool) -> list[Written]:
    """Write the units, and the configuration and the folder of credentials where there are none, below `root`.

    A configuration that is there is kept; changes of the units belong into drop-ins. Raises MonitorError where something
    cannot be written.
    """
    shipped = _folder()
    texts = {path: (shipped / name).read_text("utf-8") for name, path in _SHIPPED.items()}
    for path, text in texts.items():
        texts[path] = text.replace(str(PROGRAM), str(program))
    try:
        done = [_write(root, path, text, dry_run=dry_run) for path, text in texts.items()]
        if not _below(root, CONFIG).exists():
            done.append(_write(root, CONFIG, (shipped / "config.toml").read_text("utf-8"), dry_run=dry_run))
        else:
            done.append(Written(path=CONFIG, changed=False))
        done.append(_make_folder(root, CREDENTIALS, dry_run=dry_run))
    except OSError as error:
        raise MonitorError(f"{error.filename} cannot be written: {error.strerror}.") from error
    return done


def _folder() -> Path:
    """systemd/ of the wheel, which lies beside this module, or of the checkout."""
    packaged = Path(__file__).parent.parent / "systemd_units"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent.parent / "systemd"


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _write(root: Path, path: Path, text: str, *, dry_run: bool) -> Written:
    target = _below(root, path)
    changed = not target.is_file() or target.read_text("utf-8", errors="replace") != text
    if changed and not dry_run:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")
        target.chmod(0o644)
    return Written(path=path, changed=changed)


def _make_folder(root: Path, path: Path, *, dry_run: bool) -> Written:
    """Only for root: systemd reads what is in it, and hands it to the service."""
    target = _below(root, path)
    changed = not target.is_dir()
    if changed and not dry_run:
        target.mkdir(mode=0o700, parents=True)
        target.chmod(0o700)
    return Written(path=path, changed=changed)
