"""A row of the decision archive holds what its placement may have read, and nothing of another one's."""

from __future__ import annotations

import orjson

from app.archiving.decision_rows import SCHEMA, rows_under
from app.core.decision.situation import facts_read
from app.store.archive_positions import Entry
from tests.support.contract import ATTRIBUTES, contract_bundle
from tests.support.deciding import decide, facts_of


def test_features_of_a_row_are_those_of_its_placement() -> None:
    bundle = contract_bundle()
    read = {name: facts_read(placement) for name, placement in bundle.placements.items()}
    known = {name: value for name, value in ATTRIBUTES.items() if name in bundle.fact_by_name}
    wide = max(read, key=lambda name: len(known.keys() & set(read[name])))
    narrow = min(read, key=lambda name: len(known.keys() & set(read[name])))
    made = decide(bundle, facts_of(known), [wide, narrow], model=lambda _: 0.1)
    rows = rows_under({bundle.digest: bundle})(7, Entry(b"1795514400000-0", b"", {b"r": made.record}))
    assert [len(row) for row in rows] == [len(SCHEMA)] * 2
    first, second = [dict(zip(SCHEMA.names, row, strict=True)) for row in rows]
    assert (first["placement"], second["placement"]) == (wide, narrow)
    assert first["request"] == second["request"]
    assert orjson.loads(first["features"]).keys() == known.keys() & set(read[wide])
    assert orjson.loads(second["features"]).keys() == known.keys() & set(read[narrow])
    assert orjson.loads(first["features"]).keys() > orjson.loads(second["features"]).keys()
