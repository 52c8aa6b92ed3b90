"""The read side: stored state with the clock applied, shared by the command line, the status page and the API.

Nothing here writes. This package imports none of its modules, so that a command loads only what it shows.
"""
