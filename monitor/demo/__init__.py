"""The simulated world: four APIs on loopback whose tokens expire, a receiver for alerts, and a scripted scenario."""
