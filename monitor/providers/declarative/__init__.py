"""Sources that are read by a definition instead of code, and the two that send no requests: dates and pushed reports."""
