"""The demo: a simulated world on loopback, the real daemon, and its alerts as they arrive.

Only the services are simulated: the daemon is a separate process with a configuration file and a SQLite
database in a temporary folder, and its alerts go through Apprise to a webhook that prints them here.
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

from monitor.demo.others import OtherServices
from monitor.demo.receivers import Post, WebhookReceiver
from monitor.demo.scenario import EXPIRING_WITHIN, STORY, Step, anchor, build_world, play
from monitor.demo.server import WorldServer
from monitor.demo.world import World
from monitor.domain.errors import MonitorError

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
_ALONE = re.compile(rf"Status: ({'|'.join(_WORDS)})(?:, previously .*)?")
_LISTED = re.compile(
    r"- .+? \u00b7 [^\u00b7]+ \u00b7 (?:(?P<word>expired|revoked|failing|disconnected)\b"
    r"|(?P<expiring_soon>expires soon|[^\u00b7]+ left \()|(?P<recovered>works again|renewed)).*"
)
"""A message about one connection names its status on a line; one about several has a line for each, with its state."""


def alerts_in(body: str) -> Counter[str]:
    """Return the number of alerts of each status in a message, from its status lines only: names may contain the same words."""
    found: Counter[str] = Counter()
    for line in body.splitlines():
        if match := _ALONE.match(line):
            found[match[1]] += 1
        elif match := _LISTED.fullmatch(line):
            found[match["word"] or str(match.lastgroup)] += 1
    return found


class Stage:
    """The output of the demo: the steps of the scenario and the alerts as they arrive, each with its second."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.seen: Counter[str] = Counter()
        self.webhook_posts = 0
        self.over = asyncio.Event()
        """Set when the demo was interrupted, or when its output was closed."""
        self._began = time.monotonic()
        self._explained = False
        self._held: list[Post] | None = None
        self.ended = False

    def begin(self) -> None:
        """Start counting seconds."""
        self._began = time.monotonic()

    def story(self, step: Step) -> None:
        """Print a step of the scenario."""
        self.caption(step.caption)

    def caption(self, text: str) -> None:
        """Print what happens in the simulated world."""
        self._line("world", Text(text, style="dim"))

    def alert(self, post: Post) -> None:
        """Print a message that the daemon sent."""
        if self.ended:
            return
        title, body = str(post.document.get("title", "")), str(post.document.get("message", ""))
        if post.path.startswith("/webhook"):
            self.webhook_posts += 1
            return
        if self._held is not None:
            self._held.append(post)
            return
        self.seen.update(alerts_in(body))
        self._line("alert", Text(title, style=_COLOURS.get(str(post.document.get("type")), "bold")))
        if not self._explained:
            self._explained = True
            self._print(Text(f"\n{body.strip()}\n"))
            self._print(Text("(That was a complete message; from here on only titles and names are shown.)", style="dim"))
            return
        for line in body.splitlines():
            if line.startswith("- "):
                self._print(Text(f"                   {line[2:]}"))

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold back alerts that arrive inside the context, and print them afterwards."""
        held: list[Post] = []
        self._held = held
        try:
            yield
        finally:
            self._held = None
            for post in held:
                self.alert(post)

    def summary(self) -> str:
        """Return the number of alerts by status and of webhook messages, as a sentence."""
        counted = ", ".join(f"{word} {self.seen[word]}" for word in _WORDS if self.seen[word])
        alerts = (
            f"Alerts received on the console channel: {counted}."
            if counted
            else "No alert about a connection has been received yet."
        )
        received = "1 critical message" if self.webhook_posts == 1 else f"{self.webhook_posts} critical messages"
        return f"{alerts} The webhook channel received {received}."

    def note(self, text: str) -> None:
        """Print a line about the demo itself."""
        self._print(Text(text))

    def _print(self, text: Text) -> None:
        """Print without wrapping; a closed pipe ends the demo."""
        try:
            self.console.print(text, soft_wrap=True)
        except OSError:
            self.over.set()

    def _line(self, who: str, text: Text) -> None:
        stamp = f"{time.monotonic() - self._began:5.1f} s  {who:<6} "
        self._print(Text.assemble((stamp, "dim"), text))


def main(seconds: float | None = None) -> int:
    """Run the demo for a number of seconds, or until interrupted. Return the exit status."""
    return asyncio.run(_show(seconds))


async def _show(seconds: float | None) -> int:
    world = build_world()
    stage = Stage(Console(highlight=False))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stage.over.set)
    try:
        made = tempfile.TemporaryDirectory(prefix="token-monitor-demo-")
    except OSError:
        raise MonitorError("The demo needs a folder for its files, and no temporary one can be written: set TMPDIR.") from None
    with made as folder:
        async with WorldServer(world) as server, OtherServices() as others, WebhookReceiver(on_post=stage.alert) as receiver:
            config = Path(folder) / "config.toml"
            config.touch(mode=0o600)
            page = _free_port()
            text = _configuration(world, server, receiver.port, page, others.configuration())
            config.write_text(text, encoding="utf-8")
            stage.note(f"The simulated PostPost, Publora, Postbreeze and PostPeer APIs are at {server.address}.")
            stage.note("Beside them: a service read by a definition, a GitHub token, and a date that was written down.")
            stage.note(f"The status page is at http://127.0.0.1:{page}/ while the demo runs.")
            stage.note(f"The daemon monitors them; its configuration and database are in {folder}.\n")
            daemon = await _start("run", config=config, log=Path(folder) / "daemon.log")
            try:
                return await _watch(stage, (world, others), daemon, config, seconds)
            finally:
                await _end(daemon)


async def _watch(
    stage: Stage,
    services: tuple[World, OtherServices],
    daemon: asyncio.subprocess.Process,
    config: Path,
    seconds: float | None,
) -> int:
    """Play the scenario while the daemon runs; print the status near the beginning and at the end."""
    ending = asyncio.create_task(daemon.wait())
    playing = asyncio.create_task(_play(stage, *services, config))
    leaving = asyncio.create_task(stage.over.wait())
    await asyncio.wait([ending, leaving], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in (playing, leaving):
        task.cancel()
    await asyncio.gather(playing, leaving, return_exceptions=True)
    if ending.done():
        stage.note(f"The daemon exited unexpectedly with status {ending.result()}. Its log:")
        stage.note((config.parent / "daemon.log").read_text(encoding="utf-8", errors="replace")[-4000:])
        return 1
    ending.cancel()
    with stage.alone():
        await _table(stage, config, "\nCurrent status (token-monitor status):")
    stage.ended = True  # alerts sent while the daemon stops are not counted
    stage.note(stage.summary())
    return 0


async def _play(stage: Stage, world: World, others: OtherServices, config: Path) -> None:
    """Wait until the daemon has read every source, print the status, then play the scenario from second 0."""
    with stage.alone():
        while not all(source.calls["list"] >= FIRST_POLLS for source in world.sources.values()):
            await asyncio.sleep(0.05)
        anchor(world)
        await _table(stage, config, "Status after the first polls (token-monitor status):")
        stage.begin()
    await asyncio.gather(play(world, steps=STORY, on_step=stage.story), others.play(stage.caption))


async def _table(stage: Stage, config: Path, heading: str) -> None:
    """Run `token-monitor status` as a separate process, directly on the terminal if there is one."""
    output = None if stage.console.is_terminal else asyncio.subprocess.PIPE
    stage.note(heading)
    command = await asyncio.create_subprocess_exec(*_command("status", config), stdout=output, stderr=output)
    out, _ = await command.communicate()
    if out is not None:
        stage.note(out.decode(errors="replace"))


async def _start(name: str, *, config: Path, log: Path) -> asyncio.subprocess.Process:
    with log.open("wb") as output:
        return await asyncio.create_subprocess_exec(
            *_command(name, config), stdout=output, stderr=output, stdin=asyncio.subprocess.DEVNULL, start_new_session=True
        )


async def _end(daemon: asyncio.subprocess.Process) -> None:
    """Stop the daemon with SIGTERM; kill it if it does not stop within 12 s."""
    if daemon.returncode is not None:
        return
    daemon.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(daemon.wait(), 12)
    except TimeoutError:
        daemon.kill()
        await daemon.wait()


def _free_port() -> int:
    """Return the default port of the page, or another one if that is taken."""
    for port in (PAGE, 0):
        with contextlib.suppress(OSError), socket.socket() as found:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(("127.0.0.1", port))
            return int(found.getsockname()[1])
    return PAGE


def _command(name: str, config: Path) -> list[str]:
    return [sys.executable, "-m", "monitor", "--config", str(config), name]


def _configuration(world: World, server: WorldServer, port: int, page: int, others: str) -> str:
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
    return CONFIG.format(window=round(EXPIRING_WITHIN.total_seconds()), sources="".join(sources) + others, port=port, page=page)
