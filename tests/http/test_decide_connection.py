"""Decisions over connections that are not the usual one request, one answer, the next."""

from __future__ import annotations

import json
import socket

import pytest

from tests.support.serving import Server

BODY = json.dumps({"customer": "cus_wire", "placements": ["receipt"], "dry_run": True}).encode()


def connect(server: Server) -> socket.socket:
    host, _, port = server.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=5)


def request(version: str = "1.1", *headers: str, body: bytes = BODY) -> bytes:
    lines = [f"POST /v1/decide HTTP/{version}", "host: example.com", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answers(connection: socket.socket, count: int) -> list[tuple[bytes, dict[str, object]]]:
    """Heads and bodies of `count` answers."""
    data, found = b"", []
    while len(found) < count:
        piece = connection.recv(65536)
        assert piece, f"the connection ended after {len(found)} answers: {data[:200]!r}"
        data += piece
        while (end := data.find(b"\r\n\r\n")) >= 0:
            head = data[:end].lower()
            length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
            if len(data) < end + 4 + length:
                break
            found.append((head, json.loads(data[end + 4 : end + 4 + length])))
            data = data[end + 4 + length :]
    return found


def test_requests_that_follow_one_another_before_an_answer_are_answered_in_order(server: Server) -> None:
    """Every second one is for an alias, which takes a look-up more: the one after it would be answered first."""
    who = [f'{{"user_id": "cus_wire_{n}"}}' if n % 2 == 0 else f'"cus_wire_{n}"' for n in range(6)]
    bodies = [BODY.replace(b'"cus_wire"', each.encode()) for each in who]
    with connect(server) as connection:
        connection.sendall(b"".join(request(body=body) for body in bodies))
        assert [answer["customer"] for _, answer in answers(connection, 6)] == [f"cus_wire_{n}" for n in range(6)]


def test_a_request_in_single_bytes_is_a_request(server: Server) -> None:
    with connect(server) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request():
            connection.sendall(bytes([byte]))
        ((head, answer),) = answers(connection, 1)
    assert head.startswith(b"http/1.1 200")
    assert answer["customer"] == "cus_wire"


@pytest.mark.parametrize(("version", "headers"), [("1.1", ("connection: close",)), ("1.0", ())])
def test_a_caller_who_hangs_up_after_the_answer_is_told_that_the_connection_ends(
    server: Server, version: str, headers: tuple[str, ...]
) -> None:
    with connect(server) as connection:
        connection.sendall(request(version, *headers))
        ((head, _),) = answers(connection, 1)
        assert b"connection: close" in head
        assert connection.recv(1) == b""


def test_a_caller_who_asks_before_sending_the_body_is_told_to_go_on(server: Server) -> None:
    with connect(server) as connection:
        whole = request("1.1", "expect: 100-continue")
        head, _, body = whole.partition(b"\r\n\r\n")
        connection.sendall(head + b"\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 100")
        connection.sendall(body)
        assert answers(connection, 1)[0][1]["customer"] == "cus_wire"


def test_one_connection_serves_decisions_and_other_routes_in_turn(server: Server) -> None:
    with connect(server) as connection:
        for _ in range(3):
            connection.sendall(request())
            assert answers(connection, 1)[0][1]["customer"] == "cus_wire"
            connection.sendall(b"GET /health/live HTTP/1.1\r\nhost: example.com\r\n\r\n")
            assert answers(connection, 1)[0][1] == {"status": "live"}


def test_a_caller_who_leaves_before_the_answer_does_no_harm(server: Server) -> None:
    for _ in range(20):
        with connect(server) as connection:
            connection.sendall(request())
    with connect(server) as connection:
        connection.sendall(request())
        assert answers(connection, 1)[0][1]["customer"] == "cus_wire"


def test_a_query_takes_the_usual_way_to_the_same_answer(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(request().replace(b"/v1/decide ", b"/v1/decide?x=1 "))
        assert answers(connection, 1)[0][1]["customer"] == "cus_wire"
