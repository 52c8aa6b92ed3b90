"""Mass changes of the simulated world that only tests make."""

from __future__ import annotations

from monitor.demo.world import World


def state_word_of_all(world: World, source: str, word: str) -> int:
    """Freeze the provider's status word of every connection of a source. Return the number of connections."""
    connections = list(world.sources[source])
    for connection in connections:
        world.state_word(source, connection.external_id, word, scope=connection.scope)
    return len(connections)
