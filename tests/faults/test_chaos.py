"""Every fault in small, under load, with all guarantees and the budget looked at: see `tests.chaos`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.chaos import clock
from tests.chaos.fault import Fault
from tests.chaos.faults import FAULTS
from tests.chaos.run import endure
from tests.chaos.site import Site, new_site

#: Together they take more than a minute, alone: CI runs them after `make test`, by `make chaos ARGS=--quick`.
pytestmark = pytest.mark.long

PARAMETERS = [(fault.manned, pytest.param(fault, id=fault.name)) for fault in FAULTS]
PLAIN = [each for manned, each in PARAMETERS if not manned]
MANNED = [each for manned, each in PARAMETERS if manned]


@pytest.fixture(scope="module", autouse=True)
def threads_take_turns() -> Iterator[None]:
    """The proxies run in this process too: neither should wait 5 ms, Python's usual turn, for the other."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0002)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with new_site(quick=True) as made:
        yield made


@pytest.fixture(scope="module")
def manned_site() -> Iterator[Site]:
    with new_site(manned=True, quick=True) as made:
        yield made


@pytest.mark.parametrize("fault", PLAIN)
async def test_every_promise_is_kept_under_load_while(site: Site, fault: Fault) -> None:
    await is_endured(fault, site)


@pytest.mark.parametrize("fault", MANNED)
async def test_every_promise_is_kept_under_load_on_a_manned_site_while(manned_site: Site, fault: Fault) -> None:
    if "clock" in fault.name and clock.library() is None:
        pytest.skip("libfaketime is not there: clocks cannot be set")
    await is_endured(fault, manned_site)


async def is_endured(fault: Fault, site: Site) -> None:
    endured = await endure(fault, site)
    assert not endured.wrong, "\n".join(endured.wrong[:50])
