"""Users with roles: what they may change, and that users who are bound to labels read nothing about other connections."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator, Callable, Iterable
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest
from sqlalchemy import delete, select, update

from monitor.config import Secret, WebUser
from monitor.domain.filters import ConnectionFilter
from monitor.domain.records import replace
from monitor.domain.rules.silences import Silence
from monitor.engine import acknowledgements
from monitor.store import Store, channel_states, connection_queries, history, incidents, rechecks, schema, silences
from monitor.web import app, permissions, stream
from monitor.web.auth import FEEDS
from tests.support.clients_world import (
    BRAVA,
    CASA_OPERATOR,
    CASA_VIEWER,
    COMMENTS,
    DORADA,
    ERRORS,
    EVERY_VIEWER,
    IMPOSTOR,
    OWN,
    OWNER,
    RED_VIEWER,
    clients_world,
)
from tests.support.fakes import ManualClock
from tests.support.web_client import Served, serving

PAGE = {"accept": "text/html"}
OTHERS = (*BRAVA, *DORADA, *IMPOSTOR, *OWNER, *ERRORS, *COMMENTS)
"""Words that a user of the client Casa must never read."""
MOST_PAGES = 200
TIKTOK = f"agency/{OWN[1]}/tiktok-casacanarytiktok"
BRAVA_TIKTOK = f"agency/{BRAVA[1]}/tiktok-bravacanarytiktok"


@pytest.fixture
async def site(store: Store, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Served]:
    """The pages of two teams and three clients."""
    async with clients_world(store, clock, tmp_path) as config, serving(store, config, clock) as served:
        yield served


def bearer(token: str) -> dict[str, str]:
    """The headers of a user's request."""
    return {"authorization": f"Bearer {token}"}


async def log_in(site: Served, token: str) -> None:
    """Log in as a browser does."""
    site.client.cookies.clear()
    form = await site.get("/login", headers=PAGE)
    found = re.search(r'name="csrf" value="([^"]+)"', form.text)
    assert found is not None
    answer = await site.client.post(f"{site.url}/login", data={"csrf": found[1], "token": token, "next": "/"})
    assert answer.status_code == 303, answer.text


def addresses(site: Served) -> Iterable[str]:
    """Every address without a parameter in its path, and some with one."""
    for route in app.routes(site.site):
        if "{" not in route.path and route.path != stream.PATH and "GET" in (route.methods or {"GET"}):
            yield route.path
    ids = [TIKTOK, BRAVA_TIKTOK, "agency/linkedin-ownercanary", "nobody/1"]
    for each in ids:
        yield f"/connections/{quote(each)}"
        yield f"/api/v1/connections?connection={quote(each, safe='')}"
        yield f"/api/v1/events?connection={quote(each, safe='')}"
        yield f"/badge.svg?connection={quote(each, safe='')}"
    for word in ("canary", "b4a5", "agency"):
        yield f"/?q={word}"
        for name in ("connections", "events", "alerts", "forecast"):
            yield f"/api/v1/{name}?q={word}"
    yield from (
        "/silences?all=yes",
        "/api/v1/silences?all=true",
        "/?per=200",
        "/alerts/source-alert",
        "/api/v1/forecast?days=3000",
    )
    yield from (f"/api/v1/recheck/{number}" for number in range(1, 20))
    yield from (f"/clients/{name}" for name in ("casa", "bravacanary", "doradacanary"))


async def crawl(site: Served, headers: dict[str, str]) -> dict[str, httpx.Response]:
    """Follow every link of this site from every address, and return the answers by address."""
    waiting, found = list(addresses(site)), dict[str, httpx.Response]()
    while waiting and len(found) < MOST_PAGES:
        path = waiting.pop(0)
        if path in found or path.startswith(("/static/", "/login")):
            continue
        answer = found[path] = await site.get(path, headers={**PAGE, **headers})
        links = [html.unescape(each) for each in re.findall(r'(?:href|action)="([^"]+)"', answer.text)]
        if "location" in answer.headers:
            links.append(answer.headers["location"])
        here = urlsplit(path).path
        for link in links:
            target = f"{here}{link}" if link.startswith("?") else link.partition("#")[0]
            if target.startswith("/") and not target.startswith("//"):
                waiting.append(target)
    return found


