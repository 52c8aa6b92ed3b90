"""Schema of a definition: how the connections of any service are read. The keys are those of a source and of a shipped file.

docs/definitions.md is generated from it. Expressions are JMESPath over a row, see `monitor.domain.rules.expressions`.
"""

from typing import Annotated, Any

from pydantic import Field, PlainValidator

from monitor.config import fields as kinds
from monitor.config.error_text import describe, refuse
from monitor.config.fields import DefaultText, Kind, one_of
from monitor.config.tables import Inner, Table

AUTH_KINDS = ("header", "basic", "oauth", "none")
LIST_KINDS = ("http", "jwt")
PAGING_KINDS = ("none", "offset", "page", "cursor", "link")
STATUSES = ("valid", "expiring_soon", "failing", "expired", "revoked", "disconnected", "unknown", "non_expiring")
FINDINGS = ("ok", "failing", "expired", "revoked", "unsupported", "transient")
SCHEMES = ("hmac-sha256-hex", "hmac-sha256-base64", "timestamped-hmac-sha256-hex", "standard-webhooks", "shared-secret")

_NONE = DefaultText("none")
_REQUIRED = DefaultText("required", required=True)


def _answers(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not value:
        refuse(f"is {describe(value)}, but must be a list of HTTP statuses, such as [200, 401].")
    for item in value:
        if isinstance(item, bool) or not isinstance(item, int) or not (item in (200, 201) or 400 <= item < 500):
            refuse(f"contains {describe(item)}, but a response can be judged with status 200, 201 or 400 to 499 only.")
        if item in (408, 425, 429):
            refuse(f"contains {item}, which is no evidence about a token: the request is repeated.")
    return tuple(dict.fromkeys(value))


def _query(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        refuse(f'is {describe(value)}, but must be a table of texts, such as {{ limit = "100" }}.')
    for key, item in value.items():
        if not isinstance(item, str) or not key:
            refuse(f"contains {describe(item)} for {describe(key)}, but each value must be text in quotes.")
    return dict(value)


def _json(value: Any) -> Any:
    if not isinstance(value, dict | list):
        refuse(f"is {describe(value)}, but must be a table or a list.")
    return value


def _trusted(value: Any) -> bool | tuple[str, ...] | str:
    if isinstance(value, bool | str):
        return value
    if isinstance(value, list):
        return tuple(kinds.text(item) for item in value)
    return refuse(f"is {describe(value)}, but must be true, false, a list of platforms, or an expression.")


def _never(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str | int | float) for item in value):
        refuse(f"is {describe(value)}, but must be a list of texts and numbers that mean no expiry.")
    return tuple(value)


def _secret_table(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        refuse('is not a table of secrets, such as { app = { env = "APP_TOKEN" } }.')
    return {kinds.name(key): kinds.secret(item) for key, item in value.items()}


Expression = Annotated[str, PlainValidator(kinds.text), Kind("expression")]
Answers = Annotated[tuple[int, ...], PlainValidator(_answers), Kind("list of HTTP statuses")]
Query = Annotated[dict[str, str], PlainValidator(_query), Kind("table of texts")]
JsonBody = Annotated[Any, PlainValidator(_json), Kind("table or list")]
Trusted = Annotated[Any, PlainValidator(_trusted), Kind("true, false, list of platforms, or expression")]
Never = Annotated[tuple[Any, ...], PlainValidator(_never), Kind("list of texts and numbers")]
SecretTable = Annotated[dict[str, Any], PlainValidator(_secret_table), Kind("table of secrets")]
Expressions = Annotated[dict[str, str], PlainValidator(_query), Kind("table of expressions")]


def _word(words: tuple[str, ...], noun: str) -> Any:
    return PlainValidator(one_of(words, noun))


class AuthTable(Table):
    """The authentication of a request."""

    kind: Annotated[str | None, _word(AUTH_KINDS, "kind of authentication"), Kind(", ".join(AUTH_KINDS))] = Field(
        default=None,
        description="`header` sends `api_key`, or the token that is checked, in a header; `basic` sends `user` and `api_key`; "
        "`oauth` requests an access token with client credentials and keeps it in memory; `none` sends nothing. "
        "Default: `header`.",
    )
    header: Annotated[kinds.Text | None, DefaultText("Authorization")] = Field(default=None, description="Name of the header.")
    prefix: Annotated[
        str | None, PlainValidator(kinds.any_text), Kind("text"), DefaultText('"Bearer " with Authorization, else none')
    ] = Field(default=None, description="Text before the key in the header.")
    user: Annotated[kinds.Text | None, _NONE] = Field(default=None, description="User name, for `basic`.")
    token_url: Annotated[kinds.Text | None, _NONE] = Field(
        default=None, description="Address of the token request, for `oauth`; `https`, or `http` on loopback."
    )
    client_id: Annotated[kinds.Text | None, _NONE] = Field(default=None, description="Client id, for `oauth`.")
    client_secret: Annotated[kinds.SecretText | None, _NONE] = Field(default=None, description="Client secret, for `oauth`.")
    scope: Annotated[kinds.Text | None, _NONE] = Field(default=None, description="Scope of the access token, for `oauth`.")
    audience: Annotated[kinds.Text | None, _NONE] = Field(default=None, description="Audience of the access token, for `oauth`.")


class PagingTable(Table):
    """The division of a long list into pages."""

    kind: Annotated[str | None, _word(PAGING_KINDS, "kind of paging"), Kind(", ".join(PAGING_KINDS))] = Field(
        default=None,
        description="`offset` and `page` count, `cursor` passes a value of the response on, `link` follows an address in the "
        "response or its `Link` header, on the same host only.",
    )
    param: Annotated[kinds.Text | None, _NONE] = Field(default=None, description="Query parameter of the offset, page or cursor.")
    first: Annotated[int | None, PlainValidator(kinds.count), Kind("whole number"), DefaultText("1")] = Field(
        default=None, description="Number of the first page, for `page`."
    )
    size_param: Annotated[kinds.Text | None, _NONE] = Field(default=None, description="Query parameter of the page size.")
    size: Annotated[kinds.WholeNumber | None, _NONE] = Field(default=None, description="Rows per page.")
    total: Annotated[Expression | None, _NONE] = Field(
        default=None, description="Number of all rows, for `offset`: a list of another length is incomplete."
    )
    more: Annotated[Expression | None, DefaultText("until a page is not full")] = Field(
        default=None, description="True if another page follows, for `page`."
    )
    next: Annotated[Expression | None, _NONE] = Field(
        default=None, description="The next cursor or address; null, false or empty on the last page."
    )


class ListTable(Table):
    """The request that lists connections, and where its response contains them."""

    kind: Annotated[str | None, _word(LIST_KINDS, "kind of list"), Kind(", ".join(LIST_KINDS)), DefaultText("http")] = Field(
        default=None, description="`jwt` sends no request: the claims of each token are its row."
    )
    get: Annotated[kinds.Text | None, _NONE] = Field(default=None, description="Path below `base_url` to request with GET.")
    post: Annotated[kinds.Text | None, _NONE] = Field(default=None, description="Path below `base_url` to request with POST.")
    headers: Annotated[Query | None, _NONE] = Field(default=None, description="Additional headers.")
    query: Annotated[Query | None, _NONE] = Field(default=None, description="Query parameters.")
    form: Annotated[Query | None, _NONE] = Field(default=None, description="Fields of a form, for POST.")
    json_: Annotated[JsonBody | None, _NONE] = Field(default=None, alias="json", description="JSON body, for POST.")
    answers: Annotated[Answers | None, DefaultText("200")] = Field(
        default=None, description="HTTP statuses whose body is judged; any other is a failure of the source."
    )
    ok: Annotated[Expression | None, _NONE] = Field(
        default=None, description="Must be true of the body, else the response is a failure of the source."
    )
    items: Annotated[Expression | None, DefaultText("the body")] = Field(
        default=None, description="The list of rows. One that is missing or null is a failure of the source."
    )
    keyed: Annotated[kinds.Text | None, _NONE] = Field(
        default=None, description="For an object in place of the list: name of the field that receives the key of each entry."
    )
    expand: Annotated[Expression | None, _NONE] = Field(
        default=None, description="A list in each row whose elements are the rows; the outer row is their `parent`."
    )
    where: Annotated[Expression | None, _NONE] = Field(default=None, description="True of the rows that count.")
    paging: Inner[PagingTable] | None = Field(default=None, description="Pages of the list.")


class EachTable(Table):
    """Scopes, such as workspaces: the list is requested once for each."""

    values: Annotated[kinds.Ids | None, _NONE] = Field(default=None, description="Ids of the scopes.")
    get: Annotated[kinds.Text | None, _NONE] = Field(default=None, description="Path that lists the scopes.")
    items: Annotated[Expression | None, DefaultText("the body")] = Field(default=None, description="The list of scopes.")
    id: Annotated[Expression | None, DefaultText("id")] = Field(default=None, description="Id of a scope.")
    name: Annotated[Expression | None, DefaultText("name")] = Field(default=None, description="Name of a scope.")


class ExpiresTable(Table):
    """The expiry date of a row."""

    at: Annotated[Expression | None, _REQUIRED] = Field(default=None, description="The date.")
    as_: Annotated[kinds.Text | None, DefaultText("auto")] = Field(
        default=None,
        alias="as",
        description="`auto` reads ISO 8601, Unix seconds and milliseconds, and dates of HTTP headers; `date` a day, at the "
        "beginning of which in UTC the token expires; `seconds_left` and `days_left` a number; anything else is a format of "
        "Python's strptime.",
    )
    trusted: Annotated[Trusted | None, DefaultText("by evidence; true for tokens")] = Field(
        default=None, description="True if the date alone expires the connection; false for access tokens that are renewed."
    )
    never: Annotated[Never | None, _NONE] = Field(default=None, description="Values that mean that there is no expiry.")


class RowTable(Table):
    """Which field of a row is what. All values are expressions, except `link`."""

    id: Annotated[Expression | None, _REQUIRED] = Field(default=None, description="Stable id, unique in its scope.")
    platform: Annotated[Expression | None, _NONE] = Field(default=None, description="Platform.")
    username: Annotated[Expression | None, _NONE] = Field(default=None, description="User name.")
    name: Annotated[Expression | None, _NONE] = Field(default=None, description="Display name.")
    account: Annotated[Expression | None, _NONE] = Field(
        default=None, description="Id on the platform, by which an account is recognised when it gets a new id."
    )
    link: Annotated[kinds.Text | None, _NONE] = Field(
        default=None, description="Address at which it is reconnected; `{name}` inserts a field of the row."
    )
    scopes: Annotated[Expression | None, _NONE] = Field(default=None, description="Granted scopes, a list of texts.")
    issued: Annotated[Expression | None, _NONE] = Field(default=None, description="When the token was issued.")
    refreshed_at: Annotated[Expression | None, _NONE] = Field(default=None, description="When the service last renewed it.")
    refresh_failed_at: Annotated[Expression | None, _NONE] = Field(default=None, description="When a renewal last failed.")
    refresh_error: Annotated[Expression | None, _NONE] = Field(default=None, description="Error of the last renewal.")
    refresh_status: Annotated[Expression | None, _NONE] = Field(default=None, description="HTTP status of the last renewal.")
    last_post: Annotated[Expression | None, _NONE] = Field(default=None, description="When the last post succeeded.")
    last_error: Annotated[Expression | None, _NONE] = Field(default=None, description="Text of the last error of a post.")
    last_error_at: Annotated[Expression | None, _NONE] = Field(default=None, description="When that error occurred.")
    labels: Annotated[Expressions | None, _NONE] = Field(default=None, description="Labels, by name.")
    expires: Inner[ExpiresTable] | None = Field(default=None, description="Expiry date.")


class StatusRuleTable(Table):
    """A rule: the first that applies decides the status of a row."""

    when: Annotated[Expression | None, DefaultText("always")] = Field(default=None, description="When the rule applies.")
    is_: Annotated[str | None, _word(STATUSES, "status"), Kind(", ".join(STATUSES)), _REQUIRED] = Field(
        default=None, alias="is", description="The status."
    )
    because: Annotated[Expression | None, _NONE] = Field(default=None, description="Explanation, shown with the status.")


class TestRuleTable(Table):
    """A rule: the first that applies decides what a test proves. A response without one proves nothing."""

    when: Annotated[Expression | None, DefaultText("always")] = Field(default=None, description="When the rule applies.")
    is_: Annotated[str | None, _word(FINDINGS, "result of a test"), Kind(", ".join(FINDINGS)), _REQUIRED] = Field(
        default=None, alias="is", description="The result."
    )
    because: Annotated[Expression | None, _NONE] = Field(default=None, description="Explanation, shown with the result.")


TestStatuses = list[Inner[TestRuleTable]]


class TestTable(Table):
    """The request that tests one connection."""

    get: Annotated[kinds.Text | None, _NONE] = Field(
        default=None, description="Path to request with GET; `{id}` and `{platform}` are inserted, and `{raw.FIELD}` of its row."
    )
    post: Annotated[kinds.Text | None, _NONE] = Field(default=None, description="Path to request with POST, as `get`.")
    headers: Annotated[Query | None, _NONE] = Field(default=None, description="Additional headers.")
    query: Annotated[Query | None, _NONE] = Field(default=None, description="Query parameters.")
    form: Annotated[Query | None, _NONE] = Field(default=None, description="Fields of a form, for POST.")
    json_: Annotated[JsonBody | None, _NONE] = Field(default=None, alias="json", description="JSON body, for POST.")
    answers: Annotated[Answers | None, DefaultText("200")] = Field(
        default=None, description="HTTP statuses whose body is judged; any other proves nothing."
    )
    status: Annotated[TestStatuses | None, _NONE] = Field(default=None, description="Rules, in order.")


class SignatureTable(Table):
    """The signature of a delivery."""

    header: Annotated[kinds.Text | None, DefaultText("by scheme")] = Field(default=None, description="Header of the signature.")
    scheme: Annotated[str | None, _word(SCHEMES, "signature scheme"), Kind(", ".join(SCHEMES)), _REQUIRED] = Field(
        default=None, description="The scheme. Signatures are of the raw body, with SHA-256."
    )
    prefix: Annotated[kinds.Text | None, _NONE] = Field(default=None, description="Text before the signature, such as `sha256=`.")
    timestamp: Annotated[kinds.Text | None, _NONE] = Field(default=None, description="Header of the time of the delivery.")


class HookOnTable(Table):
    """Deliveries that cause a poll."""

    when: Annotated[Expression | None, DefaultText("always")] = Field(default=None, description="Condition on the body.")


HookOns = list[Inner[HookOnTable]]


class HookTable(Table):
    """Deliveries of the service to `/hooks/SOURCE`. A signed one means that the source is polled now, and nothing else."""

    secret: Annotated[kinds.SecretTexts | None, _NONE] = Field(
        default=None, description="Secret of the signature, or a list of several while it is rotated."
    )
    signature: Inner[SignatureTable] | None = Field(default=None, description="How a delivery is signed.")
    on: Annotated[HookOns | None, DefaultText("every delivery")] = Field(default=None, description="Deliveries that count.")


class TokenTable(Table):
    """One token that is checked: it is one connection."""

    id: Annotated[kinds.Name | None, _REQUIRED] = Field(default=None, description="Name of the token, part of its id.")
    secret: Annotated[kinds.SecretText | None, _REQUIRED] = Field(default=None, description="The token.")


Tokens = list[Inner[TokenTable]]
Statuses = list[Inner[StatusRuleTable]]


class DefinitionTable(Table):
    """The instructions for reading the connections of a service."""

    platform: Annotated[kinds.Text | None, _NONE] = Field(default=None, description="Platform of every row.")
    platforms: Annotated[Query | None, _NONE] = Field(default=None, description="Names of platforms, by the service's own name.")
    secrets: Annotated[SecretTable | None, _NONE] = Field(
        default=None, description="Further secrets, which requests insert as `{secret.NAME}`."
    )
    secret_in_query: Annotated[kinds.Boolean | None, DefaultText("false")] = Field(
        default=None, description="If true, secrets may be in addresses, where proxies and servers log them."
    )
    tokens: Annotated[Tokens | None, _NONE] = Field(default=None, description="Tokens to check, one request each.")
    auth: Inner[AuthTable] | None = Field(default=None, description="Authentication.")
    each: Inner[EachTable] | None = Field(default=None, description="Scopes.")
    list: Inner[ListTable] | None = Field(default=None, description="The list.")
    row: Inner[RowTable] | None = Field(default=None, description="Fields of a row.")
    status: Annotated[Statuses | None, _NONE] = Field(default=None, description="Rules for the status of a row, in order.")
    test: Inner[TestTable] | None = Field(default=None, description="Test of one connection.")
    hook: Inner[HookTable] | None = Field(default=None, description="Deliveries of the service.")


class DateTable(Table):
    """A date that was written down."""

    id: Annotated[kinds.Name | None, _REQUIRED] = Field(default=None, description="Stable id, unique in the source.")
    name: Annotated[kinds.Text | None, DefaultText("the id")] = Field(default=None, description="Display name.")
    platform: Annotated[kinds.Text | None, DefaultText("date")] = Field(default=None, description="What it belongs to.")
    expires_at: Annotated[kinds.DateOrInstant | None, _REQUIRED] = Field(
        default=None, description="Date or time; a date ends at the end of that day in the configured time zone."
    )
    link: Annotated[kinds.Text | None, _NONE] = Field(default=None, description="Address at which it is renewed.")
    labels: kinds.Labels = Field(default_factory=dict, description="Labels.")


Dates = list[Inner[DateTable]]


class ShippedTable(DefinitionTable):
    """A definition that is part of the program, with facts about its service."""

    label: kinds.Text = Field(description="The service's own spelling of its name.")
    base_url: Annotated[kinds.Text | None, _NONE] = Field(default=None, description="Everything up to the resource's own path.")
    dashboard_url: Annotated[kinds.Text | None, _NONE] = Field(
        default=None, description="Page on which accounts are reconnected."
    )
    requests_per_minute: Annotated[kinds.WholeNumber | None, _NONE] = Field(default=None, description="Default request budget.")
    poll_every: Annotated[kinds.Interval | None, _NONE] = Field(default=None, description="Default poll interval.")
    needs: kinds.Text = Field(description="What a source must set, such as `api_key`.")
    reports: kinds.Names = Field(description="What it reports: health, expiry, test, hook.")
    verified: kinds.Text = Field(description="How far the definition was verified.")
    advice: Annotated[kinds.Text | None, _NONE] = Field(default=None, description="What to do about a token, in one sentence.")
