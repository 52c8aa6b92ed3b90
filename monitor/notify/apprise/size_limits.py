"""Largest message of each service, in its own unit, if that differs from the number of characters that Apprise assumes.

The rows leave room for what the plugin or the service adds to the text: a counter, line ends, names of JSON fields.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from monitor.notify.messages.sizes import Size, characters, json_bytes, ntfy_bytes, push_bytes, utf8_bytes, utf16_units

_MARGIN = 0.95  # for services without a row: some escape characters after Apprise counted them


class SizeLimit(NamedTuple):
    """The most that one message of a service may hold."""

    room: int
    size: Size = characters
    """The unit of `room`."""
    with_title: bool = False
    """True if the title counts towards `room`."""
    title: int | None = None
    """The largest title, None for what Apprise allows."""
    title_size: Size = characters
    """The unit of `title`."""


# The names are those of Apprise's modules. Google Chat (32,000 bytes), Mattermost (16,383 characters), Rocket.Chat (5,000) and
# Pushover (1,024 characters of any size) have no row: what Apprise sends in one message is less. Matrix's plugin counts bytes.
_LIMITS = {
    # server/server.go: a message of `MessageSizeLimit` (4,096) bytes or more becomes an attachment, which is refused with
    # 40014 where attachments are off; the JSON request is read up to twice that. Apprise attaches what has 8,000 bytes in JSON.
    "ntfy": SizeLimit(3_800, ntfy_bytes, with_title=True),
    # developer.work.weixin.qq.com/document/path/91770 and 90236: content of at most 2,048 bytes in UTF-8.
    "wecombot": SizeLimit(2_000, utf8_bytes),
    "wechat": SizeLimit(2_000, utf8_bytes),
    # open.dingtalk.com, custom robots: the request has at most 20,000 bytes. open.feishu.cn and open.larksuite.com, custom
    # bots: the request has at most 20 KB. The plugins send JSON in ASCII. DingTalk's Markdown repeats the title.
    "dingtalk": SizeLimit(18_000, json_bytes, with_title=True),
    "feishu": SizeLimit(18_500, json_bytes),
    "lark": SizeLimit(18_500, json_bytes, with_title=True),
    # developer.apple.com, "Generating a remote notification": the payload has at most 4,096 bytes; firebase.google.com, "About
    # FCM messages": 4,096 bytes. Bark (Finb/bark-server issue 123), Gorush and Chanify hand the text on to these services.
    "bark": SizeLimit(3_300, push_bytes, with_title=True),
    "chanify": SizeLimit(3_000, push_bytes),
    "fcm": SizeLimit(3_300, push_bytes, with_title=True),
    "gorush": SizeLimit(3_300, push_bytes, with_title=True),
    # documentation.onesignal.com, "OSNotification payload": 4,096 bytes, of which about 3,500 are left for the message.
    "one_signal": SizeLimit(3_200, push_bytes, with_title=True),
    # pushy.me, "Send notifications": 4 KB. The plugin sends the text twice.
    "pushy": SizeLimit(1_700, push_bytes, with_title=True),
    # RFC 8030, section 7.2, and RFC 8291, section 4: a push service takes 4,096 bytes, of which 3,993 are left for the text.
    "vapid": SizeLimit(3_900, utf8_bytes),
    # core.telegram.org/bots/api#sendmessage: 4,096 characters; core.telegram.org/api/entities: counted in UTF-16 code units.
    "telegram": SizeLimit(3_900, utf16_units),
    # discord.com/developers/docs, "Create message": 2,000 characters. A code unit is the larger count.
    "discord": SizeLimit(1_900, utf16_units, with_title=True),
    # developers.line.biz, "Character counting in a text": 5,000, counted in UTF-16 code units.
    "line": SizeLimit(4_750, utf16_units),
    # developers.viber.com, REST bot API: 7,000 characters, and 30 KB of JSON in all. The plugin sends JSON in ASCII.
    "viber": SizeLimit(6_900, json_bytes),
    # developer.webex.com, "Create a message": 7,439 bytes.
    "webexteams": SizeLimit(7_000, utf8_bytes),
    # gateway.threema.ch, "send_simple": 3,500 bytes in UTF-8.
    "threema": SizeLimit(3_400, utf8_bytes),
    # RFC 1459, section 2.3: a line of 512 bytes with its prefix, command and target, of which Apprise leaves 380 for the text.
    "irc": SizeLimit(360, utf8_bytes),
    # prowlapp.com/api.php: a description of 10,000 bytes in UTF-8.
    "prowl": SizeLimit(9_500, utf8_bytes),
    # The plugin: 10,000 characters of the encrypted text in Base64, and 500 of the encrypted title.
    "simplepush": SizeLimit(6_900, utf8_bytes, title=330, title_size=utf8_bytes),
    # nextcloud/notifications, APIController: `strlen`, so bytes: 4,000 of a message and 255 of a subject.
    "nextcloud": SizeLimit(3_950, utf8_bytes, title=250, title_size=utf8_bytes),
    # sct.ftqq.com: 32 KB of text and 32 characters of a title.
    "serverchan": SizeLimit(30_000, utf8_bytes, title=32),
    # RFC 5424, section 6.1: a receiver accepts 2,048 bytes; RFC 5426 sends them in one datagram.
    "rsyslog": SizeLimit(1_900, utf8_bytes, with_title=True),
}


def size_limit(kind: str, service: Any) -> SizeLimit:
    """Return the limit of a built Apprise service, by the name of its module; never more than its plugin sends in one message."""
    plugin, known = int(service.body_maxlen), _LIMITS.get(kind)
    with_title = bool(service.overflow_amalgamate_title)
    if known is None:
        return SizeLimit(max(int(plugin * _MARGIN), 40), with_title=with_title)
    return known._replace(room=min(known.room, plugin), with_title=known.with_title or with_title)