def without_words(found: dict[str, httpx.Response], words: Iterable[str]) -> str:
    """Return all answers as one text. Fail if one holds a word that its own address does not hold."""
    texts = []
    for path, answer in found.items():
        body = answer.content.decode() + repr(answer.headers)
        leaked = next((word for word in words if word in body and word not in path), None)
        if leaked is not None:
            at = body.index(leaked)
            pytest.fail(f"{path} holds {leaked}: {body[max(0, at - 300) : at + 100]}")
        texts.append(body)
    return "".join(texts)


def test_every_route_is_in_exactly_one_list_of_permissions(site: Served) -> None:
    """A new page is withheld from bound users until somebody decides what they may read there."""
    listed = [*permissions.SELECTED, *permissions.WITHOUT_DATA, *permissions.WITHHELD]
    assert len(listed) == len(set(listed))
    assert {route.path for route in app.routes(site.site)} == set(listed)


@pytest.mark.timeout(400)  # it reads two hundred pages
@pytest.mark.parametrize("token", [CASA_VIEWER, CASA_OPERATOR])
async def test_a_bound_user_reads_nothing_about_other_connections(site: Served, token: str) -> None:
    found = await crawl(site, bearer(token))
    assert len(found) > 40
    everything = without_words(found, OTHERS)
    for word in ("casacanary on tiktok", "casacanary on linkedin", "casacanary on threads", "casacanary moves", "called them"):
        assert word in everything


@pytest.mark.timeout(400)
async def test_a_team_reads_its_clients(site: Served) -> None:
    found = await crawl(site, bearer(RED_VIEWER))
    everything = without_words(found, (*DORADA, *IMPOSTOR, *OWNER, *ERRORS))
    assert "casacanary on tiktok" in everything
    assert "bravacanary on tiktok" in everything


@pytest.mark.timeout(400)
async def test_an_unbound_user_reads_everything(site: Served) -> None:
    found = await crawl(site, bearer(EVERY_VIEWER))
    everything = "".join(answer.text for answer in found.values())
    for word in (*OWN, *OTHERS):
        assert word in everything, word


READ = [
    *(f"/{page}" for page in ("", "alerts", "clients", "clients/casa", "forecast", "silences?all=yes", "badge.svg", "feed.atom")),
    *(
        f"/{query}"
        for query in ("?status=stale", "?source=agency", "?platform=tiktok", "?platform=zzz", "?label=team%3D*", "?q=zzz")
    ),
    *(f"/api/v1/{name}" for name in ("connections", "events", "alerts", "forecast", "silences?all=true", "recheck/1")),
    *(f"/api/v1/connections?{query}" for query in ("source=agency", "platform=zzz", "label=team%3D*", "limit=1", "q=tiktok")),
    "/calendar.ics",
    f"/connections/{TIKTOK}",
]
"""Addresses whose answers must not depend on the connections of others."""


async def read_all(site: Served, paths: Iterable[str]) -> dict[str, str]:
    """Return what a bound user gets at these addresses, headers included, without what changes with every request."""
    found = {}
    for path in paths:
        answer = await site.get(path, headers={**PAGE, **bearer(CASA_OPERATOR)})
        headers = sorted((key, value) for key, value in answer.headers.items() if key not in ("date", "set-cookie"))
        found[path] = f"{answer.status_code} {re.sub(r'csrf. value=.[0-9a-f]+', '', answer.text)} {headers}"
    return found


@pytest.mark.timeout(200)
async def test_what_happens_to_others_changes_nothing_for_a_bound_user(site: Served, store: Store, clock: ManualClock) -> None:
    """Neither words, counts, headlines and ETags, nor the answers to filters, depend on other connections and on channels."""
    before = await read_all(site, READ)
    c, others = schema.connections.c, select(schema.connections.c.id).where(schema.connections.c.scope != OWN[1])
    problem = {"unreadable": 5, "unreadable_polls": 9, "problem": "another problem"}
    with store.begin_write() as conn:
        for table in (schema.events, schema.rechecks):
            conn.execute(delete(table).where(table.c.connection_id.in_(others)))
        changed = {"status": "revoked", "platform": "zzz", "next_change_at": None}
        conn.execute(update(schema.connections).where(c.scope != OWN[1]).values(changed))
        conn.execute(update(schema.scopes).where(schema.scopes.c.scope != OWN[1]).values(problem))
        conn.execute(update(schema.sources).values(message="another problem"))
        channel_states.record_failure(conn, "ops", clock.now(), problem="404", broken=True)
        theirs = Silence(labels={"client": BRAVA[0]}, comment="x", starts_at=clock.now(), ends_at=None)
        acknowledgements.add_silence(conn, theirs, now=clock.now(), author="ann")
    after = await read_all(site, READ)
    assert [path for path in READ if before[path] != after[path]] == []
    assert "No connection matches." in after["/?platform=zzz"]


