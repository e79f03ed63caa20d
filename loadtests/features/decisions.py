"""What 24 live features cost a decision, beside 24 stored numbers: `python -m loadtests.features.decisions`.

CPU time of this process for the same work on both sides: the command, parsing the reply as the link does, decoding the
profile into facts; of live features also their state, their values at the instant, and their freshness. Rounds of both
take turns, and the best of each counts: on a machine that does other things, the least disturbed.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hiredis import Reader
from redis.asyncio import Redis

from app.core.features.live import live_features
from app.core.features.watermarks import Watermarks
from app.store.features import FeatureReads
from app.store.fields import FieldRegistry, names_of
from app.store.keys import Keys
from app.store.profile_decoder import ProfileDecoder
from app.store.resp import bulk, command_prefix
from loadtests.features.bench import CUSTOMERS, EVENTS, NOW_MS, TWELVE, TWELVE_MORE, folded, history, plan_of, stored
from policy.bundle import Bundle
from policy.compile import load

ROUNDS = 25
NUMBERS = 24
_HGETALL = command_prefix(2, "HGETALL")


def bundle_of(into: Path, names: list[str], **files: str) -> Bundle:
    """A bundle whose one rule reads these facts."""
    reads = " && ".join(f"has(customer.{name})" for name in names)
    files |= {
        "bundle": "{name: bench, owner: growth, currency: EUR}",
        "consent": "{purposes: [marketing, personalisation], regions: {default: {contact: opt_in}}}",
        "messages": "messages: [{id: a, placements: [p], risk: low}, {id: b, placements: [p], eligible: '"
        + reads
        + "'}]",
        "placements": "placements: [{id: p, channel: web, default: a}]",
    }
    for name, text in files.items():
        (into / f"{name}.yaml").write_text(text)
    return load(into)


def live_bundle(into: Path, contract: str) -> Bundle:
    lines = [line for line in (TWELVE + TWELVE_MORE).splitlines() if line]
    features = "\n".join(f"  {line.rstrip()[:-1]}{contract}}}" for line in lines)
    events = "\n".join(f"  {line}" for line in EVENTS.strip().splitlines())
    names = [line.partition(":")[0] for line in lines]
    return bundle_of(into, names, features=f"features:\n{features}\n", events=f"events:\n{events}\n")


def stored_bundle(into: Path) -> Bundle:
    names = [f"n{number}" for number in range(NUMBERS)]
    lines = "\n".join(f"  {name}: {{type: {'float' if at % 2 else 'int'}}}" for at, name in enumerate(names))
    return bundle_of(into, names, attributes=f"attributes:\n{lines}\n")


def registry_of(bundle: Bundle) -> FieldRegistry:
    known = FieldRegistry(Redis())
    known.learn((name, b"%d" % at) for at, name in enumerate([*names_of(bundle), "s:form", "b:consent"]))
    return known


def profile(known: FieldRegistry) -> list[bytes]:
    granted = b"g" + known.id_of("b:consent") + b"," + known.id_of("s:form") + b",1700000000000"
    every = known.id_of("c:*")
    fields = [b"!u", b"1", b"!g", b"7", b"!l", b"3", b"!r", b"DE", b"!z", b"Europe/Berlin", b"!n", b"de"]
    for purpose in ("marketing", "personalisation"):
        fields += [known.id_of(f"p:{purpose}") + b"." + every, granted]
    return [*fields, b"@" + known.id_of("o:growth"), b"1700000000000"]


def answer(parts: Sequence[bytes | None]) -> bytes:
    return b"*%d\r\n" % len(parts) + b"".join(b"$-1\r\n" if part is None else bulk(part) for part in parts)


def reading_numbers(folder: Path, rng: random.Random) -> Callable[[], None]:
    """A decision's read of a profile with 24 stored numbers."""
    bundle = stored_bundle(folder)
    known, keys = registry_of(bundle), Keys(256)
    ids = [known.id_of(f"a:{fact.name}") for fact in bundle.facts]
    replies = []
    for _ in range(CUSTOMERS):
        numbers = [b"%.4f" % (rng.random() * 1000) if at % 2 else b"%d" % rng.randint(0, 500) for at in range(NUMBERS)]
        replies.append(answer([*profile(known), *(part for pair in zip(ids, numbers, strict=True) for part in pair)]))
    decoder = ProfileDecoder(bundle, known)

    def work() -> None:
        for at, reply in enumerate(replies):
            _packed = _HGETALL + bulk(keys.of(f"cus_{at}").profile)
            assert len(decoder.decode(parsed(reply)[0], NOW_MS, ()).values) == NUMBERS

    return work


def reading_features(folder: Path, rng: random.Random, contract: str) -> Callable[[], None]:
    """A decision's read of a profile and of 24 live features."""
    bundle = live_bundle(folder, contract)
    live = live_features(bundle, tuple(bundle.placements.values()))
    assert live is not None
    assert len(live.rules) == NUMBERS
    known, keys, reads = registry_of(bundle), Keys(256), FeatureReads(live)
    states = folded(plan_of(TWELVE + TWELVE_MORE), history(rng))
    replies = []
    for state in states:
        groups = stored(plan_of(TWELVE + TWELVE_MORE), state)
        replies.append(answer(profile(known)) + answer([groups.get(group.key) for group in live.groups]))
    decoder = ProfileDecoder(bundle, known)
    watermarks = Watermarks(dict.fromkeys(live.all_event_types, NOW_MS), dict.fromkeys(range(256), NOW_MS))

    def work() -> None:
        for at, reply in enumerate(replies):
            names = keys.of(f"cus_{at}")
            _packed = _HGETALL + bulk(names.profile) + reads.command(names.features)
            stored_profile, groups = parsed(reply, 2)
            facts = decoder.decode(stored_profile, NOW_MS, ())
            assert len(live.joined(facts, reads.state(groups), names.shard, watermarks).values) > NUMBERS - 8

    return work


def parsed(reply: bytes, number: int = 1) -> list[Any]:
    reader = Reader()
    reader.feed(reply)
    return [reader.gets() for _ in range(number)]


def best_us(*works: Callable[[], None]) -> list[float]:
    """CPU of each, in µs a customer."""
    best = [float("inf")] * len(works)
    for _ in range(ROUNDS):
        for at, work in enumerate(works):
            began = time.process_time()
            work()
            best[at] = min(best[at], (time.process_time() - began) / CUSTOMERS * 1e6)
    return best


def main() -> None:
    rng = random.Random(1)
    with (
        tempfile.TemporaryDirectory() as first,
        tempfile.TemporaryDirectory() as second,
        tempfile.TemporaryDirectory() as third,
    ):
        numbers, features, contracts = best_us(
            reading_numbers(Path(first), rng),
            reading_features(Path(second), rng, ""),
            reading_features(Path(third), rng, ", max_lag: 15m"),
        )
    print(f"{NUMBERS} stored numbers                 {numbers:6.1f} µs a decision's read")
    print(f"{NUMBERS} live features                  {features:6.1f} µs: {features - numbers:+.1f}")
    print(f"{NUMBERS} live features, each a contract {contracts:6.1f} µs: {contracts - numbers:+.1f}")


if __name__ == "__main__":
    main()
