"""What can come between a caller and a customer in the store: trouble with the store, and a customer who moved."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.errors import Problem
from app.store.profile import MERGE, UnknownField, merge_of

Result = TypeVar("Result")


class MovedTo(NamedTuple):
    """Nothing was read or written: the customer was merged into this one."""

    customer: str


async def merged_into(client: Redis, profile: bytes) -> str | None:
    """The customer that one became; None where it is still its own."""
    return merge_of(cast("bytes | None", await client.hget(profile, MERGE)))[1]


async def follow(customer: str, do: Callable[[str], Awaitable[Result | MovedTo]]) -> Result:
    """Do something to a customer, or to the one that it became. Pointers are one deep: a second one is a merge under
    way. Raises Problem `store_unavailable` for that, and for whatever the store has."""
    with store_errors():
        result = await do(customer)
        if isinstance(result, MovedTo):
            result = await do(result.customer)
    if isinstance(result, MovedTo):
        raise merging()
    return result


@contextmanager
def store_errors() -> Iterator[None]:
    """Any failure of the store is one problem to callers; its text stays here, since it may quote what was sent. What a
    newer version wrote and this one cannot read is one too."""
    try:
        yield
    except UnknownField as error:
        raise Problem("store_unavailable", f"the customer cannot be read here: {error}", retry_after_s=1) from error
    except (RedisError, OSError) as error:
        detail = (
            f"the store failed (`{type(error).__name__}`); the write may or may not have happened, and can be repeated"
        )
        raise Problem("store_unavailable", detail, retry_after_s=1) from error


def unknown_customer() -> Problem:
    return Problem("unknown_customer", "nothing was ever written about this customer")


def merging() -> Problem:
    return Problem("store_unavailable", "the customer is being merged with others; try again", retry_after_s=1)


def erased() -> Problem:
    """What whoever asks for, or writes of, a customer who was erased is told."""
    return Problem(
        "erased",
        "this customer was erased, and nothing is kept or written until a consent that was given after that: send it "
        "with the write (`state` granted, `at` after the erasure)",
    )
