"""`nextbest deadletters`: what could not be taken, masked; and taken again after the bundle was mended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from typer.testing import CliRunner

from app.cli import app
from app.core.events.entry import decode, encode_letter
from app.core.events.event import Letter, Misfit, Misfits
from app.store.keys import CTL_HASH_KEY, CTL_SHARDS, Keys
from tests.support.event_bundle import FOLDER, HASH_KEY, judged, told
from tests.support.valkey import Store, inside_of

KEYS = Keys(4)


class Shop:
    """A store with letters, and the command line beside it."""

    def __init__(self, store: Store, inside: Redis) -> None:
        self.url = store.url
        self.redis = inside
        self.redis.set(CTL_SHARDS, KEYS.shards)
        self.redis.set(CTL_HASH_KEY, HASH_KEY)

    def put(self, letter: Letter) -> str:
        shard = KEYS.shard_of(letter.customer)
        entry = self.redis.xadd(KEYS.dead_letters(shard), {"e": encode_letter(letter)})
        return f"{shard:03d}-{entry.decode()}"

    def run(self, *words: str) -> str:
        result = CliRunner().invoke(app, ["deadletters", *words, "--url-of-store", self.url])
        assert "Traceback" not in result.output
        assert result.exit_code == 0, result.output
        return result.output.strip()

    def fails(self, *words: str) -> str:
        result = CliRunner().invoke(app, ["deadletters", *words, "--url-of-store", self.url])
        assert result.exit_code == 1
        return result.output.strip()

    def collected(self) -> list[dict[str, object]]:
        entries = [entry for shard in range(KEYS.shards) for entry in self.redis.xrange(KEYS.events(shard))]
        return [dict(decode(fields[b"e"]).properties) for _, fields in entries]


@pytest.fixture
def shop(store_server: Store, store_url: str) -> Iterator[Shop]:
    with inside_of(store_server) as inside:
        yield Shop(store_server, inside)


def unfit(**properties: object) -> Letter:
    result = judged(told("product_viewed", dict(properties))).result
    assert isinstance(result, Letter)
    return result


@pytest.fixture
def mended(tmp_path: Path) -> Path:
    """The bundle with prices of any size."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    for file in FOLDER.glob("*.yaml"):
        text = file.read_text().replace(", range: [0, 1000000]", "")
        (folder / file.name).write_text(text)
    return folder


def test_letters_are_listed_with_the_reason(shop: Shop) -> None:
    letter = shop.put(unfit(product_id="p1", price=-3))
    shop.put(unfit(price=3))
    lines = shop.run("list").splitlines()
    assert len(lines) == 2
    (line,) = shop.run("list", "--reason", "out_of_range").splitlines()
    assert line.startswith(letter)
    assert "`price` is outside of its range" in line
    assert shop.run("list", "--event", "order_completed") == ""
    assert len(json.loads(shop.run("list", "--json"))) == 2


def test_a_letter_is_shown_in_full_and_masked(shop: Shop) -> None:
    letter = shop.put(unfit(product_id="p1", price=-3, search_text="ada@example.com"))
    shown = json.loads(shop.run("show", letter))
    assert (shown["reason"], shown["customer"], shown["redrivable"]) == ("out_of_range", "cus_1", True)
    assert shown["properties"]["price"] == -3
    assert "ada" not in json.dumps(shown)


def test_what_the_bundle_takes_now_is_collected_once(shop: Shop, mended: Path) -> None:
    shop.put(unfit(product_id="p1", price=-3))
    shop.put(unfit(price=3))
    assert shop.run("redrive", "--bundle", str(FOLDER)) == "0 taken\n1 left: missing_property\n1 left: out_of_range"
    done = shop.run("redrive", "--bundle", str(mended))
    assert done == "1 taken\n1 left: missing_property"
    assert shop.collected() == [{"product_id": "p1", "price": -3.0}]
    assert shop.run("redrive", "--bundle", str(mended)) == "0 taken\n1 left: missing_property"
    assert len(shop.collected()) == 1


def test_one_letter_alone_is_taken_when_it_is_named(shop: Shop, mended: Path) -> None:
    first, _ = shop.put(unfit(product_id="p1", price=-3)), shop.put(unfit(product_id="p2", price=-3))
    assert shop.run("redrive", first, "--bundle", str(mended)) == "1 taken"
    assert shop.collected() == [{"product_id": "p1", "price": -3.0}]
    assert "there is no letter" in shop.fails("redrive", first, "--bundle", str(mended))


def test_what_is_about_nobody_stays(shop: Shop, mended: Path) -> None:
    shop.put(Letter(Misfit(Misfits.MALFORMED, "an event is an object"), "", "", 0, None, 1, b"12345678", {}))
    assert shop.run("redrive", "--bundle", str(mended)) == "0 taken\n1 left: malformed"


def test_hundreds_of_letters_are_all_seen(shop: Shop) -> None:
    for number in range(450):
        shop.put(unfit(product_id="p1", price=-3)._replace(received_at_ms=number))
    assert len(shop.run("list").splitlines()) == 450


@pytest.mark.parametrize("letter", ["x", "001-1-1", "999-1-1", "1", "001-", "001-1-1-1"])
def test_a_letter_that_is_not_there_is_said_in_one_line(shop: Shop, letter: str) -> None:
    assert "there is no letter" in shop.fails("show", letter)


def test_a_store_that_cannot_be_reached_is_said_in_one_line(shop: Shop) -> None:
    result = CliRunner().invoke(app, ["deadletters", "list", "--url-of-store", "unix:///nowhere/store.sock"])
    assert result.exit_code == 1
    assert "the store failed" in result.output
