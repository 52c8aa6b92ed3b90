"""The base path: the path below which a reverse proxy serves the site, such as /tokens. Without one it is empty.

Inside the program every path is without it, such as /sources. There are three rules:

- `enter` removes it from a request, so both proxies that pass it on and proxies that strip it work;
- templates write `address("/sources")` for every link, form, style and script;
- the security middleware adds it to redirects, so `RedirectResponse("/sources")` is right.

Python code that writes an address elsewhere uses `address_for(request, "/sources")`. Addresses that begin with "?" or "#" are
relative to the page and need nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Scope

_BASE = "monitor.base_path"


def enter(scope: Scope, base: str) -> Scope:
    """Return the scope of a request with its path below the base path. A path elsewhere is unchanged."""
    found = {**scope, _BASE: base}
    path: str = scope["path"]
    if base and (path == base or path.startswith(f"{base}/")):
        found |= {"path": path.removeprefix(base) or "/", "raw_path": scope["raw_path"].removeprefix(base.encode()) or b"/"}
    return found


def base_of(scope: Scope) -> str:
    """Return the base path of a request, without a slash at its end."""
    base: str = scope[_BASE]
    return base


def address_for(request: Request, path: str) -> str:
    """Return the address at which the client finds a path of this site."""
    return below(base_of(request.scope), path)


def below(base: str, path: str) -> str:
    """Return a path of this site below the base path. An address elsewhere, or relative to a page, is unchanged."""
    return f"{base}{path}" if path.startswith("/") and not path.startswith("//") else path
