"""A daemon whose requests carry its name, for the simulator: `python -m tests.chaos.cluster_daemon NAME CONFIG`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, cast

from monitor.cli import main as run
from monitor.providers import api


def main(arguments: Sequence[str]) -> int | None:
    """Run the daemon."""
    name, config = arguments
    headers = cast("dict[str, Any]", api.COMMON_HEADERS)
    headers["User-Agent"] += f" {name}"
    return run(["--config", config, "run"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
