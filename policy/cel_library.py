"""The CEL library without its command line, which `import cel` loads too: with a line editor and a pretty printer it is
10 MiB of every process, and a tenth of its start."""

from __future__ import annotations

import sys
from types import ModuleType

sys.modules.setdefault("cel.cli", ModuleType("cel.cli"))

import cel  # noqa: E402  (after the line that keeps its command line out)
from cel import Context  # noqa: E402  (the same)

__all__ = ["Context", "cel"]
