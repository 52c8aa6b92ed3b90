"""The demo: a simulated world on loopback, the real daemon beside it, and its alerts as they arrive.

Everything is real but the four APIs: the daemon is a process of its own with a configuration file and a SQLite
database in a temporary folder, and its alerts travel through Apprise to a webhook that prints them here.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from monitor.demo.receivers import Post, WebhookReceiver
from monitor.demo.scenario import EXPIRING_WITHIN, STORY, Step, anchor, build_world, play
from monitor.demo.server import WorldServer
from monitor.demo.world import World

CONFIG = """\
[database]
url = "sqlite:///demo.db"

[schedule]
poll_every          = "1s"
probe_every         = "3s"
requests_per_minute = 600

[policy]
expiring_within = "{window}s"
stages          = ["4s"]
{sources}
[[channels]]
name       = "console"
url        = "json://127.0.0.1:{port}/console"
group_wait = "1s"

[[channels]]
name       = "webhook"
url        = "json://127.0.0.1:{port}/webhook"
severity   = "critical"
group_wait = "0s"

[web]
listen = "127.0.0.1:{page}"
"""

SOURCE = """
[[sources]]
name     = "{name}"
provider = "{kind}"
api_key  = "{key}"
base_url = "{url}"
{more}"""

PAGE = 8321

FIRST_POLLS = 2
"""A source's second poll proves that its first one was recorded."""

_COLOURS = {"failure": "bold red", "warning": "bold yellow", "success": "bold green", "info": "bold"}
_WORDS = ("expiring_soon", "expired", "revoked", "failing", "disconnected", "recovered")
_TOLD = re.compile(
    rf"Status: (?P<alone>{'|'.join(_WORDS)})"
    rf"|(?P<word>{'|'.join(_WORDS)}): \S+ at [^,]*(?:, (?P<number>\d+)(?: of \d+)? connections)?"
)
"""A message about one connection names its status on a line; one about several has a heading for each group."""


def told_in(body: str) -> Counter[str]:
    """How many alerts of each status a message tells of, by the lines that say so: names and reasons hold such words too."""
    found: Counter[str] = Counter()
    for line in body.splitlines():
        if match := _TOLD.fullmatch(line):
            found[match["alone"] or match["word"]] += int(match["number"] or 1)
    return found


class Stage:
    """What the viewer sees: the story on the left, the alerts as they arrive, each with its second."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.seen: Counter[str] = Counter()
        self.webhook_posts = 0
        self.over = asyncio.Event()
        """Set when somebody asked for the end, or when nobody watches any more."""
        self._began = time.monotonic()
        self._explained = False
        self._held: list[Post] | None = None
        self.ended = False

    def begin(self) -> None:
        """Second 0."""
        self._began = time.monotonic()

    def story(self, beat: Step) -> None:
        """Tell what happens in the simulated world."""
        self._line("world", Text(beat.told, style="dim"))

    def alert(self, post: Post) -> None:
        """Show a message that the daemon sent."""
        if self.ended:
            return
        title, body = str(post.document.get("title", "")), str(post.document.get("message", ""))
        if post.path.startswith("/webhook"):
            self.webhook_posts += 1
            return
        if self._held is not None:
            self._held.append(post)
            return
        self.seen.update(told_in(body))
        self._line("alert", Text(title, style=_COLOURS.get(str(post.document.get("type")), "bold")))
        if not self._explained:
            self._explained = True
            self._print(Text(f"\n{body.strip()}\n"))
            self._print(Text("(That was a whole message; from here on only titles and names.)", style="dim"))
            return
        for line in body.splitlines():
            if line.startswith("- "):
                self._print(Text(f"                   {line[2:]}"))

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Show nothing else meanwhile: alerts that arrive are shown afterwards."""
        held: list[Post] = []
        self._held = held
        try:
            yield
        finally:
            self._held = None
            for post in held:
                self.alert(post)

    def heard(self) -> str:
        """What arrived, counted."""
        counted = ", ".join(f"{word} {self.seen[word]}" for word in _WORDS if self.seen[word])
        alerts = f"Alerts heard on the console channel: {counted}." if counted else "No alert about a connection was heard yet."
        took = "1 critical message" if self.webhook_posts == 1 else f"{self.webhook_posts} critical messages"
        return f"{alerts} The webhook channel took {took}."

    def say(self, text: str) -> None:
        """A line of the demo's own."""
        self._print(Text(text))

    def _print(self, text: Text) -> None:
        """Print without wrapping; a viewer who left (a closed pipe) ends the show."""
        try:
            self.console.print(text, soft_wrap=True)
        except OSError:
            self.over.set()

    def _line(self, who: str, text: Text) -> None:
        stamp = f"{time.monotonic() - self._began:5.1f} s  {who:<6} "
        self._print(Text.assemble((stamp, "dim"), text))


