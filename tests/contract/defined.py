"""The 24 shipped definitions against a simulated service each: sources, sample responses, and pages of a list."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monitor.config import SourceConfig
from monitor.config.load import load
from monitor.domain import Snapshot
from monitor.domain.records import replace
from tests.contract.loopback import BASE, Request, Response, as_json
from tests.support import canary

SAMPLES = Path(__file__).parents[1] / "data" / "definitions"
KEY, CLIENT_SECRET = canary.secret("defined-key"), canary.secret("client-secret")
APP, ACCESS = canary.secret("app"), canary.secret("access-token")
OWN_PATHS = frozenset({"/oauth/token", "/workspaces"})
"""Paths that are not the list's."""

Item = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Service:
    """What a test needs to know of one service."""

    name: str
    settings: str = ""
    """Further keys of the source."""
    items: str | None = None
    """Key of the list in its body; None for a bare array."""
    identify: Callable[[Item, str], None] = lambda item, key: item.update(id=key)
    """Gives an item another id."""
    public_id: str = "{}"
    """The id of the connection that an item with the id `{}` becomes."""
    pages: Callable[[Item | list[Any], list[Any], Request], Response] | None = None
    """Returns one page of these items; None if the list is not divided into pages."""

    @property
    def sample(self) -> dict[str, Any]:
        """Its sample responses, and the connections that they state."""
        found: dict[str, Any] = json.loads(canary.filled((SAMPLES / f"{self.name}.json").read_text("utf-8")))
        return found

    @property
    def keys(self) -> tuple[str, ...]:
        """The tokens or scopes of the sample; "" if one response is all."""
        return tuple(self.sample["answers"])

    @property
    def checks_tokens(self) -> bool:
        """True if each connection is a token, and a response describes only that."""
        return self.keys != ("",) and "tokens" in self.table(0)

    @property
    def lists(self) -> bool:
        """True if responses contain a list."""
        return not self.checks_tokens or self.name == "ayrshare"

    def table(self, port: int) -> str:
        """The source's table in the configuration."""
        base = f"http://127.0.0.1:{port}{BASE}"
        text = f'[[sources]]\nname = "agency"\nprovider = "{self.name}"\nbase_url = "{base}"\n'
        text += self.settings.replace("@BASE@", base)
        if "@TOKENS@" in text:
            tokens = "".join(
                f'[[sources.tokens]]\nid = "{key}"\nsecret = {{ env = "TOKEN_{n}" }}\n' for n, key in enumerate(self.keys)
            )
            text = text.replace("@TOKENS@", tokens)
        return text

    def token(self, key: str) -> str:
        """The secret of a token of the sample."""
        if self.name != "jwt":
            return canary.secret(f"token-{key}")
        claims = base64.urlsafe_b64encode(json.dumps(self.sample["answers"][key]["body"]).encode()).rstrip(b"=").decode()
        return f"eyJhbGciOiJub25lIn0.{claims}.c2lnbmF0dXJl"

    def source(self, folder: Path, port: int = 9) -> SourceConfig:
        """The source, read from a configuration file like any other."""
        file = folder / "config.toml"
        file.write_text(f'[database]\nurl = "sqlite:///monitor.db"\n{self.table(port)}', "utf-8")
        env = {"HOME": str(folder), "KEY": KEY, "CLIENT_SECRET": CLIENT_SECRET, "APP": APP}
        env |= {f"TOKEN_{number}": self.token(key) for number, key in enumerate(self.keys)}
        (found,) = load(file, env).config.sources
        return replace(found, requests_per_minute=60_000)

    def answer(self, request: Request) -> Response:
        """Respond to a request as the sample does."""
        if (own := self.own_answer(request)) is not None:
            return own
        found = self.sample["answers"][self.key_of(request)]
        return as_json(found["body"], status=found.get("status", 200), **found.get("headers", {}))

    def own_answer(self, request: Request) -> Response | None:
        """Respond to a request that is not the list's; None for the list's."""
        if request.path == "/oauth/token":
            assert CLIENT_SECRET.encode() in request.body
            return as_json({"access_token": ACCESS, "expires_in": 3600, "token_type": "Bearer"})
        if request.path == "/workspaces":
            return as_json([{"id": key, "name": f"Workspace {key}"} for key in self.keys])
        return None

    def key_of(self, request: Request) -> str:
        """The token or scope that a request concerns. The secrets must be where the service expects them."""
        sent = f"{request.target}\n{request.headers}\n{request.body.decode()}"
        if self.keys == ("",):
            assert KEY in sent or ACCESS in sent or base64.b64encode(f"monitor:{KEY}".encode()).decode() in sent
            return ""
        secrets = {key: self.token(key) if self.checks_tokens else key for key in self.keys}
        return next(key for key, secret in secrets.items() if secret in sent)

    def body_of(self, items: list[Any], key: str = "") -> Any:
        """A body with these items in place of the sample's."""
        body = copy.deepcopy(self.sample["answers"][key or self.keys[0]]["body"])
        *outer, last = (self.items or "").split(".")
        if not last:
            return items
        here = body
        for name in outer:
            here = here[name]
        here[last] = items
        return body

    def items_of(self, key: str = "") -> list[Any]:
        """The items of the sample."""
        found = self.sample["answers"][key or self.keys[0]]["body"]
        for name in (self.items or "").split("."):
            found = found[name] if name else found
        assert isinstance(found, list)
        return found

    def numbered(self, count: int) -> list[Item]:
        """As many healthy items, each with its own id."""
        healthy = next(row for row in self.sample["expected"] if row["reported"] in ("valid", "unstated"))
        index = self.sample["expected"].index(healthy)
        made = [copy.deepcopy(self.items_of()[index]) for _ in range(count)]
        for number, item in enumerate(made):
            self.identify(item, f"n{number}")
        return made


