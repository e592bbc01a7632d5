"""A response taken apart is the same however its bytes were cut, and no byte behind it is its own."""

import pytest

from proxy.network.upstream.response import BODY, DONE, HEAD, SWITCHED, ResponseParser

EARLY = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
SIZED = b"HTTP/1.1 200 Quite Well\r\nX-One: 1\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
HELLO = b"3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nx-trailer: 1\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"


def fed(
    data: bytes, *cuts: int, bodiless: bool = False, may_switch: bool = False
) -> tuple[ResponseParser, bytes]:
    """One response of these bytes, cut there, and its body."""
    response, body = ResponseParser(may_switch=may_switch), b""
    response.begin(bodiless=bodiless)
    for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
        response.feed(data[start:end])
        body += b"".join(response.pieces)
        response.pieces.clear()
    return response, body


@pytest.mark.parametrize("data", [EARLY + SIZED, EARLY + EARLY + CHUNKED + HELLO], ids=["sized", "chunked"])
def test_a_response_is_the_same_wherever_it_was_cut(data: bytes) -> None:
    whole, body = fed(data)
    assert (whole.stage, whole.status, body) == (DONE, 200, b"hello")
    assert all(name not in (b"link", b"x-trailer") for name, _ in whole.headers)
    for cut in range(1, len(data)):
        response, body = fed(data, cut)
        assert (response.stage, response.fault, response.reusable, body) == (DONE, "", True, b"hello")
        assert (response.reason, response.headers) == (whole.reason, whole.headers)


@pytest.mark.parametrize("rest", [b"x", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno"])
def test_what_follows_a_response_is_left_out_and_ends_its_connection(rest: bytes) -> None:
    response, body = fed(SIZED + rest)
    assert (response.stage, response.fault, response.reusable, body) == (DONE, "", False, b"hello")


def test_a_response_to_head_is_over_with_its_head() -> None:
    response, body = fed(SIZED[:-5], bodiless=True)
    assert (response.stage, response.reusable, body) == (DONE, False, b"")


def test_another_protocol_begins_where_its_response_ends() -> None:
    response = ResponseParser(may_switch=True)
    response.begin(bodiless=False)
    response.feed(SWITCH + b"\x81\x00")
    response.feed(b"\x8a")
    assert (response.stage, response.fault, response.pieces) == (SWITCHED, "", [b"\x81\x00", b"\x8a"])
    assert fed(SWITCH)[0].fault


@pytest.mark.parametrize(
    ("data", "stage"),
    [
        (EARLY * 2000, HEAD),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000, HEAD),
        (CHUNKED + b"3;" + b"x" * 70_000, BODY),
        (CHUNKED + HELLO[:-2] + b"x: " + b"y" * 70_000, BODY),
    ],
    ids=["interim", "head", "extension", "trailer"],
)
def test_nothing_that_is_no_body_is_endless(data: bytes, stage: int) -> None:
    response, _ = fed(data, *range(1000, len(data), 1000))
    assert response.stage == stage
    assert "response bytes without body" in response.fault
