"""Messages of test-connection that the platforms and services are known to return, each with what it means."""

from __future__ import annotations

from typing import NamedTuple


class ProbeText(NamedTuple):
    """One message of a probe."""

    meaning: str
    """T passes without action; E expired, R revoked, C the credential, F another reason that a person must remove."""
    platform: str
    message: str


TEXTS = (
    ProbeText("T", "youtube", "The request cannot be completed because you have exceeded your quota."),
    ProbeText("T", "youtube", "Quota exceeded for quota metric 'Queries' and limit 'Queries per day'"),
    ProbeText("T", "facebook", "(#17) User request limit reached"),
    ProbeText("T", "facebook", "Calls to this api have exceeded the rate limit"),
    ProbeText("T", "instagram", "(#2) Service temporarily unavailable"),
    ProbeText("T", "twitter", "Too Many Requests"),
    ProbeText("T", "twitter", "Internal error"),
    ProbeText("T", "twitter", "Usage cap exceeded: Monthly product cap"),
    ProbeText("T", "linkedin", "Bad Gateway"),
    ProbeText("T", "linkedin", "Resource level throttle DAY limit for calls to this resource is reached."),
    ProbeText("T", "bluesky", "socket hang up"),
    ProbeText("T", "bluesky", "getaddrinfo EAI_AGAIN bsky.social"),
    ProbeText("T", "bluesky", "connect ETIMEDOUT 1.2.3.4:443"),
    ProbeText("T", "bluesky", "write EPIPE"),
    ProbeText("T", "bluesky", "UpstreamFailure"),
    ProbeText("T", "mastodon", "Server is overloaded"),
    ProbeText("T", "mastodon", "Unexpected token < in JSON at position 0"),
    ProbeText("T", "mastodon", "timeout of 10000ms exceeded"),
    ProbeText("T", "tiktok", "rate_limit_exceeded"),
    ProbeText("T", "tiktok", "Something is wrong. Please try again later."),
    ProbeText("T", "telegram", "Request failed with status code 502"),
    ProbeText("F", "mastodon", "certificate has expired"),
    ProbeText(
        "F",
        "twitter",
        "To protect our users from spam and other malicious activity, this account is temporarily locked. "
        "Please log in to https://twitter.com to unlock your account.",
    ),
    ProbeText("F", "facebook", "(#368) You're temporarily blocked for policies violations"),
    ProbeText("F", "twitter", "User has been suspended. (63)"),
    ProbeText("F", "linkedin", "Organization 512 not found"),
    ProbeText(
        "F",
        "facebook",
        "Unsupported get request. Object with ID '503' does not exist, cannot be loaded due to missing permissions",
    ),
    ProbeText("F", "facebook", "(#200) Requires pages_manage_posts permission"),
    ProbeText("C", "facebook", "Error validating access token: The session is invalid because the user logged out."),
    ProbeText("R", "facebook", "Error validating access token: The user has not authorized application 123."),
    ProbeText("C", "twitter", "Could not authenticate you."),
    ProbeText("E", "linkedin", "The token used in the request has expired"),
    ProbeText("R", "linkedin", "REVOKED_ACCESS_TOKEN"),
    ProbeText("C", "linkedin", "INVALID_ACCESS_TOKEN"),
    ProbeText("C", "youtube", "invalid_grant"),
    ProbeText("C", "tiktok", "access_token_invalid"),
    ProbeText("C", "bluesky", "Invalid identifier or password"),
    ProbeText("C", "mastodon", "The access token was revoked"),
    ProbeText("C", "pinterest", "Authentication failed."),
    ProbeText("F", "threads", "Request failed with status code 403"),
    ProbeText("F", "linkedin", "Your PostPost subscription has expired"),
    ProbeText("F", "telegram", "Bot needs channel administrator posting rights"),
)

PASSING = tuple(each for each in TEXTS if each.meaning == "T")
LASTING = tuple(each for each in TEXTS if each.meaning != "T")


def texts_for(platform: str, texts: tuple[ProbeText, ...]) -> tuple[ProbeText, ...]:
    """Return the messages of one platform, or all where it has none."""
    return tuple(each for each in texts if each.platform == platform) or texts