def _offset(body: Any, items: list[Any], request: Request) -> Response:
    first, size = int(request.query["offset"]), int(request.query["limit"])
    return as_json(_filled(body, items, items[first : first + size]))


def _numbered_page(body: Any, items: list[Any], request: Request) -> Response:
    page, size = int(request.query["page"]), int(request.query["limit"])
    return as_json(_filled(body, items, items[page * size : (page + 1) * size]))


def _cursor(param: str, place: str) -> Callable[[Any, list[Any], Request], Response]:
    def page(body: Any, items: list[Any], request: Request) -> Response:
        first, size = int(request.query.get(param, "c0")[1:]), int(request.query["limit"])
        filled = _filled(body, items, items[first : first + size])
        *outer, last = place.split(".")
        here = filled
        for name in outer:
            here = here[name]
        more = first + size < len(items)
        here[last] = f"c{first + size}" if more else None
        if "has_more" in filled:
            filled["has_more"] = more
        return as_json(filled)

    return page


def _link_header(body: Any, items: list[Any], request: Request) -> Response:
    page, size = int(request.query.get("page", "1")), int(request.query["per_page"])
    shown = items[(page - 1) * size : page * size]
    target = f"http://{request.headers['host']}{request.target.partition('?')[0]}?page={page + 1}&per_page={size}"
    links = f'<{target.replace(f"page={page + 1}&", "page=1&")}>; rel="first"'
    links += f', <{target}>; rel="next"' if page * size < len(items) else ""
    return as_json(shown, link=links)


def _next_link(body: Any, items: list[Any], request: Request) -> Response:
    first, size = int(request.query.get("$skiptoken", "0")), 100
    filled = _filled(body, items, items[first : first + size])
    if first + size < len(items):
        filled["@odata.nextLink"] = f"http://{request.headers['host']}{BASE}/applications?$skiptoken={first + size}"
    return as_json(filled)


def _filled(body: Any, items: list[Any], shown: list[Any]) -> Any:
    if isinstance(body, list):
        return shown
    filled = copy.deepcopy(body)
    (key,) = (name for name, value in filled.items() if isinstance(value, list))
    filled[key] = shown
    if "meta" in filled:
        filled["meta"]["total"] = len(items)
    return filled


