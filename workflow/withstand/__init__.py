"""How robust image classifiers are, and why."""
