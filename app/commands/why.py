"""`nextbest why`: why a customer would get a message, asked of a running server."""

from __future__ import annotations

from typing import Annotated

import typer

from app.commands.ending import TROUBLE_BESIDE_AN_ANSWER, fail, failing_on


def why(
    customer: Annotated[str, typer.Argument(help="The customer's key.")],
    placement: Annotated[str | None, typer.Argument(help="The slot that would ask.")] = None,
    message: Annotated[str | None, typer.Option(help="This message's whole way through the checks.")] = None,
    url: Annotated[str, typer.Option(envvar="NEXTBEST_URL", help="Address of the server.")] = "http://127.0.0.1:8000",
    key: Annotated[
        str | None, typer.Option(envvar="NEXTBEST_KEY", help="A key that may `decide` and `read`.", show_envvar=True)
    ] = None,
    identity: Annotated[bool, typer.Option("--identity", help="Who the customer is instead, edge by edge.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --identity: print JSON.")] = False,
) -> None:
    """Why a customer would get a message now, or none, in plain words. Asks a running server and changes nothing. Exit
    code 0: they would get one (with --message: this one), 1: they would not, 2: nobody can tell."""
    from app import why_identity, why_report, why_words
    from app.why import CannotTell, Server, ask

    if identity:
        with failing_on(CannotTell, TROUBLE_BESIDE_AN_ANSWER):
            why_identity.answer(Server(url, key), customer, as_json=as_json)
        return
    if placement is None:
        fail("name the placement that would ask, or `--identity`", TROUBLE_BESIDE_AN_ANSWER)
    with failing_on(CannotTell, TROUBLE_BESIDE_AN_ANSWER):
        told = ask(Server(url, key), customer, placement, message)
    why_report.show(told, message)
    raise typer.Exit(0 if why_words.would_get(told, message) else 1)
