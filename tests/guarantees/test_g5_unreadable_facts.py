"""G5: no `send` for marketing when a policy fact could not be read. What cannot be understood is not guessed."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import pytest

from tests.support import look
from tests.support.scripted import ProxyBeside, ScriptedProxy
from tests.support.server import Client, Server, eventually

Damage = Callable[[look.Inside, str], object]


def profile(customer: str) -> bytes:
    return look.KEYS.profile(customer)


def ledger(customer: str) -> bytes:
    return look.KEYS.of(customer).ledger


def consent_fields(store: look.Inside, customer: str) -> list[bytes]:
    return [field for field in store.hkeys(profile(customer)) if b"." in field]


def spoil_consents(store: look.Inside, customer: str, change: Callable[[bytes], bytes]) -> None:
    for field in consent_fields(store, customer):
        store.hset(profile(customer), field, change(store.hget(profile(customer), field) or b""))


def rename_consents(store: look.Inside, customer: str, change: Callable[[bytes], bytes]) -> None:
    for field in consent_fields(store, customer):
        store.hset(profile(customer), change(field), store.hget(profile(customer), field) or b"")
        store.hdel(profile(customer), field)


#: Whoever restores a backup in part, runs an old script, or types into a console.
DAMAGES: dict[str, Damage] = {
    "the ledger is gone": lambda s, c: s.delete(ledger(c)),
    "the ledger is of another type": lambda s, c: s.delete(ledger(c)) and s.set(ledger(c), "x"),
    "the profile is of another type": lambda s, c: s.delete(profile(c)) and s.set(profile(c), "x"),
    "a contact of a kind nobody knows": lambda s, c: s.zadd(ledger(c), {b"14 bytes of id" + b"zzzz,0": 1}),
    "a contact that is too short": lambda s, c: s.zadd(ledger(c), {b"short": 1}),
    "a contact without a window": lambda s, c: s.zadd(ledger(c), {b"14 bytes of id" + b"1": 1}),
    "a contact at no time": lambda s, c: s.zadd(ledger(c), {b"14 bytes of id" + b"1,0": "inf"}),
    "a consent without a time": lambda s, c: spoil_consents(s, c, lambda raw: raw.rpartition(b",")[0]),
    "a consent at no time": lambda s, c: spoil_consents(s, c, lambda raw: raw.rpartition(b",")[0] + b",soon"),
    "a consent without a state": lambda s, c: spoil_consents(s, c, lambda raw: b"x" + raw[1:]),
    "an empty consent": lambda s, c: spoil_consents(s, c, lambda _: b""),
    "a consent of an unknown basis": lambda s, c: spoil_consents(s, c, lambda _: b"gzzzz,zzzz,1"),
    "a consent for an unknown purpose": lambda s, c: rename_consents(s, c, lambda f: b"zzzz." + f.split(b".")[1]),
    "a consent on an unknown channel": lambda s, c: rename_consents(s, c, lambda f: f.split(b".")[0] + b".zzzz"),
    "a suppression for an unknown reason": lambda s, c: s.hset(profile(c), "-email:bad_mood", "1,1"),
    "a suppression at no time": lambda s, c: s.hset(profile(c), "-email:manual", "soon"),
    "a region that is no text": lambda s, c: s.hset(profile(c), "!r", b"\xff\xfe"),
    "a version that is no number": lambda s, c: s.hset(profile(c), "!g", "many"),
    "a last contact at no time": lambda s, c: (s.delete(ledger(c)), s.hset(profile(c), "!t", "soon")),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_damaged_facts_suppress_marketing_and_can_be_mended(
    client: Client, customer: str, inside: look.Inside, damage: str
) -> None:
    await client.welcome(customer)
    assert (await client.decide(customer, "thrice")).sends
    kept = {name: inside.dump(name) for name in (profile(customer), ledger(customer))}
    DAMAGES[damage](inside, customer)
    for placement in ("thrice", "open"):
        answer = await client.decide(customer, placement)
        assert answer.first["action"] == "suppress", answer.first
    for name, dumped in kept.items():
        inside.restore(name, 0, dumped, replace=True)
    assert (await client.decide(customer, "thrice")).sends


READ = b"HGETALL"  # only decisions read a customer this way while the test runs
TIME = b"*2\r\n$10\r\n"  # how the replies to a decision's read begin
#: The replies to a look at the kill switches, of which there are none; now and then they come in one piece with a read.
POLL = re.compile(rb"\*0\r\n\*2\r\n\$10\r\n\d+\r\n\$\d\r\n\d+\r\n")


def precede(proxy: ScriptedProxy, garbage: bytes) -> None:
    """Something before the replies to each read: what follows looks like the answer to another question."""
    proxy.replies = reads_only(lambda data: garbage + data if data.startswith(TIME) else data)


FAULTS: dict[str, Callable[[ScriptedProxy], object]] = {
    "frozen": lambda proxy: proxy.freeze(),
    "too slow": lambda proxy: proxy.delay(0.3),
    "a trickle": lambda proxy: proxy.fragment(1, every_s=0.01),
    "cut before the reply": lambda proxy: proxy.when(READ, lambda: proxy.cut_after(0)),
    "cut in half": lambda proxy: proxy.when(READ, lambda: proxy.cut_after(60)),
    "stalled in half": lambda proxy: proxy.when(READ, lambda: proxy.stall_after(60)),
    "preceded by garbage": lambda proxy: precede(proxy, b"\x00\xffgarbage\r\n"),
    "preceded by a reply that nobody asked for": lambda proxy: precede(proxy, b"+OK\r\n"),
    "an empty profile in place of the first reply": lambda proxy: precede(proxy, b"*0\r\n"),
    "an error in place of the first reply": lambda proxy: precede(proxy, b"-ERR no\r\n"),
    "nothing in place of the first reply": lambda proxy: precede(proxy, b"*-1\r\n"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_reply_that_does_not_come_whole_and_in_time_suppresses_marketing(
    servers: list[Server], client: Client, shaky: Client, proxy: ProxyBeside, customer: str, fault: str
) -> None:
    await client.welcome(customer)
    errors = servers[2].metric("store_read_errors_total")
    for _ in range(3):
        proxy.do(FAULTS[fault])
        answer = await shaky.decide(customer, "open", budget_ms=100)
        proxy.heal()
        if servers[2].metric("store_read_errors_total") > errors:
            break  # else it met what the server asks beside decisions, and this read came whole
    assert answer.first["action"] == "suppress", answer.first
    assert answer.first["reason"] in ("facts_unavailable", "deadline")
    assert answer.first["retryable"] is True
    assert servers[2].metric("store_read_errors_total") > errors
    await until_it_sends(shaky, customer)


@pytest.mark.parametrize("error", ["READONLY", "NOAUTH"])
async def test_an_error_in_place_of_a_fact_suppresses_marketing(
    client: Client, shaky: Client, proxy: ProxyBeside, customers: Callable[[int], list[str]], error: str
) -> None:
    """Each of the read's replies in turn: the time, the profile, the ledger."""
    for nth, customer in enumerate(customers(3)):
        await client.welcome(customer)
        proxy.do(partial(replace_replies, in_place(nth, b"-%b no\r\n" % error.encode())))
        answer = await shaky.decide(customer, "open", budget_ms=200)
        proxy.heal()
        assert answer.first["action"] == "suppress", (nth, answer.first)
        await until_it_sends(shaky, customer)


