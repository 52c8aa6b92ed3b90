"""The meaning of a test-connection response (PROVIDERS 2a).

PROBE_RULES at the end of this module is the specification: the first rule that applies decides. docs/statuses.md is generated
from it. The patterns describe kinds of text, never single texts. They match the text as `plain` returns it: in lower case, with
blanks instead of underscores. Every repetition is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

from monitor.domain import ProbeAnswer, ProbeFinding
from monitor.domain.records import Record

LONGEST = 1000
"""Maximum number of characters of a message that are classified. Adapters keep fewer."""


def plain(message: str | None) -> str:
    """Return a message as the patterns expect it: in lower case, trimmed, with single blanks, also instead of underscores."""
    text = (message or "").strip()[:LONGEST].lower().replace("\u2019", "'").replace("_", " ")
    return " ".join(text.split())


def _any(*alternatives: str) -> str:
    return "|".join(alternatives)


_NEAR = r"(?:[^.;]|\.(?=\S)){0,60}?"
"""Up to 60 characters of the same sentence."""
_WORDS = r"(?: [\w'-]{1,30}){0,6}? "
"""Up to six words in between."""
_FAILED_TO = r"(?:could not|couldn't|cannot|can't|unable to|failed to)"


def _status(codes: str) -> str:
    """Return a pattern of an HTTP status in the position of one: after "status code", "HTTP", "error" or "returned", or first.

    The number of an object or of a platform's own error code is no status.
    """
    before = r"\b(?:status(?: ?code)?|https?(?:/\d(?:\.\d)?)?(?: status| error)?|error(?: code)?|response code)[ :=#\"']{0,4}"
    verb = r"\b(?:(?:failed|responded|replied|answered) with|returned|received|got)(?: an?)?(?: http)?(?: status)?(?: code)? "
    return rf"(?:{before}|{verb})(?:{codes})\b|^\W{{0,2}}(?:{codes})(?=\W{{0,3}}$| ?[:-])"


# --- what the provider itself answers

UNKNOWN_PLATFORM = _any(r"^unknown platform\b")
MTPROTO = _any(r"invalid bot connection")
BOT_TOKEN = _any(r"invalid bot token")

# --- error codes of Meta's Graph API, as in "(#200) …" (Graph API, "Handle errors" and "Rate limits")

META_TEMPORARY = frozenset({1, 2, 4, 9, 17, 32, 341, 613, *range(80000, 80015)})
META_BLOCKED = frozenset({368, 506, 551, 459, 464, 490, 2207050, 2207051})  # 459, 490: checkpoint; 464: unconfirmed user
META_PERMISSION = frozenset({3, 10, *range(200, 300)})
META_EXPIRED = frozenset({463})
META_REVOKED = frozenset({458, 460})  # 458: app not installed; 460: password changed
META_TOKEN = frozenset({102, 190})  # the others are subcodes of 190
_META_CODE = re.compile(r"\(#(\d{1,6})\)|\boauthexception\b.{0,40}?\bcode\W{1,4}(\d{1,6})\b|\bsubcode\W{1,4}(\d{1,8})\b")

# --- no evidence about the token: a temporary failure of the platform or of the network

LIMITED = _any(
    _status("429"),
    r"rate[ -]?limit",
    r"throttl(?:e|ed|ing)",
    r"\bquota",
    r"usage ?cap",
    r"\btoo ?many(?! ?(?:redirects|characters|hashtags|tags|files|images|arguments|param|fields))",
    r"\b\w{1,15}ing (?:that |this )?too (?:much|often|fast|quickly|frequently)\b",
    r"number of (?:\w{1,15} )?(?:requests|calls|posts) (?:was |has been )?(?:exceeded|reached)",
    r"slow down",
    r"flood (?:\w{1,10} )?wait|slowmode wait",  # Telegram: FLOOD_WAIT_35
    r"retry[ -]after\b|enhance your calm|reduce the amount of data",
    r"\bwait (?:for )?(?:a (?:bit|few|while|moment|minute)|few|of \d|\d)",
    r"limit ?(?:exceeded|reached)",
    rf"\b(?:limits?|cap){_WORDS}(?:exceeded|reached|hit)\b",
    rf"\b(?:exceed(?:ed|ing)|reached|over|hit|at the maximum){_WORDS}(?:limits?|cap|number of)\b",
)
SERVER_ERROR = _any(
    # 5xx of RFC 9110 and the IANA registry without 506 (a code of Meta), of Cloudflare (520 to 530) and 529; 408 and 425
    _status(r"5(?:0[0-57-9]|[12]\d|30)|408|425"),
    r"internal ?(?:server|service|system)? ?(?:error|failure)|bad ?gateway",
    r"server[ -]?error|backend ?error|upstream ?(?:failure|timeout|error|request|connect|server|unavailable)|healthy upstream",
    r"\boverload(?:ed|ing)?\b|over ?capacity|maintenance|being upgraded",
    r"failed to (?:\w{1,15} )?process the request|not ready to accept",
    r"(?:resources?|deadline) ?(?:exhausted|exceeded)|(?:not ?enough|insufficient) ?resources",  # gRPC, AT Protocol
    r"\b(?:service|server|permissions|site|api|system|platform|host|instance)(?: is| are| was)?(?: currently| temporarily| too)?"
    r" (?:unavailable|unreachable|down|busy|overloaded)\b",
    r"temporar(?:il)?y unavailable|^unavailable$",
    r"web server (?:is|returned|reported)|origin (?:is unreachable|dns error)",  # Cloudflare's pages
    r"<!doctype html|<html|^just a moment",  # a page instead of an answer
    r"unexpected token .{0,40}json|unexpected end of (?:json|file|input|data)|(?:invalid|not valid|parse|parsing) json",
)
NETWORK_ERROR = _any(
    # Node's system and DNS errors, and the errors of axios and undici
    r"\be(?:conn\w{1,12}|(?:socket)?timedout|notfound|ai again|pipe|hostunreach|netunreach|netdown|addrnotavail|proto)\b",
    r"\berr (?:network|socket|http2)\b|\bund err\b|\bhpe invalid|^parse error",
    r"socket hang up|fetch failed|other side closed|premature close",
    r"getaddrinfo|servfail|nodata\b|name resolution|resolve host|no route to host",
    r"network (?:error|failure|problem|socket|timeout|is unreachable|request (?:failed|for .{1,60}? failed))",
    r"\bconnection (?:was |has been |is )?(?:reset|refused|closed|aborted|dropped|error)",
    r"unable to connect to (?:the )?(?:server|host|remote)|did not respond|no response (?:from|received)|not responding",
    r"\bdns (?:lookup|error|resolution|failure)|connection lost|lost connection",
    r"(?:request|operation|stream|response)(?: was| has been)? aborted|^\W{0,3}(?:aborted|terminated|aborterror)\W{0,3}$",
    r"(?<!session )(?<!session has )(?<!session was )(?<!session is )(?<!login )timed?[ -]?out",
)
TRY_AGAIN = _any(
    r"(?:try|retry)(?: \w{1,12}){0,3} (?:later|soon|shortly|in (?:an?|\d{1,5}|few|some))\b|please retry",
    r"something (?:is|went|has gone) (?:wrong|broken)|too long to|an error (?:has )?occurred\b.{0,40}try again",
    rf"{_FAILED_TO} (?:connect|reach|contact|fetch)|not be (?:reached|contacted|fetched)",
    r"(?:unknown|unexpected|unspecified|transient|temporary|intermittent)(?: \w{1,20})? ?"
    r"(?:error|problem|issue|failure|condition)",
    r"^(?!.*\b(?:account|user|profile|you|you're)\b).*\btemporarily\b",
    rf"{_FAILED_TO} (?:process|complete|handle|fulfil)\b.{{0,40}}(?:at this time|right now|at the moment)",
)

# --- the user must act, but reconnecting does not help

BLOCKED = _any(
    r"(?<!un)(?:suspended|banned|deactivated|restricted|blocked|locked|disabled|frozen)\b",
    r"suspension|takedown|\b(?:repo|account)(?: has been| was| is)? ?taken ?down|\bwe restrict\b",
    r"check ?point|log in\b.{0,60}follow the instructions",
    r"under review|pending (?:approval|review)",
    r"unconfirmed|not (?:an? )?(?:confirmed|verified) (?:user|account|e-?mail)|missing an? confirmed",
    r"not been (?:verified|confirmed)|(?:verify|confirm) (?:(?:your|the) (?:account|identity|e-?mail|phone|age)|login)",
    rf"\baccount\b{_NEAR}{_NEAR}\b(?:closed|deleted|terminated|unavailable|inactive|hacked|compromised)\b",
    r"\baccount (?:is |was |has been )?(?:temporarily )?limited\b",
    r"\buser (?:is |was |has been )?(?:deleted|inactive)\b",
    r"violat(?:e[sd]?|ing|ions?)\b|deemed abusive",
)
OTHER_EXPIRED = _any(
    r"\bcert(?:ificate)?s?\b|altnames",  # TLS: Node's CERT_HAS_EXPIRED and its relatives
    rf"\b(?:subscription|trial|plan|licen[cs]e|membership|billing|payment|invoice|domain)\b{_NEAR}"
    r"\b(?:expired|ended|lapsed|cance(?:l|ll)ed|inactive|past due|overdue|required)\b",
    r"\b(?:upload|invitation|invite|link|url) (?:session )?(?:has |is |was )?expired\b",
    r"\bexpired (?:subscription|trial|plan|licen[cs]e|membership|domain|upload|invitation|invite|link|url)\b|payment required",
)
APP_REFUSED = _any(
    # RFC 6749 section 5.2, about the posting service's own client
    r"(?:invalid|unauthori[sz]ed|deleted|unknown) ?client",
    r"client (?:authentication failed|is unauthori[sz]ed|not found|forbidden)",
    r"consumer key|(?:invalid|incorrect|wrong|unknown|bad) api key|app ?secret|developer app\b|validating application",
    rf"\b(?:app|application|project)\b{_NEAR}\b(?:deleted|not active|inactive|development mode|not been used|not approved)\b",
)
OBJECT_MISSING = _any(
    r"(?:does not|doesn't|do not|don't|no longer) exists?\b",
    r"(?:not|n't) ?found\b|not be found|could(?: not|n't) find|no such\b",
    r"unknown (?:user|page|account|organi[sz]ation|object|channel)\b",
)

# --- the token works, and a permission is missing

NAMES_PERMISSION = _any(r"permissions?\b|\bscopes?\b")
PERMISSION = _any(
    NAMES_PERMISSION,
    r"privileges?\b|\broles?\b",
    r"(?:not|n't|never)(?: be| been)? (?:permitted|allowed|granted)\b|access denied|insufficient (?:access|rights)",
    r"(?:not|n't) authori[sz]ed? (?:to\b|(?:the |this )?app\w{0,10} to\b)",
    r"\b(?:posting|enough|sufficient|no|admin|administrator) rights\b|(?:chat )?admin required|write forbidden",
    r"\b(?:must be|needs? to be|requires?)(?: \w{1,20}){0,4} (?:admin|administrator|editor|owner|moderator)\b",
    r"need administrator|write actions|read-?only app|access level|\bcapability\b",
    r"(?:do|does)(?: not|n't) (?:have|allow) access",
)

# --- the token is lost

_PROOF = r"tokens?|sessions?|credentials?|authentication|authori[sz]ation|password|grant(?! type)|log-?in|jwt"
_CREDENTIAL = rf"(?:{_PROOF}|(?<!to )access|connection|consent)"
EXPIRED = _any(
    rf"\b{_CREDENTIAL}\b{_NEAR}\bexpired\b",
    rf"\bexpired\b{_NEAR}\b{_CREDENTIAL}\b",
    r"token ?expired|expired ?token",
    r"^\W{0,3}(?:has |is )?expired\W{0,3}$",  # the whole text: what was tested expired
    r"session (?:has |was |is )?timed?[ -]?out",
    r"\"exp\" claim",  # RFC 7519
)
REVOKED = _any(
    r"revoked|revocation|de-?authori[sz]ed|invalidated",
    r"(?:has|have|had|did)(?: not|n't) authori[sz]ed? (?:the |this |our |your )?(?:app|application|client)\b(?! to\b)",
    r"\b(?:app|application) (?:is |was |has been )?(?:not|no longer) (?:installed|authori[sz]ed|connected|linked)",
    r"\b(?:app|application|access|auth|authori[sz]ation|consent|integration) (?:was |has been )?(?:removed|uninstalled)\b",
    r"(?:removed|uninstalled|disconnected) (?:the |this |our |your )?(?:app|application|access)\b",
    r"withdrawn|withdrew|\bthe user (?:has )?denied|denied by the user|logged out|signed out",
    r"auth key (?:unregistered|invalid|duplicated)",
    rf"password{_NEAR}\bchanged|\bchanged{_NEAR}password",
    rf"\bsession\b{_NEAR}\b(?:terminated|closed|ended|deleted)\b|match (?:the )?current stored session",
)
_REFUSED = rf"(?:{_PROOF}|signature)"
INVALID = _any(
    rf"\b(?:invalid|bad|malformed|incorrect|wrong|inactive|no valid|empty|missing)\b{_NEAR}\b{_REFUSED}\b",
    rf"\b{_REFUSED}\b{_NEAR}\b(?:invalid|not valid|no longer valid|rejected|refused|denied|failed|malformed|incorrect|mismatch"
    r"|unknown|not recogni[sz]ed|required|missing|not found|(?:does not|doesn't) (?:match|belong)"
    r"|must be (?:used|provided|supplied)"
    r"|not be (?:verified|decrypted|parsed|decoded|validated))\b",
    r"\bno (?:\w{1,15},? ){0,2}(?:tokens?|credentials?|session)\b|invalid ?token|invalid ?grant|invalid ?auth\b|not authed",
    r"auth(?:entication)? ?error",
    rf"{_FAILED_TO} authenticate",
    rf"{_FAILED_TO} (?:verify|parse|decrypt|decode|validate) (?:your |the )?(?:\w{{1,15}} )?(?:credentials|token)",
    r"error validating access token|not (?:authenticated|logged in)|(?:requires? an? |must be )(?:authenticated|logged[ -]in)\b",
)
UNAUTHORIZED = _any(_status("401"), r"unauthori[sz]ed|unauthenticated")
SIGN_IN_AGAIN = _any(
    r"\bre-?(?:authenticate|authori[sz]e|connect|link)\b|(?:log|sign) ?in again|log back in|please (?:log|sign) ?in",
    r"\bauth(?:ori[sz]|enticat)e(?: \w{1,15}){0,3} again",
)
NOT_AUTHORIZED = _any(r"not authori[sz]ed")


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Return the pattern, compiled on its first use: all of them take 7 ms, and most commands judge no answer."""
    return re.compile(pattern)


