"""How much larger this process became than it was, at its largest."""

from __future__ import annotations

import gc
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_CLEAR_PEAK = "5"
"""What makes the kernel forget the highest mark."""


class Peak:
    """A measurement that starts when it is created. If the kernel gives no figures, the growth is 0."""

    def __init__(self) -> None:
        gc.collect()
        try:
            _CLEAR.write_text(_CLEAR_PEAK)
        except OSError:
            self._begin: int | None = None
        else:
            self._begin = _bytes_of("VmRSS")

    def grown(self) -> int:
        """Bytes of resident memory by which the largest moment exceeds the first."""
        return 0 if self._begin is None else max(_bytes_of("VmHWM") - self._begin, 0)


def _bytes_of(name: str) -> int:
    line = next(line for line in _STATUS.read_text("ascii").splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024