def _team(item: Item, key: str) -> None:
    """Give a team one account: three of them in the sample would be the same in every team."""
    item.update(id=f"team-{key}", socialAccounts=[{**item["socialAccounts"][0], "id": key}])


def _app(item: Item, key: str) -> None:
    item.update(appId=key, passwordCredentials=[{**item["passwordCredentials"][0], "keyId": "k"}])


_TOKENS = "@TOKENS@"
_KEY = 'api_key = { env = "KEY" }\n'
_OAUTH = 'auth = { token_url = "@BASE@/oauth/token", client_id = "monitor", client_secret = { env = "CLIENT_SECRET" } }\n'

SERVICES: tuple[Service, ...] = (
    Service(name="zernio", settings=_KEY, items="accounts", identify=lambda item, key: item.update(accountId=key)),
    Service(name="relayapi", settings=_KEY, items="data", pages=_cursor("cursor", "next_cursor")),
    Service(name="postforme", settings=_KEY, items="data", pages=_offset),
    Service(name="outstand", settings=_KEY, items="data", pages=_offset),
    Service(name="postiz", settings=_KEY),
    Service(name="ayrshare", settings=_KEY + _TOKENS, items="displayNames", public_id="acme-linkedin-{}"),
    Service(name="buffer", settings=_KEY + 'each = { values = ["org_1"] }\n', items="data.channels"),
    Service(name="bundle", settings=_KEY, items="items", identify=_team, pages=_offset),
    Service(name="publer", settings=_KEY),
    Service(
        name="uploadpost",
        settings=_KEY,
        items="profiles",
        identify=lambda item, key: item.update(username=key, social_accounts={"instagram": {"handle": "i"}}),
        public_id="{}-instagram",
    ),
    Service(
        name="nango",
        settings=_KEY,
        items="connections",
        identify=lambda item, key: item.update(connection_id=key),
        public_id="gh/{}",
        pages=_numbered_page,
    ),
    Service(name="composio", settings=_KEY, items="items", pages=_cursor("cursor", "next_cursor")),
    Service(
        name="pipedream",
        settings=_OAUTH + 'list = { get = "/connect/proj/accounts" }\n',
        items="data",
        pages=_cursor("after", "page_info.end_cursor"),
    ),
    Service(name="unified", settings=_KEY, pages=_offset),
    Service(name="meta", settings='secrets = { app = { env = "APP" } }\n' + _TOKENS),
    Service(
        name="linkedin",
        settings='secrets = { client_id = { env = "KEY" }, client_secret = { env = "CLIENT_SECRET" } }\n' + _TOKENS,
    ),
    Service(name="github", settings=_TOKENS),
    Service(name="gitlab", settings=_KEY, pages=_link_header),
    Service(name="entra", settings=_OAUTH, items="value", identify=_app, public_id="{}/k", pages=_next_link),
    Service(name="vault", settings=_TOKENS),
    Service(name="slack", settings=_TOKENS),
    Service(name="cloudflare", settings=_TOKENS),
    Service(name="introspect", settings=_KEY + 'auth = { user = "monitor" }\n' + _TOKENS),
    Service(name="jwt", settings=_TOKENS),
)
BY_NAME = {service.name: service for service in SERVICES}
ONLINE = tuple(service for service in SERVICES if service.name != "jwt")
LISTS = tuple(service for service in ONLINE if service.lists)
PAGED = tuple(service for service in SERVICES if service.pages is not None)


def shown(row: Snapshot) -> dict[str, Any]:
    """A connection as the samples state it, without what is not known of it."""
    facts = {
        "scope": row.scope,
        "detail": row.detail,
        "expires_at": None if row.expires_at is None else row.expires_at.isoformat(),
        "trusted": row.trusted,
        "scopes": None if row.scopes is None else list(row.scopes),
    }
    stated = {name: value for name, value in facts.items() if value is not None}
    return {"id": row.external_id, "platform": row.platform, "name": row.display_name, "reported": row.reported.value, **stated}
