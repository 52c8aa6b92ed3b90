"""What a person is told to do, per platform and status."""

from __future__ import annotations

import pytest

from monitor.domain import SourceStatus, Status, provider_info
from monitor.domain.providers import provider_names
from monitor.domain.rules.advice import PLATFORM_NAMES, advice, source_advice, with_id

PLATFORMS = [*PLATFORM_NAMES, "myspace", None]
NEEDING = [status for status in Status if status.needs_attention]


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("status", NEEDING)
def test_every_platform_and_status_has_whole_sentences(platform: str | None, status: Status) -> None:
    text = advice(platform, status, "postpost")
    assert text.endswith(".")
    assert "{" not in text
    assert text[0].isupper()
    assert len(text) < 300


@pytest.mark.parametrize("status", [Status.VALID, Status.UNKNOWN])
def test_healthy_statuses_ask_for_nothing(status: Status) -> None:
    assert advice("linkedin", status, "publora") == ""


@pytest.mark.parametrize(
    ("platform", "status", "words"),
    [
        ("bluesky", Status.REVOKED, "app password"),
        ("linkedin", Status.EXPIRING_SOON, "page"),
        ("facebook", Status.EXPIRED, "checkpoint"),
        ("telegram", Status.REVOKED, "BotFather"),
        ("telegram", Status.FAILING, "admin"),
        ("instagram", Status.EXPIRED, "cannot be refreshed"),
        ("twitter", Status.REVOKED, "Connected apps"),
        ("tiktok", Status.EXPIRED, "180 days"),
        ("youtube", Status.REVOKED, "myaccount.google.com/permissions"),
        ("mastodon", Status.EXPIRED, "instance"),
        ("linkedin", Status.DISCONNECTED, "token-monitor forget"),
    ],
)
def test_the_platforms_own_way_is_named(platform: str, status: Status, words: str) -> None:
    assert words in advice(platform, status, "publora")


@pytest.mark.parametrize("provider", provider_names())
def test_the_provider_is_named_where_the_person_has_to_go(provider: str) -> None:
    assert provider_info(provider).label in advice("linkedin", Status.EXPIRED, provider)
    assert provider_info(provider).label in source_advice(SourceStatus.UNAUTHORIZED, provider)


def test_a_refused_key_asks_for_a_new_one_and_an_outage_for_patience() -> None:
    assert "Create a new API key" in source_advice(SourceStatus.UNAUTHORIZED, "publora")
    assert source_advice(SourceStatus.FAILING, "publora").startswith("Wait. The monitor keeps trying")
    assert source_advice(SourceStatus.OK, "publora") == ""


@pytest.mark.parametrize(
    ("public_id", "command"),
    [
        ("agency/linkedin-1", "token-monitor forget agency/linkedin-1."),
        ("agency/`rm`", "token-monitor forget CONNECTION."),
    ],
)
def test_commands_name_the_connection_if_its_id_is_harmless(public_id: str, command: str) -> None:
    assert command in with_id(advice("linkedin", Status.DISCONNECTED, "publora"), public_id)
