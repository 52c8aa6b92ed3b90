"""A simulated world: four APIs on loopback whose tokens run out, receivers for alerts, and a scripted life."""
