"""A real Valkey cluster for tests: primaries with a replica each, which know each other from their first moment.

Their `nodes.conf` is written before they start, so that nothing waits for gossip: the cluster answers in about a
second. `NEXTBEST_TEST_STORE=cluster` makes it the store that all tests share (tests.support.valkey).
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot

from app.store.slots import slot_of
from tests.support.certificates import Certificates
from tests.support.ports import free_ports
from tests.support.valkey import Store

SLOTS = 16_384
#: After so long without a sign of life a node is suspected; a replica takes over within two to three of these. It is
#: the servers' own default: with 400 ms a busy machine had nodes that nobody had touched taken for dead, and replaced.
CALM_TIMEOUT_MS = 15_000
#: The same in tests that kill nodes, from the moment when they do.
ALERT_TIMEOUT_MS = 400
#: Commands without a key, which are for every server.
ADMINISTRATIVE = frozenset({"ACL", "CLIENT", "CONFIG", "FLUSHALL", "SCRIPT"})
EMPTY = (("FLUSHALL", "SYNC"), ("SCRIPT", "FLUSH", "SYNC"))

StartCluster = Callable[..., "Cluster"]


@dataclass(slots=True)
class Node:
    """One server of a cluster."""

    id: str
    port: int
    bus_port: int
    store: Store
    slots: range  # that it has at the start; empty for a replica
    of: Node | None = None  # whose replica it is at the start

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def inside(self) -> redis.Redis:
        """A client that may do everything, whatever the port speaks and asks for."""
        return redis.Redis(unix_socket_path=str(self.store.socket_path), socket_timeout=5)

    def slots_said(self) -> list[Any]:
        """Who has which slots, as this node says. Raises redis errors."""
        with self.inside() as client:
            return list(client.execute_command("CLUSTER SLOTS"))

    def slots_on_their_way(self) -> list[int]:
        """To this node or from it: `[slot->-to]` and `[slot-<-from]` in its line about itself
        (https://valkey.io/commands/cluster-nodes/)."""
        lines = self.store.command("CLUSTER", "NODES").decode().splitlines()
        mine = next((line for line in lines if "myself" in line), "")
        return [int(number) for number in re.findall(r"\[(\d+)-[<>]-", mine)]

    def said(self, myself: Node) -> str:
        """The node as its line in `nodes.conf` (https://valkey.io/commands/cluster-nodes/)."""
        flags = ("myself," if self is myself else "") + ("slave" if self.of else "master")
        owned = f" {self.slots.start}-{self.slots.stop - 1}" if self.slots else ""
        epoch = int(self.id[-4:], 16) if self.of is None else 0
        return (
            f"{self.id} 127.0.0.1:{self.port}@{self.bus_port} {flags} {self.of.id if self.of else '-'} "
            f"0 0 {epoch} connected{owned}"
        )


class Cluster:
    """Three primaries with a replica each, unless it is said otherwise. `kill`, `freeze` and the like: `node.store`."""

    def __init__(
        self,
        *settings: str,
        primaries: int = 3,
        replicas: bool = True,
        spare: int = 0,
        tls: Certificates | None = None,
    ) -> None:
        """`spare` servers have no slots yet. With `tls` the servers speak nothing else, not even among themselves."""
        self._tls = tls
        following = primaries * (2 if replicas else 1)
        ports = free_ports(2 * (following + spare))
        usual: tuple[str, ...] = (
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            str(CALM_TIMEOUT_MS),
            "--bind",
            "127.0.0.1",
        )
        # While one primary is away the others answer for what is theirs.
        usual += ("--cluster-require-full-coverage", "no", "--repl-diskless-sync-delay", "0")
        listen = "--port"
        if tls is not None:
            usual, listen = usual + tls.arguments + ("--tls-cluster", "yes"), "--tls-port"
        bounds = [SLOTS * n // primaries for n in range(primaries + 1)]
        self.nodes: list[Node] = []
        for number in range(following + spare):
            port, bus_port = ports[2 * number], ports[2 * number + 1]
            store = Store(*usual, listen, str(port), "--cluster-port", str(bus_port), *settings)
            slots = range(bounds[number], bounds[number + 1]) if number < primaries else range(0)
            of = self.nodes[number - primaries] if primaries <= number < following else None
            self.nodes.append(Node(f"{number + 1:040x}", port, bus_port, store, slots, of))
        self.primaries = self.nodes[:primaries]
        self.replicas = self.nodes[primaries:following]
        self.spare = self.nodes[following:]

    @property
    def url(self) -> str:
        scheme, options = ("redis", "") if self._tls is None else ("rediss", f"?{self._tls.options}")
        return f"{scheme}+cluster://{','.join(node.address for node in self.primaries)}{options}"

    def start(self) -> None:
        for node in self.nodes:
            lines = [other.said(node) for other in self.nodes]
            epoch = f"vars currentEpoch {len(self.nodes)} lastVoteEpoch 0"
            (node.store.folder / "nodes.conf").write_text("\n".join([*lines, epoch, ""]))
            node.store.start(wait=False)
        give_up_at = time.monotonic() + 15
        while not self.is_whole():
            assert time.monotonic() < give_up_at, self.nodes[0].store.command("CLUSTER", "NODES").decode()
            time.sleep(0.02)

    def is_whole(self) -> bool:
        """Every node sees all slots served, and every replica follows its primary."""
        try:
            for node in self.nodes:
                if b"cluster_state:ok" not in node.store.command("CLUSTER", "INFO"):
                    return False
                if node.of is not None and b"master_link_status:up" not in node.store.command("INFO", "replication"):
                    return False
        except OSError:
            return False
        return True

    def is_known(self) -> bool:
        """Every node names all others to clients. A replica is named when it has told how far it is, within seconds."""
        ports = {node.port for node in self.nodes if node not in self.spare}
        said = ({server[1] for _, _, *servers in node.slots_said() for server in servers} for node in self.nodes)
        return all(each == ports for each in said)

    def is_whole_again(self) -> bool:
        """Everybody lives and replicas follow, whoever is a primary now."""
        try:
            return all(
                b"cluster_state:ok" in node.store.command("CLUSTER", "INFO")
                and b"master_link_status:down" not in node.store.command("INFO", "replication")
                for node in self.nodes
            )
        except OSError:
            return False

    @contextmanager
    def alert(self) -> Iterator[None]:
        """Whoever dies meanwhile is soon replaced."""
        self._suspect_after(ALERT_TIMEOUT_MS)
        try:
            yield
        finally:
            self._suspect_after(CALM_TIMEOUT_MS)

    def _suspect_after(self, ms: int) -> None:
        for node in self.nodes:
            with contextlib.suppress(OSError):  # of one that is dead
                node.store.command("CONFIG", "SET", "cluster-node-timeout", ms)

    @property
    def socket_path(self) -> Path:
        """Of one server, of which there are several."""
        pytest.skip("about a single server")

    def remove(self) -> None:
        for node in self.nodes:
            node.store.remove()

    # What tests ask of it

    def slot_of(self, key: bytes | str) -> int:
        return key_slot(key if isinstance(key, bytes) else key.encode())

    def owner(self, slot: int) -> Node:
        """The primary that serves a slot now, as a living node says."""
        for (first, last), place in self.slots().items():
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == place)
        raise AssertionError(f"nobody serves slot {slot}")

    def slots(self) -> dict[tuple[int, int], int]:
        """Ranges of slots → the port of their primary."""
        for node in self.nodes:
            try:
                found = node.slots_said()
            except redis.RedisError:
                continue
            return {(first, last): primary[1] for first, last, primary, *_ in found}
        raise AssertionError("no node answers")

    def client(self) -> RedisCluster:
        """An ordinary client, for looking inside."""
        nodes = [ClusterNode("127.0.0.1", node.port) for node in self.primaries]  # type: ignore[no-untyped-call]  # redis-py says no types here
        return RedisCluster(startup_nodes=nodes, require_full_coverage=False)

    def command(self, *words: str | bytes | int) -> bytes:
        """One command at the node that has its key (its second word): for setting tests up. The raw reply."""
        if words[0] in ADMINISTRATIVE:
            return [node.store.command(*words) for node in self.nodes if self._is_primary(node) or words[0] == "ACL"][
                -1
            ]
        return self.owner(self._slot_of_command(words)).store.command(*words)

    def _slot_of_command(self, words: tuple[str | bytes | int, ...]) -> int:
        slot = slot_of([_bytes(word) for word in words])
        assert slot is not None, words
        return slot

    def _is_primary(self, node: Node) -> bool:
        return node.port in self.slots().values()

    def commands(self, *commands: tuple[str | bytes | int, ...]) -> bytes:
        """The same of several; of those without a key, at every primary."""
        reply = b""
        for words in commands:
            reply = self.command(*words)
        return reply

    def move_slot(self, slot: int, to: Node, *, keys_at_once: int = 100) -> None:
        """Move a slot as `valkey-cli --cluster reshard` does, while it is being used: importing, migrating, the keys
        in portions, and then everybody is told (https://valkey.io/commands/cluster-setslot/)."""
        source = self.begin_move(slot, to)
        with source.inside() as client:
            while keys := client.execute_command("CLUSTER GETKEYSINSLOT", slot, keys_at_once):
                client.execute_command("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS", *keys)
        for node in (to, source, *(each for each in self.nodes if each not in (to, source))):
            node.store.command("CLUSTER", "SETSLOT", slot, "NODE", to.id)  # a replica or a dead node need not know
        give_up_at = time.monotonic() + 10  # what one says late, by an older epoch, the others may believe for a moment
        while not all(self._says(node, slot, to) for node in (source, to)):
            assert time.monotonic() < give_up_at, "the servers do not agree whose the slot is"
            time.sleep(0.002)

    def begin_move(self, slot: int, to: Node) -> Node:
        """The first step of that, after which keys that are missing at one server are looked for at the other; who has
        the slot. Harmless to repeat."""
        source = self.owner(slot)
        assert source is not to
        _ok(to.store.command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id))
        _ok(source.store.command("CLUSTER", "SETSLOT", slot, "MIGRATING", to.id))
        return source

    def settle(self) -> None:
        """No slot is on its way any more, wherever a test ended in the midst of a move. Each stays with its owner: keys
        that went ahead are nobody's then, and go when the cluster is emptied."""
        for node in filter(self._is_primary, self.nodes):  # its replica hears it from it
            for slot in node.slots_on_their_way():
                _ok(node.store.command("CLUSTER", "SETSLOT", slot, "STABLE"))

    def _says(self, node: Node, slot: int, owner: Node) -> bool:
        return any(first <= slot <= last and primary[1] == owner.port for first, last, primary, *_ in node.slots_said())

    def move_slot_at_once(self, slot: int, to: Node) -> None:
        """Move it as Valkey ≥ 9 can: the keys go ahead, and the slot follows in one step
        (https://valkey.io/topics/atomic-slot-migration). Skips the test on a server that cannot."""
        source = self.owner(slot)
        reply = source.store.command("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", to.id)
        if b"unknown subcommand" in reply.lower():
            pytest.skip("this server cannot move a slot at once")
        _ok(reply)
        give_up_at = time.monotonic() + 10
        while self.owner(slot) is not to:
            assert time.monotonic() < give_up_at, source.store.command("CLUSTER", "GETSLOTMIGRATIONS")
            time.sleep(0.005)


def _ok(reply: bytes) -> None:
    assert reply.startswith(b"+OK"), reply


def _bytes(word: str | bytes | int) -> bytes:
    return word if isinstance(word, bytes) else str(word).encode()


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[Cluster]:
    """The cluster that tests share which leave its nodes alone."""
    cluster = Cluster()
    cluster.start()
    yield cluster
    cluster.remove()


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Cluster:
    """It is empty when the test begins, and no slot is on its way."""
    shared_cluster.settle()
    shared_cluster.commands(*EMPTY)
    return shared_cluster


@pytest.fixture
def own_cluster() -> Iterator[StartCluster]:
    """`own_cluster()` starts a cluster that belongs to this test alone."""
    clusters: list[Cluster] = []

    def start(*settings: str) -> Cluster:
        clusters.append(Cluster(*settings))
        clusters[-1].start()
        return clusters[-1]

    yield start
    for each in clusters:
        each.remove()
