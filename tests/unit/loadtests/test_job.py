"""The standard job stays the job: figures of different days can be compared."""

import hashlib
import itertools
import json
import re
from pathlib import Path

import pytest
import yaml

from loadtests.peers.quickstart.rules import eligible
from loadtests.standard.job import ATTRIBUTES, BUNDLE, CUSTOMERS, MESSAGES, RULES, attributes, customer, walk


def test_the_walk_asks_for_every_customer_before_any_twice() -> None:
    assert sorted(walk()) == list(range(CUSTOMERS))


def test_neighbours_in_time_are_not_neighbours_in_the_store() -> None:
    order = list(walk())
    assert all(abs(a - b) > 1_000 for a, b in itertools.pairwise(order))


def test_the_customers_are_the_same_on_every_machine_and_day() -> None:
    rows = json.dumps(list(attributes(100)), sort_keys=True).encode()
    assert hashlib.sha256(rows).hexdigest()[:16] == "a3b1d381d6105d95"


def test_a_customer_is_written_as_the_bulk_route_takes_it() -> None:
    line = customer("7", {"f0": 0.25})
    assert line["attributes"] == {"f0": 0.25, "lifecycle": "active"}
    assert [(one["purpose"], one["channel"], one["state"]) for one in line["consent"]] == [
        ("marketing", "email", "granted"),
        ("personalisation", "*", "granted"),
    ]


@pytest.mark.parametrize("index", range(MESSAGES))
def test_the_bundle_holds_the_rules_that_the_peers_run(index: int) -> None:
    message = yaml.safe_load((Path(BUNDLE) / "messages.yaml").read_text())["messages"][index]
    bare = re.sub(r"[()]", "", message["eligible"])
    assert message["id"] == f"m{index}"
    assert message["value"] == pytest.approx(1 + index / 20)
    assert all(rule in bare for rule in {RULES[index % 8], RULES[3 * index % 8]})


def test_the_quickstart_peer_runs_all_rules_and_drops_what_they_refuse() -> None:
    facts = dict.fromkeys(ATTRIBUTES, 0.5) | {"lifecycle": "active"}
    context = {"language": "de", "region": "DE"}
    assert eligible(facts, context) == list(range(MESSAGES))
    without_rule_0 = eligible(facts | {"f3": 0.1}, context)
    assert without_rule_0 == [i for i in range(MESSAGES) if 0 not in (i % 8, 3 * i % 8)]
