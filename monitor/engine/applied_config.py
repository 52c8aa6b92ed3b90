"""The configuration that was last applied to the store: what a new one changes, and what it only renames.

The stored text is the output of `config show`, which contains no secret. Of each secret only a short keyed digest is stored: it
shows that the secret was replaced, and is too short to find the secret by trying.
"""

from __future__ import annotations

import json
import secrets
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from hashlib import blake2b
from typing import Any, Literal

from monitor.config import Config, Secret, show
from monitor.config.formatting import toml_value
from monitor.config.settings import SourceConfig
from monitor.domain.records import Record
from monitor.store import Connection, meta

_APPLIED, _RELOAD, _SALT = "config:applied", "config:reload", "config:salt"
_IDENTITY = ".identity"
"""End of the path under which the digest of a source without an API key is stored: of all that it reads."""
_SHARED_KEYS = ("timezone", "group_by", "schedule", "policy", "sources", "labels", "channels")
_KEY_BYTES, _OTHER_BYTES = 8, 2
"""API keys are random; passwords in URLs may be guessable, so their digests are shorter."""


class Applied(Record, frozen=True, kw_only=True):
    """The configuration in force, as it is stored."""

    at: datetime
    text: str
    """TOML without secrets."""
    secrets: dict[str, str]
    """A digest of each secret by its key path."""

    def names(self, kind: Literal["sources", "channels"]) -> set[str]:
        """Return the names of its sources or channels."""
        last = (".api_key", _IDENTITY) if kind == "sources" else (".url",)
        return {path.split(".")[1] for path in self.secrets if path.startswith(f"{kind}.") and path.endswith(last)}


