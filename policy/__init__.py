"""Policy: bundles and the rules in them. Pure, readable alone, imports nothing of ``app``."""