async def test_counts_are_those_of_the_selection(site: Served) -> None:
    page = (await site.get("/", headers={**PAGE, **bearer(CASA_VIEWER)})).text
    assert "2 of 3 connections need attention now." in html.unescape(page)
    answer = (await site.get("/api/v1/connections", headers=bearer(CASA_VIEWER))).json()
    assert sum(answer["summary"].values()) == len(answer["connections"]) == 3
    assert [(row["name"], row["connections"], row["message"]) for row in answer["sources"]] == [("agency", 3, None)]
    assert {row["labels"]["client"] for row in answer["connections"]} == {"casa"}


@pytest.mark.parametrize(
    "path",
    [
        "/metrics", "/sources", "/api/v1/sources", f"/connections/{BRAVA_TIKTOK}", "/clients/bravacanary", "/alerts/source-alert",
        "/api/v1/connections?source=brokencanary", "/api/v1/connections?label=client%3Dbravacanary",
    ],
)  # fmt: skip
async def test_what_a_bound_user_may_not_read_does_not_exist(site: Served, path: str) -> None:
    assert (await site.get(path, headers=bearer(CASA_OPERATOR))).status_code == 404
    assert (await site.get(path, headers=bearer(EVERY_VIEWER))).status_code in (200, 303)


async def test_health_checks_name_no_source_to_a_bound_user(site: Served) -> None:
    assert "reasons" not in (await site.get("/readyz", headers=bearer(CASA_OPERATOR))).json()
    assert "reasons" in (await site.get("/readyz", headers=bearer(EVERY_VIEWER))).json()


WRITES = [
    ("/api/v1/acks", {"connection": TIKTOK}),
    ("/api/v1/silences", {"connections": ["*"], "comment": "x"}),
    ("/api/v1/silences/2/remove", {}),
    ("/api/v1/recheck", {"connections": [TIKTOK]}),
    ("/api/v1/forget", {"connections": [TIKTOK]}),
]


@pytest.mark.parametrize(("path", "body"), WRITES)
async def test_a_viewer_changes_nothing(site: Served, store: Store, path: str, body: dict[str, object]) -> None:
    for token in (CASA_VIEWER, EVERY_VIEWER):
        answer = await site.client.post(site.url + path, json=body, headers=bearer(token))
        assert answer.status_code == 403
        assert "viewer" in answer.json()["detail"]
    with store.begin_read() as conn:
        assert len(silences.list_silences(conn)) == 3


async def test_pages_show_a_viewer_no_buttons_and_take_no_form(site: Served, store: Store) -> None:
    await log_in(site, CASA_VIEWER)
    for path in (f"/connections/{TIKTOK}", "/silences", "/"):
        page = (await site.get(path, headers=PAGE)).text
        actions = set(re.findall(r'<form[^>]*method="post"[^>]*action="([^"]*)"', page))
        assert actions == {"/theme", "/logout"}, path
        assert "(viewer)" in page
    csrf = re.findall(r'name="csrf" value="([^"]+)"', page)[0]
    for path in (f"/connections/{TIKTOK}", "/silences", "/silences/2/remove", "/selection"):
        form = {"csrf": csrf, "action": "recheck", "comment": "x", "connection": "*", "for": "1h"}
        assert (await site.client.post(site.url + path, data=form)).status_code == 403
    with store.begin_read() as conn:
        assert len(silences.list_silences(conn)) == 3


