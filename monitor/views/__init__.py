"""The read side: what the store knows, with the clock applied, and the one place that knows the JSON shapes.

The command line, the status page and the API all show what these modules give. Nothing here writes.
Each module is imported where it is used: a command does not load what it does not show.
"""
