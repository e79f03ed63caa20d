"""What ends an import, and what refuses one row of it."""

from __future__ import annotations


class Trouble(Exception):
    """The import cannot begin, or cannot go on; the message says why and what to do."""


class Unfit(Exception):
    """A row that cannot be imported. `detail` says what is expected and repeats no value, which may name a person."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
