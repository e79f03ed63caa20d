"""Merging two customers from the command line."""

from __future__ import annotations

import asyncio

import pytest
from typer.testing import CliRunner

from app.cli import app
from tests.flows.conftest import Flow
from tests.flows.test_merge import LOSER, WINNER, know_both, reader, sends
from tests.support.contract import FOLDER


async def run(flow: Flow, *words: str) -> tuple[int, str]:
    command = ["customers", "merge", "--bundle", str(FOLDER), "--url-of-store", flow.store.url, *words]
    result = await asyncio.to_thread(CliRunner().invoke, app, command)
    return result.exit_code, result.output.strip()


async def test_an_operator_makes_two_customers_one_and_the_history_says_why(flow: Flow) -> None:
    await know_both(flow)
    assert await sends(flow, LOSER, "once")
    assert await run(flow, "--why", "ticket 7", LOSER, WINNER) == (0, f"{LOSER} is {WINNER} now")
    assert not await sends(flow, WINNER, "once")
    assert {(each.who, each.why) for each in await reader(flow).history(WINNER)} >= {("command_line", "ticket 7")}
    assert await run(flow, LOSER, WINNER) == (0, f"{LOSER} is {WINNER} now"), "again is harmless"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("somebody@example.com", WINNER), "looks like an e-mail address"),
        ((LOSER, "a key with blanks"), "1 to 64 letters"),
        ((LOSER, WINNER, "--why", "x" * 201), "at most 200 characters"),
        ((LOSER, WINNER, "--url-of-store", "unix:///nowhere/store.sock"), "the store failed"),
    ],
)
async def test_what_cannot_be_merged_is_said_in_one_line(flow: Flow, words: tuple[str, ...], says: str) -> None:
    code, output = await run(flow, *words)
    assert code == 1
    assert says in output
    assert "Traceback" not in output
