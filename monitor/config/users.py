"""Resolution of `[[web.users]]`: names, roles, tokens, and the labels that limit users to a selection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from monitor.config.error_text import describe
from monitor.config.resolve import Loc, Resolver
from monitor.config.schema import Document
from monitor.config.secrets import UNREAD, Secret
from monitor.config.settings import SourceConfig, WebUser
from monitor.domain.rules.labels import LabelRule

TOKEN_USER = "token"  # noqa: S105 - a name
"""The name of the operator with `web.token`."""


def resolve_users(resolver: Resolver, document: Document, token: Secret | None) -> tuple[WebUser, ...]:
    """Return the users in the order of the file; record mistakes. `token` is that of the operator."""
    names = {TOKEN_USER: "the operator with web.token has"}
    tokens = {} if token is None or token is UNREAD else {token.reveal(): "web.token"}
    sets = [source.labels for source in document.sources] + [rule.set for rule in document.labels]
    found = []
    for number, raw in enumerate(document.web.users):
        loc = ("web", "users", number)
        secret = resolver.secret((*loc, "token"), raw.token)
        named = resolver.required_value((*loc, "name"), raw.name, hint="name the user.")
        if not resolver.required_value((*loc, "token"), raw.token, hint="set the user's token.") or not named:
            continue
        path = f"web.users[{number}]"
        if raw.name in names:
            resolver.problems.error((*loc, "name"), f"is {describe(raw.name)}, a name that {names[raw.name]} already.")
        names[raw.name or ""] = f"{path} has"
        if secret is not None and secret is not UNREAD:
            if secret.reveal() in tokens:
                resolver.problems.error(
                    (*loc, "token"), f"is equal to {tokens[secret.reveal()]}: every user needs a different one."
                )
            tokens[secret.reveal()] = f"{path}.token"
        _require_configured(resolver, (*loc, "labels"), raw.labels, sets)
        found.append(WebUser(name=raw.name or "", token=secret or Secret(""), role=raw.role, labels=raw.labels))
    return tuple(found)


def _require_configured(resolver: Resolver, loc: Loc, labels: Mapping[str, str], sets: Iterable[Mapping[str, str]]) -> None:
    """Record an error for labels that the configuration does not set: a name at a service may change, so it grants nothing."""
    problem = unconfigured_labels(labels, sets)
    if problem is not None:
        resolver.problems.error(loc, problem)


def configured_labels(sources: Iterable[SourceConfig], rules: Iterable[LabelRule]) -> list[Mapping[str, str]]:
    """Return the labels that sources and rules set."""
    return [*(source.labels for source in sources), *(rule.set for rule in rules)]


def unconfigured_labels(labels: Mapping[str, str], sets: Iterable[Mapping[str, str]]) -> str | None:
    """Return the end of a sentence with the rule to add if one of the labels is not set by the configuration, else None."""
    known = {pair for each in sets for pair in each.items()}
    missing = next((pair for pair in labels.items() if pair not in known), None)
    if missing is None:
        return None
    key, value = (describe(text) for text in missing)
    return (
        f"requires {key} = {value}, which no source and no [[labels]] rule sets; a name at the service may change, so it grants "
        f'no access. Add a rule: [[labels]] match = {{ scope = "ID" }} set = {{ {key} = {value} }}'
    )
