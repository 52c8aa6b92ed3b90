"""The read side: stored state with the clock applied, as pages, commands and JSON show it.

The command line, the status page and the API all show what these modules give. Nothing here writes.
Each module is imported where it is used: a command does not load what it does not show.
"""