def main(seconds: float | None = None) -> int:
    """Run the demo for so many seconds, or until interrupted; the exit status."""
    return asyncio.run(_show(seconds))


async def _show(seconds: float | None) -> int:
    world = build_world()
    stage = Stage(Console(highlight=False))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stage.over.set)
    with tempfile.TemporaryDirectory(prefix="token-monitor-demo-") as folder:
        async with WorldServer(world) as server, WebhookReceiver(on_post=stage.alert) as receiver:
            config = Path(folder) / "config.toml"
            config.touch(mode=0o600)
            page = _free_port()
            config.write_text(_configuration(world, server, receiver.port, page), encoding="utf-8")
            stage.say(f"A simulated PostPost, Publora, Postbreeze and PostPeer answer on {server.address}.")
            stage.say(f"The status page is at http://127.0.0.1:{page}/ as long as this runs.")
            stage.say(f"The real daemon watches them; its configuration and database lie in {folder}.\n")
            daemon = await _start("run", config=config, log=Path(folder) / "daemon.log")
            try:
                return await _watch(stage, world, daemon, config, seconds)
            finally:
                await _end(daemon)


async def _watch(stage: Stage, world: World, daemon: asyncio.subprocess.Process, config: Path, seconds: float | None) -> int:
    """Play the story beside the daemon; show the table near the beginning and at the end."""
    ending = asyncio.create_task(daemon.wait())
    playing = asyncio.create_task(_play(stage, world, config))
    leaving = asyncio.create_task(stage.over.wait())
    await asyncio.wait([ending, leaving], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in (playing, leaving):
        task.cancel()
    await asyncio.gather(playing, leaving, return_exceptions=True)
    if ending.done():
        stage.say(f"The daemon ended by itself with status {ending.result()}; its log says:")
        stage.say((config.parent / "daemon.log").read_text(encoding="utf-8", errors="replace")[-4000:])
        return 1
    ending.cancel()
    with stage.alone():
        await _table(stage, config, "\nWhere things stand now (token-monitor status):")
    stage.ended = True  # what the daemon still says while it stops is in no total
    stage.say(stage.heard())
    return 0


async def _play(stage: Stage, world: World, config: Path) -> None:
    """Once the daemon has read every source: the table, then the story from its second 0."""
    while not all(source.calls["list"] >= FIRST_POLLS for source in world.sources.values()):
        await asyncio.sleep(0.05)
    anchor(world)
    with stage.alone():
        await _table(stage, config, "The first polls are in (token-monitor status):")
        stage.begin()
    await play(world, beats=STORY, tell=stage.story)


async def _table(stage: Stage, config: Path, heading: str) -> None:
    """What `token-monitor status` prints, as a process of its own: on the terminal itself where there is one."""
    output = None if stage.console.is_terminal else asyncio.subprocess.PIPE
    stage.say(heading)
    command = await asyncio.create_subprocess_exec(*_command("status", config), stdout=output, stderr=output)
    out, _ = await command.communicate()
    if out is not None:
        stage.say(out.decode(errors="replace"))


async def _start(name: str, *, config: Path, log: Path) -> asyncio.subprocess.Process:
    with log.open("wb") as output:
        return await asyncio.create_subprocess_exec(
            *_command(name, config), stdout=output, stderr=output, stdin=asyncio.subprocess.DEVNULL, start_new_session=True
        )


async def _end(daemon: asyncio.subprocess.Process) -> None:
    """Stop the daemon as an operator would; it ends within 10 s or is killed."""
    if daemon.returncode is not None:
        return
    daemon.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(daemon.wait(), 12)
    except TimeoutError:
        daemon.kill()
        await daemon.wait()


def _free_port() -> int:
    """The usual port of the page, or any other where that is taken."""
    for port in (PAGE, 0):
        with contextlib.suppress(OSError), socket.socket() as found:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(("127.0.0.1", port))
            return int(found.getsockname()[1])
    return PAGE


def _command(name: str, config: Path) -> list[str]:
    return [sys.executable, "-m", "monitor", "--config", str(config), name]


def _configuration(world: World, server: WorldServer, port: int, page: int) -> str:
    sources = [
        SOURCE.format(
            name=name,
            kind=source.kind,
            key=source.key,
            url=server.base_url(source.kind),
            more='users    = "all"\n' if name == "agency" else "",
        )
        for name, source in world.sources.items()
    ]
    return CONFIG.format(window=round(EXPIRING_WITHIN.total_seconds()), sources="".join(sources), port=port, page=page)
