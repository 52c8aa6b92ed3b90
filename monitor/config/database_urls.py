"""Database URLs: the path of a SQLite file, or libpq's parameters of a PostgreSQL server; and their display without secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from monitor.config.error_text import nearest
from monitor.config.secrets import HIDDEN, ResolveContext, UnusableError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_POSTGRES = ("postgresql", "postgresql+psycopg")
_OPTIONS = frozenset(
    (
        "application_name",
        "channel_binding",
        "client_encoding",
        "connect_timeout",
        "dbname",
        "fallback_application_name",
        "gssdelegation",
        "gssencmode",
        "gsslib",
        "host",
        "hostaddr",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "krbsrvname",
        "load_balance_hosts",
        "max_protocol_version",
        "min_protocol_version",
        "oauth_client_id",
        "oauth_client_secret",
        "oauth_issuer",
        "oauth_scope",
        "options",
        "passfile",
        "password",
        "port",
        "require_auth",
        "requirepeer",
        "scram_client_key",
        "scram_server_key",
        "service",
        "ssl_max_protocol_version",
        "ssl_min_protocol_version",
        "sslcert",
        "sslcertmode",
        "sslcompression",
        "sslcrl",
        "sslcrldir",
        "sslkey",
        "sslkeylogfile",
        "sslmode",
        "sslnegotiation",
        "sslpassword",
        "sslrootcert",
        "sslsni",
        "target_session_attrs",
        "tcp_user_timeout",
        "user",
    )
)
"""libpq's parameters (PostgreSQL 18, "Parameter Key Words") without `replication`."""
_ADVICE = {
    "schema": "set the schema for the role instead: ALTER ROLE … SET search_path = …",
    "currentSchema": "set the schema for the role instead: ALTER ROLE … SET search_path = …",
    "search_path": "write options=-csearch_path%3D…, or set it for the role: ALTER ROLE … SET search_path = …",
    "pgbouncer": "remove it; a pooler must be in session mode, see docs/operations.md",
}
_PASSWORDS = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")
_SQLITE_OPTIONS = ("cache", "check_same_thread", "isolation_level", "mode", "timeout", "uri")
"""SQLite options that other programs know. They are accepted without effect, as in version 0.1."""
_HOST = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]{0,5}))?")
_NO_URL = "is not a usable postgresql:// URL: write postgresql://user@host/database."
_RAW = "write %40 for @, %2F for / and %3F for ? in the user name and the password"


def database_url(text: str, context: ResolveContext) -> str:
    """Return a database URL with an absolute SQLite path. Raises UnusableError, which never contains the URL."""
    target = parse(text)
    return text if isinstance(target, dict) else sqlite_url(context.path(str(target)))


def sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite file."""
    return "sqlite:///" + str(path).replace("%", "%25").replace("?", "%3F")


def parse(text: str) -> Path | dict[str, str]:
    """Return the path of a SQLite file, or libpq's parameters of a PostgreSQL server.

    Raises UnusableError, which never contains the URL.
    """
    match = _SCHEME.match(text)
    scheme = match.group(1).lower() if match else ""
    if scheme in _POSTGRES:
        return _parameters(text[len(f"{scheme}://") :])
    if scheme == "postgres":
        raise UnusableError("starts with postgres://, but must start with postgresql://.")
    if scheme != "sqlite":
        raise UnusableError("must start with sqlite:/// or postgresql://.")
    return _sqlite_path(text[len("sqlite://") :])


def _sqlite_path(location: str) -> Path:
    if location and not location.startswith("/"):
        raise UnusableError("needs three slashes for a relative and four for an absolute path: sqlite:///monitor.db.")
    file = location[1:]
    if file.partition("?")[0] in ("", ":memory:") or "mode=memory" in file:
        raise UnusableError("names an in-memory database, which would lose all data: name a file such as sqlite:///monitor.db.")
    file, mark, options = file.partition("?")
    if mark and not all(item.partition("=")[0] in _SQLITE_OPTIONS for item in options.split("&")):
        raise UnusableError("contains ?, but a SQLite URL takes no options: remove ? and the rest, or write %3F in a file name.")
    return Path(_decode(file))


def _parameters(rest: str) -> dict[str, str]:
    """Return libpq's parameters of the part after postgresql://, in libpq's and in SQLAlchemy's notation for several hosts."""
    found = re.fullmatch(r"([^/?]*)(?:/([^?]*))?(?:\?(.*))?", rest)
    if found is None or re.search(r"[\s\0]", rest):
        raise UnusableError(_NO_URL)
    authority, database, query = found[1], found[2] or "", found[3] or ""
    account, at, hosts = authority.rpartition("@")
    if "@" in database or "/" in database:
        raise UnusableError(f"contains @ or / after the host: {_RAW}.")
    user, colon, password = account.partition(":")
    parameters = {"user": _decode(user), "password": _decode(password) if colon else "", "dbname": _decode(database)}
    addresses = list(_addresses(hosts.split(","))) if hosts else []
    for name, value in _options(query, anonymous=not at):
        if name == "host":
            # Hosts in the query replace those of the address, whose port applies to them unless they have their own.
            port_only = addresses if all(not host for host, _ in addresses) else []
            addresses = list(_addresses(value.split(","), decoded=True))
            if port_only and not any(port for _, port in addresses):
                addresses = [(host, port_only[0][1]) for host, _ in addresses]
        else:
            parameters[name] = value
    parameters = {"host": _joined(host for host, _ in addresses), "port": _joined(port for _, port in addresses)} | parameters
    return {name: value for name, value in parameters.items() if value}


