"""Every kind of place that holds a secret is filled with one, everything goes wrong, and nothing anywhere shows a byte of them.

The daemon and every command run at log level debug with tracebacks on. Searched are the log in all its formats, what
commands print, the database and its copies, every page, every message, what other hosts received, and the processes'
arguments; the only places where a secret may be are the file that states it and the request it is for.
"""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import httpx
import psutil
import pytest
import trustme
from sqlalchemy import make_url

from monitor.demo.receivers import WebhookReceiver as DemoReceiver
from monitor.demo.server import ThreadedWorld, WorldServer, in_thread
from monitor.demo.source import Trouble
from monitor.demo.world import World
from tests.acceptance.daemon import Setting, eventually
from tests.support import canary, postgres
from tests.support.launcher import Process
from tests.support.ports import free_port
from tests.support.receivers import MailReceiver, Received, Reply, WebhookReceiver

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    # The mail server speaks on loopback alone and needs no certificate.
    pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS"),
]

KEYS = {
    "agency": ("postpost", canary.POSTPOST_KEY, '{ env = "AGENCY_KEY" }'),
    "north": ("publora", canary.PUBLORA_KEY, '{ file = "north.key" }'),
    "south": ("postbreeze", canary.POSTBREEZE_KEY, '{ credential = "south" }'),
    "studio": ("postpeer", canary.POSTPEER_KEY, json.dumps(canary.POSTPEER_KEY)),
}
KEY_HEADERS = {"agency": "x-api-key", "north": "x-publora-key", "south": "authorization", "studio": "x-access-key"}
ROUNDS: tuple[tuple[Trouble, ...], ...] = (
    (Trouble.CUT, Trouble.SERVER_ERROR, Trouble.HTML, Trouble.TRUNCATED),
    (Trouble.ENVELOPE, Trouble.REDIRECT, Trouble.REDIRECT, Trouble.SERVER_ERROR),
    (Trouble.REDIRECT, Trouble.UNAUTHORIZED, Trouble.FORBIDDEN, Trouble.REDIRECT),
)
PAGES = (
    "/",
    "/?status=expired",
    "/sources",
    "/alerts",
    "/silences",
    "/connections/agency/linkedin-li",
    "/nothing",
    "/login",
    "/static/page.css",
    "/healthz",
    "/readyz",
    "/metrics",
    "/calendar.ics",
    "/feed.atom",
    "/badge.svg",
    "/api/v1/connections",
    "/api/v1/sources",
    "/api/v1/events",
    "/api/v1/alerts",
    "/api/v1/forecast",
    "/api/v1/silences",
    "/api/v1/openapi.json",
    "/api/v1/nothing",
)


class Echo(WebhookReceiver):
    """An API that quotes whatever it was sent, key included, in its refusals."""

    def take(self, request: Received) -> Reply:
        """Remembers a request and throws its headers back."""
        super().take(request)
        status = (500, 401, 429, 200, 302, 400)[len(self.received) % 6]
        body = json.dumps({"error": f"Invalid API key in {request.headers}", "message": str(request.headers)}).encode()
        headers = {"Content-Type": "application/json", "Retry-After": "1", "X-Echo": str(request.headers)}
        return Reply(status=status, headers=headers, body=body)