def replace_replies(change: Callable[[bytes], bytes], faulty: ScriptedProxy) -> None:
    faulty.replies = reads_only(change)


def reads_only(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Leaves the looks at the kill switches alone."""

    def changed(data: bytes) -> bytes:
        poll = POLL.search(data)
        if poll is None:
            return change(data)
        before, after = data[: poll.start()], data[poll.end() :]
        return (change(before) if before else b"") + poll.group() + (change(after) if after else b"")

    return changed


def in_place(nth: int, error: bytes) -> Callable[[bytes], bytes]:
    """Replaces one reply of a piece that holds the three of a read; the empty ledger, `*0`, is the last."""

    def change(data: bytes) -> bytes:
        if not (data.startswith(TIME) and data.endswith(b"*0\r\n")):
            return data
        time, rest = data[: data.index(b"*", 1)], data[data.index(b"*", 1) :]
        parts = [time, rest[:-4], rest[-4:]]
        parts[nth] = error
        return b"".join(parts)

    return change


async def until_it_sends(client: Client, customer: str) -> None:
    """The link notices within a second that nothing comes any more, and makes a new connection."""

    async def it_sends() -> bool:
        return (await client.decide(customer, "open", budget_ms=100)).sends

    await eventually(it_sends)


async def test_an_alias_that_cannot_be_looked_up_suppresses_marketing(
    servers: list[Server], client: Client, shaky: Client, proxy: ProxyBeside, customer: str
) -> None:
    alias = {"anonymous_id": f"a-{customer}"}
    answer = await client.ask("PUT", f"/v1/customers/{customer}", {"identities": alias})
    assert answer.status == 200
    await client.welcome(customer)
    assert (await shaky.decide(alias, "open")).sends
    proxy.do(FAULTS["frozen"])
    answer = await shaky.decide(alias, "open", budget_ms=100)
    assert (answer.first["action"], answer.first["retryable"]) == ("suppress", True)


async def test_a_customer_of_whom_nothing_is_known_is_not_contacted_where_consent_is_needed(
    client: Client, customer: str
) -> None:
    answer = await client.decide(customer, "open", context={"region": "DE"})
    assert (answer.first["action"], answer.first["reason"]) == ("suppress", "consent_unknown")


async def test_a_denial_stays_one_whatever_is_written_over_it(
    client: Client, customer: str, inside: look.Inside
) -> None:
    await client.welcome(customer)
    await client.consent(customer, "denied")
    (field,) = [f for f in consent_fields(inside, customer) if (inside.hget(profile(customer), f) or b"")[:1] == b"d"]
    told = inside.hget(profile(customer), field) or b""
    spoiled = [told[:n] for n in range(len(told))] + [told[n:] for n in range(1, len(told))]
    spoiled += [b"\xff" * n for n in range(3)] + [b"granted", b"g", b"g,", b"g,,", b"gg" + told[1:], b"null", b"1"]
    for raw in spoiled:
        inside.hset(profile(customer), field, raw)
        assert (await client.decide(customer, "open")).first["action"] == "suppress", raw
