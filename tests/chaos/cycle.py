"""One cycle, as `check` runs it, in a process of its own: `python -m tests.chaos.cycle CONFIG [STEP]`.

With a step's name it is killed at that step; with `list=FILE` the names of its steps are written there (see steps.py); with
`stopped` it stops before it begins, until SIGCONT.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from monitor.config import load
from monitor.daemon import app, oneshot
from tests.chaos import steps

STOPPED = "stopped"


def main(arguments: Sequence[str]) -> int:
    """Run the cycle."""
    config, *step = arguments
    if step == [STOPPED]:
        os.kill(os.getpid(), signal.SIGSTOP)
    elif step:
        steps.watch(step[0])
    app.run_async(oneshot.check_once(load(Path(config), dict(os.environ)).config, only=None, probe=True))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
