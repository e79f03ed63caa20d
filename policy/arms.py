"""Arms: who is held out or compared, by a keyed hash of who they are.

The same customer is in the same arm of a trial on every node and in every process, without anything being stored. Two
ways, each so that a share can be changed in the middle of a trial with as few people changing sides as can be:

- A **holdout** divides [0, 1) in three: `holdout` from below, `baseline` from above, `treatment` in between. Whoever is
  held out stays so while that share grows, and the baseline does not notice.
- An **experiment** has any number of arms. Each draws a lot from the hash of (salt, subject, arm), shortened the more
  the larger its share is; the shortest wins (weighted rendezvous hashing:
  https://en.wikipedia.org/wiki/Rendezvous_hashing#Weighted_variations). When one share grows at the cost of others, all
  who were in that arm stay in it, and the order in which arms are written makes no difference.

Trials with the same salt assign alike: two comparisons that shall not depend on each other need two salts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from math import inf, log
from typing import Any

from policy.arbitration import unit_draw
from policy.codes import Arm

KEY_BYTES_MAX = 64  # of blake2b


def held_arm(salt: str, shares: Sequence[tuple[Arm, float]], subject: str) -> Arm:
    """The arm of a subject (a customer, a region) in a holdout: each with the probability of its share.

    Args:
        shares: arm → share, adding up to 1.
    """
    place = (_hashed(salt, subject) >> 11) / (1 << 53)
    for arm, share in shares:
        if (arm is Arm.HOLDOUT and place < share) or (arm is Arm.BASELINE and place >= 1.0 - share):
            return arm
    return Arm.TREATMENT


def arm_of(salt: str, shares: tuple[tuple[str, float], ...], subject: str) -> str:
    """The arm of a subject (a customer, a region, a decision) in an experiment: each with the probability of its share.

    Args:
        shares: arm → share, adding up to 1; at least one is above 0.
    """
    seed = _hashed(salt, subject)
    shortest, winner = inf, shares[0][0]
    for name, share, stream in _streams(shares):
        lot = -log(1.0 - unit_draw(seed, stream)) / share
        if lot < shortest:
            shortest, winner = lot, name
    return winner


def _hashed(salt: str, subject: str) -> int:
    """64 bits that nobody without the salt can tell the arm from, and the same in every process."""
    hashed = _keyed(salt).copy()
    hashed.update(subject.encode())
    return int.from_bytes(hashed.digest(), "big")


@lru_cache(maxsize=1024)
def _keyed(salt: str) -> Any:
    """A hash that has read the key already. Not to be updated: copied."""
    key = salt.encode()
    if len(key) > KEY_BYTES_MAX:
        key = blake2b(key).digest()
    return blake2b(key=key, digest_size=8)


@lru_cache(maxsize=1024)
def _streams(shares: tuple[tuple[str, float], ...]) -> tuple[tuple[str, float, int], ...]:
    """The arms that anybody can be in, each with the number of its lots: from its name, not from its place."""
    return tuple(
        (name, share, int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big"))
        for name, share in shares
        if share > 0.0
    )
