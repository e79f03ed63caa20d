"""Outcomes by webhook, beside decisions (`make bench-outcomes`)."""