@dataclass(kw_only=True)
class Stage:
    """A world in which everything can go wrong, and a monitor with a secret in every place."""

    setting: Setting
    port: int
    world: World
    webhook: WebhookReceiver
    failing: WebhookReceiver
    refusing: WebhookReceiver
    elsewhere: WebhookReceiver
    heartbeat: WebhookReceiver
    echo: Echo
    mail: MailReceiver
    database: str
    closed: int = field(default_factory=free_port)
    """Where nobody listens."""
    children: list[str] = field(default_factory=list)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command with tracebacks on; what it says is searched."""
        done = self.setting.call(*words, environment={"TOKEN_MONITOR_TRACEBACK": "1"})
        canary.assert_absent(done.stdout + done.stderr, f"token-monitor {' '.join(words)}")
        return done

    def run_together(self, *commands: str) -> list[int]:
        """Run commands beside each other, as most of them wait for something; their exit statuses in the same order."""
        with ThreadPoolExecutor(max_workers=6) as pool:
            return [done.returncode for done in pool.map(lambda words: self.run(*words.split()), commands)]

    def others(self) -> dict[str, WebhookReceiver]:
        """Everybody but the APIs."""
        return {
            "webhook": self.webhook,
            "failing": self.failing,
            "refusing": self.refusing,
            "elsewhere": self.elsewhere,
            "heartbeat": self.heartbeat,
        }


def configuration(stage: Stage, server: WorldServer, tls: WorldServer, proxy: WebhookReceiver, *, logs: str) -> str:
    """A secret in every place that takes one, by every way of stating it."""
    closed, webhook, failing = stage.closed, stage.webhook.address, stage.failing.address
    sources = "".join(
        f'\n[[sources]]\nname = "{name}"\nprovider = "{kind}"\napi_key = {stated}\nbase_url = "{server.base_url(kind)}"\n'
        for name, (kind, _, stated) in KEYS.items()
    )
    strange = {
        "echo": (f"http://{stage.echo.address}/api/v1", ""),
        "refused": (f"http://127.0.0.1:{closed}/api/v1", ""),
        "untrusted": (tls.base_url("postpost"), ""),
        "proxied": ("https://api.example/api/v1", f'proxy = "http://user:{canary.PROXY_PASSWORD}@{proxy.address}"'),
        "unproxied": ("https://api.example/api/v1", f'proxy = "http://user:{canary.PROXY_PASSWORD}@127.0.0.1:{closed}"'),
    }
    for name, (url, more) in strange.items():
        key = canary.secret(f"{name}-key")
        sources += f'\n[[sources]]\nname = "{name}"\nprovider = "postpost"\napi_key = "{key}"\nbase_url = "{url}"\n{more}\n'
    plain = canary.CHANNEL_PASSWORD
    channels = {
        "hook": '{ env = "HOOK_URL" }',
        "failing": json.dumps(canary.channel_url(failing)),
        "refusing": json.dumps(canary.channel_url(stage.refusing.address)),
        "nobody": json.dumps(canary.channel_url(f"127.0.0.1:{closed}")),
        "xml": json.dumps(f"xml://{canary.CHANNEL_USER}:{plain}@{webhook}/{canary.CHANNEL_PATH}"),
        "gotify": json.dumps(f"gotify://{failing}/{canary.CHANNEL_PATH}"),
        "ntfy": json.dumps(f"ntfy://{canary.CHANNEL_USER}:{plain}@{webhook}/topic"),
        "mail": json.dumps(stage.mail.apprise_url_as(f"monitor:{canary.MAIL_PASSWORD}")),
    }
    text = "".join(f'\n[[channels]]\nname = "{name}"\nurl = {url}\ngroup_wait = "0s"\n' for name, url in channels.items())
    return f"""
