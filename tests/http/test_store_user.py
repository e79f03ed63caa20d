"""A user of the store that may do what the product does, and nothing else: `docs/security.md` says which commands and
keys, and a whole deployment lives as that user. Every refusal of the store's is in its ACL LOG.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import redis

from tests.support.life import PASSWORD, Written, user_of_the_store
from tests.support.server import ROOT


def test_the_store_refused_nothing(written: Written) -> None:
    assert [(each["reason"], each["object"], each["client-info"]) for each in written.refused] == []
    assert {place for place, told in written.commands.items() if b"NoPermission" in told} == set()


def test_all_that_the_product_does_is_granted_and_nothing_else(written: Written) -> None:
    """What the code says, and what was seen: a command that only a bad day needs is in the code alone."""
    granted = {word[1:] for word in user_of_the_store() if word[0] == "+"}
    needed = ((written.used - OF_TESTS) | in_lua() | in_python()) - ALWAYS - of_clusters()
    assert needed - granted == set()
    assert granted - needed == set()


@pytest.mark.parametrize(
    "command",
    [
        ("FLUSHALL",), ("KEYS", "*"), ("CONFIG", "SET", "maxmemory", "1"), ("REPLICAOF", "NO", "ONE"), ("SHUTDOWN",),
        ("ACL", "LIST"), ("GET", "somebody_elses"), ("MIGRATE", "127.0.0.1", "1", "", "0", "1", "KEYS", "ctl:x"),
        ("EVAL", "return redis.call('GET', KEYS[1])", "1", "somebody_elses"), ("SUBSCRIBE", "c"), ("MONITOR",),
    ],
)  # fmt: skip
def test_the_rest_is_refused(written: Written, command: tuple[str, ...]) -> None:
    own: Any = redis.Redis(unix_socket_path=written.store_path, username="nextbest", password=PASSWORD)
    with own, pytest.raises(redis.exceptions.ResponseError, match=r"(?i)permission|NOPERM"):
        own.execute_command(*command)


#: Commands that the tests themselves sent.
OF_TESTS = {"acl|setuser", "acl|log", "config|resetstat", "info", "client|setinfo"}
#: What every user may send.
ALWAYS = {"auth", "hello", "reset", "quit"}
#: Methods of redis-py by names other than those of their commands.
METHODS = {
    "script_load": "script|load", "config_get": "config|get", "memory_usage": "memory|usage", "delete": "del",
    "xinfo_stream": "xinfo|stream", "scan_iter": "scan", "zscan_iter": "zscan", "bgrewriteaof": "bgrewriteaof",
}  # fmt: skip
PLAIN_METHODS = """
    get set exists expire pexpire ttl pttl persist type unlink getrange incrby hget hset hsetnx hmget hgetall hdel hkeys
    hvals hlen hexists hincrby lpush rpush lpop lrange ltrim lrem llen sadd srem smembers scard sismember smismember
    zadd zrem zcard zscore zrange zrangebyscore zrevrange zremrangebyscore zcount xadd xdel xlen xrange xrevrange xtrim
    time info ping mget eval evalsha
"""


def of_clusters() -> set[str]:
    """What the page grants in a cluster only."""
    more = re.search(r"^In a cluster, too: (.+)$", (ROOT / "docs" / "security.md").read_text(), re.M)
    assert more is not None
    return set(re.findall(r"`\+([^`]+)`", more[1]))


def in_lua() -> set[str]:
    scripts = (ROOT / "app" / "store").glob("*.lua")
    return {
        found.lower()
        for each in scripts
        for found in re.findall(r"redis\.p?call\(\s*['\"](\w+)['\"]", each.read_text())
    }


def in_python() -> set[str]:
    found = {"client|setinfo", "client|setname"}  # redis-py's own, when it connects
    calls = re.compile(r'(?:pack|execute_command|command_prefix)\(\s*b?"([A-Z]+)"(?:, b?"([A-Z]+)")?')
    for path in (ROOT / "app").rglob("*.py"):
        text = path.read_text()
        for command, sub in calls.findall(text):
            container = command in {"CLIENT", "CLUSTER", "SCRIPT", "XINFO", "CONFIG", "MEMORY"}
            found.add(f"{command}|{sub}".lower() if container else command.lower())
        for method in re.findall(r"\b(?:_?client|pipeline|_redis)\.(\w+)\(", text):
            if method in METHODS or method in PLAIN_METHODS.split():
                found.add(METHODS.get(method, method))
    return found
