"""A folder without plugins: Apprise loads all plugins on its first lookup, unless it has loaded a folder before."""
