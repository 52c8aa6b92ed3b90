"""The status page, the JSON API, feeds and metrics, served by the daemon."""