[database]
url = {json.dumps(stage.database)}
[schedule]
poll_every = "1s"
probe_every = "2s"
[policy]
confirm_failures = 1
[web]
listen = "127.0.0.1:{stage.port}"
token = {{ env = "PAGE_TOKEN" }}
[logging]
level = "debug"
format = "{logs}"
[heartbeat]
url = "http://{stage.heartbeat.address}/{canary.HEARTBEAT_PATH}"
every = "1s"
{sources}
{text}
"""


@contextmanager
def proxies() -> Iterator[WebhookReceiver]:
    """A proxy that refuses every tunnel and quotes what it was asked."""
    with WebhookReceiver() as proxy:
        proxy.reply = Reply(status=407)
        yield proxy


@pytest.fixture
def written() -> dict[str, str]:
    """The configuration in each log format, by format."""
    return {}


@pytest.fixture
def stage(
    tmp_path: Path, database_url: str, backend: str, monkeypatch: pytest.MonkeyPatch, written: dict[str, str]
) -> Iterator[Stage]:
    world = World(remember=100_000)
    for name, (kind, key, _) in KEYS.items():
        world.add_source(name, kind, key=key)
        world.connect(name, "linkedin", account="li", username="Northwind", lifetime=timedelta(days=50))
        world.connect(name, "instagram", account="ig", username="Lumen", lifetime=timedelta(days=20))
    # Trust authentication takes any password, so the URL can hold one.
    url = database_url if backend == "sqlite" else _with_password(database_url)
    with ExitStack() as stack:
        server = stack.enter_context(ThreadedWorld(world))
        untrusted = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(untrusted)
        tls = stack.enter_context(in_thread(WorldServer(world, tls=untrusted)))
        proxy = stack.enter_context(proxies())
        receivers = [stack.enter_context(WebhookReceiver()) for _ in range(5)]
        webhook, failing, refusing, elsewhere, heartbeat = receivers
        echo = stack.enter_context(Echo())
        mail = stack.enter_context(MailReceiver(login=("monitor", "another password"), quotes=True))
        made = Setting(
            folder=tmp_path,
            world=world,
            server=server,
            receiver=stack.enter_context(in_thread(DemoReceiver())),
            config=tmp_path / "config.toml",
        )
        whole = Stage(
            setting=made,
            port=free_port(),
            world=world,
            webhook=webhook,
            failing=failing,
            refusing=refusing,
            elsewhere=elsewhere,
            heartbeat=heartbeat,
            echo=echo,
            mail=mail,
            database=url,
        )
        failing.reply = Reply(status=503, body=b"upstream " + canary.CHANNEL_PATH.encode())
        refusing.reply = Reply(status=302, headers={"Location": f"http://{elsewhere.address}/?key=x"})
        (tmp_path / "credentials").mkdir(mode=0o700)
        for path, text in (("north.key", canary.PUBLORA_KEY), ("credentials/south", canary.POSTBREEZE_KEY)):
            (tmp_path / path).touch(mode=0o600)
            (tmp_path / path).write_text(text, "utf-8")
        environment = {
            "AGENCY_KEY": canary.POSTPOST_KEY,
            "HOOK_URL": canary.channel_url(webhook.address),
            "PAGE_TOKEN": canary.WEB_TOKEN,
            "CREDENTIALS_DIRECTORY": str(tmp_path / "credentials"),
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        for logs in ("console", "json", "journal"):
            written[logs] = configuration(whole, server, tls, proxy, logs=logs)
        made.config.touch(mode=0o600)
        made.config.write_text(written["console"], "utf-8")
        yield whole
        for process in made.processes:
            if process.poll() is None:
                process.kill()
                process.wait(timeout=20)


def _with_password(url: str) -> str:
    parsed = make_url(url)
    if parsed.password is not None:
        return url  # a server of somebody's own: it has a password, and checks it
    return parsed.set(password=canary.DATABASE_PASSWORD).render_as_string(hide_password=False)


def test_S01_S02_S03_no_byte_of_a_secret_is_anywhere_but_in_its_place(stage: Stage, written: dict[str, str]) -> None:
    made = stage.setting
    process = made.start()
    look_at_processes(stage, process)
    trouble_everywhere(stage)
    stage.heartbeat.reply = Reply(status=302, headers={"Location": f"http://{stage.elsewhere.address}/beat"})
    for number, logs in enumerate(("json", "journal"), start=1):
        made.config.write_text(written[logs], "utf-8")
        process.send_signal(signal.SIGHUP)
        eventually(lambda number=number: made.log().count("config.reloaded") >= number)  # type: ignore[misc]  # bound at once
        trouble_everywhere(stage, rounds=ROUNDS[:1])
        look_at_processes(stage, process)
    look_at_pages(stage)
    reload_with_mistakes(stage, process, written["journal"])
    commands(stage)
    lose_a_table(stage)
    look_at_processes(stage, process)
    assert made.stop(process) == 0
    commands_without_a_daemon(stage)

    log = made.log()
    assert "is unknown here" in log, "the mail server's words are told, without what they quote"
    for event in (
        "poll.failed",
        "channel.failing",
        "config.reload_refused",
        "heartbeat.failing",
        "delivery.sent",
        "web.wrong_token",
    ):
        assert event in log, f"{event}: the test has not provoked it"
    assert "debug" in log
    canary.assert_absent(log, "the log")
    found = canary.sweep(made.folder)
    assert not found, "; ".join(map(str, found))
    if not stage.database.startswith("sqlite"):
        canary.assert_absent(postgres.everything_in(stage.database), "the database")
    assert stage.elsewhere.received == [], "nobody followed a redirect to another host"
    look_at_what_the_apis_got(stage)
    look_at_what_others_got(stage)
    assert stage.children == []


def trouble_everywhere(stage: Stage, *, rounds: tuple[tuple[Trouble, ...], ...] = ROUNDS) -> None:
    """Every API fails in every way while alerts go out on channels of which most fail, too; then all is well again."""
    world, where = stage.world, f"http://{stage.elsewhere.address}/api/v1"
    for name in KEYS:
        world.expire(name, next(iter(world.sources[name])).external_id)
    for troubles in rounds:
        before = {name: sum(world.sources[name].calls.values()) for name in KEYS}
        for name, trouble in zip(KEYS, troubles, strict=True):
            world.break_source(name, trouble, location=where)
        for name in KEYS:
            eventually(lambda name=name, before=before: sum(world.sources[name].calls.values()) >= before[name] + 2)  # type: ignore[misc]  # bound at once
    echoed = len(stage.echo.received)
    eventually(lambda: len(stage.echo.received) > echoed)
    for name in KEYS:
        world.recover_source(name)


def look_at_processes(stage: Stage, process: Process) -> None:
    """The arguments hold nothing, the environment what was put there, and there are no children to hand it on to."""
    running = psutil.Process(process.pid)
    canary.assert_absent(" ".join(running.cmdline()), "the process list")
    stated = [os.environ[name] for name in ("AGENCY_KEY", "HOOK_URL", "PAGE_TOKEN")]
    rest = Path(f"/proc/{process.pid}/environ").read_text("utf-8")
    for value in stated:
        rest = rest.replace(value, "")
    canary.assert_absent(rest, "the daemon's environment")
    stage.children += [" ".join(each.cmdline()) for each in running.children(recursive=True)]


def look_at_pages(stage: Stage) -> None:
    """Every page, feed and list: without a token, with a wrong one, with the right one and after a login."""
    url = f"http://127.0.0.1:{stage.port}"
    bearer = {"authorization": f"Bearer {canary.WEB_TOKEN}"}
    with httpx.Client(base_url=url, trust_env=False, timeout=20) as browser:

        def get(path: str, **headers: str) -> httpx.Response:
            answer = browser.get(path, headers=headers)
            canary.assert_absent(answer.content + repr(answer.headers.raw).encode(), f"what {path} answered")
            return answer

        for accept in ("text/html", "application/json", "*/*"):
            for path in PAGES:
                get(path, accept=accept)
                get(path, accept=accept, authorization=f"Bearer {canary.OTHER_KEY}")
                get(path, accept=accept, **bearer)
        form = get("/login", accept="text/html").text
        csrf = re.search(r'name="csrf" value="([^"]+)"', form)
        assert csrf is not None
        for token in (canary.OTHER_KEY, canary.WEB_TOKEN):
            sent = browser.post("/login", data={"csrf": csrf[1], "token": token, "next": "/"}, headers={"accept": "text/html"})
            canary.assert_absent(sent.content + repr(sent.headers.raw).encode(), "what the login answered")
        page = get("/", accept="text/html")
        assert page.status_code == 200
        for link in set(re.findall(r'href="([^"]*sig=[^"]*)"', page.text)):
            assert get(link.replace("&amp;", "&").removeprefix(url)).status_code == 200
        browser.get(f"/?token={canary.WEB_TOKEN}")  # a page's forms lead back to the address it was asked by; the log does not


def reload_with_mistakes(stage: Stage, process: Process, good: str) -> None:
    """Secrets pasted where they do not belong, and files that end in the middle of one: the reload is refused."""
    made, key = stage.setting, canary.POSTPEER_KEY
    mistakes = (
        good.replace('poll_every = "1s"', f'poll_every = "{key}"'),
        good.replace('level = "debug"', f'level = "{key}"'),
        good.replace('name = "echo"', f'name = "{key}!"'),
        good.replace(f'"{key}"', f'"{key} {key}"'),
        good.replace(f'"{key}"', f'{{ env = "{key}" }}'),
        good.replace(f'"{key}"', f'{{ file = "{key}" }}'),
        good.replace(f'"{key}"', f'"{key}'),
        good.replace(canary.channel_url(stage.failing.address), f"{key} {key}"),
        good.replace("[schedule]", f'[schedule]\n{key} = "{key}"'),
        good.replace("url = ", f'url = "mysql://{canary.CHANNEL_USER}:{canary.DATABASE_PASSWORD}@db/x" #', 1),
        good.replace('token = { env = "PAGE_TOKEN" }', 'listen = "0.0.0.0:1"'),
    )
    for text in mistakes if stage.database.startswith("sqlite") else mistakes[::4]:
        assert text != good
        made.config.write_text(text, "utf-8")
        checked = stage.run("config", "check")
        assert checked.returncode == 2, checked.stdout
    for text in mistakes[::4]:
        made.config.write_text(text, "utf-8")
        refused = made.log().count("config.reload_refused")
        process.send_signal(signal.SIGHUP)
        eventually(lambda refused=refused: made.log().count("config.reload_refused") > refused)  # type: ignore[misc]  # bound at once
    made.config.write_text(good, "utf-8")
    process.send_signal(signal.SIGHUP)
    taken = made.log().count("config.reloaded")
    eventually(lambda: made.log().count("config.reloaded") > taken)


def commands(stage: Stage) -> None:
    """Every command beside the running daemon."""
    told = json.loads(stage.run("alerts", "--json").stdout)["alerts"]
    one = told[0]["id"]
    without_database = (
        "config show",
        "config diff",
        "config diff --json",
        "config check --live",
        f"status --source {canary.OTHER_KEY[:4]}",
    )
    stage.run_together(
        *(without_database if stage.database.startswith("sqlite") else ()),
        "status",
        "status --json --all",
        "history agency/linkedin-li",
        "forecast",
        "cluster",
        "cluster --json",
        "sources",
        "sources --json",
        "alerts",
        f"alerts explain {one}",
        f"alerts explain {one} --json",
        f"alerts retry {one}",
        "test-alert",
        "test-alert hook --event expired",
        "ack agency/linkedin-li --comment found",
        "silence add --source north --for 1h --comment quiet",
        "silence list",
        "check",
        "db current",
        "db backup copy.db",
        "report-failure token-monitor.service",
    )


def lose_a_table(stage: Stage) -> None:
    """The database breaks under the running daemon: its errors, and their tracebacks, are in the log."""
    before = stage.setting.log().count("rror")
    with changing(stage.database) as execute:
        execute("ALTER TABLE deliveries RENAME TO lost")
        execute("ALTER TABLE polls RENAME TO gone")
        eventually(lambda: stage.setting.log().count("rror") > before + 3)
        stage.run("status")
        stage.run("alerts")
        execute("ALTER TABLE gone RENAME TO polls")
        execute("ALTER TABLE lost RENAME TO deliveries")


@contextmanager
def changing(database: str) -> Iterator[Callable[[str], None]]:
    """Statements on the monitor's database, past the monitor."""
    from sqlalchemy import create_engine, text

    url = make_url(database)
    engine = create_engine(url if url.drivername.startswith("sqlite") else url.set(drivername="postgresql+psycopg"))

    def execute(statement: str) -> None:
        with engine.begin() as conn:
            conn.execute(text(statement))

    try:
        yield execute
    finally:
        engine.dispose()


