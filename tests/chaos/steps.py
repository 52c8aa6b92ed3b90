"""The steps of a cycle, found in the running program: every transaction it commits, and every message it sends.

A step is named after the function that did it, so that none is forgotten when the program grows:
"monitor.engine.poller:_record:1" is right before the first commit of Poller._record,
"monitor.engine.poller:_record:1:after" right after it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from monitor.notify.apprise import Channel
from monitor.store import Store

LIST = "list="
"""With this before a file's path, the steps are written there instead of killing at one."""


def watch(target: str) -> None:
    """From now on, kill this process at the step of that name, or write every step's name into a file."""

    def reached(name: str) -> None:
        if target.startswith(LIST):
            with Path(target.removeprefix(LIST)).open("a", encoding="utf-8") as file:
                file.write(name + "\n")
        elif name == target:
            os.kill(os.getpid(), signal.SIGKILL)

    seen: Counter[str] = Counter()
    _watch_transactions(reached, seen)
    _watch_sends(reached, seen)


def _watch_transactions(reached: Callable[[str], None], seen: Counter[str]) -> None:
    plain = Store.begin_write

    @contextmanager
    def begin_write(self: Store) -> Iterator[Connection]:
        who = _caller()
        seen[who] += 1
        name = f"{who}:{seen[who]}"
        with plain(self) as conn:
            yield conn
            reached(name)
        reached(f"{name}:after")

    Store.begin_write = begin_write  # type: ignore[method-assign]  # observed, otherwise unchanged


def _caller() -> str:
    """The program's function that opened the transaction, or was given to Store.write() for one."""
    frame: Any = sys._getframe(2)
    while not frame.f_globals["__name__"].startswith("monitor."):
        frame = frame.f_back
    work = frame.f_locals.get("work")
    while isinstance(work, partial):
        work = work.func
    if work is not None:
        return f"{work.__module__}:{work.__name__}"
    return f"{frame.f_globals['__name__']}:{frame.f_code.co_name}"


def _watch_sends(reached: Callable[[str], None], seen: Counter[str]) -> None:
    plain = Channel.send

    def send(self: Channel, *arguments: Any, **named: Any) -> Any:
        seen["send"] += 1
        name = f"monitor.notify.apprise:send:{seen['send']}"
        reached(name)
        answer = plain(self, *arguments, **named)
        reached(f"{name}:after")
        return answer

    Channel.send = send  # type: ignore[method-assign]  # observed, otherwise unchanged
