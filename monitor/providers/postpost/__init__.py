"""postpost."""