def commands_without_a_daemon(stage: Stage) -> None:
    """A whole cycle by hand, the care of the database, a configuration with a mistake, a database that cannot be reached."""
    # What fails is tried again for as long as a command may wait, which every command here would.
    stage.failing.reply = stage.refusing.reply = Reply()
    config = stage.setting.config
    config.write_text(
        config.read_text("utf-8").replace(
            canary.channel_url(f"127.0.0.1:{stage.closed}"), canary.channel_url(stage.webhook.address)
        ),
        "utf-8",
    )
    for words in ("check", "check --json --no-probe", "db prune", "db upgrade", "forget agency/instagram-ig", "config diff"):
        stage.run(*words.split())
    if not stage.database.startswith("sqlite"):
        return  # what comes now is the same whatever the database was
    nowhere = f"postgresql://monitor:{canary.DATABASE_PASSWORD}@127.0.0.1:{free_port()}/monitor?connect_timeout=2"
    good = config.read_text("utf-8")
    config.write_text(good.replace('level = "debug"', f'level = "{canary.OTHER_KEY}"'), "utf-8")
    stage.run("report-failure", "token-monitor.service")
    config.write_text(good.replace(json.dumps(stage.database), json.dumps(nowhere)), "utf-8")
    waiting = stage.setting.launch("run")  # it waits for the database
    commands = ("status", "check", "db upgrade", "db backup other.db", "report-failure token-monitor.service")
    assert all(stage.run_together(*commands)[:-1])
    assert waiting.poll() is None
    stage.setting.stop(waiting)
    canary.assert_absent(stage.setting.log(), "the log of a daemon that waits for its database")


