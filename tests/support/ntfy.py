"""A stand-in for an ntfy server without attachments, with the limits of ntfy's server/server.go."""

from __future__ import annotations

import json
from typing import Any

from tests.support.receivers import Received, Reply, WebhookReceiver

MESSAGE_LIMIT = 4096


class NtfyReceiver(WebhookReceiver):
    """Accepts a message of fewer bytes than `limit`, in JSON of at most twice as many; refuses any other as ntfy does."""

    def __init__(self, *, limit: int = MESSAGE_LIMIT) -> None:
        super().__init__()
        self.limit = limit
        self.accepted: list[dict[str, Any]] = []
        self.refused: list[bytes] = []

    def take(self, request: Received) -> Reply:
        """Record a request and answer it within the limits."""
        super().take(request)
        reply = self._reply(request)
        if reply.status == 200:
            self.accepted.append(request.json)
        else:
            self.refused.append(request.body)
        return reply

    def _reply(self, request: Received) -> Reply:
        if request.path.partition("?")[0] != "/":
            return _error(400, 40014, "invalid request: attachments not allowed")
        if len(request.body) > 2 * self.limit:
            return _error(413, 41303, "JSON body too large")
        if len(request.json["message"].encode()) >= self.limit:
            return _error(400, 40014, "invalid request: attachments not allowed")
        return Reply(body=json.dumps({"id": "x", "event": "message"}).encode())

    @property
    def texts(self) -> str:
        """All accepted titles and messages."""
        return "\n".join(f"{each.get('title', '')}\n{each['message']}" for each in self.accepted)


def _error(status: int, code: int, error: str) -> Reply:
    return Reply(status=status, body=json.dumps({"code": code, "http": status, "error": error}).encode())