class Probe(Record, frozen=True):
    """One response, with the circumstances that matter for its meaning."""

    answer: ProbeAnswer
    platform: str
    date_trusted: bool
    text: str
    """The message as `plain` returns it."""

    def mentions(self, *patterns: str) -> bool:
        """Return True if the message matches one of the patterns."""
        return any(_compiled(pattern).search(self.text) for pattern in patterns)

    def on_telegram(self, *patterns: str) -> bool:
        """Return True if the platform is Telegram and the message matches."""
        return self.platform == "telegram" and self.mentions(*patterns)

    def has_code(self, codes: frozenset[int]) -> bool:
        """Return True if the message contains one of these error codes or subcodes of Meta."""
        return any(int(code) in codes for found in _META_CODE.finditer(self.text) if (code := found[found.lastindex or 0]))


class ProbeRule(Record, frozen=True):
    """One row of the table: its condition and its meaning."""

    finding: ProbeFinding
    applies: Callable[[Probe], bool]
    meaning: str


PROBE_RULES: tuple[ProbeRule, ...] = (
    ProbeRule(ProbeFinding.MISSING, lambda p: p.answer.http_status == 404, "HTTP 404: the list decides about the connection"),
    ProbeRule(ProbeFinding.BAD_ID, lambda p: p.answer.http_status == 400, "HTTP 400: the provider does not accept this id"),
    ProbeRule(ProbeFinding.TRANSIENT, lambda p: p.answer.status not in ("ok", "error"), "no status: no evidence"),
    ProbeRule(ProbeFinding.OK, lambda p: p.answer.status == "ok", "the platform accepts the token"),
    ProbeRule(ProbeFinding.UNSUPPORTED, lambda p: p.mentions(UNKNOWN_PLATFORM), "the provider cannot test the platform"),
    ProbeRule(ProbeFinding.UNSUPPORTED, lambda p: p.on_telegram(MTPROTO), "Telegram MTProto: publishing works normally"),
    ProbeRule(
        ProbeFinding.AMBIGUOUS,
        lambda p: p.on_telegram(BOT_TOKEN) and not p.mentions(UNAUTHORIZED, REVOKED),
        "Telegram, invalid bot token: MTProto, or a revoked bot",
    ),
    ProbeRule(
        ProbeFinding.FAILING,
        lambda p: p.has_code(META_BLOCKED) or p.mentions(BLOCKED),
        "the account is locked, suspended, blocked, disabled or restricted, even temporarily, or must be confirmed",
    ),
    ProbeRule(
        ProbeFinding.TRANSIENT,
        lambda p: p.has_code(META_TEMPORARY),
        "Meta's codes for limits and temporary errors, such as (#4), (#17), (#32), (#613): no evidence",
    ),
    ProbeRule(
        ProbeFinding.FAILING,
        lambda p: p.mentions(OTHER_EXPIRED),
        "a TLS certificate or a subscription is at fault, not the token",
    ),
    ProbeRule(ProbeFinding.TRANSIENT, lambda p: p.mentions(LIMITED), "rate limit or quota: no evidence"),
    ProbeRule(
        ProbeFinding.TRANSIENT, lambda p: p.mentions(SERVER_ERROR), "server or gateway error, by name or HTTP status: no evidence"
    ),
    ProbeRule(ProbeFinding.TRANSIENT, lambda p: p.mentions(NETWORK_ERROR), "network error or timeout: no evidence"),
    ProbeRule(
        ProbeFinding.PERMISSION,
        lambda p: p.has_code(META_PERMISSION),
        "Meta's codes for permissions, such as (#10) and (#200) to (#299)",
    ),
    ProbeRule(
        ProbeFinding.EXPIRED,
        lambda p: p.has_code(META_EXPIRED) or p.mentions(EXPIRED),
        "a token, session, login or access expired",
    ),
    ProbeRule(
        ProbeFinding.REVOKED,
        lambda p: p.has_code(META_REVOKED) or p.mentions(REVOKED),
        "access was revoked: also the app removed, the password changed, the session ended",
    ),
    ProbeRule(ProbeFinding.FAILING, lambda p: p.mentions(APP_REFUSED), "the platform refuses the posting service's own app"),
    ProbeRule(
        ProbeFinding.REVOKED,
        lambda p: p.on_telegram(INVALID, UNAUTHORIZED),
        "Telegram, token not accepted: bot tokens never expire",
    ),
    ProbeRule(
        ProbeFinding.EXPIRED,
        lambda p: p.has_code(META_TOKEN) or (p.mentions(INVALID) and not p.mentions(NAMES_PERMISSION)),
        "token or credentials are not accepted, such as (#190) and invalid_grant",
    ),
    ProbeRule(ProbeFinding.FAILING, lambda p: p.mentions(OBJECT_MISSING), "a page, channel or other object does not exist"),
    ProbeRule(ProbeFinding.PERMISSION, lambda p: p.mentions(PERMISSION), "a permission, scope or role is missing"),
    ProbeRule(
        ProbeFinding.EXPIRED, lambda p: p.mentions(UNAUTHORIZED, SIGN_IN_AGAIN), "HTTP status 401, or the advice to sign in again"
    ),
    ProbeRule(ProbeFinding.REVOKED, lambda p: p.mentions(NOT_AUTHORIZED), "not authorized, without further reason"),
    ProbeRule(
        ProbeFinding.TRANSIENT, lambda p: p.mentions(TRY_AGAIN), "unknown error, or the advice to try again later: no evidence"
    ),
    ProbeRule(
        ProbeFinding.EXPIRED,
        lambda p: p.date_trusted and (p.answer.token_expires_in or "").strip().lower() == "expired",
        "tokenExpiresIn is expired, and the platform's dates are trusted",
    ),
    ProbeRule(ProbeFinding.FAILING, lambda _: True, "rejected for another reason"),
)


def classify(answer: ProbeAnswer, *, platform: str, date_trusted: bool) -> ProbeFinding:
    """Return the meaning of the response: as the definition states it, else the first rule of PROBE_RULES that applies.

    `date_trusted` is True if a date alone may expire a connection of this platform (PROVIDERS 2b, trusted dates).
    """
    if answer.finding is not None:
        return answer.finding
    text = plain(answer.message) if answer.status == "error" else ""
    probe = Probe(answer, platform, date_trusted, text)
    return next(rule.finding for rule in PROBE_RULES if rule.applies(probe))


def names_lost_token(message: str, *, platform: str) -> ProbeFinding | None:
    """Return EXPIRED or REVOKED if the text of another kind of error, such as a post's, names a lost token; else None."""
    finding = classify(ProbeAnswer(http_status=200, status="error", message=message), platform=platform, date_trusted=False)
    return finding if finding in (ProbeFinding.EXPIRED, ProbeFinding.REVOKED) else None
