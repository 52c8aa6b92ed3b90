"""The engine: poll, probe and follow the clock, apply the rules, and record what follows in one transaction."""