async def test_an_operators_changes_have_an_author(site: Served, store: Store) -> None:
    headers = bearer(CASA_OPERATOR)
    back = await site.client.post(f"{site.url}/api/v1/acks", json={"connection": TIKTOK, "remove": True}, headers=headers)
    assert back.status_code == 200, back.text
    done = await site.client.post(f"{site.url}/api/v1/acks", json={"connection": TIKTOK}, headers=headers)
    assert done.status_code == 200, done.text
    await site.client.post(f"{site.url}/api/v1/recheck", json={"connections": [TIKTOK]}, headers=headers)
    with store.begin_read() as conn:
        row = connection_queries.find_by_public_id(conn, TIKTOK)
        assert row is not None
        ack = incidents.all_acks(conn)[row.id]
        assert ack.author == "casa-operator"
        assert [event.author for event in history.history_of(conn, row.id)][-2:] == ["casa-operator"] * 2
        latest = rechecks.latest_of(conn, row.id)
        assert latest is not None
        assert latest.requested_by == "casa-operator"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/v1/acks", {"connection": BRAVA_TIKTOK}, 404),
        ("/api/v1/recheck", {"connections": [BRAVA_TIKTOK]}, 404),
        ("/api/v1/recheck", {"labels": {"client": "bravacanary"}}, 404),
        ("/api/v1/recheck", {"connections": [TIKTOK, BRAVA_TIKTOK]}, 404),
        ("/api/v1/forget", {"connections": ["*brava*"]}, 404),
        ("/api/v1/acks", {"connections": [BRAVA_TIKTOK]}, 404),
        ("/api/v1/recheck", {"sources": ["brokencanary"]}, 404),
        ("/api/v1/silences", {"labels": {"client": "bravacanary"}, "comment": "x"}, 409),
        ("/api/v1/silences", {"sources": ["brokencanary"], "comment": "x"}, 404),
        ("/api/v1/silences/1/remove", {}, 404),
        ("/api/v1/silences/3/remove", {}, 404),
        ("/api/v1/silences/2/remove", {}, 200),
    ],
)
async def test_a_bound_operator_changes_only_the_own_selection(
    site: Served, path: str, body: dict[str, object], status: int
) -> None:
    answer = await site.client.post(site.url + path, json=body, headers=bearer(CASA_OPERATOR))
    assert answer.status_code == status, answer.text


async def test_a_silence_of_a_bound_operator_covers_only_the_own_selection(site: Served, store: Store) -> None:
    wanted = {"connections": ["*"], "comment": "holidays"}
    answer = await site.client.post(f"{site.url}/api/v1/silences", json=wanted, headers=bearer(CASA_OPERATOR))
    assert answer.status_code == 201, answer.text
    assert answer.json()["silence"]["labels"] == {"client": "casa"}
    dry = {**wanted, "dry_run": True}
    listed = await site.client.post(f"{site.url}/api/v1/silences", json=dry, headers=bearer(CASA_OPERATOR))
    assert {row.split("/")[1] for row in listed.json()["connections"]} == {OWN[1]}
    rechecked = await site.client.post(f"{site.url}/api/v1/recheck", json={"sources": ["agency"]}, headers=bearer(CASA_OPERATOR))
    assert {row["connection"].split("/")[1] for row in rechecked.json()["rechecks"]} == {OWN[1]}
    await log_in(site, CASA_OPERATOR)
    page = (await site.get(f"/connections/{TIKTOK}", headers=PAGE)).text
    csrf = re.findall(r'name="csrf" value="([^"]+)"', page)[0]
    form = {"csrf": csrf, "action": "silence", "comment": "by form", "for": "1h"}
    assert (await site.client.post(f"{site.url}/connections/{TIKTOK}", data=form)).status_code == 303
    with store.begin_read() as conn:
        added = silences.list_silences(conn)[-2:]
    assert [(each.labels, each.author) for each in added] == [({"client": "casa"}, "casa-operator")] * 2


async def test_a_signed_link_shows_the_selection_of_its_user(site: Served) -> None:
    await log_in(site, CASA_VIEWER)
    page = html.unescape((await site.get("/", headers=PAGE)).text)
    site.client.cookies.clear()
    for path in FEEDS:
        [link] = re.findall(rf'href="({re.escape(path)}[^"]*)"', page)
        opened = await site.get(link)
        assert opened.status_code == 200
        assert not any(word in opened.text for word in OTHERS)
        everyone = await site.get(link.replace("user=casa-viewer", "user=every-viewer"))
        assert everyone.status_code == 401
        assert (await site.get(link.replace("user=casa-viewer&", ""))).status_code == 401
    users = site.config.web.users
    wider = tuple(replace(user, labels={"team": "red"}) if user.name == "casa-viewer" else user for user in users)
    site.config = replace(site.config, web=replace(site.config.web, users=wider))
    assert (await site.get(link)).status_code == 401, "other labels end the links"


