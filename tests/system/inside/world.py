"""Inside the booted system: the services that the daemon watches, and the webhook that receives its alerts."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from monitor.demo.receivers import Post, WebhookReceiver
from monitor.demo.server import WorldServer
from monitor.demo.world import World

CREDENTIALS = Path("/etc/token-monitor/credentials")
RECEIVED = Path("/out/received.jsonl")


def keep(post: Post) -> None:
    with RECEIVED.open("ab") as out:
        out.write(post.body.replace(b"\n", b" ") + b"\n")


async def main() -> None:
    world = World()
    world.add_source("agency", "postpost")
    world.connect("agency", "linkedin", account="near", username="near", display_name="Near", lifetime=timedelta(days=5))
    world.connect("agency", "mastodon", account="fine", username="fine", display_name="Fine")
    async with WorldServer(world, port=8100) as server, WebhookReceiver(port=8200, on_post=keep) as receiver:
        (CREDENTIALS / "postpost").write_text(world.sources["agency"].key, "utf-8")
        (CREDENTIALS / "hook").write_text(receiver.apprise_url, "utf-8")
        for file in CREDENTIALS.iterdir():
            file.chmod(0o600)
        Path("/out/base_url").write_text(server.base_url("postpost"), "utf-8")
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
