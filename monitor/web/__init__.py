"""The status page, the JSON API, feeds and metrics, served inside the daemon."""
