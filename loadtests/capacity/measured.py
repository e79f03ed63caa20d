"""What the capacity model computes with: each figure with the place where it was measured, and how to measure it again.

Figures of speed are those of one machine (docs/performance.md says which) and hold for the standard job: 20 messages,
24 model inputs, 100 trees. Measure yours and change them here: the model is as good as they are.
"""

from __future__ import annotations

from typing import NamedTuple


class Measured(NamedTuple):
    value: float
    unit: str
    where: str


#: docs/performance.md, "The figures", row `c = 16`, project.
SERVER_PEAK = Measured(2_836, "decisions/s of one server process on one core", "docs/performance.md, c = 16")
#: Row `60 % of its own peak`: at the load that is planned for, fewer decisions share a round trip than at the peak.
STORE_US = Measured(102, "µs of store CPU a decision", "docs/performance.md, 60 % of its own peak")
#: Catching up, they are 19 and 7 µs; at 5,000 a second fewer share a step, which is nearer to a usual day.
WORKER_US = Measured(42, "µs of worker CPU an event", "docs/workers.md, 5,000 events/s")
EVENT_STORE_US = Measured(17, "µs of store CPU an event", "docs/workers.md, 5,000 events/s")

#: Bytes below that say so are of `python -m loadtests.capacity.measure`, 25 November 2026, Valkey 9.1.2.
_HERE = "loadtests.capacity.measure"
CUSTOMER_BYTES = Measured(608, "store bytes a customer: 21 attributes, 2 consents and their history", _HERE)
LEDGER_BYTES = Measured(416, "store bytes of a ledger of ten contacts", "docs/performance.md, memory")
FEATURE_BYTES = Measured(922, "store bytes of an active customer's 12 features", "docs/performance.md, Events")
SENT_BYTES = Measured(89, "store bytes by which a send is found for 35 days", _HERE)
MAIL_BYTES = Measured(106, "store bytes by which an ESP's id of a mail is found for 35 days", _HERE)
KNOWN_BYTES = Measured(145, "store bytes of what is known of a send, once an ESP tells of it, for 35 days", _HERE)
KNOWN_OUTCOME_BYTES = Measured(43, "more with each outcome that is told of it", _HERE)
OUTCOME_BYTES = Measured(77, "bytes of an outcome in its stream", _HERE)
KEYED_BYTES = Measured(882, "store bytes of an answer kept for a day under its Idempotency-Key", _HERE)
REPEAT_BYTES = Measured(8.8, "store bytes to know an event's repeat for 72 h", "docs/performance.md, Events")
RECORD_BYTES = Measured(945, "bytes of a record in the decision log", _HERE)
TO_STORE_BYTES = Measured(1_578, "bytes to the store a decision", _HERE)
FROM_STORE_BYTES = Measured(678, "bytes from the store a decision", _HERE)
ARCHIVE_BYTES = Measured(178, "archive bytes a decision", _HERE)
EVENT_ARCHIVE_BYTES = Measured(36, "archive bytes an event", "docs/archive.md")
