"""Chaos: many callers, a fault while they call, and a judge of all guarantees and the budget when it is over.

    python -m tests.chaos                      every fault, a few minutes
    python -m tests.chaos store_killed model_hangs --quick
    python -m tests.chaos --publish            and write what was seen into docs/faults.md

`tests/faults/test_chaos.py` runs the same faults in small.
"""
