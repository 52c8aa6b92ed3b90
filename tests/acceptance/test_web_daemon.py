"""The status page inside the running program: its port, a reload, a stop, and that the daemon notices its buttons."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from monitor.demo.world import World
from tests.acceptance.daemon import ROOT, Setting, eventually, setting
from tests.support import canary
from tests.support.ports import free_port

pytestmark = pytest.mark.slow

QUICK = """
[schedule]
poll_every = "1s"
probe_every = "off"
requests_per_minute = 6000
[policy]
remind_every = "1s"
"""
PAGE = {"accept": "text/html"}
EXPIRED = "agency/threads-over"


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def one(tmp_path: Path, port: int) -> Iterator[Setting]:
    """One source with an expired token, and a page."""
    world = World()
    world.add_source("agency", "postpost")
    world.connect("agency", "threads", account="over", username="Over", display_name="Over", lifetime=timedelta(days=50))
    world.expire("agency", "threads-over")
    with setting(tmp_path, world, database="sqlite:///monitor.db", top=QUICK) as made:
        listen(made, f"127.0.0.1:{port}")
        yield made


def listen(made: Setting, address: str) -> None:
    """Change where the page is in the configuration."""
    text = made.config.read_text(encoding="utf-8")
    made.config.write_text(re.sub(r'listen = "[^"]*"', f'listen = "{address}"', text), encoding="utf-8")


def get(port: int, path: str = "/", **over: Any) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{port}{path}", headers=PAGE, trust_env=False, timeout=30, **over)


def press(port: int, path: str, **fields: str) -> httpx.Response:
    """Fill in a form as a browser does."""
    with httpx.Client(trust_env=False, base_url=f"http://127.0.0.1:{port}", headers=PAGE) as browser:
        csrf = re.search(r'name="csrf" value="([^"]+)"', browser.get(path).text)
        assert csrf is not None
        return browser.post(path, data={"csrf": csrf[1], **fields})


def test_the_page_is_served_from_the_log_line_until_the_daemon_ends(one: Setting, port: int) -> None:
    process = one.start()
    eventually(lambda: "1 of 1 connection needs attention now." in get(port).text)
    with closing(socket.create_connection(("127.0.0.1", port))) as held:
        held.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        assert one.stop(process) == 0
    assert one.log().count("web.listening") == 1
    with pytest.raises(httpx.ConnectError):
        get(port)


def test_a_busy_port_ends_the_start_with_one_sentence(one: Setting, port: int) -> None:
    """Before anything else has begun: no list was asked for and no database made."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        done = one.call("run")
    assert done.returncode == 1
    message = done.stderr.strip().splitlines()[-1]
    assert message.endswith(f"Another program already listens at 127.0.0.1:{port}: set web.listen to another port, or to off.")
    assert "Traceback" not in done.stderr
    assert one.world.sources["agency"].calls["list"] == 0
    assert not (one.folder / "monitor.db").exists()


def test_off_listens_nowhere(one: Setting, port: int) -> None:
    listen(one, "off")
    process = one.start()
    assert not [each for each in psutil.Process(process.pid).net_connections() if each.status == psutil.CONN_LISTEN]
    assert "web.listening" not in one.log()


def test_a_daemon_without_a_page_loads_no_web_framework() -> None:
    heavy = ("starlette", "uvicorn", "prometheus_client", "icalendar")
    code = f"import sys, monitor.daemon.app; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_reload_moves_the_page_and_a_busy_port_changes_nothing(one: Setting, port: int) -> None:
    process = one.start()
    assert get(port).status_code == 200
    other = free_port()
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", other))
        taken.listen()
        listen(one, f"127.0.0.1:{other}")
        process.send_signal(signal.SIGHUP)
        eventually(lambda: "config.reload_refused" in one.log())
        assert get(port).status_code == 200
    process.send_signal(signal.SIGHUP)
    eventually(lambda: "config.reloaded" in one.log())
    assert get(other).status_code == 200
    with pytest.raises(httpx.ConnectError):
        get(port)
    listen(one, "off")
    process.send_signal(signal.SIGHUP)
    eventually(lambda: one.log().count("config.reloaded") == 2)
    with pytest.raises(httpx.ConnectError):
        get(other)
    assert one.stop(process) == 0


def test_the_daemon_notices_the_buttons_immediately(one: Setting, port: int) -> None:
    """Reminders come every second; an acknowledgement ends them, and they go on when it is taken back."""
    one.start()
    path = f"/connections/{EXPIRED}"
    eventually(lambda: len(one.messages()) >= 2)
    assert press(port, path, action="ack", comment="Ann").status_code == 303
    status = json.loads(one.call("status", "--json").stdout)
    assert [row["acked"] for row in status["connections"]] == [True]
    one.await_polls(2)
    before = len(one.messages())
    one.await_polls(3)
    assert len(one.messages()) == before
    assert press(port, path, action="unack").status_code == 303
    eventually(lambda: len(one.messages()) > before)
    history = one.call("history", EXPIRED).stdout
    assert "acknowledged" in history
    assert "By the status page" in history


