"""Answers of a service that suggest that a message was too large. Some report a failure with a status of success."""

from __future__ import annotations

import pytest

from monitor.notify.apprise.errors import ServiceResponse


@pytest.mark.parametrize(
    ("status", "text", "large"),
    [
        (400, "", True),
        (413, "", True),
        (414, "", True),
        (422, "", True),
        (200, '{"errcode":45002,"errmsg":"content size out of limit"}', True),
        (200, '{"errcode":460101,"errmsg":"message too long"}', True),
        (500, '{"message":"push failed: APNS push failed: PayloadTooLarge"}', True),
        (403, '{"errcode":"M_TOO_LARGE"}', False),
        (429, "rate limit exceeded", False),
        (200, '{"errcode":45009,"errmsg":"api freq limit"}', False),
        (200, '{"ok":true}', False),
        (500, "Internal Server Error", False),
    ],
)
def test_an_http_answer_suggests_that_the_message_was_too_large(status: int, text: str, large: bool) -> None:
    response = ServiceResponse(status=status, text=text)
    assert response.maybe_too_large is large
    assert response.down is (status == 500 and not large), "what is down is retried every minute"


@pytest.mark.parametrize(
    ("status", "text", "large"),
    [
        (552, "5.3.4 Message size exceeds fixed limit", True),
        (552, "Error: Too much mail data", True),
        (554, "5.7.1 Message too large", True),
        (550, "5.1.1 mailbox name too long", False),
        (554, "5.7.1 Rejected as spam", False),
        (250, "OK", False),
    ],
)
def test_a_mail_servers_reply_suggests_that_the_mail_was_too_large(status: int, text: str, large: bool) -> None:
    assert ServiceResponse(status=status, text=text, mail=True).maybe_too_large is large
