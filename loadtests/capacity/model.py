"""From customers and decisions a second to machines, memory, streams and archive. Arithmetic, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from loadtests.capacity import measured as m

DAY_S = 86_400
GIB = 1024**3
#: Sends are found by their ids for so long (`DECISION_TTL_S`), and repeats of events known (`docs/events.md`).
SENT_DAYS, REPEAT_DAYS = 35, 3
#: What the outcome streams may hold (`NEXTBEST_OUTCOME_STREAM_BYTES`): archived or not, they are trimmed beyond it.
OUTCOME_STREAM_BYTES = GIB // 4
#: A node at 60 % of its peak has a p99 of some milliseconds (docs/performance.md). A primary has one thread, shares its
#: core with the kernel's work for it, and must catch up after a failover: half.
NODE_SHARE, PRIMARY_SHARE = 0.6, 0.5
#: A primary that is larger takes minutes to load its file and to bring a replica up; a third stays free for the
#: copy-on-write of a rewrite and for bursts.
PRIMARY_BYTES = 32 * GIB * 2 // 3
#: Shards a primary at least, so that work spreads evenly and slots can move one by one.
SHARDS_A_PRIMARY, SHARDS_LEAST, SHARDS_MOST = 16, 256, 16_384


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a deployment is for. Each assumption has a name, since none fits everybody."""

    customers: int
    decisions_s: float  # at the busiest moment
    busy: float = 0.25  # of the day's decisions: the mean over the busiest moment
    keyed: float = 0.2  # share of decisions with an Idempotency-Key
    events_a_day: float = 5.0  # a customer
    events_peak: float = 4.0  # the busiest moment over the day's mean
    sends_a_day: float = 0.5  # a customer
    outcomes: float = 2.0  # that an ESP tells of a send: it was delivered, and every other one was opened and clicked
    log_minutes: float = 10.0  # of decisions at the busiest moment that wait in the store while the archiver is away


@dataclass(frozen=True, slots=True)
class Needed:
    """What it takes."""

    nodes: int
    workers: int  # of events
    primaries: int
    primaries_cpu: int  # by processor time alone
    primaries_memory: int  # by memory alone
    shards: int
    memory: dict[str, float]  # store bytes, by what they are of
    decision_log_bytes_s: float
    to_store_bytes_s: float
    from_store_bytes_s: float
    archive_bytes_day: float
    #: What the store's thread does at the busiest moment, in cores.
    store_cores: float

    @property
    def memory_bytes(self) -> float:
        return sum(self.memory.values())

    @property
    def first_limit(self) -> str:
        """Which part grows first: of one store with two nodes, or of what a primary can do."""
        if self.primaries > 1:
            by = "store CPU" if self.primaries_cpu >= self.primaries_memory else "store memory"
            largest = max(self.memory, key=lambda what: self.memory[what])
            return by if by == "store CPU" else f"{by}: {largest}"
        return "node CPU" if self.nodes > 2 else "nothing"


def needed(wanted: Wanted) -> Needed:
    """The least that is enough, with one node more than that, so that any may go."""
    decisions_day = wanted.decisions_s * wanted.busy * DAY_S
    events_day = wanted.customers * wanted.events_a_day
    events_s = events_day / DAY_S * wanted.events_peak
    known = m.MAIL_BYTES.value + m.KNOWN_BYTES.value + wanted.outcomes * m.KNOWN_OUTCOME_BYTES.value
    sends_day = min(wanted.customers * wanted.sends_a_day, decisions_day)
    memory = {
        "customers": wanted.customers * (m.CUSTOMER_BYTES.value + m.LEDGER_BYTES.value),
        "features": wanted.customers * m.FEATURE_BYTES.value,
        "sends of 35 days": sends_day * SENT_DAYS * m.SENT_BYTES.value,
        "what became of sends of 35 days": sends_day * SENT_DAYS * known if wanted.outcomes else 0.0,
        "outcome streams": min(OUTCOME_STREAM_BYTES, sends_day * SENT_DAYS * wanted.outcomes * m.OUTCOME_BYTES.value),
        "idempotency": decisions_day * wanted.keyed * m.KEYED_BYTES.value,
        "repeats of events": events_day * REPEAT_DAYS * m.REPEAT_BYTES.value,
        "decision log": wanted.decisions_s * wanted.log_minutes * 60 * m.RECORD_BYTES.value,
    }
    store_cores = (wanted.decisions_s * m.STORE_US.value + events_s * m.EVENT_STORE_US.value) / 1e6
    by_cpu = max(1, ceil(store_cores / PRIMARY_SHARE))
    by_memory = max(1, ceil(sum(memory.values()) / PRIMARY_BYTES))
    primaries = max(by_cpu, by_memory)
    if primaries > 1:
        primaries = max(primaries, 3)  # fewer cannot outvote one that is lost
    return Needed(
        nodes=1 + max(1, ceil(wanted.decisions_s / (m.SERVER_PEAK.value * NODE_SHARE))),
        workers=1 + max(1, ceil(events_s * m.WORKER_US.value / 1e6 / NODE_SHARE)),
        primaries=primaries,
        primaries_cpu=by_cpu,
        primaries_memory=by_memory,
        shards=shards_for(primaries),
        memory=memory,
        decision_log_bytes_s=wanted.decisions_s * m.RECORD_BYTES.value,
        to_store_bytes_s=wanted.decisions_s * m.TO_STORE_BYTES.value,
        from_store_bytes_s=wanted.decisions_s * m.FROM_STORE_BYTES.value,
        archive_bytes_day=decisions_day * m.ARCHIVE_BYTES.value + events_day * m.EVENT_ARCHIVE_BYTES.value,
        store_cores=store_cores,
    )


def shards_for(primaries: int) -> int:
    """NEXTBEST_SHARDS, which is fixed for the life of a deployment: a power of two, with enough for each primary."""
    least = max(SHARDS_LEAST, primaries * SHARDS_A_PRIMARY)
    return min(1 << (least - 1).bit_length(), SHARDS_MOST)