class Difference(Record, frozen=True, kw_only=True):
    """A key, or a whole source or channel, that differs from the configuration in force."""

    path: str
    kind: Literal["added", "removed", "renamed", "changed", "replaced"]
    """replaced: a secret that changed."""
    old: str | None = None
    new: str | None = None

    def json(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {"path": self.path, "kind": self.kind, "old": self.old, "new": self.new}


class LastReload(Record, frozen=True, kw_only=True):
    """The result of the last start or reload."""

    at: datetime
    problem: str | None
    """Reason for which the configuration was refused, so that the previous one stays in force. None if it was applied."""


class Renamed(Record, frozen=True):
    """Renamed sources and channels, old name to new."""

    sources: dict[str, str]
    channels: dict[str, str]


def save_applied(conn: Connection, config: Config, now: datetime) -> None:
    """Store this configuration as the one in force."""
    value = {"at": now.isoformat(), "text": show(config), "secrets": _digests(config, _salt(conn))}
    meta.set(conn, _APPLIED, json.dumps(value, separators=(",", ":")))


def revision_of(conn: Connection, config: Config) -> str:
    """Return the revision of what all daemons of a cluster must agree on: sources, channels, policy, labels and their secrets.

    It is a keyed digest; equal configurations have equal revisions on the same database only.
    """
    shared = {key: value for key, value in tomllib.loads(show(config)).items() if key in _SHARED_KEYS}
    shared["public_url"] = config.web.public_url
    secrets_of = [source.api_key.reveal() for source in config.sources] + [channel.url.reveal() for channel in config.channels]
    secrets_of += [f"{path}={each.reveal()}" for source in config.sources for path, each in _further_secrets(source) if each]
    text = json.dumps([shared, secrets_of], sort_keys=True, default=str)
    return blake2b(text.encode("utf-8", "surrogatepass"), key=_salt(conn), digest_size=6).hexdigest()


def load_applied(conn: Connection) -> Applied | None:
    """Return the configuration in force, or None if none was ever applied."""
    found = meta.get(conn, _APPLIED)
    if found is None:
        return None
    value = json.loads(found)
    return Applied(at=datetime.fromisoformat(value["at"]), text=value["text"], secrets=value["secrets"])


def save_reload(conn: Connection, now: datetime, *, problem: str | None) -> None:
    """Store the result of a start or a reload: applied, or refused because of `problem`."""
    meta.set(conn, _RELOAD, json.dumps({"at": now.isoformat(), "problem": problem}))


def last_reload(conn: Connection) -> LastReload | None:
    """Return the result of the last start or reload, or None if there was none."""
    found = meta.get(conn, _RELOAD)
    if found is None:
        return None
    value = json.loads(found)
    return LastReload(at=datetime.fromisoformat(value["at"]), problem=value["problem"])


def differences(conn: Connection, before: Applied, config: Config) -> list[Difference]:
    """Return what this configuration would change, in the order of the file. Changes nothing."""
    renamed = find_renamed(conn, before, config)
    old, new = _tables(before.text, renamed), _tables(show(config), Renamed({}, {}))
    found = [Difference(path=f"sources.{name}", kind="renamed", old=was, new=name) for was, name in renamed.sources.items()]
    found += [Difference(path=f"channels.{name}", kind="renamed", old=was, new=name) for was, name in renamed.channels.items()]
    for name in [*old, *(each for each in new if each not in old)]:
        if name not in new:
            found.append(Difference(path=name, kind="removed"))
        elif name not in old and name.startswith(("sources.", "channels.")):
            found.append(Difference(path=name, kind="added"))
        else:
            found += _changed(name, old.get(name, {}), new[name])
    return found + list(_replaced(before.secrets, _digests(config, _salt(conn)), renamed))


def find_renamed(conn: Connection, before: Applied, config: Config) -> Renamed:
    """Return sources with the same key and base URL, and channels with the same address, of which only the name changed.

    Only unambiguous cases: one name is gone, one is new, and no third has the same identity.
    """
    sources = {source.name for source in config.sources}, before.names("sources")
    channels = {channel.name for channel in config.channels}, before.names("channels")
    if not any((now - then) and (then - now) for now, then in (sources, channels)):
        return Renamed({}, {})
    digests = _digests(config, _salt(conn))
    old, new = _identities(before.text, before.secrets), _identities(show(config), digests)
    return Renamed(_pairs(old["sources"], new["sources"]), _pairs(old["channels"], new["channels"]))


def _identities(text: str, digests: Mapping[str, str]) -> dict[str, dict[str, tuple[Any, ...]]]:
    """Return the identity of each source and channel, by kind and name: all that stays when it is renamed."""
    document = tomllib.loads(text)
    same = ("provider", "base_url", "users", "workspaces")
    return {
        "sources": {
            each["name"]: (
                *(str(each.get(key)) for key in same),
                digests.get(f"sources.{each['name']}.api_key", digests.get(f"sources.{each['name']}{_IDENTITY}")),
            )
            for each in document.get("sources", ())
        },
        "channels": {
            each["name"]: (each["url"], digests.get(f"channels.{each['name']}.url")) for each in document.get("channels", ())
        },
    }


def _pairs(old: Mapping[str, tuple[Any, ...]], new: Mapping[str, tuple[Any, ...]]) -> dict[str, str]:
    counts = Counter(old.values()), Counter(new.values())
    arrived = {identity: name for name, identity in new.items() if name not in old}
    return {
        was: arrived[identity]
        for was, identity in old.items()
        if was not in new and identity in arrived and all(count[identity] == 1 for count in counts)
    }


def _tables(text: str, renamed: Renamed) -> dict[str, dict[str, str]]:
    """Return every key with its value as TOML, by table. Sources and channels are listed under their new names."""
    found: dict[str, dict[str, str]] = {}
    for name, value in tomllib.loads(text).items():
        if name in ("sources", "channels"):
            names = renamed.sources if name == "sources" else renamed.channels
            for each in value:
                old_name = each.pop("name")
                found[f"{name}.{names.get(old_name, old_name)}"] = dict(_leaves(each))
        elif isinstance(value, dict):
            found[name] = dict(_leaves(value))
        else:
            found.setdefault("", {})[name] = toml_value(value)
    return found


def _leaves(table: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, dict) and (above or key in ("policy", "platforms", "templates")):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", toml_value(value)


def _changed(table: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Difference]:
    for key in [*old, *(each for each in new if each not in old)]:
        if old.get(key) != new.get(key):
            path = f"{table}.{key}" if table else key
            yield Difference(path=path, kind="changed", old=old.get(key), new=new.get(key))


def _replaced(old: Mapping[str, str], new: Mapping[str, str], renamed: Renamed) -> Iterator[Difference]:
    """Yield the secrets that exist before and after, and changed."""
    names = {f"sources.{was}": f"sources.{name}" for was, name in renamed.sources.items()}
    names |= {f"channels.{was}": f"channels.{name}" for was, name in renamed.channels.items()}
    for path, digest in old.items():
        table, _, key = path.rpartition(".")
        now = f"{names.get(table, table)}.{key}"
        if now in new and new[now] != digest and not path.endswith(_IDENTITY):
            yield Difference(path=now, kind="replaced")


def _digests(config: Config, salt: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    rest: dict[str, Secret | None] = {}
    for source in config.sources:
        has_key = bool(source.api_key.reveal())
        path, identity = (".api_key", source.api_key) if has_key else (_IDENTITY, _identity_of(source))
        found[f"sources.{source.name}{path}"] = _digest(identity, salt, _KEY_BYTES)
        rest |= {f"sources.{source.name}.{key}": secret for key, secret in _further_secrets(source)}
    rest |= {f"channels.{channel.name}.url": channel.url for channel in config.channels}
    rest |= {"database.url": config.database.url, "web.token": config.web.token}
    rest |= {f"web.users.{user.name}.token": user.token for user in config.web.users}
    rest["heartbeat.url"] = config.heartbeat.url if config.heartbeat is not None else None
    return found | {path: _digest(secret, salt, _OTHER_BYTES) for path, secret in rest.items() if secret is not None}


def _further_secrets(source: SourceConfig) -> Iterator[tuple[str, Secret | None]]:
    """Yield the secrets of a source other than its API key, by their paths below the source."""
    yield from (("proxy", source.proxy), ("auth.client_secret", source.client_secret), ("token", source.push_token))
    yield from ((f"secrets.{name}", secret) for name, secret in source.secrets.items())
    yield from ((f"tokens.{token.id}", token.secret) for token in source.tokens)
    yield from ((f"hook.secret.{number}", secret) for number, secret in enumerate(source.hook_secrets))


def _identity_of(source: SourceConfig) -> Secret:
    """Return what a source without an API key reads, as one text: sources that read something else must not look renamed."""
    parts = [f"{path}={secret.reveal()}" for path, secret in _further_secrets(source) if secret is not None and path != "proxy"]
    return Secret("\0".join((*parts, *(date.id for date in source.dates))))


def _digest(secret: Secret, salt: bytes, size: int) -> str:
    text = secret.reveal().encode("utf-8", "surrogatepass")
    return blake2b(text, key=salt, digest_size=size).hexdigest()


def _salt(conn: Connection) -> bytes:
    """Return this database's key for the digests, which is created when it is first needed."""
    found = meta.get(conn, _SALT)
    if found is None:
        found = secrets.token_hex(16)
        meta.set(conn, _SALT, found)
    return bytes.fromhex(found)
