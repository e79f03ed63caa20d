"""Imports point one way, and starting a server imports nothing that only training needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Seconds of import time and hundreds of megabytes that a server has no use for.
NEVER_SERVED = {"lightgbm", "pandas", "pyarrow", "sklearn", "scipy", "onnx", "onnxmltools", "matplotlib"}
#: What the CEL library's command line would bring along: see `policy.cel_library`.
NEVER_SERVED |= {"prompt_toolkit", "rich", "pygments"}


def test_the_import_contracts_hold() -> None:
    # In a process of its own: it sets up logging for its whole process, and other tests read the log.
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(cache_dir=None))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_serving_imports_no_training_library() -> None:
    code = "import sys, app.main, app.serve, app.store.embedded; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & NEVER_SERVED == set()


def test_the_store_starts_before_anything_heavy_is_imported() -> None:
    code = "import sys, app.cli, app.serve, app.store.embedded; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & {"fastapi", "onnxruntime", "numpy", "redis", "opentelemetry"} == set()


def test_the_index_of_commands_imports_the_work_of_none() -> None:
    code = "import sys, app.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    words = ("app.cli", "app.commands", "app.importing", "app.importing.cli", "app.doctor", "app.doctor.cli")
    ours = {name for name in done.stdout.split() if name.startswith(("app.", "policy", "models", "pydantic"))}
    assert {name for name in ours if not name.startswith("app.commands.")} == set(words)
