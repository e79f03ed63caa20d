"""`python -m tests.chaos`: see the package."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator

from tests.chaos import clock
from tests.chaos.fault import Fault
from tests.chaos.faults import FAULTS
from tests.chaos.publish import publish, table
from tests.chaos.run import Endured, endure
from tests.chaos.site import new_site
from tests.support.server import ROOT

RESULTS = ROOT / "reports" / "chaos.json"
SHOWN_MOST = 20


def main() -> None:
    """Exits with 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Faults under load, in full.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="faults to run; all where none is named")
    parser.add_argument("--quick", action="store_true", help="in small, as the tests do")
    parser.add_argument("--publish", action="store_true", help="write the table into docs/faults.md")
    chosen = parser.parse_args()
    unknown = set(chosen.names) - {fault.name for fault in FAULTS}
    if unknown:
        parser.error(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(f.name for f in FAULTS)}")
    if chosen.publish and (chosen.names or chosen.quick):
        parser.error("the table is of all faults in full: leave out the names and `--quick`")
    sys.setswitchinterval(0.0002)  # proxies run in this process too: neither should wait 5 ms for the other
    faults = [fault for fault in FAULTS if not chosen.names or fault.name in chosen.names]
    endured = list(_all(faults, chosen.quick))
    _keep(endured)
    _tell(*table(endured))
    if chosen.publish:
        publish(endured)
    if any(each.wrong for each in endured):
        raise SystemExit(1)


def _all(faults: list[Fault], quick: bool) -> Iterator[Endured]:
    for manned in (False, True):
        wanted = [fault for fault in faults if fault.manned is manned]
        if not wanted:
            continue
        with new_site(manned=manned, quick=quick) as site:
            for fault in wanted:
                if "clock" in fault.name and clock.library() is None:
                    _tell(f"{fault.name}: left out, libfaketime is not there")
                    continue
                endured = asyncio.run(endure(fault, site))
                _say(fault, endured)
                yield endured


def _say(fault: Fault, endured: Endured) -> None:
    row = endured.row
    _tell(
        f"{'BROKEN' if endured.wrong else 'kept':6} {fault.name}: {row.requests} requests, {row.late} late, of these "
        f"{row.late_by_itself} by themselves (a server waited up to {row.waited_most_ms:.0f} ms for a processor), "
        f"p99 {row.p99_ms} ms, well {row.well_after_s} s after, lost {row.lost}",
        *(f"       {wrong}" for wrong in endured.wrong[:SHOWN_MOST]),
    )


def _tell(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def _keep(endured: list[Endured]) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps([each.as_json() for each in endured], indent=1))


if __name__ == "__main__":
    main()
