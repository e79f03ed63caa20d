"""Answers that nobody takes yet: in order, bounded, and gone afterwards."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.spool import Spool, Untaken


async def everything(spool: Spool) -> bytes:
    parts = []
    while part := await spool.take():
        parts.append(part)
    return b"".join(parts)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 300), max_size=30),
    st.integers(0, 200),
    st.integers(1, 400),
    st.lists(st.integers(0, 3), min_size=1, max_size=5),
)
def test_bytes_come_out_as_they_went_in_through_memory_and_file(
    sizes: list[int], memory_bytes: int, file_bytes: int, turns: list[int]
) -> None:
    pieces = [bytes([number % 251]) * size for number, size in enumerate(sizes)]

    async def putting(spool: Spool) -> None:
        for number, piece in enumerate(pieces):
            for _ in range(turns[number % len(turns)]):
                await asyncio.sleep(0)
            spool.put(piece)
            await spool.settle()
        spool.finish()

    async def run() -> bytes:
        async with asyncio.timeout(10), Spool(5, memory_bytes, file_bytes) as spool, asyncio.TaskGroup() as group:
            taking = group.create_task(everything(spool))
            group.create_task(putting(spool))
            return await taking

    assert asyncio.run(run()) == b"".join(pieces)


async def test_a_full_spool_makes_the_putter_wait_until_something_is_taken() -> None:
    async with Spool(5, memory_bytes=10, file_bytes=100) as spool:
        spool.put(b"x" * 111)
        settling = asyncio.create_task(spool.settle())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(settling), 0.05)
        assert await spool.take() == b"x" * 100
        await asyncio.wait_for(settling, 1)
        spool.finish()
        assert await everything(spool) == b"x" * 11


async def test_a_full_spool_from_which_nobody_takes_runs_out_of_patience() -> None:
    async with Spool(0.02, memory_bytes=10, file_bytes=100) as spool:
        spool.put(b"x" * 200)
        with pytest.raises(Untaken):
            await spool.settle()
        spool.finish()
        assert await everything(spool) == b"x" * 200  # what was put is not lost


async def test_a_caller_who_takes_along_never_touches_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: pytest.fail("a file was made"))
    async with Spool(5) as spool:
        for _ in range(100):
            spool.put(b"x" * 100_000)
            await spool.settle()
            assert await spool.take() == b"x" * 100_000


async def test_a_full_disk_makes_the_putter_wait_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(number: int, data: bytes, at: int) -> int:
        raise OSError(28, "no space left on device")

    async with Spool(5, memory_bytes=10, file_bytes=1000) as spool:
        spool.put(b"a" * 500)
        await spool.settle()  # to the file
        monkeypatch.setattr(os, "pwrite", full)
        spool.put(b"b" * 500)
        settling = asyncio.create_task(spool.settle())
        taken = [await asyncio.wait_for(spool.take(), 1), await asyncio.wait_for(spool.take(), 1)]
        await asyncio.wait_for(settling, 1)
        assert taken == [b"a" * 500, b"b" * 500]


async def test_the_file_has_no_name_and_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    make = tempfile.TemporaryFile
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: made.append(make()) or made[-1])
    async with Spool(5, memory_bytes=10, file_bytes=1000) as spool:
        spool.put(b"x" * 100)
        await spool.settle()
        assert os.listdir(tmp_path) == []
        assert not made[0].closed
    assert made[0].closed