def _joined(values: Iterable[str]) -> str:
    """Return a list as libpq takes it; nothing if every value is empty."""
    listed = list(values)
    return ",".join(listed) if any(listed) else ""


def _addresses(texts: Iterable[str], *, decoded: bool = False) -> Iterator[tuple[str, str]]:
    """Yield host and port of each address: a name, an IP address (IPv6 in brackets), or the folder of a socket."""
    for text in texts:
        if decoded and (text.startswith(("/", "@")) or text.count(":") > 1) and not text.startswith("["):
            yield text, ""
            continue
        match = _HOST.fullmatch(text)
        if match is None or (match[2] and not 0 < int(match[2]) < 65536):
            raise UnusableError(f"has a host or port that is unusable: write host:5432, and {_RAW}.")
        host = match[1].removeprefix("[").removesuffix("]")
        yield host if decoded else _decode(host), match[2] or ""


def _options(query: str, *, anonymous: bool) -> Iterator[tuple[str, str]]:
    """Yield the name and value of each option once; the values of a repeated `host`, `port` or `options` are joined."""
    values: dict[str, list[str]] = {}
    for item in filter(None, query.split("&")):
        name, equals, value = item.partition("=")
        name = _decode(name)
        if anonymous and "@" in item and name not in _OPTIONS:
            raise UnusableError(f"contains @ after its options: {_RAW}.")
        if not equals:
            raise UnusableError("has an option without a value after ?: write ?name=value&name=value.")
        if (name, value) == ("ssl", "true"):  # JDBC's spelling, which libpq accepts in a URL
            name, value = "sslmode", "require"
        if name not in _OPTIONS:
            raise UnusableError(_unknown(name))
        # A space in options= is often written as +, which has no other meaning there.
        values.setdefault(name, []).append(_decode(value.replace("+", " ") if name == "options" else value))
    for name, each in values.items():
        if len(each) > 1 and name not in ("host", "port", "options"):
            raise UnusableError(f"has the option {name} more than once.")
        yield name, (" " if name == "options" else ",").join(filter(None, each) if name == "options" else each)


def _unknown(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]{2,30}", name):
        return f"has an option that PostgreSQL's driver does not know; {_RAW}."
    meant = nearest(name, _OPTIONS)
    advice = _ADVICE.get(name) or (f"{meant} is similar" if meant else "remove it")
    return f"has the option {name}, which PostgreSQL's driver does not know: {advice}."


def _decode(text: str) -> str:
    """Return the text without percent encoding. A % that no two hexadecimal digits follow is kept."""
    octets = unquote_to_bytes(text)
    decoded = octets.decode("utf-8", "replace")
    if "\0" in decoded or decoded.encode() != octets:
        raise UnusableError("contains a percent-encoded character that is not UTF-8 text: write %25 for %.")
    return decoded


def shown_database(url: str) -> str:
    """Return a database URL for display: without password and query."""
    if url.startswith("sqlite"):
        return url.partition("?")[0]
    parameters = _parsed(url)
    if parameters is None:
        return HIDDEN
    user = f"{quote(parameters['user'])}@" if "user" in parameters else ""
    hosts = parameters.get("host", "").split(",")
    ports = parameters.get("port", "").split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports + [""] * len(hosts)
    return f"postgresql://{user}{','.join(map(_shown_address, hosts, ports))}/{quote(parameters.get('dbname', ''), safe='')}"


def _shown_address(host: str, port: str) -> str:
    shown = f"[{host}]" if ":" in host else quote(host, safe="")
    return f"{shown}:{port}" if port else shown


def holds_password(url: str) -> bool:
    """Return True if a database URL contains a password, in its user part or its query."""
    return any(name in (_parsed(url) or {}) for name in _PASSWORDS)


def _parsed(url: str) -> dict[str, str] | None:
    """Return libpq's parameters; None for a SQLite file and for an unusable URL."""
    try:
        target = parse(url)
    except UnusableError:
        return None
    return target if isinstance(target, dict) else None
