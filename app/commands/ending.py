"""How a command ends that cannot do its work: one line on standard error, no traceback, an exit code for scripts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

#: Where 1 is an answer (some differ, they would not, something is severe), trouble is 2.
TROUBLE_BESIDE_AN_ANSWER = 2


def fail(message: str, code: int = 1) -> NoReturn:
    """Say why, and what to do, and end the process."""
    typer.echo(f"nextbest: {message}", err=True)
    sys.exit(code)


@contextmanager
def failing_on(trouble: type[Exception] | tuple[type[Exception], ...], code: int = 1) -> Iterator[None]:
    """Fail with the message of such an exception, which is written for the reader outside."""
    try:
        yield
    except trouble as error:
        fail(str(error), code)
