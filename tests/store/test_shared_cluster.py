"""The cluster that tests share is the same to each of them, whatever the one before it left."""

from __future__ import annotations

from tests.support.cluster import EMPTY, Cluster

KEY = b"{s007}:moved"


def test_a_move_that_was_left_in_the_middle_is_no_concern_of_the_next_test(cluster: Cluster) -> None:
    slot = cluster.slot_of(KEY)
    target = next(node for node in cluster.primaries if node is not cluster.owner(slot))
    cluster.command("SET", KEY, "went ahead")
    source = cluster.begin_move(slot, target)
    with source.inside() as inside:
        inside.execute_command("MIGRATE", "127.0.0.1", target.port, KEY, 0, 5000)
    assert [node for node in cluster.primaries if node.slots_on_their_way() == [slot]] != []
    assert source.store.command("GET", KEY).startswith(b"-ASK")
    cluster.settle()
    cluster.commands(*EMPTY)
    assert not any(node.slots_on_their_way() for node in cluster.primaries)
    assert cluster.owner(slot) is source
    assert source.store.command("GET", KEY).startswith(b"$-1")
    assert target.store.command("DBSIZE").startswith(b":0")
