"""The daemon process: composition root, scheduler, signals, standby, health reporting, and the one-shot cycle."""
