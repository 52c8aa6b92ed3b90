"""An agency of two teams and two hundred clients on one workspace key, beside the real daemon.

Every client has words that no other client's page, feed, report or message may hold.
"""

from __future__ import annotations

import http.client
import json
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

import pytest

from monitor.demo.world import World
from tests.acceptance.daemon import Setting, eventually, setting
from tests.acceptance.test_recheck import answered_after, edit, lists_read
from tests.support.ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

DAY = timedelta(days=1)
CLIENTS = 200
PLATFORMS = ("linkedin", "instagram", "threads", "tiktok", "twitter", "facebook", "youtube", "bluesky", "pinterest", "reddit")
FAST = 'poll_every = "1h"\nprobe_every = "off"\nrequests_per_minute = 60000'
USUAL = 'poll_every = "1h"\nprobe_every = "off"\nrequests_per_minute = 600'
EVERYTHING = "everything-0123456789-0123456789"
"""The token of a user who reads all clients."""


@dataclass(frozen=True)
class Client:
    """A client of the agency: a managed user with ten accounts."""

    number: int

    @property
    def team(self) -> str:
        """The team that works for it: the first half has the red one."""
        return "red" if self.number < CLIENTS // 2 else "blue"

    @property
    def name(self) -> str:
        """The name at the service."""
        return f"{self.team} client{self.number:03}canary"

    @property
    def scope(self) -> str:
        """The id at the service."""
        return sha256(self.name.encode()).hexdigest()[:24]

    @property
    def word(self) -> str:
        """A word in the names and ids of its accounts."""
        return f"account{self.number:03}canary"

    @property
    def words(self) -> tuple[str, ...]:
        """What only its own pages may hold."""
        return self.name, self.scope, self.word

    def id_of(self, platform: str) -> str:
        """Return the public id of an account."""
        return f"agency/{self.scope}/{platform}-{self.word}{platform}"

    def join(self, world: World) -> None:
        """Become a client at the service."""
        world.add_user("agency", user=self.scope, display_name=self.name)
        for platform in PLATFORMS:
            world.connect(
                "agency", platform, account=f"{self.word}{platform}", scope=self.scope,
                username=f"{self.word}.{platform}", display_name=f"{self.word} {platform}", lifetime=50 * DAY,
            )  # fmt: skip

    def expire(self, world: World, *platforms: str) -> None:
        """Let tokens expire."""
        for platform in platforms:
            world.expire("agency", f"{platform}-{self.word}{platform}", scope=self.scope)