def test_a_token_from_the_environment_guards_the_page(one: Setting, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text = one.config.read_text(encoding="utf-8")
    one.config.write_text(text.replace("[web]", '[web]\ntoken = { env = "PAGE_TOKEN" }'), encoding="utf-8")
    monkeypatch.setenv("PAGE_TOKEN", canary.WEB_TOKEN)
    one.start()
    assert get(port).headers["location"] == "/login?next=/"
    bearer = {"authorization": f"Bearer {canary.WEB_TOKEN}"}
    assert httpx.get(f"http://127.0.0.1:{port}/", headers=bearer, trust_env=False).status_code == 200
    assert press(port, "/login", token="wrong").status_code == 403
    eventually(lambda: "web.wrong_token" in one.log())
    canary.assert_absent(one.log(), "the log")


def guard(made: Setting, address: str, token: str) -> None:
    """Change the page's address and token in the configuration."""
    listen(made, address)
    text = re.sub(r"token = .*\n", "", made.config.read_text(encoding="utf-8"))
    made.config.write_text(text.replace("[web]", f'[web]\ntoken = "{token}"'), encoding="utf-8")
    made.config.chmod(0o600)


def test_S21_with_a_short_token_the_page_is_not_opened_and_monitoring_continues(one: Setting, port: int) -> None:
    """Version 0.1 took any token for any address, and one request to the page allowed any number of guesses."""
    guard(one, f"0.0.0.0:{port}", "Sommer2026!")
    checked = one.call("config", "check")
    assert checked.returncode == 0
    assert "web.token is shorter than 22 characters" in checked.stdout
    process = one.start()
    one.await_polls(2)
    with pytest.raises(httpx.ConnectError):
        get(port)
    eventually(lambda: "web.token is shorter than 22 characters" in one.log())
    post = eventually(lambda: one.find_post("status page is not served"))
    suggested = re.search(r"for example ([0-9a-f]{32})", str(post.document))
    assert suggested is not None
    guard(one, f"0.0.0.0:{port}", suggested[1])
    process.send_signal(signal.SIGHUP)
    eventually(lambda: "config.reloaded" in one.log())
    bearer = {"authorization": f"Bearer {suggested[1]}"}
    assert httpx.get(f"http://127.0.0.1:{port}/", headers=bearer, trust_env=False).status_code == 200
    eventually(lambda: one.find_post("problem is resolved: status page"))
    assert one.stop(process) == 0
    assert "Sommer2026!" not in one.log()
    assert one.log().count("web.listening") == 1


def test_S21_logins_and_forms_outlive_a_restart_of_the_daemon(one: Setting, port: int) -> None:
    guard(one, f"127.0.0.1:{port}", canary.WEB_TOKEN)
    process = one.start()
    with httpx.Client(trust_env=False, base_url=f"http://127.0.0.1:{port}", headers=PAGE) as browser:
        form = re.search(r'name="csrf" value="([^"]+)"', browser.get("/login").text)
        assert form is not None
        assert browser.post("/login", data={"csrf": form[1], "token": canary.WEB_TOKEN}).status_code == 303
        link = re.search(r'href="(/feed\.atom[^"]+)"', browser.get("/").text)
        assert link is not None
        assert one.stop(process) == 0
        process = one.start()
        page = browser.get("/")
        assert page.status_code == 200
        assert get(port, link[1].replace("&amp;", "&")).status_code == 200
        csrf = re.search(r'name="csrf" value="([^"]+)"', page.text)
        assert csrf is not None
        cookies = dict(browser.cookies)
        assert browser.post("/logout", data={"csrf": csrf[1]}).status_code == 303
    assert get(port, cookies=cookies).status_code == 303, "the session has ended on the server"
    assert one.stop(process) == 0


def test_N34_clients_that_leave_write_nothing_into_the_log(one: Setting, port: int) -> None:
    guard(one, f"127.0.0.1:{port}", canary.WEB_TOKEN)
    process = one.start()
    before = one.log()
    for _ in range(90):
        with closing(socket.create_connection(("127.0.0.1", port))) as leaving:
            leaving.sendall(b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc")
    one.await_polls(3)
    added = one.log().removeprefix(before)
    assert "Traceback" not in added
    assert "web." not in added
    assert one.stop(process) == 0


def test_N35_idle_connections_do_not_starve_the_health_check(one: Setting, port: int) -> None:
    process = one.start()
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(300)]
    try:
        for _ in range(20):
            assert get(port, "/healthz").status_code == 200
    finally:
        for each in held:
            each.close()
    assert one.stop(process) == 0
