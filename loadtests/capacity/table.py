"""What the model says, in words: for a terminal, and as the table of `docs/scaling.md`."""

from __future__ import annotations

from pathlib import Path

from loadtests.capacity import measured
from loadtests.capacity.measured import Measured
from loadtests.capacity.model import Needed, Wanted, needed

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"
BEGIN, END = "<!-- capacity: begin -->", "<!-- capacity: end -->"
CUSTOMERS = (1_000_000, 10_000_000, 100_000_000)
DECISIONS = (1_000, 10_000, 100_000)

HEAD = (
    "| customers | decisions/s | nodes | event workers | store primaries (by CPU, by memory) | shards | store memory "
    "| decision log | archive a day | grows first |\n|--:|--:|--:|--:|---|--:|--:|--:|--:|---|"
)


def short(count: float) -> str:
    """1000000 → 1 M."""
    for unit, name in ((1_000_000, " M"), (1_000, " k")):
        if count >= unit:
            return f"{count / unit:g}{name}"
    return f"{count:g}"


def size(of: float) -> str:
    """Bytes as people say them: powers of ten, three digits."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if of >= unit:
            return f"{of / unit:.3g} {name}"
    return f"{of:.0f} B"


def row(wanted: Wanted, found: Needed) -> str:
    primaries = f"{found.primaries} ({found.primaries_cpu}, {found.primaries_memory})"
    cells = (
        short(wanted.customers), short(wanted.decisions_s), str(found.nodes), str(found.workers), primaries,
        str(found.shards), size(found.memory_bytes), f"{size(found.decision_log_bytes_s)}/s",
        size(found.archive_bytes_day), found.first_limit,
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def constants() -> list[tuple[str, Measured]]:
    return [(name, each) for name, each in vars(measured).items() if isinstance(each, Measured)]


def markdown() -> str:
    """The table of nine deployments, and the constants behind it."""
    rows = []
    for customers in CUSTOMERS:
        for decisions in DECISIONS:
            wanted = Wanted(customers, decisions)
            rows.append(row(wanted, needed(wanted)))
    figures = [f"| {each.value:,g} | {each.unit} | {each.where} |" for _, each in constants()]
    return "\n".join([HEAD, *rows, "", "Computed from:", "", "| | | measured |", "|--:|---|---|", *figures, ""])


def in_words(wanted: Wanted, found: Needed) -> list[tuple[str, str]]:
    """What one deployment needs, line by line."""
    memory = [
        (f"  of it {what}", size(found.memory[what]))
        for what in sorted(found.memory, key=lambda what: -found.memory[what])
    ]
    return [
        ("server processes, each on a core", f"{found.nodes}, one of them to spare"),
        ("event workers", f"{found.workers}, one of them to spare"),
        (
            "store primaries",
            f"{found.primaries}, each with a replica; by CPU {found.primaries_cpu}, by memory {found.primaries_memory}",
        ),
        ("NEXTBEST_SHARDS", f"{found.shards}"),
        ("store CPU at the busiest moment", f"{found.store_cores:.2g} cores"),
        ("store memory", f"{size(found.memory_bytes)}, {size(found.memory_bytes / found.primaries)} a primary"),
        *memory,
        ("NEXTBEST_DECISION_LOG_BYTES", f"{size(found.memory['decision log'])}: {wanted.log_minutes:g} minutes"),
        ("decision log", f"{size(found.decision_log_bytes_s)}/s"),
        ("to the store, from the store", f"{size(found.to_store_bytes_s)}/s, {size(found.from_store_bytes_s)}/s"),
        ("archive", f"{size(found.archive_bytes_day)} a day, {size(found.archive_bytes_day * 365)} a year"),
        ("grows first", found.first_limit),
    ]


def publish() -> None:
    """Put the table between its marks."""
    PAGE.write_text(published(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def published(page: str) -> str:
    """The page with the table as it is now."""
    before, mark, rest = page.partition(BEGIN)
    if not mark:
        raise ValueError(f"{PAGE.name} has no mark `{BEGIN}`")
    return f"{before}{BEGIN}\n{markdown()}{END}{rest.partition(END)[2]}"
