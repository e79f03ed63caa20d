"""The table of all faults."""

from __future__ import annotations

from tests.chaos.caller_faults import CALLER_FAULTS
from tests.chaos.fault import Fault
from tests.chaos.process_faults import PROCESS_FAULTS
from tests.chaos.store_faults import STORE_FAULTS

FAULTS: tuple[Fault, ...] = (*STORE_FAULTS, *CALLER_FAULTS, *PROCESS_FAULTS)