ALL = [Client(number) for number in range(CLIENTS)]
RED, BLUE = ALL[: CLIENTS // 2], ALL[CLIENTS // 2 :]
FIRST, SECOND, LAST_RED = RED[0], RED[1], RED[-1]
ACME, LAST = BLUE[0], BLUE[-1]
NEW = Client(CLIENTS)
"""A client that is added while the daemon runs."""
TOKENS = {"acme": "acme-viewer-0123456789-0123456789", "blue": "blue-viewer-0123456789-0123456789"}
TOP = f"""
[schedule]
{FAST}
[[labels]]
match = {{ scope = "red *" }}
set = {{ team = "red" }}
[[labels]]
match = {{ scope = "blue *" }}
set = {{ team = "blue" }}
[[labels]]
match = {{ scope = "{ACME.scope}" }}
set = {{ client = "{ACME.name}" }}
[[web.users]]
name = "everything"
token = "{EVERYTHING}"
[[web.users]]
name = "acme"
token = "{TOKENS["acme"]}"
labels = {{ client = "{ACME.name}" }}
[[web.users]]
name = "blue"
token = "{TOKENS["blue"]}"
labels = {{ team = "blue" }}
"""
CHANNELS = """group_wait = "0s"
labels = { team = "red" }
[[channels]]
name = "blue"
url = "RECEIVERblue"
group_wait = "0s"
labels = { team = "blue" }
"""
PAGES = (
    "/", "/?per=200", "/?q=canary", "/?status=attention", "/?q=agency&sort=client", "/clients", "/alerts", "/forecast",
    "/silences", "/calendar.ics", "/feed.atom", "/badge.svg",
    "/api/v1/connections", "/api/v1/events", "/api/v1/alerts", "/api/v1/forecast",
    "/api/v1/silences", "/api/v1/sources", "/sources", "/metrics",
)  # fmt: skip
"""What a bound viewer may try to read."""


@dataclass
class Agency:
    """The running monitor of the agency."""

    made: Setting
    world: World
    port: int

    def read(self, path: str, token: str = EVERYTHING) -> tuple[int, str]:
        """Return the status and the body of an address; redirects within the site are followed."""
        for _ in range(3):
            asked = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            asked.request("GET", path, headers={"Authorization": f"Bearer {token}", "Accept": "text/html, */*"})
            answer = asked.getresponse()
            body, place = answer.read().decode(), answer.headers.get("location")
            asked.close()
            if answer.status != 303 or place is None or place.startswith("/login"):
                break
            path = place
        return answer.status, body

    def messages(self, channel: str = "") -> list[str]:
        """Return the titles and texts that arrived at a channel, without addresses and the ids of connections."""
        posts = [post.document for post in list(self.made.receiver.posts) if post.path.strip("/") == channel]
        return [re.sub(r"https?://\S+|agency/\S+", "", f"{each['title']}\n{each['message']}") for each in posts]


def leaks(text: str, *own: Client) -> list[str]:
    """Return the words of other clients in a text."""
    mine = {word for each in own for word in each.words}
    found = re.findall(r"(?:red|blue) client\d+canary|account\d+canary|\b[0-9a-f]{24}\b", text, re.IGNORECASE)
    assert len(found) < 100_000
    return sorted({each.lower() for each in found} - mine)


@contextmanager
def agency(folder: Path, database: str) -> Iterator[Agency]:
    """Run the monitor of an agency whose two thousand accounts were read once."""
    world, port = World(remember=100_000), free_port()
    world.add_source("agency", "postpost")
    for client in ALL:
        client.join(world)
    with setting(folder, world, database=database, top=TOP, channel=CHANNELS, per_source={"agency": 'users = "all"'}) as made:
        edit(made, "RECEIVER", made.receiver.apprise_url)
        edit(made, 'listen = "off"', f'listen = "127.0.0.1:{port}"\npublic_url = "http://127.0.0.1:{port}"')
        done = made.call("check", "--no-probe")
        assert done.returncode == 0, done.stdout + done.stderr
        edit(made, FAST, USUAL)
        yield Agency(made, world, port)


def poll(site: Agency) -> None:
    """Let the daemon poll now, and wait for the end of the poll."""
    [process] = site.made.processes
    done = site.made.log().count("poll.done")
    process.send_signal(signal.SIGUSR1)
    eventually(lambda: site.made.log().count("poll.done") > done, within=120)


def test_each_team_and_client_reads_only_about_itself(tmp_path: Path, empty_database: str) -> None:
    with agency(tmp_path, empty_database) as site:
        site.made.start()
        FIRST.expire(site.world, *PLATFORMS)
        SECOND.expire(site.world, "linkedin")
        ACME.expire(site.world, "linkedin", "tiktok")
        LAST.expire(site.world, "linkedin")
        poll(site)
        each_team_is_alerted_about_its_own_clients(site)
        each_clients_page_and_feeds_hold_only_its_own(site)
        reports_hold_only_the_selection(site)
        a_share_and_bound_viewers_read_only_their_own(site)
        a_new_client_needs_no_change_of_the_configuration(site)


def each_team_is_alerted_about_its_own_clients(site: Agency) -> None:
    """Every alert arrives at the team of its client, with the client's name and without its id."""
    eventually(lambda: sum(each.count(FIRST.word) for each in site.messages()) >= len(PLATFORMS))
    eventually(lambda: LAST.word in "".join(site.messages("blue")))
    red, blue = "\n".join(site.messages()), "\n".join(site.messages("blue"))
    assert leaks(red) == sorted([FIRST.name, FIRST.word, SECOND.name, SECOND.word])
    assert leaks(blue) == sorted([ACME.name, ACME.word, LAST.name, LAST.word])
    for platform in PLATFORMS:
        assert f"{FIRST.word} {platform}" in red


def each_clients_page_and_feeds_hold_only_its_own(site: Agency) -> None:
    """The bytes of each client's page, calendar and badge hold no word of another; nor do the other addresses of some clients."""
    some = {*ALL[::10], SECOND, LAST}
    for client in ALL:
        status, page = site.read(f"/clients/{quote(client.name)}")
        assert status == 200
        # The form offers all labels to a user who may read all of them.
        page = re.sub(r'<select id="f-label".*?</select>', "", page, flags=re.DOTALL)
        assert page.count(f"{client.word} ") >= len(PLATFORMS)
        assert leaks(page, client) == []
        label = quote(f"client={client.name}")
        others = ("/feed.atom", "/api/v1/connections", "/api/v1/events", "/forecast") if client in some else ()
        for path in ("/calendar.ics", "/badge.svg", *others):
            status, text = site.read(f"{path}?label={label}")
            text = re.sub(r'<select id="f-label".*?</select>', "", text, flags=re.DOTALL)
            assert (path, status, leaks(text.replace("\r\n ", ""), client)) == (path, 200, [])
            if path == "/calendar.ics":
                assert text.count("BEGIN:VEVENT") == Counter({FIRST: 0, SECOND: 2, ACME: 2, LAST: 2}).get(client, 3)


def reports_hold_only_the_selection(site: Agency) -> None:
    """The report of a client, and that of a team's channel."""
    for form in ("text", "html", "csv"):
        report = site.made.call("report", "--label", f"client={ACME.name}", "--format", form)
        assert report.returncode == 0, report.stderr
        assert leaks(report.stdout, ACME) == []
        assert ACME.word in report.stdout
    team = site.made.call("report", "--channel", "blue").stdout
    assert "All connections: 3 expired, 997 valid." in team
    assert leaks(team, *BLUE) == []
    assert LAST.name in team
    forecast = site.made.call("forecast", "--label", "team=red").stdout
    assert FIRST.name in forecast
    assert leaks(forecast, FIRST, SECOND) == []


def a_share_and_bound_viewers_read_only_their_own(site: Agency) -> None:
    """A client's page for outsiders, and everything that users of one client and of one team can open."""
    added = site.made.call("share", "add", "--label", f"client={ACME.name}")
    assert added.returncode == 0, added.stderr
    shared = re.search(r"(/share/\S+)", added.stdout)
    assert shared is not None
    status, page = site.read(shared[1], token="")
    assert status == 200
    assert leaks(page) == sorted([ACME.name, ACME.word])
    for user, own in (("acme", [ACME]), ("blue", BLUE)):
        answers = Counter[int]()
        for path in (*PAGES, f"/clients/{quote(ACME.name)}", f"/connections/{quote(ACME.id_of('linkedin'))}"):
            status, text = site.read(path, TOKENS[user])
            answers[status] += 1
            assert (path, leaks(text.replace("\r\n ", ""), *own)) == (path, [])
        assert answers[200] >= 16
        for path in (f"/connections/{quote(FIRST.id_of('linkedin'))}", f"/clients/{quote(FIRST.name)}"):
            assert site.read(path, TOKENS[user])[0] == 404


def a_new_client_needs_no_change_of_the_configuration(site: Agency) -> None:
    """It appears with its name after the next poll, and its team is alerted."""
    NEW.join(site.world)
    assert site.read(f"/clients/{quote(NEW.name)}")[0] == 404
    poll(site)
    assert NEW.name in site.read("/clients")[1]
    assert NEW.word in site.read("/?q=account200canary", TOKENS["blue"])[1]
    red = len(site.messages())
    NEW.expire(site.world, "threads")
    assert site.made.call("recheck", NEW.id_of("threads")).returncode == 1
    found = eventually(lambda: [each for each in site.messages("blue") if NEW.word in each])
    assert leaks(found[0]) == sorted([NEW.name, NEW.word])
    assert len(site.messages()) == red


def test_a_reconnected_account_is_checked_ahead_of_a_poll_of_all_clients(
    tmp_path: Path, empty_database: str, record_property: Callable[[str, object], None]
) -> None:
    """`pytest -o junit_family=xunit1 --junitxml FILE` writes the seconds and the number of lists that were read until then."""
    with agency(tmp_path, empty_database) as site:
        LAST.expire(site.world, "linkedin")
        FIRST.expire(site.world, "linkedin")
        process = site.made.start()
        poll(site)
        eventually(lambda: LAST.word in "".join(site.messages("blue")))
        with site.world.lock:
            site.world.seen.clear()
        process.send_signal(signal.SIGUSR1)
        site.made.await_polls(5)  # a poll of all two hundred is under way, and takes 20 s
        site.world.renew("agency", f"linkedin-{LAST.word}linkedin", scope=LAST.scope)
        done = site.made.call("recheck", LAST.id_of("linkedin"), "--json")
        read = lists_read(site.world)
        assert done.returncode == 0, done.stdout + done.stderr
        [found] = json.loads(done.stdout)["rechecks"]
        assert (found["outcome"], found["status_before"], found["status_after"]) == ("healthy", "expired", "valid")
        record_property("recheck_seconds", answered_after(found))
        record_property("lists_read", {"its own": read[LAST.scope], "by the poll": len(read) - 1})
        assert answered_after(found) <= 5, found
        assert read[LAST.scope] == 1
        assert len(read) < CLIENTS, "the poll is still under way"
        eventually(lambda: [each for each in site.messages("blue") if "recovered" in each.lower()])
        _, page = site.read(f"/connections/{quote(LAST.id_of('linkedin'))}")
        assert re.search(r"\bvalid\b", page)
        listed = json.loads(site.read(f"/api/v1/connections?connection={quote(LAST.id_of('linkedin'), safe='')}")[1])
        assert [each["status"] for each in listed["connections"]] == ["valid"]
        eventually(lambda: site.made.log().count("poll.done") >= 2, within=120)
        assert lists_read(site.world)[LAST.scope] == 2, "the poll read it too"
        recovered = [each for each in site.messages("blue") if "recovered" in each.lower()]
        assert len(recovered) == 1
        assert leaks(recovered[0]) == sorted([LAST.name, LAST.word])
        assert not [each for each in site.messages() if "recovered" in each.lower()]
        assert site.made.stop(process) == 0
