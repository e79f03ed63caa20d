"""The demo's loop, against a server that is played by the test."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest

from app.demo_shop import play
from app.demo_shop.deeds import Deed, Due, Past, Shop, person, views
from app.demo_shop.goods import PRODUCTS
from app.demo_shop.house import Door, Refused
from app.demo_shop.play import Play
from app.demo_shop.scene import Scene


@pytest.fixture(autouse=True)
def a_worker_that_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(play, "UNSEEN_S", 0.0)


class Server(Door):
    """Takes everything, but says to come again where it is told to."""

    def __init__(self, refusals: int = 0, *, known: bool = False) -> None:
        super().__init__("http://127.0.0.1:9")
        self.refusals = refusals
        self.known = known
        self.refused: list[str] = []  # ids
        self.events: list[Mapping[str, Any]] = []

    def ask(self, path: str) -> Any:
        if not self.known:
            raise Refused(404, "unknown_customer", "nobody knows them", None)
        return {}

    def tell(self, path: str, body: Mapping[str, Any]) -> Any:
        return {}

    def tell_lines(self, path: str, lines: Iterable[Mapping[str, Any]]) -> bytes:
        sent = list(lines)
        if path == "/v1/events":
            if self.refusals:
                self.refusals -= 1
                self.refused += [each["id"] for each in sent]
                raise Refused(429, "rate_limited", "too many requests", 0.2)
            self.events += sent
        answer = {"action": "send", "message": {"id": "bestsellers"}, "reason": "rule_ranked", "degraded": []}
        body = {"decisions": [{**answer, "placement": name} for name in ("home_banner", "next_email")]}
        return b"\n".join(json.dumps(body).encode() for _ in sent)


class Audience:
    def __init__(self) -> None:
        self.steps: list[str] = []
        self.scenes: list[Scene] = []

    def step(self, words: str) -> None:
        self.steps.append(words)

    def show(self, scene: Scene) -> None:
        self.scenes.append(scene)

    def close(self, words: str) -> None:
        pass


def looks(customer: str, count: int) -> Iterator[Deed]:
    return (views(customer, PRODUCTS["bags"][number]) for number in range(count))


def shop(future: Iterable[Due] = ()) -> Shop:
    past = [Past(1, deed) for deed in looks("cus_1", 3)]
    lately = [Past(2, deed) for deed in looks("ada", 1)]
    return Shop([person("ada"), person("cus_1")], past, lately, iter(future), ["ada"])


def played(server: Server, future: Iterable[Due] = (), seconds: float = 0.6) -> Audience:
    audience = Audience()
    performance = Play(server, None, shop(future), {"ada": "looks"}, audience)
    performance.open()
    performance.run(iter(()), 60.0, seconds)
    return audience


def test_the_past_is_told_before_anything_else() -> None:
    server = Server()
    played(server, [Due(0.0, next(looks("cus_1", 1)))])
    assert [("at" in event, event["customer"]) for event in server.events] == [
        (True, "cus_1"), (True, "cus_1"), (True, "cus_1"), (True, "ada"), (False, "cus_1"),
    ]  # fmt: skip


def test_a_shop_that_was_open_before_has_its_past_already() -> None:
    server = Server(known=True)
    audience = played(server)
    assert [event["customer"] for event in server.events] == ["ada"]
    assert "this shop was open before, and goes on" in audience.steps


def test_what_the_server_has_no_room_for_is_told_again_once_and_in_order() -> None:
    server = Server()
    future = [Due(number * 1.2, deed) for number, deed in enumerate(looks("ada", 6))]  # 20 ms apart at 60 times
    audience = Audience()
    performance = Play(server, None, shop(future), {"ada": "looks"}, audience)
    performance.open()
    server.refusals = 1
    performance.run(iter(()), 60.0, 0.8)
    live = [event["properties"]["product_id"] for event in server.events if "at" not in event]
    assert live == [deed.properties["product_id"] for deed in looks("ada", 6)]
    assert server.refused  # and has the same ids: a part of it may have been taken
    assert set(server.refused) <= {event["id"] for event in server.events}
    assert any(scene.waiting and "429" in scene.waiting for scene in audience.scenes)
    assert audience.scenes[-1].waiting is None


def test_the_past_waits_too_where_there_is_no_room() -> None:
    server = Server(refusals=1)
    played(server, seconds=0.1)
    assert len(server.events) == 4


def test_a_refusal_that_no_waiting_helps_ends_the_demo() -> None:
    class Closed(Server):
        def tell_lines(self, path: str, lines: Iterable[Mapping[str, Any]]) -> bytes:
            raise Refused(403, "forbidden", "this key may not", None)

    with pytest.raises(Refused, match="403"):
        played(Closed())


def test_events_have_ids_of_their_own() -> None:
    server = Server()
    played(server, [Due(0.0, deed) for deed in looks("ada", 5)])
    ids = [event["id"] for event in server.events]
    assert len(set(ids)) == len(ids)
