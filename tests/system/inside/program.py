"""Inside the booted system: the program itself, with an event loop that can be hung by a signal."""

from __future__ import annotations

import signal
import sys
import time


def _hang(*_: object) -> None:
    time.sleep(600)


if __name__ == "__main__":
    from monitor.cli import main

    if "run" in sys.argv:
        signal.signal(signal.SIGUSR2, _hang)
    sys.exit(main())
