"""A primary of a cluster dies, over TLS: what tests/faults says of it without, with the same times."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.test_failover_cluster import (
    client,
    server_on_it,
    test_a_primary_that_dies_costs_only_its_own_slots_and_only_until_its_replica_has_taken_over,
)
from tests.support.certificates import Certificates, servers_with_tls
from tests.support.cluster import Cluster

__all__ = [
    "client", "server_on_it",
    "test_a_primary_that_dies_costs_only_its_own_slots_and_only_until_its_replica_has_taken_over",
]  # fmt: skip
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def unquiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Its servers speak nothing but TLS, and ask for our certificate; so do they among themselves."""
    certificates = Certificates(tmp_path_factory.mktemp("certificates"))
    with servers_with_tls():
        cluster = Cluster("--appendfsync", "everysec", tls=certificates)
    cluster.start()
    yield cluster
    cluster.remove()
