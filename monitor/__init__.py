"""Token Expiry Monitor: finds out first when a social account is about to lose its token."""

__version__ = "0.1.0"