def look_at_what_the_apis_got(stage: Stage) -> None:
    """Each API got its own key in its own header, and no other secret in any other place."""
    headers = {kind: (KEY_HEADERS[name], key) for name, (kind, key, _) in KEYS.items()}
    allowed = set(headers.values()) | {("x-api-key", canary.secret("echo-key"))}
    assert len(stage.world.seen) > 50
    for seen in stage.world.seen:
        canary.assert_absent(seen.path, "an API's address")
        for name, value in seen.headers.items():
            if canary.search(value, name):
                assert (name.lower(), value.removeprefix("Bearer ")) in allowed, f"{name} at {seen.path}"


def look_at_what_others_got(stage: Stage) -> None:
    """Channels, heartbeat and proxies get what their own address holds, and nothing else; no message holds a secret."""
    own = {canary.CHANNEL_USER, canary.CHANNEL_PASSWORD, canary.CHANNEL_PATH, canary.CHANNEL_QUERY, canary.CHANNEL_HEADER}
    known = {value for name, value in vars(canary).items() if name.isupper() and isinstance(value, str) and name[0] != "_"}
    for name, receiver in stage.others().items():
        rightly = {canary.HEARTBEAT_PATH} if name == "heartbeat" else own
        for request in receiver.received:
            canary.assert_absent(request.body, f"a message to {name}")
            head = f"{request.path} {request.headers}"
            for secret in known - rightly:
                assert secret not in head, f"{name} got a secret that is not its own"
    assert len(stage.webhook.received) > 5
    assert len(stage.heartbeat.received) > 5
    for message in stage.mail.messages:
        canary.assert_absent(bytes(message), "a mail")
