"""What the system tells about itself: metrics, spans and a few log lines. Never who a customer is.

`metrics` counts, `spans` traces, `log` writes; `series` declares every metric once. Meaning, labels and settings of all
of them are in `docs/telemetry.md`.
"""
