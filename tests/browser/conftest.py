"""A real browser in front of the real site: Chromium driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # it ships no types
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, sync_playwright

from monitor.demo.server import in_thread
from monitor.store import Store
from tests.support.factories import NOW
from tests.support.fakes import ManualClock
from tests.support.web_client import Served, serving
from tests.support.web_world import fill, web_config

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox",  # tests run as root in containers
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, for one module: Playwright's event loop must be gone before tests with a loop of their own run."""
    if not Path(CHROMIUM).is_file():
        pytest.skip("THE PAGES WERE NOT TESTED IN A BROWSER: Chromium is missing (Debian's package `chromium`, or $CHROMIUM)")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield launched
        launched.close()


@dataclass(kw_only=True)
class Seen:
    """What went wrong in a browser while pages were shown."""

    origin: str
    problems: list[str] = field(default_factory=list)
    expected: tuple[str, ...] = ()
    """Parts of messages that a test provokes."""

    def watch(self, context: BrowserContext) -> None:
        """Note every error on the console, every dialog, every new window and every request to another origin."""
        context.on("console", lambda message: self._note(message.type in ("error", "warning"), f"console: {message.text}"))
        context.on("weberror", lambda error: self._note(True, f"script: {error.error}"))
        context.on("dialog", self._dismiss)
        context.on(
            "request", lambda request: self._note(not request.url.startswith(self.origin + "/"), f"request: {request.url}")
        )

    def _dismiss(self, dialog: Dialog) -> None:
        self._note(True, f"dialog: {dialog.message}")
        dialog.dismiss()

    def _note(self, wrong: bool, text: str) -> None:
        if wrong and not any(part in text for part in self.expected):
            self.problems.append(text)


@dataclass(kw_only=True)
class Visitor:
    """A person with a browser in front of one site."""

    site: Served
    store: Store
    clock: ManualClock
    browser: Browser
    seen: Seen
    contexts: list[BrowserContext] = field(default_factory=list)

    def context(self, *, theme: str = "light", width: int = 1280, height: int = 900, **over: Any) -> BrowserContext:
        """A browser without a past."""
        scheme: Any = theme
        made = self.browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, locale="en-GB", **over)
        made.set_default_timeout(20_000)
        self.seen.watch(made)
        self.contexts.append(made)
        return made

    def open(self, path: str = "/", **over: Any) -> Page:
        """A page in a browser without a past."""
        page = self.context(**over).new_page()
        page.goto(self.site.url + path)
        return page

    def close(self) -> None:
        """Close every page, while its site is still there: a browser that waits for an answer may never close it."""
        while self.contexts:
            self.contexts.pop().close()

    def go(self, page: Page, path: str) -> None:
        """Another address."""
        page.goto(self.site.url + path)


def violations(page: Page) -> list[str]:
    """What axe-core finds wrong with a page, one line each."""
    found = Axe().run(page).response["violations"]
    return [f"{each['id']}: {node['target']} {node['failureSummary']}" for each in found for node in each["nodes"]]


@pytest.fixture(scope="session")
def filled_database(_sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A database full of everything that the pages show."""
    path = tmp_path_factory.mktemp("filled") / "monitor.db"
    path.write_bytes(_sqlite_template.read_bytes())
    with Store(f"sqlite:///{path}") as store:
        fill(store, NOW)
    return path.read_bytes()


@pytest.fixture
def visiting(browser: Browser, filled_database: bytes, _sqlite_template: Path, tmp_path: Path) -> Callable[..., Any]:
    """visiting() is a visitor of a site full of everything, or with `full=False` of an empty one; `token` guards it."""

    @contextmanager
    def visit(*, full: bool = True, token: str | None = None, now: datetime = NOW) -> Iterator[Visitor]:
        path = tmp_path / "monitor.db"
        path.write_bytes(filled_database if full else _sqlite_template.read_bytes())
        clock = ManualClock(now)
        with Store(f"sqlite:///{path}") as store, in_thread(serving(store, web_config(tmp_path), clock, token=token)) as site:
            visitor = Visitor(site=site, store=store, clock=clock, browser=browser, seen=Seen(origin=site.url))
            try:
                yield visitor
            finally:
                visitor.close()
        assert visitor.seen.problems == []

    return visit


@pytest.fixture
def visitor(visiting: Callable[..., Any]) -> Iterator[Visitor]:
    """A visitor of a site full of everything."""
    with visiting() as made:
        yield made


@pytest.fixture
def picture(request: pytest.FixtureRequest) -> Callable[[Page, str], None]:
    """Puts a picture of a page where --screenshots says, and nowhere without it."""
    folder = request.config.getoption("--screenshots")

    def take(page: Page, name: str) -> None:
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=Path(folder) / f"{name}.png")

    return take
