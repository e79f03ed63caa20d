"""Files as rows: every format the same, from any row on."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from app.importing.rows import CELL_BYTES_MAX, open_rows
from app.importing.trouble import Trouble

ROWS = [{"customer": f"c{i}", "recency": i} for i in range(10)]


def written(folder: Path, suffix: str) -> Path:
    path = folder / f"rows{suffix}"
    if suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=3)
        return path
    if "csv" in suffix:
        text = "customer;recency\r\n" + "".join(f"{row['customer']};{row['recency']}\r\n" for row in ROWS)
    else:
        text = "".join(json.dumps(row) + "\n" for row in ROWS)
    path.write_bytes(gzip.compress(text.encode()) if suffix.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".ndjson", ".jsonl.gz", ".parquet"])
def test_every_format_gives_the_same_rows_from_any_one_on(tmp_path: Path, suffix: str) -> None:
    rows = open_rows(written(tmp_path, suffix))
    assert rows.names == ("customer", "recency")
    rows.close()
    first = 2 if "csv" in suffix else 1  # the header is a line
    for skipped in (0, 1, 3, 4, 9, 10):
        rows = open_rows(written(tmp_path, suffix))
        found = list(rows.after(skipped))
        assert [row.number for row in found] == [first + i for i in range(skipped, 10)]
        assert [int((row.cells or {})["recency"]) for row in found] == list(range(skipped, 10))
        assert not found or rows.share() == 1.0
        rows.close()


def test_numbers_are_those_of_lines_over_breaks_in_cells_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('\ufeffcustomer,why\na,"two\nlines"\n\nb,x\nc\n', encoding="utf-8")
    rows = open_rows(path)
    assert [(row.number, row.cells) for row in rows.after(0)] == [
        (2, {"customer": "a", "why": "two\nlines"}),
        (5, {"customer": "b", "why": "x"}),
        (6, None),
    ]
    rows.close()


def test_lines_that_are_no_objects_are_rows_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.ndjson"
    long = json.dumps({"customer": "x" * CELL_BYTES_MAX * 2})
    path.write_text('{"customer": "a", "attributes": {"recency": 1}}\n[]\n\nnonsense\n' + long + '\n{"customer": "b"}')
    rows = open_rows(path)
    assert [(row.number, row.cells) for row in rows.after(0)] == [
        (1, {"customer": "a", "attributes.recency": 1}),
        (2, None),
        (4, None),
        (5, None),
        (6, {"customer": "b"}),
    ]
    rows.close()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("rows.xlsx", b"PK", "--format"),
        ("rows.csv", b"", "is empty"),
        ("rows.csv", b"a,a\n1,2\n", "more than one column"),
        ("rows.csv", b"k\xe4se\n1\n", "--encoding"),
        ("rows.parquet", b"no parquet at all", "no Parquet"),
        ("rows.csv.gz", b"not packed", "broken"),
        ("rows.ndjson.gz", b"not packed", "broken"),
    ],
)
def test_files_that_cannot_be_read_say_what_to_do(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(Trouble, match=says):
        open_rows(path)


def test_a_server_never_loads_what_reads_parquet() -> None:
    import subprocess
    import sys

    code = "import sys, app.main, app.cli, app.importing.run, app.importing.rows; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
