"""Options that several commands share, and the settings that a command runs with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.commands.ending import fail

if TYPE_CHECKING:  # imports pydantic, which a command that only prints its help has no use for
    from app.settings import Settings

ServedBundle = Annotated[
    Path | None, typer.Option(envvar="NEXTBEST_BUNDLE", help="Folder of the bundle that is served.")
]
FoldingBundle = Annotated[
    Path | None, typer.Option(envvar="NEXTBEST_BUNDLE", help="Folder of the bundle that declares the features.")
]
StoreUrl = Annotated[
    str | None,
    typer.Option("--url-of-store", help="Address of the store; else NEXTBEST_REDIS_URL, or the data folder's own."),
]


def settings_of(**given: Any) -> Settings:
    """The settings of the environment, under those that the command line gives; None: not given. Fails on mistakes."""
    from pydantic import ValidationError

    from app.settings import PREFIX, Settings

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        # The value is not repeated: it may be a secret.
        fail("; ".join(f"{PREFIX}{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors()))