async def test_other_rights_and_another_token_end_a_users_session(site: Served) -> None:
    changes: tuple[Callable[[WebUser], WebUser], ...] = (
        lambda user: replace(user, labels={"team": "red"}),
        lambda user: replace(user, role="operator"),
        lambda user: replace(user, token=Secret("another-token-of-the-viewer")),
        lambda user: replace(user, name="other"),
    )
    for change in changes:
        config = site.config
        await log_in(site, CASA_VIEWER)
        assert (await site.get("/api/v1/connections")).status_code == 200
        users = tuple(change(user) if user.name == "casa-viewer" else user for user in config.web.users)
        site.config = replace(config, web=replace(config.web, users=users))
        assert (await site.get("/api/v1/connections")).status_code == 401
        site.config = config


async def test_a_proxy_signs_users_on_with_their_role_and_selection(site: Served, store: Store) -> None:
    web = site.config.web
    site.config = replace(site.config, web=replace(web, trusted_proxies=(ip_network("127.0.0.1"),), auth_header="x-user"))
    bound = (await site.get("/api/v1/connections", headers={"x-user": "casa-viewer"})).json()
    assert len(bound["connections"]) == 3
    refused = await site.client.post(f"{site.url}/api/v1/acks", json={"connection": TIKTOK}, headers={"x-user": "casa-viewer"})
    assert refused.status_code == 403
    for name in ("nobody", "token"):
        assert (await site.get("/api/v1/connections", headers={"x-user": name})).status_code == 403
    assert (await site.get("/api/v1/connections")).status_code == 401
    site.config = replace(site.config, web=replace(site.config.web, users=()))
    everything = (await site.get("/api/v1/connections", headers={"x-user": "nobody"})).json()
    assert len(everything["connections"]) > 3
    assert (await site.get("/api/v1/connections")).status_code == 401, "with single sign-on, nobody is anonymous"
    body = {"connections": ["*"], "comment": "x"}
    await site.client.post(f"{site.url}/api/v1/silences", json=body, headers={"x-user": "nobody"})
    with store.begin_read() as conn:
        assert silences.list_silences(conn)[-1].author == "nobody"


async def test_with_a_user_loopback_signs_in_too(site: Served) -> None:
    site.client.cookies.clear()
    assert (await site.get("/api/v1/connections")).status_code == 401
    assert (await site.get("/", headers=PAGE)).status_code == 303


def test_a_filter_with_unresolved_labels_reaches_no_query(store: Store) -> None:
    with store.begin_read() as conn, pytest.raises(ValueError, match="Resolve the labels"):
        connection_queries.count_groups(conn, ConnectionFilter(bound_to={"client": "casa"}))


def test_a_users_token_is_not_in_its_representation() -> None:
    assert "t0ken" not in repr(WebUser(name="a", token=Secret("t0ken")))


async def test_a_selection_of_a_bound_operator_covers_only_the_own_connections(site: Served) -> None:
    """Neither all that match nor the ID of another client's connection reaches further."""
    await log_in(site, CASA_OPERATOR)
    page = (await site.get("/", headers=PAGE)).text
    csrf = re.findall(r'name="csrf" value="([^"]+)"', page)[0]
    asked = {"csrf": csrf, "action": "forget"}
    everything = await site.client.post(f"{site.url}/selection", data={**asked, "which": "all"})
    foreign = await site.client.post(f"{site.url}/selection", data={**asked, "connection": [TIKTOK, BRAVA_TIKTOK]})
    for answer in (everything, foreign):
        assert answer.status_code == 200, answer.text[:500]
        assert OWN[0] in answer.text
        assert not [word for word in OTHERS if word in answer.text]
    assert "<h1>Retire: 1 connection</h1>" in foreign.text
    preview = {"csrf": csrf, "step": "preview", "connection": "*", "for": "1h", "comment": "x"}
    shown = await site.client.post(f"{site.url}/silences", data=preview)
    assert shown.status_code == 200
    assert not [word for word in OTHERS if word in shown.text]
